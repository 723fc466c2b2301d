# shellcheck shell=bash
#
# What the strategies beside this file share; they source it. Copy it together with them. Needs bash 4.4 and jq.
#
# How an instance is started and stopped is yours to say, by two commands in which {id}, {addr} and {port} are replaced:
#
#   --start CMD   starts it and returns once it was started; one that runs already is left alone
#   --stop CMD    SIGTERM, and returns once it is gone; one that does not run is no failure
#
# as `systemctl start app@{id}` and `systemctl stop app@{id}` do. Two rules keep what serves alive: an old instance is
# stopped only if the answer to the rollout calls it drained and safe to kill (`retire`), a new one only if no pool has
# it (`discard`). Every run first looks after what an earlier one left when it was killed (`take_up`).

readonly tidegate=${TIDEGATE:-tidegate}
readonly take_up_seconds_max=300 # for the rollout of an earlier run to be over
readonly name='[A-Za-z0-9][A-Za-z0-9._-]{0,63}'
readonly address='(unix:/[A-Za-z0-9@._/-]+|[][A-Za-z0-9_.:-]+:[0-9]{1,5})'

say() { printf '%s\n' "$*" >&2; }

fail() { # CODE MESSAGE [HINT]
  say "error: $2"
  [[ -z ${3-} ]] || say "hint: $3"
  exit "$1"
}

usage() { # the head comment of the script
  awk 'NR > 2 && !/^#/ { exit } NR > 2 { sub(/^# ?/, ""); print }' "$0"
}

# read_arguments ARG...: `pool`, the ID=ADDR that follow it in `new`, what follows "--" in `rollout_options`, and the
# options that are a key of `option`, which holds their defaults.
read_arguments() {
  pool='' new=() rollout_options=()
  while (($#)); do
    case $1 in
      -h | --help) usage && exit 0 ;;
      --) shift && rollout_options=("$@") && break ;;
      -*)
        [[ -n ${option[$1]+known} ]] || fail 2 "unknown option \"$1\"" "$0 --help"
        (($# > 1)) || fail 2 "$1 needs a value" "$0 --help"
        option[$1]=$2 && shift
        ;;
      *=*)
        [[ $1 =~ ^$name=$address$ ]] || fail 2 "found \"$1\", expected ID=ADDRESS, such as v2=127.0.0.1:8082"
        new+=("$1")
        ;;
      *)
        [[ -z $pool && $1 =~ ^$name$ ]] || fail 2 "unexpected argument \"$1\"" "$0 --help"
        pool=$1
        ;;
    esac
    shift
  done
  [[ -n $pool ]] || fail 2 "no pool was named" "$0 --help"
  local key
  for key in --start --stop; do
    [[ ${option[$key]-none} != '' ]] || fail 2 "$key is missing" "such as $key 'systemctl ${key#--} app@{id}'"
  done
  for key in "$tidegate" jq; do
    command -v "$key" >/dev/null || fail 1 "found no program \"$key\"" "install it, or see PATH and TIDEGATE"
  done
}

# ask VERB ARG...: the proxy's answer in `answer`, the exit code in `code`; its words go to stderr.
ask() {
  code=0
  answer=$("$tidegate" "$@" --json) || code=$?
}

