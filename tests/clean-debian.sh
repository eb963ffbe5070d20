#!/usr/bin/env bash
# Runs the set-up, the lints and the demo in a Debian that was never used, with Rust installed and nothing else.
#
#   tests/clean-debian.sh 13 BIN     DEBIAN'S RELEASE, FOLDER OF THE BUILT BINARIES; root, network, ten minutes
#
# The system is a container on a copy of a tree that `mmdebstrap` made (`minbase` and `ca-certificates`). It shares
# this machine's Rust, the binaries and the repository, which it cannot change; the set-up has this machine's network, the
# demo has none but loopback. Nothing is left but the tree, in the cache.
set -euo pipefail
cd "$(dirname "$0")/.."

release=${1:?"the release of Debian: 12 or 13"}
bin=$(realpath "${2:?"the folder of the built binaries"}")
# shellcheck source=tests/debian.sh
. tests/debian.sh
suite=$(suite_of "$release")
if [[ $(id -u) != 0 ]]; then
  echo "clean-debian.sh: only root makes a tree of Debian and boots into it" >&2
  exit 1
fi
for program in mmdebstrap systemd-nspawn cargo; do
  command -v "$program" >/dev/null || {
    echo "clean-debian.sh: \`$program\` is missing; hint: \`make setup\`" >&2
    exit 1
  }
done

tree=${XDG_CACHE_HOME:-$HOME/.cache}/mattermost-ha/images/clean-debian-$release
if [[ ! -d $tree ]]; then
  echo "making Debian $release in $tree" >&2
  mkdir -p "$(dirname "$tree")"
  mapfile -t options < <(apt_proxies)
  rm -rf --one-file-system "$tree.partial"
  mmdebstrap --quiet --mode=root --variant=minbase --format=directory --include=ca-certificates \
    "${options[@]}" "$suite" "$tree.partial" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >&2
  mv "$tree.partial" "$tree"
fi

# What is written goes into memory and is gone with the container.
machine=mattermost-ha-clean-$$
inside=$(mktemp -d)
trap 'rm -rf "$inside"' EXIT
# Where TLS is looked into, this machine trusts who does it; the container must too.
cp -r /usr/local/share/ca-certificates "$inside/ca"
cat >"$inside/run" <<'RUN'
#!/bin/bash
set -euo pipefail
. /etc/os-release
echo "== $PRETTY_NAME, $(dpkg-query -W | wc -l) packages"
cp -r /inside/ca/. /usr/local/share/ca-certificates/
update-ca-certificates >/dev/null 2>&1
cp -r /source /root/mattermost
cd /root/mattermost
export VENV=/root/venv
echo "== tests/setup.sh"
tests/setup.sh
echo "== again: everything is there"
[[ -z $(tests/setup.sh 2>&1 | grep -v '^SKIPPED' || true) ]]
echo "== tests/lint.sh, $(systemctl --version | head -1), $(ls /usr/lib/postgresql | sed 's/^/PostgreSQL /')"
tests/lint.sh
"$VENV/bin/python" -m pytest -q --noconftest tests/conformance/test_template.py
echo "== the demo, with no network but loopback"
unshare --net sh -c 'ip link set lo up && exec /binaries/demo --bin /binaries'
RUN
exec {lock}>"$tree.lock"
flock "$lock"
systemd-nspawn --quiet --register=no --keep-unit --machine="$machine" --directory="$tree" --volatile=overlay \
  --capability=CAP_NET_ADMIN --resolv-conf=bind-host --tmpfs=/tmp:mode=1777 \
  --bind-ro="$PWD:/source" --bind-ro="$bin:/binaries" --bind-ro="$inside:/inside" \
  --overlay="${CARGO_HOME:-$HOME/.cargo}::/root/.cargo" --bind-ro="${RUSTUP_HOME:-$HOME/.rustup}:/root/.rustup" \
  --setenv=PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  bash /inside/run </dev/null
