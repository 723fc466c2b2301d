#!/usr/bin/env bash
#
# Drains under measurement, with a proxy, apps and load of their own (tests/apps/drains).
#
#   soak     ROUNDS drains and restores in a row, under load with new connections all the time: no request is lost, an
#            instance holds nothing when it is said to be drained, and at the end the proxy has the same backends,
#            metrics, open files and threads as at the start, and level memory
#   beside   the p99 at one backend while another with 1,000 open requests is drained, beside the p99 while it is not, in
#            PAIRS pairs of windows. The medians may differ by the factor RATIO_MAX; with OR_INTERVAL=1 it is enough that
#            the 95 % interval of the pairs' ratios contains 1. Then the 1,000 are let go while a drain waits for them
#
# usage: drains_test.sh soak|beside
# environment: TIDEGATE (the built binary), ROUNDS (default 1000; ten a second), PAIRS (default 30; 3.4 s each),
#   RATIO_MAX (default 1.1), OR_INTERVAL (0 or 1, default 1)
#
# The last line is `N passed, N failed`; the exit code is 1 if something failed. Needs go; beside 4,500 open files.
set -euo pipefail

case ${1-}${2+ $2} in
  soak) options=(-rounds "${ROUNDS:-1000}") ;;
  beside) options=(-pairs "${PAIRS:-30}" -ratio-max "${RATIO_MAX:-1.1}" -or-interval="${OR_INTERVAL:-1}") ;;
  -h | --help) sed -n '3,17s/^# \{0,1\}//p' "$0" && exit 0 ;;
  *) echo "error: found \"$*\", expected soak or beside" >&2 && exit 2 ;;
esac
[[ -x ${TIDEGATE-} ]] || { echo "error: TIDEGATE: found \"${TIDEGATE-}\", expected a built binary" >&2 && exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
top=$(mktemp -d -t tidegate-drains.XXXXXX)

running='' # the test, which ends what it started
# shellcheck disable=SC2317 # the trap calls it
at_exit() {
  trap '' INT TERM HUP
  [[ -z $running ]] || { kill -TERM "$running" && wait "$running"; } 2>/dev/null || true
  rm -rf "$top"
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# A copy: a build may replace the binary meanwhile.
cp "$TIDEGATE" "$top/tidegate"
(cd "$root/tests/apps/drains" && go build -buildvcs=false -o "$top/drains" .)
code=0
"$top/drains" "$1" -tidegate "$top/tidegate" "${options[@]}" &
running=$!
wait "$running" || code=$?
running=''
exit "$code"
