#!/usr/bin/env bash
#
# Clients that are slow on purpose (slowhttptest) do not reach the others: while CONNECTIONS of them send a head
# (headers), a body (body) or read an answer (read) drop by drop, an ordinary client that never retries (tests/apps/load)
# loses nothing and hardly waits, the admin API answers, the proxy's resident memory grows by a bounded amount for each,
# and afterwards the descriptors come back. Each mode has a proxy of its own. All of it runs in a network namespace with
# nothing but loopback and small socket buffers, so that what waits does so in the proxy and not in the kernel; what was
# started is ended by its pid.
#
# usage: slow_test.sh [headers|body|read]...
# environment: TIDEGATE (the built binary), CONNECTIONS (default 1000; with FULL=1 5000),
#   KIB_HEADERS, KIB_BODY, KIB_READ (resident KiB for each connection, defaults below), P99_FACTOR, P99_FLOOR_MS
#
# The last line is `N passed, N failed`; the exit code is 1 if something failed. Needs go, slowhttptest, unshare, ip.
set -euo pipefail

modes=()
for argument in "$@"; do
  case $argument in
    -h | --help) sed -n '3,15s/^# \{0,1\}//p' "$0" && exit 0 ;;
    headers | body | read) modes+=("$argument") ;;
    *) echo "error: found \"$argument\", expected headers, body or read" >&2 && exit 2 ;;
  esac
