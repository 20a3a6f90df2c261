#!/usr/bin/env bash
# Installs what is missing: Debian packages, and PyPI packages into a venv inside the tree. Fast when all is present.
#   scripts/setup.sh build    what `make build` and `make quickstart` need (default)
#   scripts/setup.sh test     the same and what `make test` needs
#   scripts/setup.sh parity   the same and .venv-parity with the Python peers (about 6 GB)
# LORIKEET_CUDA=0 or 1 overrides the look for an NVIDIA driver.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mode="${1:-build}"
requirements=scripts/requirements

say() { printf '%s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

case "$mode" in build | test | parity) ;; *) fail "unknown mode '$mode'; expected build, test or parity" ;; esac
[ "$(uname -sm)" = "Linux x86_64" ] || fail "this is $(uname -sm); expected Linux x86_64, for which torch's libraries are made"
command -v dpkg-query >/dev/null || fail "no dpkg here; expected Debian 12 (or a container with it)"

# Two runs at once would tear each other's venv.
exec 9<"$requirements/build.txt"
flock -n 9 || { say "Waiting for another setup to finish ..."; flock 9; }

packages=(cmake ninja-build make g++ pkg-config python3-venv nlohmann-json3-dev
  libtomlplusplus-dev libyaml-cpp-dev libssl-dev libcurl4-openssl-dev ca-certificates zlib1g-dev libjpeg62-turbo-dev libpng-dev libwebp-dev libicu-dev)
[ "$mode" = build ] || packages+=(libgtest-dev libgmock-dev)

missing_packages() {
  local installed
  installed=" $(dpkg-query -W -f='${Package}/${db:Status-Status} ' "${packages[@]}" 2>/dev/null || true) "
  for package in "${packages[@]}"; do
    case "$installed" in *" $package/installed "*) ;; *) printf '%s ' "$package" ;; esac
  done
}

stamp_of() { sed -e 's/[[:space:]]*#.*//' -e '/^$/d' "$@" | sha256sum | cut -c1-16; }
has_stamp() { [ -x "$1/bin/python" ] && [ "$(cat "$1/$2" 2>/dev/null)" = "$3" ]; }

need_space() {
  local free_mb
  free_mb=$(df -Pm . | awk 'NR == 2 { print $4 }')
  [ "$free_mb" -ge $(($1 * 1024)) ] || fail "$free_mb MB free in $PWD; expected at least $1 GB. Free some space and run this again."
}

# pip runs as a module: the scripts beside it hold the venv's path, which changes when the tree is moved. Its words are shown only
# when it fails: it complains of the CUDA packages that the CPU-only form leaves out on purpose.
pip_install() {
  local venv="$1"
  shift
  if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@" </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    fail "pip could not install into $venv. Run this again once the cause above is gone; it starts where it can."
  fi
}

fresh_venv() {
  [ ! -e "$1" ] || say "Removing the unfinished $1"
  rm -rf "$1"
  /usr/bin/python3 -m venv "$1"
}

want_cuda="${LORIKEET_CUDA:-}"
if [ -z "$want_cuda" ]; then
  want_cuda=0
  if [ -e /proc/driver/nvidia/version ] || [ -e /dev/nvidiactl ]; then want_cuda=1; fi
fi
cpu_stamp="cpu-$(stamp_of $requirements/build.txt)"
cuda_stamp="cuda-$(stamp_of $requirements/build.txt)"
test_stamp=$(stamp_of $requirements/test.txt)
parity_stamp=$(stamp_of $requirements/parity.txt)

need_torch=no need_test=no need_parity=no
if ! has_stamp .venv lorikeet-build "$cuda_stamp"; then
  if [ "$want_cuda" = 1 ] || ! has_stamp .venv lorikeet-build "$cpu_stamp"; then need_torch=yes; fi
fi
if [ "$mode" != build ] && { [ $need_torch = yes ] || ! has_stamp .venv lorikeet-test "$test_stamp"; }; then need_test=yes; fi
if [ "$mode" = parity ] && ! has_stamp .venv-parity lorikeet-parity "$parity_stamp"; then need_parity=yes; fi
missing=$(missing_packages)
missing=${missing% }
if [ -z "$missing" ] && [ $need_torch$need_test$need_parity = nonono ]; then exit 0; fi

say "Lorikeet set-up ($mode) will install:"
[ -z "$missing" ] || say "  Debian packages: $missing"
space=4
if [ $need_torch = yes ]; then
  if [ "$want_cuda" = 1 ]; then
    space=12
    say "  .venv (in this folder, about 7 GB): torch 2.11.0 with its CUDA libraries, as an NVIDIA driver is present"
  else
    say "  .venv (in this folder, about 1.7 GB): torch 2.11.0, CPU part only, and Arrow"
  fi
fi
[ $need_test = no ] || say "  .venv: $(sed '/^#/d' $requirements/test.txt | tr '\n' ' ')"
if [ $need_parity = yes ]; then
  space=$((space + 8))
  say "  .venv-parity (in this folder, about 6 GB): $(sed '/^#/d' $requirements/parity.txt | tr '\n' ' ')"
fi
need_space $space
log=$(mktemp)
trap 'rm -f "$log"' EXIT

if [ -n "$missing" ]; then
  as_root=()
  if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      say "These packages need root. Run this one line, then start again:"
      say "  sudo apt-get update && sudo apt-get install -y $missing"
      exit 1
    fi
    as_root=(sudo -n)
  fi
  say "Installing Debian packages ..."
  # shellcheck disable=SC2086
  if ! { "${as_root[@]}" apt-get update &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    fail "apt-get could not install: $missing"
  fi
fi

if [ $need_torch = yes ]; then
  say "Installing torch into .venv ..."
  fresh_venv .venv
  if [ "$want_cuda" = 1 ]; then
    pip_install .venv -r $requirements/build.txt
    echo "$cuda_stamp" >.venv/lorikeet-build
  else
    pip_install .venv --no-deps -r $requirements/build.txt
    echo "$cpu_stamp" >.venv/lorikeet-build
  fi
fi
if [ $need_test = yes ]; then
  say "Installing the tests' Python packages into .venv ..."
  pip_install .venv -r $requirements/test.txt
  echo "$test_stamp" >.venv/lorikeet-test
fi
if [ $need_parity = yes ]; then
  say "Installing the Python peers into .venv-parity ..."
  fresh_venv .venv-parity
  pip_install .venv-parity -r $requirements/parity.txt
  echo "$parity_stamp" >.venv-parity/lorikeet-parity
fi
say "Set-up done in $SECONDS s."
