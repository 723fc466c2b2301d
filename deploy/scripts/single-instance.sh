#!/usr/bin/env bash
#
# Replaces the only instance of a pool on its own address, for an app that cannot run twice at the same time. Requests
# that come meanwhile are held by the proxy and go on afterwards: clients see a pause, no error. WebSockets are closed
# with 1001, "going away"; the pause begins only when no request is in flight, so long streams must end by themselves.
#
# usage: single-instance.sh --start CMD --stop CMD [OPTIONS] POOL ID=ADDR
#
#   --start CMD    starts the instance; {id}, {addr} and {port} are replaced: 'systemctl start app'
#   --stop CMD     stops it and returns once it is gone: 'systemctl stop app'
#   --quiet TIME   how long to wait until no request is in flight (default: 5s); else nothing is done, exit 6
#   --ttl TIME     when the pool resumes by itself, whatever happened to this script (default: 60s)
#
# The pool's `hold.timeout` (10s) must be longer than --quiet, its stop, its start and `health.rise` probes together.
# If a step fails the instance is taken back if it lives, and the pool resumes. Run again, it goes on.
#
#   single-instance.sh --start 'systemctl start app' --stop 'systemctl stop app' web app=127.0.0.1:8081
#
# exit code: 0 done   7 done, something was cut   6 requests did not end in time, it serves   5 refused, or not healthy
#            8 it was brought back   4 the proxy does not answer   2 usage   1 unexpected
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "$0")/common.sh"

declare -A option=([--start]='' [--stop]='' [--quiet]=5s [--ttl]=60s)
read_arguments "$@"
((${#new[@]} == 1)) || fail 2 "found ${#new[@]} instances, expected one" "such as app=127.0.0.1:8081"
readonly id=${new[0]%%=*} addr=${new[0]#*=}

ask status "$pool"
((code == 0)) || exit "$code"
mapfile -t others < <(jq -r --arg one "$id=$addr" \
  '.pool.backends[] | select(.drained | not) | "\(.id)=\(.address)" | select(. != $one)' <<<"$answer")
((${#others[@]} == 0)) || fail 5 "$pool has ${others[*]}, expected $id=$addr alone" "rolling-all.sh is for several"

is_paused=no
# shellcheck disable=SC2317 # the trap calls it
at_exit() {
  local result=$?
  [[ $is_paused == yes ]] || return 0
  trap '' INT TERM HUP
  say "taking $pool/$id back, if it lives"
  "$tidegate" ready "$pool/$id" --no-wait >&2 || true
  "$tidegate" resume "$pool" >&2 || true
  exit "$result"
}
trap at_exit EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

is_paused=yes
result=0
"$tidegate" pause "$pool" --ttl "${option[--ttl]}" --wait "${option[--quiet]}" >&2 || result=$?
((result == 0)) || { is_paused=no && exit "$result"; }
if "$tidegate" status "$pool/$id" >/dev/null 2>&1; then
  # Nothing is in flight but WebSockets, which are told to go.
  "$tidegate" drain "$pool/$id" --force --close-after 0s --spread 0s --wait "${option[--ttl]}" >&2 || result=$?
  ((result == 0 || result == 7)) || exit "$result"
fi
hook --stop "$id" "$addr" || fail 1 "$pool/$id could not be stopped"
hook --start "$id" "$addr" || fail 5 "$pool/$id could not be started" "requests are held, then answered 503"
"$tidegate" add "$pool/$id" "$addr" --wait "${option[--ttl]}" >&2 || exit "$?"
"$tidegate" resume "$pool" >&2 || exit "$?"
is_paused=no
exit "$result"
