# Starting and ending daemons; read by test-cluster.sh, whose $directory it uses.
#
# Each daemon stays in the foreground of a session of its own, so that its process number is known
# from the start. It works in a folder of its own, daemons/NAME, and so do the supervisors of job
# steps that it starts: nothing is ever signalled that does not work in such a folder. (Environments
# would not tell: supervisors write their titles over them.)

daemon() { # NAME PROGRAM ARGUMENT...: start it, unless it runs
  local name=$1
  shift
  ! running "$name" || return 0
  mkdir -p "$directory/daemons/$name"
  # A background process of a shell ignores interrupts, and jobs would inherit that.
  (cd "$directory/daemons/$name" && exec setsid env --default-signal=INT,QUIT "$@") \
    </dev/null >>"$directory/log/$name.out" 2>&1 9>&- &
  echo $! >"$directory/pids/$name"
  # Until it is in its folder, it cannot be told from one that has ended.
  until running "$name" || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
}

works_for() { # PID NAME
  [ "$(readlink "/proc/$1/cwd" 2>/dev/null)" = "$directory/daemons/$2" ]
}

running() { # NAME
  local pid
  pid=$(cat "$directory/pids/$1" 2>/dev/null) && works_for "$pid" "$1"
}

not_running() { ! running "$1"; }

require() { # NAME COMMAND...: until the command says that daemon NAME works
  within "$patience" ended_or "$@" || true
  ! running "$1" || ! "${@:2}" >/dev/null 2>&1 || return 0
  tail -n 5 "$directory/log/$1."* >&2 || true
  fail "$1 does not work; more in $directory/log"
}

ended_or() { not_running "$1" || "${@:2}"; } # NAME COMMAND...

terminate() { # NAME...: SIGTERM to all, then wait for each; SIGKILL where that does not end it
  local name
  for name in "$@"; do running "$name" && kill "$(cat "$directory/pids/$name")"; done
  for name in "$@"; do
    within 30 not_running "$name" || kill_daemon "$name"
    rm -f "$directory/pids/$name"
  done
}

kill_daemon() { # NAME
  kill -KILL "$(cat "$directory/pids/$1")"
  within "$patience" not_running "$1" || fail "$1 cannot be killed"
}

supervisors_of() { # NODE: the processes that look after its job steps
  local pid
  find /proc/[0-9]*/exe -maxdepth 0 -lname '*slurmstepd*' 2>/dev/null | cut -d/ -f3 |
    while read -r pid; do ! works_for "$pid" "slurmd-$1" || echo "$pid"; done
}

kill_jobs_of() { # NODE: the supervisors of its job steps, and all that descends from them
  local kin=() children
  mapfile -t children < <(supervisors_of "$1")
  while [ ${#children[@]} -gt 0 ]; do
    kin+=("${children[@]}")
    # What is stopped has no further children, which would outlive it and go on to write.
    kill -STOP "${children[@]}" 2>/dev/null || true
    within "$patience" at_rest "${children[@]}" || fail "processes of $1 cannot be stopped"
    mapfile -t children < <(children_of "${children[@]}")
  done
  [ ${#kin[@]} -gt 0 ] || return 0
  kill -KILL "${kin[@]}" 2>/dev/null || true
  within "$patience" gone "${kin[@]}" || fail "processes of $1 cannot be killed"
}

at_rest() { states_are '[TtZX]' "$@"; } # PID...: stopped or gone

gone() { states_are '[ZX]' "$@"; } # PID...: but for what nobody has waited for yet

states_are() { # STATES PID...: whether each of the processes is in one of the states, or is no more
  local pid state
  for pid in "${@:2}"; do
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null) || continue
    [[ -z $state || $state == $1 ]] || return 1
  done
}

children_of() { # PID...
  local parents
  parents=$(printf '|%s' "$@")
  { grep -HE "^PPid:[[:space:]]*(${parents:1})$" /proc/[0-9]*/status || true; } 2>/dev/null |
    cut -d/ -f3
}
