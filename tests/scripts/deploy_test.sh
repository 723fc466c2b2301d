#!/usr/bin/env bash
#
# Deploys under load, with everything real: the proxy, app processes (tests/apps/go), deploy/scripts/rolling.sh, and
# open-loop load of every kind by a client that never retries (tests/apps/load). Each scenario has a proxy of its own,
# on loopback, with a pool of two instances; everything started is ended by its pid.
#
#   graceful        rolling deploys of an app that finishes what it has: nothing fails, nothing was held at SIGTERM
#   exit_at_once    the same with an app that finishes nothing: only the drain can save its clients
#   control         that app replaced without a drain: must fail, or the two above prove nothing
#   killed          kill -9 of one of two: only what had begun, or may not be sent twice, is lost; then it comes back
#   rejected        a new version that does not get healthy: nothing changes
#
# usage: deploy_test.sh [PART OF A SCENARIO'S NAME]
# environment: TIDEGATE (the built binary), DEPLOYS (rolling deploys in each of the first two, default 10, at least 2)
#
# The last line is `N passed, N failed`; the exit code is 1 if something failed. Needs go, curl. About two minutes.
set -euo pipefail

readonly deploys=${DEPLOYS:-10}
[[ $deploys =~ ^[1-9][0-9]{0,3}$ && $deploys -ge 2 ]] ||
  { echo "error: DEPLOYS: found \"$deploys\", expected 2 to 9999" >&2 && exit 2; }
