#!/usr/bin/env bash
#
# From a checkout to live deploys under load, in one command, as any user, on loopback only.
#
# It installs what is missing (Debian, Ubuntu), builds, starts two instances of the test app behind Tidegate, sends
# them requests, uploads, streams and WebSockets that are never retried, and meanwhile replaces both instances again
# and again with deploy/scripts/rolling.sh. At the end it says what failed (expected: nothing) and what the replaced
# apps still held when SIGTERM came (expected: nothing).
set -euo pipefail

usage() {
  cat <<'END'
usage: deploy/quickstart.sh

Builds Tidegate, puts two app instances behind it and deploys them live under load.

environment: QUICKSTART_DEPLOYS  how often both instances are replaced (default: 3)
             TIDEGATE            a built binary to use instead of building one

exit code: 0 if no request failed and no replaced app held a request or a tunnel, 1 otherwise
END
}

say() { printf '%s\n' "$*" >&2; }
step() { say "== $*"; }
fail() {
  say "error: $1"
  [[ -z ${2-} ]] || say "hint: $2"
  exit 1
}

case ${1-} in
  '') ;;
  -h | --help) usage && exit 0 ;;
  *) usage >&2 && exit 2 ;;
esac
readonly deploys=${QUICKSTART_DEPLOYS:-3}
[[ $deploys =~ ^[1-9][0-9]{0,3}$ ]] || { say "error: QUICKSTART_DEPLOYS: found \"$deploys\", expected 1 to 9999" && exit 2; }

