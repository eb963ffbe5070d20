#!/usr/bin/env bash
# Installs what the demo and the tests need and this machine lacks. Does nothing when all is there.
# As root it installs Debian packages by apt; otherwise it prints the exact command and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/mattermost-ha/venv}
packages=()

need() { # PACKAGE TEST...: the package is missing when the test fails
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || packages+=("$package")
}

postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb'; }
venv_module() { /usr/bin/python3 -c 'import ensurepip, venv'; }

need postgresql postgres
need gcc command -v cc
need make command -v make
need cmake command -v cmake
need python3-venv venv_module
need util-linux command -v setpriv
need systemd command -v systemd-analyze
need openssl command -v openssl
# Single tests need these; `make bench` needs curl.
need gnupg command -v gpg
need openssh-client command -v ssh-keygen
need dbus-daemon command -v dbus-daemon
need curl command -v curl
# Machines (`make image`, `make demo RUNTIME=machine`) are root's; nobody else needs what they need.
if [[ $(id -u) == 0 ]]; then
  need mmdebstrap command -v mmdebstrap
  need systemd-container command -v systemd-nspawn
  need iproute2 command -v ip
fi

# Debian 13 has no package of it. The demo needs none, and tests that do are skipped and say so.
offered() { apt-cache show "$1" 2>/dev/null | grep -q '^Package:'; }
want_packer() {
  command -v packer >/dev/null && return
  if offered packer; then
    packages+=(packer)
  else
    echo "SKIPPED: this Debian has no package \`packer\`: no image is built here; hint: https://developer.hashicorp.com/packer/install" >&2
  fi
}
# A system that has never fetched its lists knows of no package at all.
if [[ $(id -u) == 0 ]] && ! offered bash; then
  apt-get update -qq
fi
want_packer

if ((${#packages[@]})); then
  if [[ $(id -u) == 0 ]]; then
    echo "installing: ${packages[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    # Debian starts a cluster of its own with the package; nobody here needs it.
    mkdir -p /etc/postgresql-common
    [[ -e /etc/postgresql-common/createcluster.conf ]] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  else
    echo "missing packages; run: sudo apt-get install -y --no-install-recommends ${packages[*]}" >&2
    exit 1
  fi
fi

command -v cargo >/dev/null || {
  echo "cargo is missing; install Rust as https://rustup.rs says" >&2
  exit 1
}

requirements=tests/conformance/requirements.txt
stamp=$venv/.requirements
if ! cmp -s "$requirements" "$stamp"; then
  echo "making the Python environment in $venv" >&2
  /usr/bin/python3 -m venv --clear "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r "$requirements"
  cp "$requirements" "$stamp"
fi

if ! command -v cargo-deny >/dev/null; then
  echo "installing cargo-deny" >&2
  cargo install --quiet --locked cargo-deny
fi
