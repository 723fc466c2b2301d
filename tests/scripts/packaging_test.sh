#!/usr/bin/env bash
#
# What is in deploy/ for systemd and Kubernetes, checked without either running:
#
#   - the units of deploy/systemd as systemd reads them, nothing unknown and nothing odd, and how exposed tidegate.service is;
#   - that their clocks fit the program's, and the scripts' commands the units;
#   - the objects of deploy/kubernetes against Kubernetes' own schemas, strictly, for an old and a new version; that the
#     clocks of a pod's end add up; that its hooks are clean to shellcheck.
#
# The hooks themselves are run by strategies_test.sh. Each check is also made to fail once: it sees what it looks for.
#
# usage: packaging_test.sh [PART OF A TEST'S NAME]
#
# The last line is `N passed, N failed`; the exit code is 1 if something failed. Needs systemd-analyze, shellcheck and
# python3 with venv; the schemas are installed with pip into target/packaging.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "$0")/support.sh"
need_tools systemd-analyze shellcheck python3
make_venv packaging "$root/tests/apps/kubernetes/requirements.txt"

readonly units=$root/deploy/systemd manifest=$root/deploy/kubernetes/app.yaml
readonly kubernetes_versions=(1.29 1.37)
readonly exposure_max=25 # tenths; systemd calls up to 30 "OK"

wrong() {
  printf '  WRONG: %s\n' "$*"
  exit 1
}
is() { [[ $2 == "$3" ]] || wrong "$1: got \"$2\", expected \"$3\""; }

# --- systemd ---------------------------------------------------------------------------------------------------

# machine: a root with the units, and stand-ins for the programs that they name. What else a machine has is not there.
machine() {
  local program
  mkdir -p "$dir/etc/systemd/system"
  cp "$units"/*.service "$dir/etc/systemd/system"
  while read -r program; do
    mkdir -p "$dir$(dirname "$program")"
    printf '#!/bin/sh\n' >"$dir$program"
    chmod +x "$dir$program"
  done < <(sed -n 's/^Exec[A-Za-z]*=\([^ ]*\).*/\1/p' "$units"/*.service)
}

verify() { systemd-analyze verify --man=no --recursive-errors=no --root="$dir" tidegate.service app@a.service app@b.service 2>&1; }

setting() { sed -n "s/^$2=//p" "$units/$1"; }

test_systemd_reads_the_units() {
  machine
  is "what systemd says of them" "$(verify || echo "exit code $?")" ""
  sed -i 's/^KillMode=/KillMood=/' "$dir/etc/systemd/system/app@.service"
  [[ $(verify || true) == *"Unknown key"*KillMood* ]] || wrong "an unknown key was not seen"
  machine
  sed -i 's/^TimeoutStopSec=.*/TimeoutStopSec=soon/' "$dir/etc/systemd/system/tidegate.service"
  [[ $(verify || true) == *"Failed to parse"*soon* ]] || wrong "a broken time was not seen"
  machine
  rm "$dir/usr/local/bin/tidegate"
  [[ $(verify || true) == *"not executable"* ]] || wrong "a program that is not there was not seen"
}

test_tidegate_is_not_exposed_more_than_it_must_be() {
  systemd-analyze security --offline=true --threshold=$exposure_max "$units/tidegate.service" >"$dir/said" 2>&1 ||
    wrong "$(tail -n 1 "$dir/said")"
  sed '/^Protect/d; /^Restrict/d; /^System/d; /^Cap/d' "$units/tidegate.service" >"$dir/open.service"
  ! systemd-analyze security --offline=true --threshold=$exposure_max "$dir/open.service" >/dev/null 2>&1 ||
    wrong "an open unit was not seen"
}

test_systemd_stops_it_later_than_it_stops_itself() {
  local own
  own=$(sed -n '/^shutdown:/,/^$/s/^  timeout: \([0-9]*\)s.*/\1/p' "$root/config/tidegate.yaml")
  [[ $own =~ ^[0-9]+$ ]] || wrong "found no shutdown.timeout in config/tidegate.yaml"
  is "TimeoutStopSec" "$(setting tidegate.service TimeoutStopSec)" "$((own + 5))s"
}