[[ -x ${TIDEGATE-} ]] || { echo "error: TIDEGATE: found \"${TIDEGATE-}\", expected a built binary" >&2 && exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
rolling=$root/deploy/scripts/rolling.sh
top=$(mktemp -d -t tidegate-deploys.XXXXXX)

running='' # the scenario, a shell of its own that clears up what it started
# shellcheck disable=SC2317 # the trap calls it
at_exit() {
  [[ -z $running ]] || { kill -TERM "$running" 2>/dev/null && wait "$running"; } || true
  rm -f "$top"/{tidegate,app,load}
  rmdir "$top" 2>/dev/null || true # there are still files if a scenario failed
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Per second. At these rates a cut-over of two seconds has twenty of the rarest kind in it.
readonly rates=fast=200,slow=20,stream=10,post=40,upload=10,ws=10
readonly kinds=(fast slow stream post upload ws)
readonly in_windows_min=50 # requests of each kind inside the cut-overs
readonly fast_p99_max=1000 # ms; a request that was held is late, not failed

# A copy: a build may replace the binary meanwhile.
cp "$TIDEGATE" "$top/tidegate"
export TIDEGATE=$top/tidegate
unset TIDEGATE_TOKEN_FILE
app=$top/app load=$top/load
(cd "$root/tests/apps/go" && go build -buildvcs=false -o "$app" .)
(cd "$root/tests/apps/load" && go build -buildvcs=false -o "$load" .)

# --- support ---------------------------------------------------------------------------------------------------

wrong() {
  printf '  WRONG: %s\n' "$*"
  exit 1
}

is() { [[ $2 == "$3" ]] || wrong "$1: got \"$2\", expected \"$3\""; }
now_ms() { printf '%s' "$((${EPOCHREALTIME//[!0-9]/} / 1000))"; }

# soon SECONDS COMMAND...: it succeeds within that time.
soon() {
  local deadline=$(($(now_ms) + $1 * 1000))
  shift
  until "$@"; do
    (($(now_ms) < deadline)) || wrong "not in time: $*"
    sleep 0.05
  done
}

# An app that this test started runs an executable of its own directory; a zombie or another process does not.
is_ours() { [[ $(readlink "/proc/$1/exe" 2>/dev/null) == "$top"/* ]]; }
is_gone() { ! is_ours "$1"; }
pid_of() { cat "$dir/started/$1"; }

# end PID: a child of this shell; SIGTERM, past 20 s SIGKILL.
end() {
  kill -TERM "$1" 2>/dev/null || return 0
  for _ in {1..400}; do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.05
  done
  kill -KILL "$1" 2>/dev/null || true
}

# A scenario runs in a shell of its own, which ends at the first thing that is not as expected.
run_scenario() {
  dir=$top/$1
  mkdir -p "$dir/started" "$dir/reports" "$dir/pids"
  load_pid='' tidegate_pid='' app_options=() retired=()
  export ROLLING_WINDOWS=$dir/windows TIDEGATE_ADMIN=unix:$dir/admin.sock
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  "scenario_$1"
  stop_tidegate
}

# shellcheck disable=SC2317 # the trap calls it
clean_up() {
  local code=$? file
  trap '' INT TERM HUP
  [[ -z $load_pid ]] || end "$load_pid"
  [[ -z $tidegate_pid ]] || end "$tidegate_pid"
  for file in "$dir"/started/*; do
    [[ ! -e $file ]] || ! is_ours "$(<"$file")" || kill -KILL "$(<"$file")" 2>/dev/null || true
  done
  ((code == 0)) && rm -rf "$dir" && return
  [[ ! -e $dir/words ]] || tail -n 5 "$dir/words" | sed 's/^/  rolling.sh | /'
  [[ ! -e $dir/tidegate.log ]] || tail -n 10 "$dir/tidegate.log" | sed 's/^/  tidegate | /'
  [[ ! -e $dir/load.json ]] || sed -n '/"samples"/,$p' "$dir/load.json" | head -n 40 | sed 's/^/  load | /'
  echo "  logs, reports and the result of the load are in $dir"
}

# --- apps, proxy, load -----------------------------------------------------------------------------------------

# start_app SLOT VERSION [ADDR]: an instance that no script has started; its id is VERSION-SLOT, its address `addr`.
start_app() {
  local id=$2-$1
  setsid "$app" -listen "${3:-127.0.0.1:0}" -version "$2" -report "$dir/reports/$id" -pid-file "$dir/started/$id" \
    -addr-file "$dir/addr" "${app_options[@]}" </dev/null >>"$dir/$id.log" 2>&1 &
  disown # no word from bash when it is killed
  soon 10 test -e "$dir/started/$id"
  soon 10 test -s "$dir/addr"
  addr=$(<"$dir/addr")
  rm "$dir/addr"
}

# start_pool: v1-1 and v1-2, each recorded for rolling.sh, and the proxy in front.
start_pool() {
  local slot backends=''
  for slot in 1 2; do
    start_app "$slot" v1
    "$rolling" --pid-file "$dir/pids/$slot.pid" --adopt "$(pid_of "v1-$slot")" --id "v1-$slot" --addr "$addr" web >/dev/null
    backends+="      - {id: v1-$slot, address: \"$addr\"}"$'\n'
  done
  cat >"$dir/tidegate.yaml" <<END
admin: {socket: "$dir/admin.sock"}
state: {file: "$dir/state.json"}
log: {access: true}
listeners:
  - {address: "127.0.0.1:0"}
pools:
  web:
    backends:
$backends
    health: {http: /up, interval: 500ms, timeout: 500ms, rise: 2, fall: 3}
routes: [{pool: web}]
END
  "$TIDEGATE" run -c "$dir/tidegate.yaml" </dev/null >"$dir/access.log" 2>"$dir/tidegate.log" &
  tidegate_pid=$!
  soon 15 serves
}

serves() {
  local status
  kill -0 "$tidegate_pid" 2>/dev/null || wrong "tidegate ended"
  status=$("$TIDEGATE" status --json 2>/dev/null) || return 1
  address=$(tr -d ' \n' <<<"$status" | grep -o '"listeners":\[{[^]]*' | grep -o '"address":"[^"]*' | cut -d'"' -f4)
  [[ $(curl -fsS --max-time 2 "http://$address/up" 2>/dev/null) == ok && $(members) == 2 ]]
}

members() { grep -c '"eligible": true' < <("$TIDEGATE" status web --json) || true; }

field() { # ID NAME: a field of the backend's status
  "$TIDEGATE" status "web/$1" --json | sed -n "s/^    \"$2\": \"\{0,1\}\([^\",]*\).*/\1/p"
}
is_health() { [[ $(field "$1" health) == "$2" ]]; }

# SIGTERM ends it cleanly, and nothing in it broke meanwhile.
stop_tidegate() {
  local code=0
  kill -TERM "$tidegate_pid"
  wait "$tidegate_pid" || code=$?
  tidegate_pid=''
  is "exit code of tidegate" "$code" 0
  ! grep -a panicked "$dir/tidegate.log" || wrong "tidegate panicked"
}

start_load() {
  # It is told when to end; the duration is for the case that nobody is left to tell it.
  "$load" -target "http://$address" -rate "$rates" -duration "$((120 + deploys * 15))s" -windows "$ROLLING_WINDOWS" \
    -json "$dir/load.json" >"$dir/load.txt" 2>"$dir/load.err" &
  load_pid=$!
  sleep 2.5 # longer than any request takes, so that all kinds are in flight
}

# Ends the load, prints its table; its exit code goes to `load_code`.
end_load() {
  kill -TERM "$load_pid"
  load_code=0
  wait "$load_pid" || load_code=$?
  load_pid=''
  [[ -s $dir/load.json ]] || wrong "the load generator has no result: $(<"$dir/load.err")"
  sed 's/^/  /' "$dir/load.txt"
}

# deploy SLOT VERSION: rolling.sh replaces the instance in that slot; its exit code goes to `code`.
deploy() {
  local id=$2-$1
  code=0
  timeout 120 "$rolling" --pid-file "$dir/pids/$1.pid" --log "$dir/$id.log" --id "$id" --healthy-timeout 15 --wait 30s web -- \
    "$app" -listen '{addr}' -version "$2" -report "$dir/reports/$id" -pid-file "$dir/started/$id" "${app_options[@]}" \
    >"$dir/out" 2>"$dir/words" || code=$?
}

mark() { printf '%s %s\n' "$1" "$(now_ms)" >>"$ROLLING_WINDOWS"; }

# --- what came of it -------------------------------------------------------------------------------------------

readonly failed=4 in_windows=5 p99=7 # columns of the load's table
cell() { awk -v kind="$1" -v column="$2" '$1 == kind { print $column }' "$dir/load.txt"; }

# reasons KIND: the reasons of its failures, one a line.
reasons() { sed -n "s/^$1 .*  //p" "$dir/load.txt" | sed 's/, /\n/g' | sed 's/ [0-9]*$//; /^-$/d'; }

# allow KIND REASON...: it failed for these reasons only.
allow() {
  local kind=$1 reason
  shift
  while read -r reason; do
    printf '%s\n' "$@" | grep -qxF -- "$reason" || wrong "$kind failed with \"$reason\", allowed: ${*:-nothing}"
  done < <(reasons "$kind")
}

answers_of() { grep -o "\"$1\": [0-9]*" < <(sed -n '/"versions": {/,/}/p' "$dir/load.json") | cut -d' ' -f2 || true; }

# The first "failed_in_windows" is that of all kinds.
failed_in_windows() { sed -n 's/.*"failed_in_windows": \([0-9]*\).*/\1/p' "$dir/load.json" | head -n 1; }

# retries PATH: exchanges of which the proxy's access log says that they took more than one try.
retries() { grep -cE "\"path\":\"$1\".*\"tries\":[2-9]" "$dir/access.log" || true; }

# report ID PART NAME: a number of the app's own report; "?" if there is none.
report() {
  local number
  number=$(sed -n "s/.*\"$2\":{\([^{}]*\).*/\1/p" "$dir/reports/$1" 2>/dev/null | grep -o "\"$3\":[0-9]*" | cut -d: -f2) || true
  printf '%s' "${number:-?}"
}

print_report() { # ID [OUTCOME DRAIN_MS STOP_MS]
  printf '  %-8s %8s %9s %9s %8s %8s %8s %9s %8s\n' "$1" "${2--}" "${3--}" "${4--}" "$(report "$1" held requests)" \
    "$(report "$1" held tunnels)" "$(report "$1" held idle)" "$(report "$1" abandoned requests)" "$(report "$1" abandoned tunnels)"
}
print_report_head() {
  printf '  %-8s %8s %9s %9s %26s %18s\n  %-8s %8s %9s %9s %8s %8s %8s %9s %8s\n' '' '' '' '' "held at SIGTERM" "abandoned" \
    "old app" drain "drain ms" "stop ms" requests tunnels idle requests tunnels
}

nothing_failed() {
  is "exit code of the load" "$load_code" 0
  is "failed" "$(cell all $failed)" 0
  local late
  late=$(cell fast $p99)
  ((${late%.*} <= fast_p99_max)) || wrong "fast requests were held: p99 $late ms"
}

# --- scenarios -------------------------------------------------------------------------------------------------

scenario_graceful() { deploys_lose_nothing; }

scenario_exit_at_once() {
  app_options=(-exit-at-once)
  deploys_lose_nothing
}

deploys_lose_nothing() {
  local n slot line kind path
  start_pool
  start_load
  for ((n = 1; n <= deploys; n++)); do
    slot=$(((n - 1) % 2 + 1))
    deploy $slot "v$((n + 1))"
    is "exit code of deploy $n" "$code" 0
    line=$(sed -n 's/^retired web\/\([^ ]*\) outcome=\([^ ]*\) drain_ms=\([0-9]*\) stop_ms=\([0-9]*\)$/\1 \2 \3 \4/p' "$dir/out")
    [[ -n $line ]] || wrong "deploy $n did not say what it retired: $(<"$dir/out")"
    retired+=("$line")
  done
  sleep 1
  end_load

  print_report_head
  for line in "${retired[@]}"; do
    # shellcheck disable=SC2086 # four words
    print_report $line
  done

  nothing_failed
  for line in "${retired[@]}"; do
    read -r id outcome _ <<<"$line"
    is "outcome of $id" "$outcome" clean
    is "what $id held and abandoned" "$(report "$id" held requests) $(report "$id" held tunnels) \
$(report "$id" abandoned requests) $(report "$id" abandoned tunnels)" "0 0 0 0"
  done
  for kind in "${kinds[@]}"; do
    (($(cell "$kind" $in_windows) >= in_windows_min)) || wrong "only $(cell "$kind" $in_windows) $kind inside the cut-overs"
  done
  # A deploy needs no retry; one would hide that a request was given to an instance that no longer took any.
  for path in /fast /slow /stream /echo /upload /ws; do
    is "retries of $path" "$(retries $path)" 0
  done
  is "members of the pool" "$(members)" 2
}

scenario_control() {
  local slot old code
  app_options=(-exit-at-once)
  start_pool
  start_load
  print_report_head
  for slot in 1 2; do
    old=$(pid_of "v1-$slot")
    mark begin
    start_app $slot v2
    "$TIDEGATE" add "web/v2-$slot" "$addr" --wait 15s >>"$dir/words" 2>&1 || wrong "the new one was not added"
    kill -TERM "$old"
    soon 10 is_gone "$old"
    sleep 0.5 # what it had is lost by now, so that the removal cuts nothing
    code=0
    "$TIDEGATE" remove "web/v1-$slot" --force >>"$dir/words" 2>&1 || code=$?
    mark end
    ((code == 0 || code == 7)) || wrong "remove ended with exit code $code"
    print_report "v1-$slot"
  done
  sleep 1
  end_load

  is "exit code of the load" "$load_code" 1
  (($(cell all $failed) > 0)) || wrong "nothing failed without a drain"
  (($(cell stream $failed) > 0)) || wrong "no stream was cut without a drain"
  is "failed outside of the cut-overs" $(($(cell all $failed) - $(failed_in_windows))) 0
  for slot in 1 2; do
    (($(report "v1-$slot" held requests) > 0)) || wrong "v1-$slot held nothing"
  done
}

scenario_killed() {
  local victim killed_at unhealthy_ms again_at addr killed_addr late
  start_pool
  start_load
  victim=$(pid_of v1-1) killed_addr=$(field v1-1 address)
  printf '  v1-1 is killed while it has %s requests and %s tunnels\n' "$(field v1-1 requests)" "$(field v1-1 tunnels)"
  mark begin
  killed_at=$(now_ms)
  kill -KILL "$victim"
  soon 8 is_health v1-1 unhealthy
  unhealthy_ms=$(($(now_ms) - killed_at))
  mark end
  sleep 3 # the other one has all the traffic
  start_app 1 v2 "$killed_addr"
  again_at=$(now_ms)
  soon 8 is_health v1-1 healthy
  printf '  unhealthy after %s ms; started again on %s, healthy after %s ms\n' "$unhealthy_ms" "$addr" $(($(now_ms) - again_at))
  sleep 2
  end_load
  printf '  tried again: %s fast, %s slow, %s stream, %s ws; answers of the one started again: %s\n' \
    "$(retries /fast)" "$(retries /slow)" "$(retries /stream)" "$(retries /ws)" "$(answers_of v2)"

  # A GET without an answer is sent to the other one; only one whose body was on its way is lost, and looks cut.
  allow slow
  allow fast short_body
  allow stream short_body
  # What may not be sent twice is told as what it is.
  allow post 'status_502(tidegate upstream_reset)'
  allow upload 'status_502(tidegate upstream_reset)'
  allow ws ws_no_close
  (($(cell stream $failed) + $(cell upload $failed) > 0)) || wrong "the kill hit nothing"
  (($(retries /slow) > 0)) || wrong "no slow request was tried again"
  is "failed outside of the kill" $(($(cell all $failed) - $(failed_in_windows))) 0
  late=$(failed_of_those_begun_after $((killed_at + 1000)))
  is "failed of those that began a second after the kill" "$late" ""
  (($(answers_of v2) > 0)) || wrong "the one started again got no traffic"
}

# failed_of_those_begun_after UNIX_MS: kind and reason, one a line. The load tells the first hundred in full.
failed_of_those_begun_after() {
  (($(cell all $failed) <= 100)) || wrong "more failed than the load tells in full"
  awk -v limit="$1" '
    /"unix_ms":/ { at = $2 + 0 }
    /"kind":/ { kind = $2 }
    /"reason":/ { reason = $2 }
    /"after_s":/ { gsub(/[",]/, "", $2); if (at - $2 * 1000 > limit) print kind, reason }
  ' < <(sed -n '/"samples"/,$p' "$dir/load.json")
}

scenario_rejected() {
  local before pid_files
  start_pool
  before=$(picture) pid_files=$(cat "$dir"/pids/*.pid)
  start_load
  app_options=(-unhealthy)
  code=0
  timeout 60 "$rolling" --pid-file "$dir/pids/1.pid" --log "$dir/v2-1.log" --id v2-1 --healthy-timeout 5 web -- \
    "$app" -listen '{addr}' -version v2 -pid-file "$dir/started/v2-1" "${app_options[@]}" >"$dir/out" 2>"$dir/words" || code=$?
  sleep 1
  end_load
  sed 's/^/  | /' "$dir/words"

  is "exit code of the deploy" "$code" 5
  grep -q 'error: web/v2-1 was not deployed: it did not get healthy' "$dir/words" || wrong "the deploy did not say why"
  is_gone "$(pid_of v2-1)" || wrong "v2-1 still runs"
  is "pool" "$(picture)" "$before"
  is "pid files" "$(cat "$dir"/pids/*.pid*)" "$pid_files"
  nothing_failed
  is "answers of the rejected version" "$(answers_of v2)" ""
  (($(cell fast $in_windows) >= in_windows_min)) || wrong "hardly any load meanwhile"
}

# What the proxy knows of the pool, without what changes by itself.
picture() { "$TIDEGATE" status web --json | grep -E '^ +"(id|address|generation|intent|health|eligible|weight)":'; }

# --- the run ---------------------------------------------------------------------------------------------------

passed_count=0 failed_count=0
for name in graceful exit_at_once control killed rejected; do
  [[ $name == *"${1-}"* ]] || continue
  printf '=== %s\n' "$name"
  began=$SECONDS
  code=0
  run_scenario "$name" & # not in a condition, in which bash would switch -e off
  running=$!
  wait "$running" || code=$?
  running=''
  if ((code == 0)); then
    passed_count=$((passed_count + 1)) && echo "ok    $name ($((SECONDS - began)) s)"
  else
    failed_count=$((failed_count + 1)) && echo "FAIL  $name ($((SECONDS - began)) s)"
  fi
done
echo "$passed_count passed, $failed_count failed"
((failed_count == 0 && passed_count > 0))