done
((${#modes[@]})) || modes=(headers body read)
[[ -x ${TIDEGATE-} ]] || { echo "error: TIDEGATE: found \"${TIDEGATE-}\", expected a built binary" >&2 && exit 2; }
# What each slow reader asks for: more than the socket buffers on its way take, so that the proxy holds it.
readonly answer_bytes=300000 buffer_bytes='4096 16384 65536'
if [[ -z ${SLOW_TEST_INSIDE-} ]]; then
  user=() && ((EUID == 0)) || user=(--map-root-user)
  SLOW_TEST_INSIDE=1 exec unshare --net "${user[@]}" "$0" "${modes[@]}"
fi
ip link set lo up
for file in tcp_rmem tcp_wmem; do echo "$buffer_bytes" >/proc/sys/net/ipv4/$file; done
[[ ${FULL-} == 1 ]] && usual=5000 hold_seconds=25 || usual=1000 hold_seconds=9
readonly connections=${CONNECTIONS:-$usual} hold_seconds

# Resident memory that one slow connection may cost the proxy. It holds a head of at most 32 KiB that is not yet there;
# an exchange also has its buffers of both directions and a connection to the app.
declare -rA kib_max=([headers]=${KIB_HEADERS:-24} [body]=${KIB_BODY:-64} [read]=${KIB_READ:-96})
# An ordinary request's p99 may be so many times that of before, and is never wrong below the floor: the clients share
# two cores with the proxy, and a run of CI shares its machine.
readonly p99_factor=${P99_FACTOR:-10} p99_floor_ms=${P99_FLOOR_MS:-1000}
readonly rate=fast=100,post=20 load_seconds=$((hold_seconds - 2))
readonly back_seconds=30 # until the descriptors are back: the app's kept connections idle out, a body_idle does not
readonly fds_spare=64    # kept connections of the ordinary client's last requests

root=$(cd "$(dirname "$0")/../.." && pwd)
top=$(mktemp -d -t tidegate-slow.XXXXXX)
started=()
# shellcheck disable=SC2317 # the trap calls it
at_exit() {
  local code=$? pid
  trap '' INT TERM HUP
  for pid in "${started[@]}"; do kill -KILL "$pid" || true; done 2>/dev/null
  wait 2>/dev/null
  if ((code)); then echo "  logs are in $top" && rm -f "$top"/{tidegate,app,load}; else rm -rf "$top"; fi
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# The proxy and the app need two descriptors for each connection, slowhttptest one.
ulimit -Sn "$(ulimit -Hn)"
[[ $(ulimit -n) == unlimited ]] || (($(ulimit -n) > connections * 2 + 1000)) ||
  { echo "error: $((connections * 2 + 1000)) descriptors are needed, this user may have $(ulimit -Hn)" >&2 && exit 1; }

cp "$TIDEGATE" "$top/tidegate" # a build may replace the binary meanwhile
tidegate=$top/tidegate
export TIDEGATE_ADMIN=unix:$top/admin.sock
(cd "$root/tests/apps/go" && go build -buildvcs=false -o "$top/app" .)
(cd "$root/tests/apps/load" && go build -buildvcs=false -o "$top/load" .)

# --- support ---------------------------------------------------------------------------------------------------

wrong() { problems+=("$*"); }
fds() { find "/proc/$proxy/fd" -mindepth 1 2>/dev/null | wc -l; }
resident_kib() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$proxy/status"; }
lines_of() { sed "s/^/  $1 | /" "$2"; }

# soon SECONDS COMMAND...: it succeeds within that time.
soon() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

serves() {
  address=$("$tidegate" status --json 2>/dev/null | tr -d ' \n' | grep -o '"listeners":\[{[^]]*' | grep -o '"address":"[^"]*' | cut -d'"' -f4) &&
    curl -fsS --max-time 2 -o /dev/null "http://$address/up" 2>/dev/null
}

# ordinary SECONDS NAME: an ordinary client; its p99 in ms goes to `p99`, what it lost to `problems`.
ordinary() {
  local code=0
  "$top/load" -target "http://$address" -rate "$rate" -duration "$1s" -json "$top/$2.json" >"$top/$2.txt" 2>"$top/$2.err" || code=$?
  ((code == 0)) || { wrong "an ordinary client lost requests ($2)" && lines_of load "$top/$2.txt"; }
  p99=$(awk '$1 == "fast" { print int($7 + 0.5) }' "$top/$2.txt")
  [[ -n $p99 ]] || p99=999999
}

attack() {
  local url=http://$address
  local -A options=(
    [headers]="-H -i 2 -u $url/fast"
    [body]="-B -i 2 -s 100000 -u $url/upload"
    [read]="-X -w 512 -y 1024 -n 2 -z 32 -u $url/fast?n=$answer_bytes"
  )
  # shellcheck disable=SC2086 # several words
  exec slowhttptest -c "$connections" -r 500 -l "$hold_seconds" -p 3 ${options[$1]} >"$top/$1.log" 2>&1
}

# --- the test --------------------------------------------------------------------------------------------------

setsid "$top/app" -addr-file "$top/addr" >"$top/app.log" 2>&1 &
started+=($!)
soon 10 test -s "$top/addr" || { echo "error: the app does not start" >&2 && exit 1; }

# start_proxy MODE: to `proxy`; an ordinary client's p99 with nothing slow beside it goes to `calm`.
start_proxy() {
  cat >"$top/tidegate.yaml" <<END
admin: {socket: "$top/admin.sock"}
state: {file: "$top/$1.state.json"}
listeners: [{address: "127.0.0.1:0"}]
client: {head_timeout: 1m} # longer than the default, so that all of them are held at once
pools:
  app:
    backends: [{id: a, address: "$(<"$top/addr")"}]
    health: {http: /up, interval: 1s, timeout: 1s}
routes: [{pool: app}]
END
  "$tidegate" run -c "$top/tidegate.yaml" >"$top/$1.tidegate.log" 2>&1 &
  proxy=$!
  started+=("$proxy")
  soon 15 serves || { cat "$top/$1.tidegate.log" >&2 && echo "error: tidegate does not serve" >&2 && exit 1; }
  ordinary 3 "$1.calm"
  ((${#problems[@]} == 0)) || { echo "error: requests fail without any slow client" >&2 && exit 1; }
  calm=$p99
}

run_mode() {
  local mode=$1 before_fds before_kib attacker began kib=0 held=0 now admin_ms admin_max=0 each load_pid
  start_proxy "$mode"
  before_fds=$(fds) before_kib=$(resident_kib)
  attack "$mode" &
  attacker=$!
  started+=("$attacker")
  (ordinary "$load_seconds" "$mode.load" && printf '%s\n' "$p99" >"$top/$mode.p99" && printf '%s\n' "${problems[@]}" >"$top/$mode.lost") &
  load_pid=$!
  while kill -0 "$attacker" 2>/dev/null; do
    began=${EPOCHREALTIME//[!0-9]/}
    timeout 5 "$tidegate" status --json >"$top/status.json" 2>&1 || wrong "the admin API did not answer"
    admin_ms=$(((${EPOCHREALTIME//[!0-9]/} - began) / 1000))
    ((admin_ms <= admin_max)) || admin_max=$admin_ms
    now=$(fds) && ((now <= held)) || held=$now
    now=$(resident_kib) && ((now <= kib)) || kib=$now
    sleep 0.3
  done
  wait "$attacker" || true # its exit code says nothing
  wait "$load_pid" || wrong "the ordinary client did not run"
  p99=$(cat "$top/$mode.p99")
  while read -r now; do [[ -z $now ]] || wrong "$now"; done <"$top/$mode.lost"

  held=$((held - before_fds)) each=$(((kib - before_kib) / connections))
  ((held * 10 >= connections * 9)) || wrong "only $held slow connections were held at once"
  ((each <= ${kib_max[$mode]})) || wrong "$each KiB for each connection, allowed ${kib_max[$mode]}"
  ((p99 <= p99_floor_ms || p99 <= calm * p99_factor)) || wrong "p99 of ordinary requests is $p99 ms, was $calm ms"
  # shellcheck disable=SC2317 # soon calls it
  are_back() { (($(fds) <= before_fds + fds_spare)); }
  soon "$back_seconds" are_back || wrong "$(($(fds) - before_fds)) descriptors did not come back"
  printf '%-8s %11d %10d %12d %14d %12d %11d %10d\n' \
    "$mode" "$connections" "$held" "$each" "$((kib / 1024))" "$calm" "$p99" "$admin_max"
  kill -TERM "$proxy" 2>/dev/null || true
  wait "$proxy" || wrong "tidegate ended with exit code $?"
}

printf '%-8s %11s %10s %12s %14s %12s %11s %10s\n' \
  '' connections "fds, rise" "KiB for each" "resident, MiB" "p99 calm, ms" "p99, ms" "admin, ms"
failed=0
for mode in "${modes[@]}"; do
  problems=()
  run_mode "$mode"
  ((${#problems[@]} == 0)) || { failed=$((failed + 1)) && printf '  WRONG: %s\n' "${problems[@]}"; }
done
printf '%d passed, %d failed\n' $((${#modes[@]} - failed)) "$failed"
((failed == 0))
