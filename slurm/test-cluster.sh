#!/usr/bin/env bash
# A real SLURM cluster on this one machine, for tests: several small nodes on loopback, no systemd.
#
#   test-cluster.sh start             bring it up, or up to date with the settings
#   test-cluster.sh stop              cancel its jobs and end its daemons
#   test-cluster.sh purge             stop, and delete its directory
#   test-cluster.sh status            daemons, nodes, jobs; fails unless all is up
#   test-cluster.sh env               what a shell needs: eval "$(slurm/test-cluster.sh env)"
#   test-cluster.sh kill-node N       power cut: the node's daemon and all its jobs die at once
#   test-cluster.sh cut-node N        network cut: only its daemon dies, its jobs go on unsupervised
#   test-cluster.sh start-node N      the node comes back
#   test-cluster.sh stop-controller   jobs go on; nothing can be submitted or asked
#   test-cluster.sh start-controller
#   test-cluster.sh stop-accounting   `sacct` does not work; jobs and the controller go on
#   test-cluster.sh start-accounting
#
# Partitions: debug (the default; evicts jobs of the others where it needs their place), preempt
# (evicted jobs get a grace time and are requeued), preempt0 (requeued without grace), scavenge
# (evicted jobs are cancelled).
#
# Settings, read by `start` from the environment, each with its default below: TEST_CLUSTER_...
#   DIRECTORY       where everything of the cluster lies
#   PORT            first of its ports, 20 and as many as there are nodes
#   NODES CPUS MEMORY_MB GPUS    nodes n1.., and what each claims to have; GPUS are fake
#   ACCOUNTING      slurmdbd, or none: then `sacct` does not work
#   GRACE           seconds between the warning and the end of a job evicted from `preempt`
#   SEND_USER_SIGNAL  yes: a warned job gets its --signal; no: only SIGTERM, as SLURM's default is
#   KILL_WAIT       seconds between SIGTERM and SIGKILL
#   REQUEUE_DELAY   seconds a requeued job waits; SLURM's default is 120
#   SLURMD_TIMEOUT  seconds until a silent node is given up
#   LINK            yes: as root, /etc/slurm/slurm.conf leads here, unless something stands there
#
# Any number of clusters run beside each other, given directories and ports of their own. As root,
# missing Debian packages are installed; with them, any user can run a cluster.
set -euo pipefail
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

user=$(id -un)
host=$(hostname -s)
home=/var/tmp/sparsekit-test-cluster-$user
[ "$user" != root ] || home=/var/lib/sparsekit-test-cluster
directory=$(realpath --canonicalize-missing "${TEST_CLUSTER_DIRECTORY:-$home}")
port=${TEST_CLUSTER_PORT:-26800}
nodes=${TEST_CLUSTER_NODES:-4}
cpus=${TEST_CLUSTER_CPUS:-4}
memory_mb=${TEST_CLUSTER_MEMORY_MB:-16384}
gpus=${TEST_CLUSTER_GPUS:-2}
accounting=${TEST_CLUSTER_ACCOUNTING:-slurmdbd}
grace=${TEST_CLUSTER_GRACE:-20}
send_user_signal=${TEST_CLUSTER_SEND_USER_SIGNAL:-yes}
kill_wait=${TEST_CLUSTER_KILL_WAIT:-10}
requeue_delay=${TEST_CLUSTER_REQUEUE_DELAY:-20}
slurmd_timeout=${TEST_CLUSTER_SLURMD_TIMEOUT:-30}
link=${TEST_CLUSTER_LINK:-yes}
patience=1800 # seconds until what does not work on a busy machine is given up

parts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/test-cluster
configuration=$directory/etc/slurm.conf
socket=$directory/run/munge.socket
database_socket=$directory/run/database.socket
# Started from within a job, daemons would inherit what SLURM said about that job.
for name in ${!SLURM*}; do unset "$name"; done
export SLURM_CONF=$configuration

