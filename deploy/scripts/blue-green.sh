#!/usr/bin/env bash
#
# Moves a pool from the instances that serve it (blue) to new ones beside them (green), with a way back at once.
#
# usage: blue-green.sh --start CMD --stop CMD [--check CMD] POOL ID=ADDR... [-- ROLLOUT OPTIONS]
#        blue-green.sh rollback --stop CMD POOL [-- ROLLBACK OPTIONS]     blue serves again; green is drained, stopped
#        blue-green.sh finish --stop CMD POOL [-- DRAIN OPTIONS]          blue is drained and stopped
#
#   --start CMD   starts an instance; {id}, {addr} and {port} are replaced: 'systemctl start app@{id}'
#   --stop CMD    stops one: 'systemctl stop app@{id}'
#   --check CMD   run when green serves, such as a smoke test through the proxy; if it fails, it is rolled back
#
# Blue stays warm on standby, probed and without traffic, until `rollback` or `finish`; the next deploy finishes it
# first. What follows "--" goes to `tidegate rollout`, `rollback` or `drain`.
#
#   blue-green.sh --start 'systemctl start app@{id}' --stop 'systemctl stop app@{id}' \
#     --check 'curl -fsS https://app.example.com/smoke' web green-1=127.0.0.1:8091 green-2=127.0.0.1:8092
#
# exit code: 0 done   7 done, something was cut   6 not drained yet: run it again   5 refused, not healthy, or rolled
#            back by a failed check   8 one was brought back   4 the proxy does not answer   2 usage   1 unexpected
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "$0")/common.sh"

# finish OPTION...: those that the last move left on standby are drained and stopped; the exit code is in `result`.
finish() {
  local one blue drains=() outcome
  result=0
  ask history "$pool"
  answer=$(jq '{rollout: first(.records[] | select(.phase == "moved"))}' <<<"$answer")
  mapfile -t blue < <(named '.replaced[] | select(.state == "standby")')
  for one in "${blue[@]}"; do
    "$tidegate" drain "$pool/${one%%=*}" "$@" >&2 &
    drains+=("$!")
  done
  for one in "${drains[@]}"; do
    outcome=0
    wait "$one" || outcome=$?
    # The first that is worse than "forced" is the answer.
    ((outcome == 0 || (result != 0 && result != 7))) || result=$outcome
  done
  ask history "$pool"
  retire
}

# roll_back OPTION...: the exit code is in `code`. Green is stopped as far as it is drained.
roll_back() {
  local one
  ask rollback "$pool" "$@"
  ((code == 0 || code == 7)) || return 0
  retire
  for one in $(named 'select(.phase != "moved").added[] | select(.state == "removed")'); do discard "$one"; done
}

declare -A option=([--stop]='')
case ${1-} in
  rollback | finish) what=$1 && shift ;;
  *) what=deploy && option[--start]='' && option[--check]='' ;;
esac
read_arguments "$@"
((${#new[@]} == 0)) || [[ $what == deploy ]] || fail 2 "unexpected argument \"${new[0]}\"" "$0 --help"

case $what in
  rollback)
    ask history "$pool" --limit 1
    if [[ -n $(named 'select(.kind == "rollback").replaced[] | select(.state == "draining" or .state == "drained")') ]]; then
      say "$pool was rolled back before; green is still to be stopped"
      take_up
      exit 0
    fi
    roll_back "${rollout_options[@]}"
    exit "$code"
    ;;
  finish)
    take_up
    finish "${rollout_options[@]}"
    exit "$result"
    ;;
esac

((${#new[@]})) || fail 2 "no new instance was named" "such as green=127.0.0.1:8082"
take_up
mapfile -t serving < <(active)
if [[ $(printf '%s\n' "${serving[@]}" | sort) != $(printf '%s\n' "${new[@]}" | sort) ]]; then
  finish
  ((result == 0 || result == 7)) || exit "$result"
  would_move "${new[@]}" -- --replace all --keep-standby
  start "${new[@]}"
  move "${new[@]}" -- --replace all --keep-standby
fi
if [[ -n ${option[--check]} ]] && ! bash -c "${option[--check]}" </dev/null >&2; then
  say "error: the check failed: \"${option[--check]}\""
  roll_back
  ((code == 0 || code == 7)) || say "hint: \`$0 rollback\` goes on"
  exit 5
fi
say "hint: \`$0 rollback\` brings back who served before, \`$0 finish\` drains and stops them"
