#!/usr/bin/env bash
#
# Gives new instances a growing share of the traffic, looks at each step, and goes on or takes it all back.
#
# usage: canary.sh --start CMD --stop CMD [OPTIONS] POOL ID=ADDR... [-- ROLLOUT OPTIONS]
#
#   --start CMD         starts an instance; {id}, {addr} and {port} are replaced: 'systemctl start app@{id}'
#   --stop CMD          stops one: 'systemctl stop app@{id}'
#   --steps N%[,N%...]  the shares (default: 5%,25%,50%); after the last comes all of it
#   --every SECONDS     how long each share is kept (default: 60)
#   --check CMD         run at the end of each step, with SHARE and POOL in its environment; if it fails, the old ones
#                       get everything back. The proxy itself takes a canary back that fails its probes or answers
#                       with more errors than the old ones
#   --replace ID[,ID]   who goes when it is promoted (default: all)
#
# What follows "--" goes to `tidegate rollout`: --sticky cookie:session --error-margin 0.5% --bake 60s. When this script
# is interrupted it takes the canary back. After a kill the canary stays open; run again, it goes on from the first step.
#
#   canary.sh --start 'systemctl start app@{id}' --stop 'systemctl stop app@{id}' --every 300 \
#     --check './error-rate-is-low' web v2=127.0.0.1:8082
#
# exit code: 0 done   7 done, something was cut   6 not drained yet: run it again   5 refused, not healthy, or taken
#            back   8 an old one was brought back   4 the proxy does not answer   2 usage   1 unexpected
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "$0")/common.sh"

declare -A option=([--start]='' [--stop]='' [--steps]='5%,25%,50%' [--every]=60 [--check]=true [--replace]=all)
read_arguments "$@"
((${#new[@]})) || fail 2 "no new instance was named" "such as v2=127.0.0.1:8082"
[[ ${option[--steps]} =~ ^[0-9.]+%(,[0-9.]+%)*$ ]] || fail 2 "--steps: found \"${option[--steps]}\", expected such as 5%,25%,50%"
[[ ${option[--every]} =~ ^[0-9]{1,5}(\.[0-9])?$ ]] || fail 2 "--every: found \"${option[--every]}\", expected seconds"
IFS=, read -ra steps <<<"${option[--steps]}"

is_ours() { # the canary that is open brings in those that were named
  ask status "$pool" 2>/dev/null
  [[ $(jq -r '.pool.rollout | select(.phase == "canary").added[] | "\(.id)=\(.address)"' <<<"$answer" | sort) == \
    "$(printf '%s\n' "${new[@]}" | sort)" ]]
}

is_open=no sleeping=''
# shellcheck disable=SC2317 # the trap calls it
at_exit() {
  local result=$?
  trap '' INT TERM HUP
  [[ -z $sleeping ]] || kill "$sleeping" 2>/dev/null || true
  [[ $is_open == yes ]] || return 0
  ask status "$pool" 2>/dev/null
  # Not `rollback`: if the proxy has taken the canary back by itself, that would bring back the set before the last deploy.
  [[ $(jq -r '.pool.rollout.phase // "none"' <<<"$answer") == none ]] || ask abort "$pool"
  discard "${new[@]}"
  exit "$result"
}
trap at_exit EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

if ! is_ours; then
  take_up
  terms=(--replace "${option[--replace]}" --canary "${steps[0]}")
  would_move "${new[@]}" -- "${terms[@]}"
  start "${new[@]}"
  is_open=yes
  move "${new[@]}" -- "${terms[@]}"
fi
is_open=yes

for share in "${steps[@]}"; do
  "$tidegate" canary "$pool" "$share" >&2 || exit "$?"
  sleep "${option[--every]}" & # so that a signal is not kept waiting
  sleeping=$!
  wait "$sleeping"
  sleeping=''
  POOL=$pool SHARE=$share bash -c "${option[--check]}" </dev/null >&2 || fail 5 "the check failed at $share: \"${option[--check]}\""
done

ask promote "$pool"
case $code in
  0 | 7) is_open=no && retire ;;
  6 | 8) is_open=no && say "hint: run this again: it waits for the drain, then stops what is drained" ;;
esac
exit "$code"
