#!/usr/bin/env bash
#
# The compiler, as cargo calls it for the fuzz targets (RUSTC_WRAPPER): tidegate and the targets are built so that
# libFuzzer sees which branches were taken, and everything they stand on as always, so that it is the same that the
# tests of tidegate stand on and need not be built twice. The flags are those of cargo-fuzz, without a sanitizer: there is
# no unsafe code of ours to catch.
set -euo pipefail

rustc=$1
shift
name=''
for ((place = 1; place < $#; place++)); do
  [[ ${!place} != --crate-name ]] || { next=$((place + 1)) && name=${!next}; }
done
if [[ $name == tidegate || -e $(dirname "$0")/targets/$name.rs ]]; then
  set -- "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
fi
exec "$rustc" "$@"