say() { echo "test-cluster: $*" >&2; }
fail() { say "$*"; exit 1; }

within() { # SECONDS COMMAND...: whether the command succeeds in that time
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

source "$parts/configure.sh"
source "$parts/processes.sh"

node_names() { local i; for ((i = 1; i <= nodes; i++)); do echo "n$i"; done; }

daemon_names() {
  echo munged
  [ "$accounting" = none ] || echo database slurmdbd
  echo slurmctld
  node_names | sed 's/^/slurmd-/'
}

start_munge() {
  running munged || rm -f "$socket" "$socket.lock"
  daemon munged munged --foreground --force --socket="$socket" \
    --key-file="$directory/etc/munge.key" --seed-file="$directory/run/munge.seed" \
    --pid-file="$directory/run/munged.pid" --log-file="$directory/log/munged.log"
  require munged sh -c "munge -n -S '$socket' | unmunge -S '$socket'"
}

sql() { mariadb --no-defaults --socket="$database_socket" --user="$user" --execute="$1"; }

start_accounting() {
  local data=$directory/daemons/database
  [ -d "$data/mysql" ] || mariadb-install-db --no-defaults --skip-test-db --user="$user" \
    --datadir="$data" --auth-root-authentication-method=socket \
    --auth-root-socket-user="$user" >"$directory/log/database.log" 2>&1
  daemon database mariadbd --no-defaults --user="$user" --datadir="$data" \
    --socket="$database_socket" --pid-file="$directory/run/database.pid" \
    --bind-address=127.0.0.1 --port=$((port + 2)) --skip-name-resolve --performance-schema=OFF \
    --innodb-buffer-pool-size=64M --innodb-log-file-size=32M --innodb-lock-wait-timeout=900 \
    --innodb-flush-log-at-trx-commit=2
  require database sql "SELECT 1"
  sql "CREATE DATABASE IF NOT EXISTS accounting;
    CREATE OR REPLACE USER slurm@127.0.0.1 IDENTIFIED BY '$(cat "$directory/etc/password")';
    GRANT ALL ON accounting.* TO slurm@127.0.0.1"
  daemon slurmdbd slurmdbd -D
  require slurmdbd sacctmgr --noheader show cluster
}

resume_accounting() { # where there is one
  [ -e "$directory/daemons/slurmdbd" ] || fail "this cluster was started without accounting"
  start_accounting
}

start_controller() {
  daemon slurmctld slurmctld -D -f "$configuration"
  require slurmctld sh -c "scontrol ping | grep -q 'is UP'"
}

start_nodes() { # NODE...
  local name
  for name in "$@"; do
    # A node that comes back soon is not asked at once which of its jobs are left: say that none is.
    if ! running "slurmd-$name" && [ -z "$(supervisors_of "$name")" ]; then
      scontrol update "nodename=$name" state=down reason="power cut"
    fi
    daemon "slurmd-$name" slurmd -D -N "$name" -f "$configuration"
  done
  for name in "$@"; do
    # Registering brings a lost node back; one that somebody had set down needs to be told.
    within 10 usable "$name" || scontrol update "nodename=$name" state=resume || true
    require "slurmd-$name" usable "$name"
  done
}

usable() { # NODE: idle or at work, and known to the controller ('*' would say it is not)
  sinfo --noheader --nodes="$1" --format=%T | grep -qxE 'idle|mixed|allocated|completing'
}

refuse_busy_ports() { # unless they are those of this cluster's own daemons
  local name number
  for name in $(daemon_names); do ! running "$name" || return 0; done
  for ((number = port; number <= port + 10 + nodes; number++)); do
    ! (exec 3<>"/dev/tcp/127.0.0.1/$number") 2>/dev/null ||
      fail "port $number is in use, maybe by another cluster; TEST_CLUSTER_PORT names other ports"
  done
}

start() {
  [ ${#socket} -lt 100 ] || fail "TEST_CLUSTER_DIRECTORY=$directory is too long a path for sockets"
  refuse_busy_ports
  mkdir -p "$directory"/{etc,run,log,pids,daemons}
  install_packages
  configure
  start_munge
  [ "$accounting" = none ] || start_accounting
  start_controller
  mapfile -t names < <(node_names)
  start_nodes "${names[@]}"
  if [ "$link" = yes ] && [ "$user" = root ] && ! [ -e /etc/slurm/slurm.conf ]; then
    mkdir -p /etc/slurm && ln -sfn "$configuration" /etc/slurm/slurm.conf
  fi
  say "ready: $nodes nodes of $cpus CPUs; in your shell: export SLURM_CONF=$configuration"
}

stop_slurm() { # its daemons, whose jobs go on
  mapfile -t names < <(cd "$directory/pids" && ls | grep -xE 'slurmd-n[0-9]+|slurmctld|slurmdbd')
  terminate "${names[@]}"
}

queue_is_empty() { [ -z "$(squeue --noheader --all)" ]; }

stop() {
  local node
  [ -e "$configuration" ] || return 0
  if running slurmctld && within 5 scontrol ping; then
    squeue --noheader --all --format=%A | sort -u | xargs --no-run-if-empty scancel || true
    within $((kill_wait + 5)) queue_is_empty || true
  fi
  stop_slurm
  for node in "$directory"/daemons/slurmd-*; do kill_jobs_of "${node##*-}"; done
  terminate database
  terminate munged
  if [ "$(readlink /etc/slurm/slurm.conf)" = "$configuration" ]; then rm /etc/slurm/slurm.conf; fi
  say "stopped"
}

purge() {
  stop
  # Nothing is deleted that `start` did not make.
  [ ! -e "$directory/etc/first-job" ] || rm -r "$directory"
}

status() {
  local name state complete=0
  for name in $(daemon_names); do
    state=down
    if running "$name"; then state="up, process $(cat "$directory/pids/$name")"; else complete=1; fi
    printf '%-12s %s\n' "$name" "$state"
  done
  ! running slurmctld || { sinfo && squeue --all; } || complete=1
  return $complete
}

known_node() { # NODE
  [ -n "$1" ] && [ -d "$directory/daemons/slurmd-$1" ] ||
    fail "'$1' is none of the nodes $(node_names | xargs)"
}

kill_node() { # NODE: the daemon first, or it would report how its jobs ended
  cut_node "$1"
  kill_jobs_of "$1"
}

cut_node() { # NODE
  known_node "$1"
  ! running "slurmd-$1" || kill_daemon "slurmd-$1"
}

resume_controller() { # until it has heard from every node that is there
  local name
  start_controller
  for name in $(node_names); do
    not_running "slurmd-$name" || require "slurmd-$name" usable "$name"
  done
}

start_node() { # NODE
  known_node "$1"
  start_nodes "$1"
}

locked() { # FUNCTION ARGUMENT...: one at a time for each cluster
  [ -d "$directory" ] || fail "no cluster was started in $directory"
  exec 9>"$directory/lock"
  flock --wait "$patience" 9 || fail "another test-cluster.sh is at work on $directory"
  "$@"
}

command=${1:-}
case $command in
  stop | purge) [ ! -d "$directory" ] || locked "$command" ;;
  start) mkdir -p "$directory" && locked start ;;
  status) status ;;
  env) echo "export SLURM_CONF=$configuration" ;;
  kill-node | cut-node | start-node) locked "${command/-/_}" "${2:-}" ;;
  stop-controller) locked terminate slurmctld ;;
  start-controller) locked resume_controller ;;
  stop-accounting) locked terminate slurmdbd ;;
  start-accounting) locked resume_accounting ;;
  *) sed -n '2,/^set /{/^#/p}' "$0" >&2; exit 2 ;;
esac
