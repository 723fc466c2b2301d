#!/usr/bin/env bash
#
# Memory stays flat however large a body is and however slow one side: bodies of BYTES each go through a proxy of this
# test's own (tests/apps/bulk), with a length and in chunks, up and down, with a reader or a writer that pauses, then
# eight at once. The proxy's peak resident memory may exceed what it had before any of them by RISE_MAX MiB; every byte
# must arrive as it was sent.
#
# usage: flat_test.sh
# environment: TIDEGATE (the built binary), BYTES (default 1 GiB), RISE_MAX (MiB, default 20)
#
# The last line is `N passed, N failed`; the exit code is 1 if something failed. Needs go. Half a minute.
set -euo pipefail

case ${1-} in
  '') ;;
  -h | --help) sed -n '3,11s/^# \{0,1\}//p' "$0" && exit 0 ;;
  *) echo "error: found \"$1\", expected nothing" >&2 && exit 2 ;;
esac
[[ -x ${TIDEGATE-} ]] || { echo "error: TIDEGATE: found \"${TIDEGATE-}\", expected a built binary" >&2 && exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
top=$(mktemp -d -t tidegate-flat.XXXXXX)
trap 'rm -rf "$top"' EXIT

# A copy: a build may replace the binary meanwhile.
cp "$TIDEGATE" "$top/tidegate"
(cd "$root/tests/apps/bulk" && go build -buildvcs=false -o "$top/bulk" .)
"$top/bulk" -tidegate "$top/tidegate" -bytes "${BYTES:-$((1 << 30))}" -rise-max "${RISE_MAX:-20}"
