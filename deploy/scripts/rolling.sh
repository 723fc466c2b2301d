#!/usr/bin/env bash
#
# Replaces one running app instance behind Tidegate by a new one, so that no client notices.
#
# The steps, and what holds when one of them fails:
#   1. start the new instance on an address of its own     nothing else has changed
#   2. tidegate add     waits until it is healthy           not healthy: the new one is stopped, the old one serves
#   3. its pid file takes the place of the old one's        both serve
#   4. tidegate drain   waits until the old holds nothing   not drained: the old one is NOT stopped, both are kept
#   5. SIGTERM the old, SIGKILL only past a deadline
#   6. tidegate remove
#
# Files, all beside the pid file and replaced by rename:
#   PIDFILE            the instance that serves: one line `pid starttime exe id addr`
#   PIDFILE.new        one that was offered to the proxy by a run that did not end; the next run looks after it
#   PIDFILE.old.ID     one that is to be drained and stopped; each run finishes those of earlier runs as well
#   POOL.lock          one run at a time for a pool
# A process is only ever signalled if its start time (in ticks since boot) and its executable are those recorded.
set -euo pipefail

usage() {
  cat <<'END'
Replaces one running app instance behind Tidegate by a new one.

usage: rolling.sh [OPTIONS] POOL -- COMMAND [ARG...]         deploy: start COMMAND, move the traffic, stop the old
       rolling.sh [OPTIONS] --resume POOL                    only finish drains that an earlier run left
       rolling.sh [OPTIONS] --adopt PID --id ID --addr ADDR POOL
                                                             record an instance that runs and serves already

COMMAND must stay in the foreground. In its arguments {addr}, {port} and {id} are replaced.

  --pid-file PATH      where the instance is recorded (default: /var/lib/tidegate/rolling/POOL.pid); one for each
                       instance of the pool that is replaced by itself
  --id ID              id of the new backend (default: the time)
  --port N|auto        port of the new instance (default: auto, a free one from 20000 to 29999)
  --addr ADDR          its address; {port} and {id} are replaced, as in unix:/run/app/{id}.sock
                       (default: 127.0.0.1:{port})
  --start-timeout S    seconds until it must listen (default: 30)
  --healthy-timeout S  seconds until it must be healthy (default: that of `tidegate add`)
  --stop-timeout S     seconds until a stopping instance gets SIGKILL (default: 30)
  --log FILE           where its output goes (default: the pid file's name with .log)
  --wait, --timeout, --on-timeout, --idle-timeout, --close-after, --spread VALUE
                       passed to `tidegate drain`

environment: TIDEGATE (the binary), TIDEGATE_ADMIN (its admin socket), ROLLING_WINDOWS (a file to which the lines
`begin UNIX_MS` and `end UNIX_MS` are appended when traffic begins to move and when the old instance is gone)

stdout: `serving POOL/ID ADDR pid=PID` and for each old one `retired POOL/ID outcome=clean|forced drain_ms=N stop_ms=N`

exit code: 0 done   7 done, but something was cut   6 not drained yet, both are kept (finish with --resume)
           5 refused or not healthy   8 somebody made the old one active again, both are kept   1 unexpected
           2 usage   4 the proxy does not answer   9 not authorised   128+N ended by signal N
END
}

readonly olds_max=3 # instances that may still be draining when another is started; bounds the processes of reruns
tidegate=${TIDEGATE:-tidegate}

say() { printf '%s\n' "$*" >&2; }

fail() { # CODE MESSAGE [HINT]
  say "error: $2"
  [[ -z ${3-} ]] || say "hint: $3"
  exit "$1"
}

now_ms() { printf '%s' "$((${EPOCHREALTIME//[!0-9]/} / 1000))"; }

# --- arguments -------------------------------------------------------------------------------------------------

mode=deploy pool='' pid_file='' new_id='' port=auto addr_template='127.0.0.1:{port}' log='' adopt_pid=''
start_timeout=30 stop_timeout=30
add_options=() drain_options=() command=()

while (($#)); do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --resume) mode=resume && shift && continue ;;
    --) shift && command=("$@") && break ;;
    -*) (($# > 1)) || fail 2 "\"$1\" needs a value, or is no option" "rolling.sh --help" ;;
    *)
      [[ -z $pool ]] || fail 2 "unexpected argument \"$1\"" "the command follows after \"--\""
      pool=$1 && shift && continue
      ;;
  esac
  case $1 in
    --pid-file) pid_file=$2 ;;
    --id) new_id=$2 ;;
    --port) port=$2 ;;
    --addr) addr_template=$2 ;;
    --log) log=$2 ;;
    --adopt) mode=adopt adopt_pid=$2 ;;
    --start-timeout) start_timeout=$2 ;;
    --healthy-timeout)
      [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || fail 2 "--healthy-timeout: found \"$2\", expected seconds"
      add_options=(--wait "$2s")
      ;;
    --stop-timeout) stop_timeout=$2 ;;
    --wait)
      # Without a wait `drain` answers 0 for "begun", which is not "safe to kill".
      [[ $2 =~ [1-9] ]] || fail 2 "--wait: found \"$2\", expected a time longer than nothing"
      drain_options+=("$1" "$2")
      ;;
    --timeout | --on-timeout | --idle-timeout | --close-after | --spread) drain_options+=("$1" "$2") ;;
    *) fail 2 "unknown option \"$1\"" "rolling.sh --help" ;;
  esac
  shift 2