# hook KEY ID ADDR: runs the command of that option.
hook() {
  [[ $3 =~ ^$address$ ]] || fail 1 "$pool/$2 has the address \"$3\", which is not put into a command" "stop it by hand"
  local command=${option[$1]}
  command=${command//'{id}'/$2} command=${command//'{addr}'/$3} command=${command//'{port}'/${3##*:}}
  bash -c "$command" </dev/null >&2
}

start() { # ID=ADDR...; if one does not start, those of this call that no pool has are stopped
  local one
  for one; do
    say "starting $pool/${one%%=*} at ${one#*=}"
    hook --start "${one%%=*}" "${one#*=}" && continue
    say "error: $pool/${one%%=*} could not be started"
    say "hint: nothing was moved, who served before serves"
    discard "$@"
    exit 5
  done
}

discard() { # ID=ADDR...: new ones of which nothing came
  local one
  for one; do
    is_free "${one#*=}" || { say "$pool/${one%%=*} was not stopped: a pool has it, or the proxy does not say" && continue; }
    say "stopping $pool/${one%%=*}, which serves nobody"
    hook --stop "${one%%=*}" "${one#*=}" || say "warning: $pool/${one%%=*} could not be stopped"
  done
}

# is_free ADDR: no pool has an instance there, except one that is drained.
is_free() {
  ask status 2>/dev/null
  jq -e --arg a "$1" 'all(.pools[].backends[]; .drained or .address != $a)' <<<"$answer" >/dev/null 2>&1
}

# named FILTER: the instances that it chooses from the rollout, or from the history, in `answer`, as ID=ADDR.
named() { jq -r "(.rollout, .records[]?) | select(. != null) | $1 | \"\(.id)=\(.address)\"" <<<"$answer"; }

# retire: what the rollouts in `answer` took out is stopped, if it is safe, and forgotten, so that it is not done again.
retire() {
  local one
  while read -r one; do
    say "stopping $pool/${one%%=*}, which is drained"
    hook --stop "${one%%=*}" "${one#*=}" || fail 1 "$pool/${one%%=*} could not be stopped" "run this again"
    "$tidegate" remove "$pool/${one%%=*}" >&2 || say "warning: $pool/${one%%=*} is gone but still in the pool"
  done < <(named 'select(.phase == "moved").replaced[] | select(.state == "drained" and .safe_to_kill)')
}

# move ID=ADDR... -- OPTION...: a rollout of instances that run; ends the script unless they serve. The exit code, 0 or
# 7, is in `code`.
move() {
  local these=() add=()
  while [[ $1 != -- ]]; do these+=("$1") add+=(--add "$1") && shift; done
  shift
  ask rollout "$pool" "${add[@]}" "$@" "${rollout_options[@]}"
  case $code in
    0 | 7) retire ;;
    5) discard "${these[@]}" && exit 5 ;;
    6) say "hint: run this again: it waits for the drain, then stops what is drained" && exit 6 ;;
    *) say "hint: nothing was stopped" && exit "$code" ;;
  esac
}

# would_move ID=ADDR... -- OPTION...: ends the script if the rollout would be refused; nothing has been started then.
would_move() {
  local add=()
  while [[ $1 != -- ]]; do add+=(--add "$1") && shift; done
  shift
  ask rollout "$pool" "${add[@]}" "$@" "${rollout_options[@]}" --dry-run
  ((code == 0)) || exit "$code"
}

# take_up: waits until a rollout that is under way is over, and looks after what those before left.
take_up() {
  local deadline=$((SECONDS + take_up_seconds_max)) phase one
  while :; do
    ask status "$pool"
    ((code == 0)) || exit "$code"
    phase=$(jq -r '.pool.rollout.phase // "none"' <<<"$answer")
    [[ $phase != none ]] || break
    [[ $phase != canary ]] || fail 5 "a canary is open in $pool" "\`tidegate promote $pool\` or \`tidegate rollback $pool\` first"
    ((SECONDS < deadline)) || fail 6 "another rollout of $pool is under way" "\`tidegate status $pool\` shows it"
    say "another rollout of $pool is under way: $phase"
    sleep 1
  done
  ask history "$pool"
  for one in $(named 'select(.phase == "moved").replaced[] | select(.state == "draining")'); do
    "$tidegate" wait "$pool/${one%%=*}" --for drained >&2 || exit "$?"
  done
  ask history "$pool"
  retire
  ask history "$pool" --limit 1
  for one in $(named 'select(.phase != "moved").added[] | select(.state == "removed")'); do
    discard "$one"
  done
}

# active: the instances that serve or are to serve, as ID=ADDR.
active() {
  ask status "$pool" 2>/dev/null
  jq -r '.pool.backends[] | select(.intent == "active") | "\(.id)=\(.address)"' <<<"$answer"
}

ids() { # ID=ADDR... -> ID,ID
  local one all=()
  for one; do all+=("${one%%=*}"); done
  (IFS=, && printf '%s' "${all[*]}")
}
