#!/usr/bin/env bash
#
# Replaces all active instances of a pool by those named, some at a time; the pool never has fewer than before.
#
# usage: rolling-all.sh --start CMD --stop CMD [OPTIONS] POOL ID=ADDR... [-- ROLLOUT OPTIONS]
#
#   --start CMD        starts an instance; {id}, {addr} and {port} are replaced: 'systemctl start app@{id}'
#   --stop CMD         stops one: 'systemctl stop app@{id}'
#   --at-once N        so many are replaced in one step (default: 1)
#   --min-eligible N   so many must be eligible after each step, or it is not done (default: 1)
#
# What follows "--" goes to `tidegate rollout`: --bake 30s --timeout 2m --on-timeout close. The new ones should be as many
# as the old; the last step takes what is left of both. Each step starts its new instances, moves the traffic when they
# are healthy, and stops the old ones when they are drained. A step that fails leaves the steps before as they are.
# Run again after a failure, or a kill, it goes on where it was.
#
#   rolling-all.sh --at-once 2 --start 'systemctl start app@{port}' --stop 'systemctl stop app@{port}' \
#     web v2-1=127.0.0.1:8091 v2-2=127.0.0.1:8092 v2-3=127.0.0.1:8093
#
# exit code: 0 done   7 done, something was cut   6 not drained yet: run it again   5 refused, or not healthy
#            8 an old one was brought back   4 the proxy does not answer   2 usage   1 unexpected
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "$0")/common.sh"

declare -A option=([--start]='' [--stop]='' [--at-once]=1 [--min-eligible]=1)
read_arguments "$@"
for key in --at-once --min-eligible; do
  [[ ${option[$key]} =~ ^[1-9][0-9]{0,2}$ ]] || fail 2 "$key: found \"${option[$key]}\", expected 1 to 999"
done
((${#new[@]})) || fail 2 "no new instance was named" "such as v2=127.0.0.1:8082"
readonly at_once=${option[--at-once]}

take_up
mapfile -t serving < <(active)
left=() old=()
for one in "${new[@]}"; do [[ " ${serving[*]} " == *" $one "* ]] || left+=("$one"); done
for one in "${serving[@]}"; do [[ " ${new[*]} " == *" $one "* ]] || old+=("$one"); done
((${#left[@]} == 0 || ${#old[@]} > 0 || ${#serving[@]} == 0)) ||
  fail 5 "there is nothing left that $(ids "${left[@]}") could replace" "\`tidegate add $pool/ID ADDR\` adds one more"

result=0
while ((${#left[@]})); do
  comes=("${left[@]:0:at_once}") goes=("${old[@]:0:at_once}")
  if ((${#left[@]} <= at_once || ${#old[@]} <= at_once)); then
    comes=("${left[@]}") goes=("${old[@]}")
  fi
  replace=$(ids "${goes[@]}")
  terms=(--replace "${replace:-all}" --min-eligible "${option[--min-eligible]}")
  would_move "${comes[@]}" -- "${terms[@]}"
  start "${comes[@]}"
  move "${comes[@]}" -- "${terms[@]}"
  ((code == 0)) || result=$code
  left=("${left[@]:${#comes[@]}}") old=("${old[@]:${#goes[@]}}")
done
((${#old[@]} == 0)) || say "warning: $(ids "${old[@]}") of $pool was not replaced: there are no more new ones"
exit "$result"
