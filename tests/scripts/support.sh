# shellcheck shell=bash
#
# What the tests share that run real servers, or a Python program with packages of its own; they source it. It sets `root`,
# `apps` and `top`, a directory of this run that is removed at its end.

PATH=$PATH:/usr/sbin
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034 # for who sources this
apps=$root/tests/apps
top=$(mktemp -d -t tidegate-test.XXXXXX)

running='' # what run_to_end runs, which clears up what it started
# shellcheck disable=SC2317 # the trap calls it
at_exit() {
  [[ -z $running ]] || { kill -TERM "$running" 2>/dev/null && wait "$running"; } || true
  rm -rf "$top"
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

need_tools() {
  local tool
  for tool; do
    command -v "$tool" >/dev/null || { echo "error: $tool is not installed" >&2 && exit 1; }
  done
}

# need_count NAME VALUE: from 1 to 999.
need_count() {
  [[ $2 =~ ^[1-9][0-9]{0,2}$ ]] || { echo "error: $1: found \"$2\", expected 1 to 999" >&2 && exit 2; }
}

# make_venv NAME REQUIREMENTS: packages in target/NAME/venv, which is put into `venv`. It is made again when the versions
# change; the copy is written last, when everything is there.
make_venv() {
  venv=${CARGO_TARGET_DIR:-$root/target}/$1/venv
  cmp -s "$2" "$venv/requirements.txt" && return
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$2"
  cp "$2" "$venv/requirements.txt"
}

# build_apps: the proxy, the Go app and the load generator, in `top`.
build_apps() {
  [[ -x ${TIDEGATE-} ]] || { echo "error: TIDEGATE: found \"${TIDEGATE-}\", expected a built binary" >&2 && exit 2; }
  cp "$TIDEGATE" "$top/tidegate" # a build may replace the binary meanwhile
  (cd "$apps/go" && go build -buildvcs=false -o "$top/app" .)
  (cd "$apps/load" && go build -buildvcs=false -o "$top/load" .)
  unset TIDEGATE_ADMIN TIDEGATE_TOKEN_FILE
}

# run_to_end COMMAND...: the last step; ends with its exit code.
run_to_end() {
  local code=0
  PYTHONDONTWRITEBYTECODE=1 "$@" &
  running=$!
  wait "$running" || code=$?
  running=''
  exit "$code"
}
