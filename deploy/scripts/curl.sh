#!/usr/bin/env bash
#
# Replaces one instance by another with curl alone, over the admin API's unix socket. For a machine without the tidegate
# command, and as a pattern for other languages. Needs no other file.
#
# usage: curl.sh POOL OLD_ID NEW_ID NEW_ADDR START_CMD STOP_CMD
#
# In the commands {id} is replaced, in START_CMD {addr} too:
#
#   curl.sh web v1 v2 127.0.0.1:8082 'systemctl start app@{id}' 'systemctl stop app@{id}'
#
# environment: TIDEGATE_SOCKET (default: /run/tidegate/admin.sock), KEY: a name for this one deploy, such as the number of
# the CI job. A call that is sent again with the same key joins the first one instead of beginning another, so that a
# lost connection is no more than a reason to ask again. A key stands for one deploy, also for one that has failed.
#
# exit code: 0 done   7 done, something was cut   6 not drained yet: run it again   5 refused, or not healthy
#            4 the proxy does not answer   2 usage   1 unexpected
set -euo pipefail

fail() { # CODE MESSAGE [HINT]
  printf 'error: %s\n' "$2" >&2
  [[ -z ${3-} ]] || printf 'hint: %s\n' "$3" >&2
  exit "$1"
}

(($# == 6)) || { awk 'NR > 2 && !/^#/ { exit } NR > 2 { sub(/^# ?/, ""); print }' "$0" >&2 && exit 2; }
readonly pool=$1 old=$2 new=$3 addr=$4 stop=$6
start=$5
for word in "$pool" "$old" "$new" "$addr"; do
  [[ $word =~ ^[][A-Za-z0-9@._:/-]+$ ]] || fail 2 "found \"$word\", expected letters, digits and some of @._:/-"
done
command -v curl >/dev/null || fail 1 "found no program \"curl\""
readonly socket=${TIDEGATE_SOCKET:-/run/tidegate/admin.sock} key=${KEY:-$new-$(date +%s)-$$}
readonly patience_seconds=600 # longer than gate, bake and drain may take

# api METHOD PATH [CURL OPTION...]: the answer in `answer`, its outcome in `outcome`. "not drained yet" is 408, after which
# curl asks again as it does after a lost connection; the last answer counts.
api() {
  local method=$1 path=$2
  shift 2
  answer=$(curl -sS --unix-socket "$socket" -X "$method" --max-time "$patience_seconds" --retry 3 --retry-all-errors \
    "$@" "http://tidegate/v1/pools/$pool$path") || answer="no answer at $socket"
  [[ $answer =~ .*\"outcome\":\ *\"([a-z_]+)\" ]] && outcome=${BASH_REMATCH[1]} || outcome=none
}

is_safe() { [[ $answer =~ \"id\":\ *\"$1\",[^}]*\"safe_to_kill\":\ *true ]]; } # ID, as the answer says
stop() { bash -c "${stop//'{id}'/$1}" </dev/null >&2 || fail 1 "$pool/$1 could not be stopped" "it holds nothing; stop it by hand"; }

body='"add": [{"id": "'$new'", "address": "'$addr'"}], "replace": ["'$old'"]'
api POST /rollout --data "{$body, \"dry_run\": true}" # nothing is started for what would be refused
case $outcome in
  "done") ;;
  none) fail 4 "$answer" "nothing was changed" ;;
  *) fail 5 "$answer" "nothing was changed" ;;
esac
start=${start//'{id}'/$new}
bash -c "${start//'{addr}'/$addr}" </dev/null >&2 || fail 5 "$pool/$new could not be started" "nothing was changed"

api POST /rollout --data "{$body}" -H "Idempotency-Key: $key"
case $outcome in
  clean | "done") code=0 ;; # done: it serves already, by an earlier run
  forced) code=7 ;;
  failed) # what is drained of the new one may go
    ! is_safe "$new" || stop "$new"
    fail 5 "$answer"
    ;;
  not_yet) fail 6 "$answer" "run this again" ;;
  refused | unknown) fail 5 "$answer" "$pool/$new runs, and gets no traffic" ;;
  none) fail 4 "$answer" "nothing was stopped; run this again" ;;
  *) fail 1 "$answer" "nothing was stopped" ;;
esac
printf '%s\n' "$answer"
if is_safe "$old"; then
  stop "$old"
  api DELETE "/backends/$old"
fi
exit "$code"
