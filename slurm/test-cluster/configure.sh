# Packages and files of the cluster; read by test-cluster.sh, whose settings it uses.

install_packages() {
  local wanted=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge) missing=() name
  [ "$accounting" = none ] ||
    wanted+=(slurmdbd slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core)
  # Elsewhere than on Debian, SLURM is whatever is found in PATH.
  command -v dpkg-query >/dev/null || return 0
  for name in "${wanted[@]}"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed ||
      missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$user" = root ] ||
    fail "not installed: ${missing[*]}; install them, or start the cluster as root"
  say "installing ${missing[*]}"
  without_services install_with_apt "${missing[@]}" >"$directory/log/apt.log" 2>&1 ||
    fail "cannot install ${missing[*]}: $(tail -n 3 "$directory/log/apt.log")"
}

install_with_apt() {
  apt-get update -q -o Acquire::Retries=3 &&
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
      -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@" </dev/null
}

without_services() { # COMMAND...: packages installed by it start no daemons of their own
  local policy=/usr/sbin/policy-rc.d status=0
  [ ! -e $policy ] || { "$@"; return; }
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
  "$@" || status=$?
  rm $policy
  return $status
}

fill_in() { # TEMPLATE FILE: every @name@ becomes the value of that variable
  local name script=()
  for name in $(grep -o '@[a-z_]*@' "$1" | sort -u | tr -d @); do
    script+=(-e "s|@$name@|${!name}|g")
  done
  sed "${script[@]}" "$1" >"$2.new"
  chmod 600 "$2.new"
  if ! cmp -s "$2.new" "$2"; then changed=yes; fi
  mv "$2.new" "$2"
}

once() { # FILE COMMAND...: a private file with what the command writes, made only if missing
  local file=$1
  shift
  [ -s "$file" ] || (umask 077; "$@" >"$file")
}

configure() {
  local first_node_port=$((port + 11)) last_node_port=$((port + 10 + nodes))
  local accounting_port=$((port + 1)) database_port=$((port + 2))
  local node_gres="" user_signal="" accounting_server="" password first_job changed=no
  once "$directory/etc/munge.key" head -c 1024 /dev/urandom
  once "$directory/etc/password" sh -c 'od -An -N 12 -tx1 /dev/urandom | tr -d " "'
  # A job's files are named by its number, so numbers must not come back after a purge: one for
  # every tenth of a second lasts 76 days, which is all that SLURM's range allows.
  once "$directory/etc/first-job" echo $(($(date +%s%1N) % 66000000 + 1))
  password=$(cat "$directory/etc/password")
  first_job=$(cat "$directory/etc/first-job")
  [ "$gpus" = 0 ] || node_gres=Gres=gpu:$gpus
  [ "$send_user_signal" = no ] || user_signal=$(user_signal_option)
  # Munge's socket is named once more here: slurmctld talks to slurmdbd through it.
  [ "$accounting" = none ] || printf -v accounting_server 'AccountingStorage%s\\n' \
    Host=127.0.0.1 "Port=$accounting_port" "User=$user" "Pass=$socket"
  write_gpus
  # No cgroups are used, but slurmd would look for them all the same, and for systemd where they are
  # of version 2: in a container it finds neither and gives up.
  echo CgroupPlugin=cgroup/v1 >"$directory/etc/cgroup.conf"
  fill_in "$parts/slurmdbd.conf.in" "$directory/etc/slurmdbd.conf"
  fill_in "$parts/slurm.conf.in" "$configuration"
  chmod 644 "$configuration"
  if [ $changed = yes ] && running slurmctld; then
    say "the settings changed: restarting the daemons, jobs go on"
    stop_slurm
  fi
}

user_signal_option() { # one unknown option would disable every command, and its name has changed
  case $(slurmctld -V) in
    *" 2"[0-2].*) echo SlurmctldParameters=preempt_send_user_signal ;;
    *) echo PreemptParameters=send_user_signal ;;
  esac
}

write_gpus() { # second null devices; plain files where no device may be made, which SLURM accepts
  local i gpu=$directory/gpu
  echo AutoDetect=off >"$directory/etc/gres.conf"
  [ "$gpus" != 0 ] || return 0
  for ((i = 0; i < gpus; i++)); do
    [ -e "$gpu$i" ] || mknod "$gpu$i" c 1 3 2>/dev/null || : >"$gpu$i"
  done
  echo "NodeName=n[1-$nodes] Name=gpu File=${gpu}[0-$((gpus - 1))]" >>"$directory/etc/gres.conf"
}
