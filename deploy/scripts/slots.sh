#!/usr/bin/env bash
#
# Deploys an app that has two fixed slots, each with an address of its own: the slot that does not serve is started with
# what is installed now, gets the traffic, and the other one is stopped. Each run swaps them.
#
# usage: slots.sh [OPTIONS] POOL a=ADDR b=ADDR [-- ROLLOUT OPTIONS]
#
#   --unit NAME   the template unit; NAME@a.service and NAME@b.service are the slots (default: the pool's name)
#   --start CMD   instead of `systemctl restart NAME@{id} && systemctl enable -q NAME@{id}`; unlike in the other scripts,
#                 one that runs, although no pool has it, is to be started anew
#   --stop CMD    instead of `systemctl disable -q --now NAME@{id}`
#
# What follows "--" goes to `tidegate rollout`. deploy/systemd/app@.service is a unit for it. The first deploy, into a
# pool without backends, starts slot a; the pool needs none in its configuration. The slot that serves is enabled, so that
# after a reboot it is the one that starts, and the proxy's state file has it.
#
#   slots.sh --unit app web a=127.0.0.1:8081 b=127.0.0.1:8082
#   slots.sh --unit app web a=unix:/run/app-a/app.sock b=unix:/run/app-b/app.sock -- --bake 30s
#
# exit code: 0 done   7 done, something was cut   6 not drained yet: run it again   5 refused, or not healthy
#            8 the old one was brought back   4 the proxy does not answer   2 usage   1 unexpected
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "$0")/common.sh"

declare -A option=([--unit]='' [--start]=systemctl [--stop]=systemctl)
read_arguments "$@"
((${#new[@]} == 2)) || fail 2 "found ${#new[@]} slots, expected two" "such as a=127.0.0.1:8081 b=127.0.0.1:8082"
unit=${option[--unit]:-$pool}
[[ $unit =~ ^$name$ ]] || fail 2 "--unit: found \"$unit\", expected the name of a unit"
[[ ${option[--start]} != systemctl ]] || option[--start]="systemctl restart $unit@{id} && systemctl enable -q $unit@{id}"
[[ ${option[--stop]} != systemctl ]] || option[--stop]="systemctl disable -q --now $unit@{id}"

take_up
mapfile -t serving < <(active)
case " ${serving[*]} " in
  "  ") idle=${new[0]} replace=all ;; # the first deploy
  " ${new[0]} ") idle=${new[1]} replace=${new[0]%%=*} ;;
  " ${new[1]} ") idle=${new[0]} replace=${new[1]%%=*} ;;
  *) fail 5 "$pool is served by $(ids "${serving[@]}"), expected one of ${new[*]}" "\`tidegate status $pool\` shows them" ;;
esac
# It is about to be started anew.
is_free "${idle#*=}" || fail 5 "slot ${idle%%=*} is not idle: a pool has $idle on standby or draining" \
  "\`tidegate drain $pool/${idle%%=*}\` waits until it is safe to kill"

would_move "$idle" -- --replace "$replace"
start "$idle"
move "$idle" -- --replace "$replace"
exit "$code"
