#!/usr/bin/env bash
#
# All tests, in one command, on a fresh Debian or Ubuntu with Rust. What they need is installed first.
#
#   ./tests/run.sh           the tier of CI, under 30 minutes on two cores from an empty target folder
#   ./tests/run.sh --full    the same with high counts: more deploys, more random cases, longer fuzzing
#   ./tests/run.sh NAME...   only some steps, such as `./tests/run.sh fmt clippy unit`
#
# A missing tool is a failure, never a skip. The last lines say how each step went and how long it took; the exit
# code is 1 if one failed.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

readonly all_steps=(tools fmt clippy build unit behaviour model mutations fuzz doc scripts packaging prometheus go benches latency rolling deploys
  strategies servers flat slow soak beside differential)
tier=ci
steps=()
for argument in "$@"; do
  case $argument in
    --full) tier=full ;;
    -h | --help) sed -n '3,10s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *)
      [[ " ${all_steps[*]} " == *" $argument "* ]] || {
        printf 'error: found step "%s", expected one of: %s\n' "$argument" "${all_steps[*]}" >&2
        exit 2
      }
      steps+=("$argument")
      ;;
  esac
done
((${#steps[@]})) || steps=("${all_steps[@]}")
export CARGO_TERM_COLOR=never
[[ $tier == ci ]] || export PROPTEST_CASES=20000 TIDEGATE_FULL=1

target=${CARGO_TARGET_DIR:-$root/target}
work=$(mktemp -d -t tidegate-tests.XXXXXX)
trap 'rm -rf "$work"' EXIT

# --- steps -----------------------------------------------------------------------------------------------------

# Debian's package for each command that is needed.
tools() {
  local packages=() as_root=() pair
  for pair in cmake:cmake cc:build-essential make:build-essential c++:g++ go:golang-go shellcheck:shellcheck \
    promtool:prometheus curl:curl ss:iproute2 flock:util-linux slowhttptest:slowhttptest python3:python3 \
    nginx:nginx haproxy:haproxy node:nodejs jq:jq systemd-analyze:systemd; do
    PATH=$PATH:/usr/sbin command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
  done
  python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
  if ((${#packages[@]})); then
    ((EUID == 0)) || as_root=(sudo)
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${packages[@]}"
  fi
  cargo --version
  cargo fmt --version
  cargo clippy --version
  go version
  shellcheck --version | sed -n 2p
  promtool --version | head -n 1
}

fmt() { cargo fmt --all --check; }

clippy() { cargo clippy --locked --all-targets -- -D warnings; }

# The end of a release build is one thread; the fuzz targets, a build of their own, fill the other core. From an
# empty folder it is the longest step, so CI links without fat LTO: minutes less, and nothing but its speed differs
# (some 6 % of the processor time). The full tier builds what is shipped.
build() {
  tests/fuzz/run.sh --build &
  local fuzzing=$! quick=()
  [[ $tier == full ]] || quick=(CARGO_PROFILE_RELEASE_LTO=thin CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16)
  env "${quick[@]}" cargo build --release --locked
  wait "$fuzzing"
}

unit() { cargo test --locked --lib --bins; }

behaviour() { TIDEGATE_METRICS_SAMPLE=$target/metrics.txt cargo test --locked --test behaviour; }

model() { cargo test --locked --test claim_model; }

# In CI only whether each way to break the program still fits it; the full tier breaks it, half a minute each.
mutations() {
  local only=(--check)
  [[ $tier == ci ]] || only=()
  tests/mutations/run.py "${only[@]}"
}

# Short in CI: what an earlier run has found is in the seeds and in the unit tests.
fuzz() {
  local seconds=10
  [[ $tier == ci ]] || seconds=600
  tests/fuzz/run.sh --seconds "$seconds"
}

doc() {
  cargo test --locked --doc
  RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --lib
}

scripts() {
  local files
  mapfile -t files < <(git ls-files '*.sh' .ci/run)
  shellcheck "${files[@]}"
}

packaging() { tests/scripts/packaging_test.sh; }

prometheus() {
  promtool check rules deploy/prometheus/tidegate.rules.yml
  promtool test rules deploy/prometheus/tidegate.rules.test.yml
  [[ -s $target/metrics.txt ]] || { echo 'error: no sample of the metrics; run the step "behaviour" first' >&2 && return 1; }
  promtool check metrics <"$target/metrics.txt"
}

go_apps() {
  local app
  for app in tests/apps/go tests/apps/load tests/apps/bulk tests/apps/drains benches/compare/ws; do
    cd "$root/$app"
    test -z "$(gofmt -l .)"
    go vet ./...
    go test ./...
  done
}

# The statistics, the arguments and the configurations of the comparisons; none of the proxies.
benches() {
  python3 -m unittest discover -s benches/compare/tests
  python3 -m unittest discover -s benches/deploys/tests
  python3 -m unittest discover -s benches/scale/tests -t benches/scale
}

# Of the program that is shipped; the step "build" makes it.
latency() { TIDEGATE=$target/release/tidegate cargo test --locked --test behaviour -- --nocapture from_the_release; }

rolling() { tests/scripts/rolling_test.sh; }

deploys() {
  local count=10
  [[ $tier == ci ]] || count=50
  TIDEGATE=$target/release/tidegate DEPLOYS=$count tests/scripts/deploy_test.sh
}

strategies() {
  local count=2
  [[ $tier == ci ]] || count=10
  TIDEGATE=$target/release/tidegate ROUNDS=$count tests/scripts/strategies_test.sh
}

servers() {
  local count=5
  [[ $tier == ci ]] || count=20
  TIDEGATE=$target/release/tidegate DRAINS=$count tests/scripts/servers_test.sh
}

flat() {
  local bytes=$((128 << 20))
  [[ $tier == ci ]] || bytes=$((1 << 30))
  TIDEGATE=$target/release/tidegate BYTES=$bytes tests/scripts/flat_test.sh
}

slow() {
  local full=0
  [[ $tier == ci ]] || full=1
  TIDEGATE=$target/release/tidegate FULL=$full tests/scripts/slow_test.sh
}

soak() {
  local rounds=300
  [[ $tier == ci ]] || rounds=1000
  TIDEGATE=$target/release/tidegate ROUNDS=$rounds tests/scripts/drains_test.sh soak
}

# What CI runs on is shared, and ten pairs are few: only a drain that is badly in the way is seen there.
beside() {
  local limits=(PAIRS=10 RATIO_MAX=2 OR_INTERVAL=0)
  [[ $tier == ci ]] || limits=(PAIRS=30 RATIO_MAX=1.1 OR_INTERVAL=1)
  env TIDEGATE="$target/release/tidegate" "${limits[@]}" tests/scripts/drains_test.sh beside
}

differential() { TIDEGATE=$target/release/tidegate tests/scripts/differential_test.sh; }

# --- the run ---------------------------------------------------------------------------------------------------

failed=0 table=()
for step in "${steps[@]}"; do
  printf '\n=== %s\n' "$step"
  name=$step
  [[ $step != go ]] || name=go_apps
  began=$SECONDS result=ok
  # In a shell of its own: a step ends at its first failing command, the run goes on.
  # Not in a condition: bash would switch -e off inside it.
  set +e
  (set -e && "$name")
  code=$?
  set -e
  ((code == 0)) || { result=FAILED && failed=$((failed + 1)); }
  table+=("$(printf '%-12s %-7s %4ds' "$step" "$result" $((SECONDS - began)))")
done

printf '\n=== %s tier\n' "$tier"
printf '%s\n' "${table[@]}"
printf '%d passed, %d failed\n' $((${#steps[@]} - failed)) "$failed"
((failed == 0))
