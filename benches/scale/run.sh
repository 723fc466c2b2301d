#!/usr/bin/env bash
# What a request costs in tidegate as backends, pools, routes, idle clients and workers grow in
# number. README.md beside this file says what is measured and how.
#
#   ./benches/scale/run.sh --install     installs what is missing (apt as root, matplotlib by pip)
#   ./benches/scale/run.sh               builds, runs, writes target/scale/report.{md,json}, chart.{svg,png}
#   ./benches/scale/run.sh --help        all options
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$target/scale/venv

install=no
build=yes
help=no
out=$target/scale
rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --install) install=yes ;;
    --no-build) build=no ;;
    --out)
      [ $# -ge 2 ] || { echo "error: $1 needs a value" >&2; exit 2; }
      out=$2
      shift
      ;;
    --out=*) out=${1#*=} ;;
    -h | --help)
      echo "of run.sh itself: --install (what is missing), --no-build (take what was built)"
      help=yes
      build=no
      rest+=("$1")
      ;;
    *) rest+=("$1") ;;
  esac
  shift
done

PATH=$PATH:/usr/sbin
missing=()
for tool in nginx wrk valgrind; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ "${#missing[@]}" -gt 0 ] && [ "$install" = yes ]; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "error: only root can install ${missing[*]}" >&2
    echo "hint: sudo apt-get install ${missing[*]}" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >&2
  missing=()
fi
if ! "$venv/bin/python" -c 'import matplotlib' 2>/dev/null; then
  if [ "$install" = yes ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'matplotlib>=3.8,<4'
  else
    missing+=("matplotlib (PyPI, in $venv)")
  fi
fi
if [ "${#missing[@]}" -gt 0 ] && [ "$help" = no ]; then
  printf 'error: not installed: %s\n' "${missing[@]}" >&2
  echo "hint: run it once with --install" >&2
  exit 1
fi

if [ "$build" = yes ]; then (cd "$root" && cargo build --release --bin tidegate); fi
if [ ! -x "$target/release/tidegate" ] && [ "$help" = no ]; then
  echo "error: $target/release/tidegate: not found" >&2
  echo "hint: run it without --no-build" >&2
  exit 1
fi

exec python3 "$here/scale.py" --out "$out" \
  --tidegate-binary "$target/release/tidegate" \
  --nginx "$(command -v nginx || echo nginx)" --wrk "$(command -v wrk || echo wrk)" \
  --valgrind "$(command -v valgrind || echo valgrind)" \
  --chart-python "$venv/bin/python" --lock-file "$root/Cargo.lock" "${rest[@]}"
