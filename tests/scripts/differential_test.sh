#!/usr/bin/env bash
#
# Hostile and odd requests and answers (tests/apps/differential/corpus.py) through tidegate, nginx and HAProxy, each in
# front of its own backend that records every byte. It fails if tidegate
#
#   - lets through what nginx or HAProxy refuses with a 4xx, 501 or 505, or an answer of which they tell or show that it
#     is bad, unless the case is explained in the corpus;
#   - accepts what the contract refuses, refuses what it takes, or does not close after a 400;
#   - passes on anything that a strict reader does not take for exactly the one message: both lengths, bare CR or LF,
#     a second request inside, a field that was for one hop, bytes behind an answer that the next request gets.
#
# It prints the cases on which the three differ.
#
# usage: differential_test.sh [--all] [--part TEXT] [--subject nginx|haproxy]
#   --all      every case; --part TEXT: only those with TEXT in their name
#   --subject  judges another one in place of tidegate: it must fail, which shows that the test can
# environment: TIDEGATE (the built binary); HAPROXY, NGINX (other binaries than those of the system)
#
# The last line is `N passed, N failed`; the exit code is 1 if something failed. Needs python3, nginx, haproxy. Half a minute.
set -euo pipefail

case ${1-} in -h | --help) sed -n '3,21s/^# \{0,1\}//p' "$0" && exit 0 ;; esac
[[ -x ${TIDEGATE-} ]] || { echo "error: TIDEGATE: found \"${TIDEGATE-}\", expected a built binary" >&2 && exit 2; }
PATH=$PATH:/usr/sbin
nginx=${NGINX:-$(command -v nginx)} || { echo 'error: nginx is not installed' >&2 && exit 1; }
haproxy=${HAPROXY:-$(command -v haproxy)} || { echo 'error: haproxy is not installed' >&2 && exit 1; }
root=$(cd "$(dirname "$0")/../.." && pwd)
top=$(mktemp -d -t tidegate-differential.XXXXXX)
trap 'rm -rf "$top"' EXIT

cp "$TIDEGATE" "$top/tidegate" # a build may replace the binary meanwhile
"$nginx" -v
"$haproxy" -v | sed -n 1p
PYTHONDONTWRITEBYTECODE=1 python3 "$root/tests/apps/differential/run.py" \
  --tidegate "$top/tidegate" --nginx "$nginx" --haproxy "$haproxy" "$@"
