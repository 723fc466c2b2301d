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

case ${1-} in -h | --help) sed -n '3,20s/^# \{0,1\}//p' "$0" && exit 0 ;; esac
# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "$0")/support.sh"
need_count DRAINS "${DRAINS:=5}"
need_tools go node nginx ss curl python3
build_apps
make_venv servers "$apps/python/requirements.txt"
run_to_end python3 "$apps/servers/run.py" --tidegate "$top/tidegate" --app "$top/app" --load "$top/load" \
  --node "$(command -v node)" --nginx "$(command -v nginx)" --python "$venv/bin/python" \
  --drains "$DRAINS" "${drain_options[@]/#/--drain-option=}" "$@"
