#!/usr/bin/env bash
#
# Runs the fuzz targets, one after another, with the stable toolchain and without cargo-fuzz.
#
#   ./tests/fuzz/run.sh                              every target for 20 seconds
#   ./tests/fuzz/run.sh --seconds 600 chunked_body   one of them for ten minutes
#   ./tests/fuzz/run.sh --build                      builds them only
#
# A finding ends it with exit code 1; its input is in tests/fuzz/artifacts/TARGET, and is run again by
# `tests/fuzz/run.sh --input FILE TARGET`. What was learned stays in tests/fuzz/corpus, which is not
# committed; the beginnings that are, are in tests/fuzz/seeds.
set -euo pipefail
[[ ! ${CARGO_TARGET_DIR-} ]] || CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
cd "$(dirname "$0")"

# A head or body of a few bytes takes microseconds and no memory to speak of.
readonly memory_mb_max=1024 one_input_seconds_max=10 input_bytes_max=4096
readonly coverage_min=150 # branches; the seeds alone reach some 400 of the smallest target

seconds=20
input=
only_build=no
targets=()
while (($#)); do
  case $1 in
    -h | --help) sed -n "3,11s/^# \\{0,1\\}//p" run.sh && exit 0 ;;
    --build) only_build=yes ;;
    --seconds) seconds=${2:?"--seconds takes a number"} && shift ;;
    --input) input=$(realpath "${2:?"--input takes a file"}") && shift ;;
    *)
      [[ -f targets/$1.rs ]] || {
        printf 'error: found target "%s", expected one of: %s\n' "$1" \
          "$(basename -as .rs targets/*.rs | paste -sd ' ')" >&2
        exit 2
      }
      targets+=("$1")
      ;;
  esac
  shift
done
((${#targets[@]})) || mapfile -t targets < <(basename -as .rs targets/*.rs)

# The target folder of tidegate: what it stands on is built once for its tests and for these.
export RUSTC_WRAPPER=$PWD/instrument.sh CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$(realpath ../..)/target}
unset CARGO_BUILD_TARGET
cargo build --locked "${targets[@]/#/--bin=}"
[[ $only_build == no ]] || exit 0

for target in "${targets[@]}"; do
  binary=$CARGO_TARGET_DIR/debug/$target
  if [[ $input ]]; then
    "$binary" "$input"
    continue
  fi
  mkdir -p "corpus/$target" "artifacts/$target"
  printf '== %s, %s seconds\n' "$target" "$seconds"
  "$binary" "corpus/$target" "seeds/$target" -dict=http.dict -max_len=$input_bytes_max \
    -max_total_time="$seconds" -timeout=$one_input_seconds_max -rss_limit_mb=$memory_mb_max \
    -artifact_prefix="artifacts/$target/" -print_final_stats=1 -verbosity=1 2>"artifacts/$target.log" || {
    tail -n 40 "artifacts/$target.log" >&2
    printf 'error: a finding in %s; its input is in tests/fuzz/artifacts/%s\n' "$target" "$target" >&2
    exit 1
  }
  sed -n 's/^stat::number_of_executed_units: */inputs run: /p; $!d' "artifacts/$target.log"
  coverage=$(grep -Eo 'cov: [0-9]+' "artifacts/$target.log" | tail -n 1)
  printf '%s\n' "$coverage"
  # Cargo does not know of the wrapper: what another build left could be taken for what it makes.
  ((${coverage#cov: } >= coverage_min)) || {
    printf 'error: %s: found %s, expected at least %s: it was not built with coverage\n' "$target" "$coverage" \
      "$coverage_min" >&2
    printf 'hint: cargo clean -p tidegate, and run this again\n' >&2
    exit 1
  }
done
