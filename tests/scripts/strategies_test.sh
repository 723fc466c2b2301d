#!/usr/bin/env bash
#
# The strategies of deploy/scripts, each by its real script under load of every kind, by a client that never retries: short
# and long requests, uploads, SSE, WebSockets. ROUNDS times each, for a Go, a Node and a Python app (uvicorn) at the same
# time behind one proxy. It fails unless
#
#   - no request failed, also while a single instance was replaced on its own address;
#   - every instance that a script stopped held nothing at SIGTERM: by its own record, and seen from outside;
#   - after each deploy those serve that should, and no other instance runs;
#   - a script that is killed at its worst moments is finished by a second run;
#   - a new version that does not get healthy, a pool that is not there, a proxy that does not answer, a start that fails:
#     nothing changes, and nothing is left running;
#   - without a script, stopping an instance loses requests.
#
# usage: strategies_test.sh [SCENARIO]...
# environment: TIDEGATE (the built binary), ROUNDS (of each strategy, default 2)
#
# The last line is `N passed, N failed`; the exit code is 1 if something failed. Needs go, node, jq, ss, curl and python3
# with venv; uvicorn is installed with pip into target/servers. Two to three minutes.
set -euo pipefail

case ${1-} in -h | --help) sed -n '3,22s/^# \{0,1\}//p' "$0" && exit 0 ;; esac
# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "$0")/support.sh"
need_count ROUNDS "${ROUNDS:=2}"
need_tools go node jq ss curl python3
build_apps
make_venv servers "$apps/python/requirements.txt"
run_to_end python3 "$apps/strategies/run.py" --tidegate "$top/tidegate" --app "$top/app" --load "$top/load" \
  --node "$(command -v node)" --python "$venv/bin/python" --rounds "$ROUNDS" "$@"