[[ ${TIDEGATE-} != */* ]] || TIDEGATE=$(realpath -m "$TIDEGATE") # before the directory changes
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

# --- what it needs ---------------------------------------------------------------------------------------------

install_missing() {
  local packages=() as_root=() answer
  command -v go >/dev/null || packages+=(golang-go)
  command -v curl >/dev/null || packages+=(curl)
  command -v flock >/dev/null || packages+=(util-linux)
  if [[ -z ${TIDEGATE-} ]]; then
    command -v cmake >/dev/null || packages+=(cmake)
    { command -v cc && command -v c++ && command -v make; } >/dev/null || packages+=(build-essential)
  fi
  ((${#packages[@]})) || return 0

  command -v apt-get >/dev/null || fail "missing: ${packages[*]}" "these are Debian's names; install them and run this again"
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "missing: ${packages[*]}" "as root: apt-get install ${packages[*]}"
    as_root=(sudo)
  fi
  if [[ -t 0 ]]; then
    read -r -p "install ${packages[*]} with apt-get? [Y/n] " answer
    [[ ${answer:-y} == [yY]* ]] || fail "missing: ${packages[*]}"
  fi
  step "installing ${packages[*]}"
  "${as_root[@]}" apt-get update -q >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${packages[@]}" >&2
}

build() {
  tidegate=${TIDEGATE-}
  if [[ -z $tidegate ]]; then
    command -v cargo >/dev/null || fail "found no cargo" "https://rustup.rs installs Rust"
    step "building Tidegate (the first time takes some minutes)"
    cargo build --release --locked >&2
    tidegate=${CARGO_TARGET_DIR:-$root/target}/release/tidegate
  fi
  [[ -x $tidegate ]] || tidegate=$(command -v "$tidegate") || fail "found no program \"${TIDEGATE-}\""

  local version
  version=$(go env GOVERSION)
  [[ $version =~ ^go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge 19 ]] || fail "found $version, expected go1.19 or later"
  step "building the test app and the load generator"
  (cd tests/apps/go && go build -buildvcs=false -o "$dir/app" .)
  (cd tests/apps/load && go build -buildvcs=false -o "$dir/load" .)
}

# --- what it starts, and ends ----------------------------------------------------------------------------------

dir=$(mktemp -d -t tidegate-quickstart.XXXXXX)
mkdir "$dir/apps" "$dir/reports"
load_pid='' tidegate_pid='' keep_files=yes

# end PID: a child of this script; SIGTERM, past 15 s SIGKILL.
end() {
  kill -TERM "$1" 2>/dev/null || return 0
  for _ in {1..300}; do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL "$1" 2>/dev/null || true
}

# shellcheck disable=SC2317 # the trap calls it
clean_up() {
  trap '' INT TERM HUP
  [[ -z $load_pid ]] || end "$load_pid"
  [[ -z $tidegate_pid ]] || end "$tidegate_pid"
  local file pid _
  for file in "$dir"/apps/*.pid*; do
    [[ -e $file ]] || continue
    read -r pid _ <"$file"
    # The executable lies in our own directory, so a process that runs it is ours.
    [[ $(readlink "/proc/$pid/exe") != "$dir/app" ]] || kill -KILL "$pid" 2>/dev/null || true
  done
  if [[ $keep_files == yes ]]; then
    say "logs, reports and the result of the load are in $dir"
  else
    rm -rf "$dir"
  fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# until_true SECONDS WHAT COMMAND...: the command is tried until it succeeds.
until_true() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "$what" "see the files named below"
    sleep 0.1
  done
}

rolling() { "$root/deploy/scripts/rolling.sh" --pid-file "$dir/apps/$1.pid" --log "$dir/apps/app.log" "${@:2}"; }

# start_app SLOT: the instance that is there before the first deploy, recorded for rolling.sh.
start_app() {
  local id=v1-$1
  setsid "$dir/app" -listen 127.0.0.1:0 -version v1 -report "$dir/reports/$id" -addr-file "$dir/apps/$id.addr" \
    </dev/null >>"$dir/apps/app.log" 2>&1 &
  local pid=$!
  until_true 10 "the app did not start" test -s "$dir/apps/$id.addr"
  rolling "$1" --adopt "$pid" --id "$id" --addr "$(<"$dir/apps/$id.addr")" web >/dev/null
}

start_tidegate() {
  cat >"$dir/tidegate.yaml" <<END
admin: {socket: "$dir/admin.sock"}
state: {file: "$dir/state.json"}
listeners:
  - {address: "127.0.0.1:0"}
pools:
  web:
    backends:
      - {id: v1-1, address: "$(<"$dir/apps/v1-1.addr")"}
      - {id: v1-2, address: "$(<"$dir/apps/v1-2.addr")"}
    health: {http: /up, interval: 500ms, timeout: 500ms, rise: 2, fall: 3}
routes: [{pool: web}]
END
  export TIDEGATE=$tidegate TIDEGATE_ADMIN=unix:$dir/admin.sock
  "$tidegate" run -c "$dir/tidegate.yaml" </dev/null >"$dir/tidegate.log" 2>&1 &
  tidegate_pid=$!
  until_true 15 "tidegate does not answer" is_up
}

is_up() {
  kill -0 "$tidegate_pid" 2>/dev/null || fail "tidegate ended: $(tail -n 5 "$dir/tidegate.log")"
  local status
  status=$("$tidegate" status --json 2>/dev/null) || return 1
  # The first listener's address; the document may be written in one line or in many.
  address=$(tr -d ' \n' <<<"$status" | grep -o '"listeners":\[{[^]]*' | grep -o '"address":"[^"]*' | head -n 1 | cut -d'"' -f4) || return 1
  [[ -n $address && $(curl -fsS --max-time 2 "http://$address/up" 2>/dev/null) == ok ]]
}

# --- the deploys -----------------------------------------------------------------------------------------------

retired=() # lines "ID OUTCOME DRAIN_MS STOP_MS"

deploy() { # NUMBER: both instances, one after the other
  local version=v$(($1 + 1)) slot id line code
  for slot in 1 2; do
    id=$version-$slot code=0
    rolling "$slot" --id "$id" web -- "$dir/app" -listen '{addr}' -version "$version" -report "$dir/reports/$id" \
      >"$dir/rolling.out" 2>>"$dir/rolling.log" || code=$?
    ((code == 0 || code == 7)) || fail "deploy $1 of web/$id ended with exit code $code: $(tail -n 3 "$dir/rolling.log")"
    line=$(sed -n 's/^retired web\/\([^ ]*\) outcome=\([^ ]*\) drain_ms=\([0-9]*\) stop_ms=\([0-9]*\)$/\1 \2 \3 \4/p' "$dir/rolling.out")
    [[ -n $line ]] || fail "deploy $1 of web/$id did not say what it retired: $(<"$dir/rolling.out")"
    retired+=("$line")
    # shellcheck disable=SC2086 # four words
    printf 'deploy %s of %s: web/%s serves, web/%s drained %s in %s ms, its app stopped in %s ms\n' "$1" "$deploys" "$id" $line >&2
  done
}

held() { # ID NAME: a number under "held" of the app's own report; "?" if there is none
  local number
  number=$(sed -n 's/.*"held":{\([^{}]*\).*/\1/p' "$dir/reports/$1" 2>/dev/null | grep -o "\"$2\":[0-9]*" | cut -d: -f2) || true
  printf '%s' "${number:-?}"
}

print_retired() { # sets what_was_held
  local line id outcome drain_ms stop_ms requests tunnels idle
  what_was_held=no
  printf '\n%-12s %8s %10s %10s   %s\n' "old app" drain "drain ms" "stop ms" "held at SIGTERM: requests, tunnels, idle connections"
  for line in "${retired[@]}"; do
    read -r id outcome drain_ms stop_ms <<<"$line"
    requests=$(held "$id" requests) tunnels=$(held "$id" tunnels) idle=$(held "$id" idle)
    printf '%-12s %8s %10s %10s   %s, %s, %s\n' "$id" "$outcome" "$drain_ms" "$stop_ms" "$requests" "$tunnels" "$idle"
    # A report that is missing counts as held: nobody can say that nothing was.
    [[ $requests == 0 && $tunnels == 0 ]] || what_was_held=yes
  done
}

install_missing
build
step "starting two instances of the app, and Tidegate in front"
start_app 1
start_app 2
start_tidegate
step "sending load to http://$address while both instances are replaced, $deploys times"
export ROLLING_WINDOWS=$dir/windows
"$dir/load" -target "http://$address" -duration 0 -windows "$dir/windows" -json "$dir/load.json" >"$dir/load.txt" &
load_pid=$!
sleep 2
for ((n = 1; n <= deploys; n++)); do
  deploy "$n"
done
sleep 2
step "ending the load"
kill -TERM "$load_pid"
load_code=0
wait "$load_pid" || load_code=$?
load_pid=''

printf '\ndeploys under load: %s, each of 2 instances\n\n' "$deploys"
cat "$dir/load.txt"
print_retired
echo
if ((load_code == 0)) && [[ $what_was_held == no ]]; then
  echo "no request failed, no replaced app held a request or a tunnel"
  keep_files=no
else
  ((load_code == 0)) || echo "requests failed; the first ones in full: samples in $dir/load.json"
  [[ $what_was_held == no ]] || echo "a replaced app still held something when SIGTERM came"
  exit 1
fi