test_it_has_open_files_for_all_clients() {
  local clients
  clients=$(sed -n 's/^  connections_max: \([0-9]*\).*/\1/p' "$root/config/tidegate.yaml")
  (($(setting tidegate.service LimitNOFILE) > 2 * clients)) || wrong "LimitNOFILE does not do for $clients clients"
}

test_it_says_no_more_to_systemd_than_it_does() {
  local notifies=simple
  ! grep -rqs NOTIFY_SOCKET "$root/src" || notifies=notify
  is "Type" "$(setting tidegate.service Type)" "$notifies"
}

test_the_default_paths_are_those_of_the_unit() {
  is "RuntimeDirectory" "$(setting tidegate.service RuntimeDirectory)" tidegate
  is "StateDirectory" "$(setting tidegate.service StateDirectory)" tidegate
  grep -q '^  socket: /run/tidegate/admin.sock' "$root/config/tidegate.yaml" || wrong "the socket is elsewhere"
  grep -q '^  file: /var/lib/tidegate/state.json' "$root/config/tidegate.yaml" || wrong "the state file is elsewhere"
}

# --- Kubernetes ------------------------------------------------------------------------------------------------

validate() { "$venv/bin/kubernetes-validate" --strict --no-warn -k "$1" "$2" 2>&1; } # VERSION FILE

test_the_objects_are_those_of_kubernetes() {
  local version
  for version in "${kubernetes_versions[@]}"; do
    validate "$version" "$manifest" >"$dir/said" || wrong "$version: $(<"$dir/said")"
    is "objects that $version knows" "$(grep -c passed "$dir/said")" 2
    sed 's/maxSurge/maxSurg/' "$manifest" >"$dir/bad.yaml"
    ! validate "$version" "$dir/bad.yaml" >"$dir/said" || wrong "$version: an unknown key was not seen"
    sed 's/containerPort: 8080/containerPort: http/' "$manifest" >"$dir/bad.yaml"
    ! validate "$version" "$dir/bad.yaml" >"$dir/said" || wrong "$version: a broken port was not seen"
  done
}

test_the_clocks_of_a_pods_end_add_up() {
  local grace wait timeout spread
  grace=$(sed -n 's/^ *terminationGracePeriodSeconds: //p' "$manifest")
  [[ $(<"$manifest") =~ drain\?wait=([0-9]+)s\&timeout=([0-9]+)s.*close_after=0s\&spread=([0-9]+)s ]] || wrong "found no drain"
  wait=${BASH_REMATCH[1]} timeout=${BASH_REMATCH[2]} spread=${BASH_REMATCH[3]}
  ((spread < timeout && timeout < wait)) || wrong "spread ${spread}s, timeout ${timeout}s and wait ${wait}s must ascend"
  is "wait, the app's stop and the margin" "$((wait + 15 + 5))" "$grace"
  grep -qx "#   = $grace s" "$manifest" || wrong "the sum in the comment is another than $grace s"
}

test_the_hooks_are_clean_to_shellcheck() {
  "$venv/bin/python" - "$manifest" "$dir" <<'END'
import sys, pathlib, yaml
objects = list(yaml.safe_load_all(open(sys.argv[1])))
(hooks,) = [one["data"] for one in objects if one["kind"] == "ConfigMap"]
for name, text in hooks.items():
    pathlib.Path(sys.argv[2], name).write_text(text)
(pod,) = [one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"]
(app,) = pod["containers"]
mounts = {mount["name"]: mount["mountPath"] for mount in app["volumeMounts"]}
called = [app["lifecycle"][when]["exec"]["command"] for when in ["postStart", "preStop"]]
assert called == [["sh", f"{mounts['hooks']}/{name}"] for name in ["join", "leave"]], called
assert all(f"{mounts['token']}/token" in text for text in hooks.values()), mounts
END
  shellcheck "$dir/join" "$dir/leave"
}

# --- the run ---------------------------------------------------------------------------------------------------

passed=0 failed=0
for test in $(declare -F | awk '{print $3}' | grep '^test_'); do
  [[ $test == *"${1-}"* ]] || continue
  dir=$top/$test
  mkdir "$dir"
  code=0
  (set -e && "$test") & # not in a condition, in which bash would switch -e off
  wait "$!" || code=$?
  if ((code == 0)); then
    passed=$((passed + 1)) && echo "ok    ${test#test_}"
  else
    failed=$((failed + 1)) && echo "FAIL  ${test#test_}"
  fi
done
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
