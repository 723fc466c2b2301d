#!/usr/bin/env bash
#
# Real app servers behind the proxy (tests/apps/servers): Go with Shutdown, the same app exiting at once on SIGTERM, Node,
# uvicorn, gunicorn and nginx, keep-alive on. One after another is replaced DRAINS times under load of every kind that it
# can do: short and long requests, uploads, SSE, WebSockets. For each server it fails unless
#
#   - no request failed, by a client that never retries and takes an answer that is too late for none;
#   - every drain was clean, and at SIGTERM the old instance held nothing: by its own record, and seen from outside;
#   - its exit takes, in the median, at most 20 ms longer than that of an instance that never had a connection and is
#     stopped at the same moment; uvicorn and gunicorn poll for their stop: 100 ms, one step;
#   - the looks see what is held: an instance stopped with one idle and one busy connection says so;
#   - without the drain, the app that exits at once loses requests.
#
# usage: servers_test.sh [SERVER]...
# environment: TIDEGATE (the built binary), DRAINS (of each server, default 5)
#
# A table is printed at the end, then `N passed, N failed`; the exit code is 1 if something failed. Needs go, node,
# nginx, ss, curl and python3 with venv; uvicorn and gunicorn are installed with pip into target/servers. Two minutes.
set -euo pipefail

# What the drain is told to do about WebSockets: close them in their own words, within a second.
readonly drain_options=(--close-after=0s --spread=1s)

readonly drains=${DRAINS:-5}
case ${1-} in -h | --help) sed -n '3,20s/^# \{0,1\}//p' "$0" && exit 0 ;; esac
[[ $drains =~ ^[1-9][0-9]{0,2}$ ]] || { echo "error: DRAINS: found \"$drains\", expected 1 to 999" >&2 && exit 2; }
[[ -x ${TIDEGATE-} ]] || { echo "error: TIDEGATE: found \"${TIDEGATE-}\", expected a built binary" >&2 && exit 2; }
PATH=$PATH:/usr/sbin
for tool in go node nginx ss curl python3; do
  command -v "$tool" >/dev/null || { echo "error: $tool is not installed" >&2 && exit 1; }
done
root=$(cd "$(dirname "$0")/../.." && pwd)
apps=$root/tests/apps
venv=${CARGO_TARGET_DIR:-$root/target}/servers/venv
top=$(mktemp -d -t tidegate-servers.XXXXXX)
running='' # run.py, which clears up what it started
# shellcheck disable=SC2317 # the trap calls it
at_exit() {
  [[ -z $running ]] || { kill -TERM "$running" 2>/dev/null && wait "$running"; } || true
  rm -rf "$top"
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Made again when the versions change; the copy is written last, when everything is there.
if ! cmp -s "$apps/python/requirements.txt" "$venv/requirements.txt"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$apps/python/requirements.txt"
  cp "$apps/python/requirements.txt" "$venv/requirements.txt"
fi

cp "$TIDEGATE" "$top/tidegate" # a build may replace the binary meanwhile
(cd "$apps/go" && go build -buildvcs=false -o "$top/app" .)
(cd "$apps/load" && go build -buildvcs=false -o "$top/load" .)
unset TIDEGATE_ADMIN TIDEGATE_TOKEN_FILE
PYTHONDONTWRITEBYTECODE=1 python3 "$apps/servers/run.py" --tidegate "$top/tidegate" --app "$top/app" --load "$top/load" \
  --node "$(command -v node)" --nginx "$(command -v nginx)" --python "$venv/bin/python" \
  --drains "$drains" "${drain_options[@]/#/--drain-option=}" "$@" &
running=$!
code=0
wait "$running" || code=$?
running=''
exit "$code"