done

readonly name='^[A-Za-z0-9][A-Za-z0-9._-]*$'
[[ $pool =~ $name ]] || fail 2 "found pool \"$pool\", expected a name" "rolling.sh --help"
new_id=${new_id:-$(date -u +%y%m%d-%H%M%S-%3N)}
[[ $new_id =~ $name ]] || fail 2 "--id: found \"$new_id\", expected a name"
[[ $port == auto || ($port =~ ^[0-9]{1,5}$ && $port -ge 1 && $port -le 65535) ]] ||
  fail 2 "--port: found \"$port\", expected 1 to 65535 or auto"
[[ $addr_template =~ ^unix:/. || $addr_template =~ :([0-9]{1,5}|\{port\})$ ]] ||
  fail 2 "--addr: found \"$addr_template\", expected host:port or unix:/path"
[[ $start_timeout =~ ^[0-9]{1,5}$ ]] || fail 2 "--start-timeout: found \"$start_timeout\", expected seconds"
[[ $stop_timeout =~ ^[0-9]{1,5}$ ]] || fail 2 "--stop-timeout: found \"$stop_timeout\", expected seconds"
case $mode in
  deploy) ((${#command[@]})) || fail 2 "no command to start" "rolling.sh $pool -- COMMAND [ARG...]" ;;
  adopt) [[ $adopt_pid =~ ^[0-9]+$ && $addr_template != *'{'* ]] || fail 2 "--adopt needs a process id, --id and --addr" ;;
esac
pid_file=${pid_file:-/var/lib/tidegate/rolling/$pool.pid}
log=${log:-${pid_file%.pid}.log}

# --- instances -------------------------------------------------------------------------------------------------

# The instance that is looked at; set by `load`, or while a new one starts.
pid='' start='' exe='' id='' addr=''

load() { # FILE
  local words=()
  read -ra words <"$1" || true
  ((${#words[@]} >= 5)) || fail 1 "$1: expected one line \"pid starttime exe id addr\"" "put it right or remove it"
  pid=${words[0]} start=${words[1]} id=${words[-2]} addr=${words[-1]}
  exe=${words[*]:2:${#words[@]}-4}
}

save() { # FILE
  printf '%s\n' "$pid $start $exe $id $addr" >"$1.tmp"
  mv -f "$1.tmp" "$1"
}

start_of() { # PID -> its start time, nothing if there is no such process
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
  read -ra stat <<<"${stat##*) }" # the name before may hold spaces and brackets
  [[ ${stat[0]} == Z ]] || printf '%s' "${stat[19]}"
}

exe_of() { # PID -> its executable; a new version may have replaced the file meanwhile
  local path
  path=$(readlink "/proc/$1/exe" 2>/dev/null) || return 0
  printf '%s' "${path% (deleted)}"
}

is_running() { # the instance looked at; one that is being started is our own child, whatever it executes by now
  [[ -n $start && $(start_of "$pid") == "$start" && (-z $exe || $(exe_of "$pid") == "$exe") ]]
}

stop() { # the instance looked at; returns 7 if it had to be killed
  is_running || return 0
  local deadline=$(($(now_ms) + stop_timeout * 1000))
  kill -TERM "$pid" 2>/dev/null || true
  while is_running; do
    if (($(now_ms) >= deadline)); then
      say "warning: $pool/$id (pid $pid) has not ended ${stop_timeout}s after SIGTERM: SIGKILL"
      kill -KILL "$pid" 2>/dev/null || true
      sleep 0.2
      return 7
    fi
    sleep 0.05
  done
}

# --- the new instance ------------------------------------------------------------------------------------------

is_taken() { # PORT: any socket on this machine has it
  local hex
  printf -v hex '%04X' "$1"
  grep -qsE "^ *[0-9]+: [0-9A-F]+:$hex " /proc/net/tcp /proc/net/tcp6
}

pick_address() {
  local tries=0
  # Below the range that outgoing connections take their ports from.
  while [[ $port == auto ]]; do
    ((++tries <= 200)) || fail 1 "found no free port from 20000 to 29999"
    port=$((20000 + RANDOM % 10000))
    ! is_taken "$port" || port=auto
  done
  addr=${addr_template//'{port}'/"$port"}
  addr=${addr//'{id}'/"$id"}
  if [[ $addr == unix:* ]]; then
    [[ ! -e ${addr#unix:} ]] || fail 5 "${addr#unix:} exists already" "old and new run side by side, each on its own address"
  elif is_taken "${addr##*:}"; then
    fail 5 "port ${addr##*:} is taken" "old and new run side by side, each on its own address"
  fi
}

listens() {
  local host=${addr%:*}
  case $addr in
    unix:*) [[ -S ${addr#unix:} ]] ;;
    *) (exec 3<>"/dev/tcp/${host//[\[\]]/}/${addr##*:}") 2>/dev/null ;;
  esac
}

start_new() {
  id=$new_id
  pick_address
  local arguments=("${command[@]//'{addr}'/"$addr"}")
  arguments=("${arguments[@]//'{port}'/"$port"}")
  arguments=("${arguments[@]//'{id}'/"$id"}")
  say "starting $pool/$id on $addr, log in $log"
  # The lock (descriptor 9) stays here: an app that inherited it would hold it for its whole life.
  setsid "${arguments[@]}" </dev/null >>"$log" 2>&1 9>&- &
  pid=$! start=$(start_of $!) exe=''
  phase=started
  local deadline=$(($(now_ms) + start_timeout * 1000))
  until listens; do
    is_running || give_up "it ended before it listened on $addr"
    (($(now_ms) < deadline)) || give_up "it does not listen on $addr after ${start_timeout}s"
    sleep 0.05
  done
  exe=$(exe_of "$pid")
  # Something listens there; it must be ours, not another that took the port first.
  { [[ -n $exe ]] && is_running; } || give_up "it ended, or runs as another user, although something listens on $addr"
}

give_up() { # MESSAGE: the new instance never got traffic
  stop || true
  phase=idle
  say "error: $pool/$id was not deployed: $1"
  tail -n 5 "$log" 2>/dev/null | sed 's/^/  | /' >&2 || true
  say "hint: the old instance was not touched"
  exit 5
}

offer_new() {
  save "$pid_file.new"
  phase=offered
  local code=0
  "$tidegate" add "$pool/$id" "$addr" "${add_options[@]}" >&2 || code=$?
  case $code in
    0) ;;
    5) rm -f "$pid_file.new" && give_up "it did not get healthy" ;;
    2 | 9)
      rm -f "$pid_file.new"
      stop || true
      fail "$code" "$pool/$id was refused by tidegate" "the old instance was not touched"
      ;;
    *) fail "$code" "cannot tell whether $pool/$id was added" "nothing was stopped; run this again to go on" ;;
  esac
  make_current
}

make_current() {
  if [[ -e $pid_file ]]; then
    local old_id
    old_id=$(load "$pid_file" && printf '%s' "$id")
    ln -f "$pid_file" "$pid_file.old.$old_id"
  fi
  mv -f "$pid_file.new" "$pid_file"
  phase=idle
  printf 'serving %s %s pid=%s\n' "$pool/$id" "$addr" "$pid"
}

# A run that was killed between offering and recording: the proxy knows whether the offer was taken.
look_after_offered() {
  [[ -e $pid_file.new ]] || return 0
  load "$pid_file.new"
  say "an earlier run ended while it added $pool/$id"
  local code=0
  "$tidegate" wait "$pool/$id" --for healthy >&2 || code=$?
  case $code in
    0) make_current ;;
    5)
      rm -f "$pid_file.new"
      stop || true
      ;;
    *) fail "$code" "$pool/$id is not healthy yet" "nothing was stopped; run this again" ;;
  esac
}

# --- the old ones ----------------------------------------------------------------------------------------------

retire() { # FILE; returns the code of the outcome, 0 and 7 if the instance is gone
  local file=$1 code=0 outcome=clean began drained stopped
  load "$file"
  "$tidegate" status "$pool/$id" >/dev/null 2>&1 || code=$?
  if ((code == 5)); then
    if is_running; then
      say "error: the proxy does not know $pool/$id, but its process runs (pid $pid)"
      say "hint: if nothing uses $addr, stop it by hand and remove $file"
      return 5
    fi
    rm -f "$file"
    return 0
  fi

  code=0 began=$(now_ms)
  "$tidegate" drain "$pool/$id" "${drain_options[@]}" >&2 || code=$?
  case $code in
    0) ;;
    7) outcome=forced ;;
    6) say "$pool/$id is not drained yet: it was not stopped and goes on draining" ;;
    8) say "$pool/$id was made active again: it was not stopped" ;;
    *) say "$pool/$id could not be drained: it was not stopped" ;;
  esac
  ((code == 0 || code == 7)) || return "$code"

  drained=$(now_ms)
  stop || code=$?
  stopped=$(now_ms)
  if "$tidegate" remove "$pool/$id" >&2; then
    rm -f "$file"
  else
    say "warning: $pool/$id was stopped but could not be removed from the proxy; the next run tries again"
  fi
  printf 'retired %s outcome=%s drain_ms=%s stop_ms=%s\n' "$pool/$id" "$outcome" $((drained - began)) $((stopped - drained))
  return "$code"
}

retire_all() {
  local file result=0 code current
  current=$(load "$pid_file" && printf '%s' "$id")
  for file in "$pid_file".old.*; do
    [[ -e $file ]] || continue
    if [[ $file == "$pid_file.old.$current" ]]; then
      rm -f "$file" # left by a run that was killed before the new one took its place
      continue
    fi
    code=0
    retire "$file" || code=$?
    # The first that is worse than "forced" is the answer.
    ((code == 0 || (result != 0 && result != 7))) || result=$code
  done
  return "$result"
}

# --- the run ---------------------------------------------------------------------------------------------------

mark() { # begin|end
  [[ -z ${ROLLING_WINDOWS-} ]] || printf '%s %s\n' "$1" "$(now_ms)" >>"$ROLLING_WINDOWS"
}

phase=idle in_window=no
# shellcheck disable=SC2317 # the trap calls it
at_exit() {
  # An instance that was never offered to the proxy can go; after that only the steps above may stop one.
  [[ $phase != started ]] || stop || true
  [[ $in_window == no ]] || mark end
}
trap at_exit EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir -p "$(dirname "$pid_file")"
lock=$(dirname "$pid_file")/$pool.lock
exec 9>>"$lock"
flock -n 9 || fail 5 "another deploy of $pool is under way: $(<"$lock")" "wait until it is done; $lock"
printf 'pid %s, user %s, since %s\n' $$ "$(id -un)" "$(date '+%F %T')" >"$lock"

if [[ $mode == adopt ]]; then
  [[ ! -e $pid_file ]] || fail 5 "$pid_file exists already"
  pid=$adopt_pid start=$(start_of "$adopt_pid") exe=$(exe_of "$adopt_pid") id=$new_id addr=$addr_template
  { [[ -n $exe ]] && is_running; } || fail 5 "found no process $pid that this user may look at"
  save "$pid_file"
  printf 'serving %s %s pid=%s\n' "$pool/$id" "$addr" "$pid"
  exit 0
fi

code=0
"$tidegate" status "$pool" >/dev/null || code=$?
((code == 0)) || fail "$code" "cannot deploy to $pool: \`tidegate status $pool\` says no" "nothing was changed"

look_after_offered
if [[ $mode == deploy ]]; then
  pending=("$pid_file".old.*)
  [[ -e ${pending[0]} ]] && ((${#pending[@]} >= olds_max)) &&
    fail 6 "${#pending[@]} old instances of $pool still drain, no other is started" "rolling.sh --resume $pool"
  start_new
  in_window=yes
  mark begin
  offer_new
elif [[ ! -e $pid_file ]]; then
  fail 5 "$pid_file: no instance was recorded, there is nothing to resume"
else
  in_window=yes
  mark begin
fi

result=0
retire_all || result=$?
((result == 0 || result == 7)) || say "hint: both instances are kept; \`rolling.sh --resume $pool\` finishes the drain"
exit "$result"
