#!/usr/bin/env bash
# Prints the path of a directory tree with Debian as a cloud image has it: the lab's base image.
# DEBIAN=13 makes it of that release; 12 is the default.
#
#   tests/base-image.sh            makes it when it is not there yet (root, network, about a minute)
#   tests/base-image.sh --path     prints where it would lie, and makes nothing
#
# It is made once for each content of this file and of `debian.sh`, beside its place, and renamed: a tree that is there is
# whole. Nothing outside the cache is written.
#
# Differences from Debian's own image for EC2, all of which docs/image.md names:
# * No kernel, no boot loader: the lab's machines are containers.
# * In place of cloud-init: `lab-ssh-keys.service`, which does the one thing that Packer needs of it.
# * The lab's machines have no way out, so the packages that an image is made with lie in the tree, as
#   an apt repository; no other one is configured.
set -euo pipefail

# What the machine has from the start.
packages=(
  systemd systemd-sysv dbus    # what boots
  openssh-server sudo          # what Packer needs
  iproute2 curl ca-certificates netbase libnss-myhostname
  perl                         # of Debian 12 by `usrmerge`; so that 13 is like it
)
# What `apt-get install` finds in it, with all that these need.
offered=(postgresql-client)

release=${DEBIAN:-12}
# shellcheck source=tests/debian.sh
. "$(dirname "$0")/debian.sh"
suite=$(suite_of "$release")

key=$(cat "$0" "$(dirname "$0")/debian.sh" | sha256sum | cut -c1-16)
images=${XDG_CACHE_HOME:-$HOME/.cache}/mattermost-ha/images
tree=$images/debian-$release-$key

if [[ ${1:-} == --path || -d $tree ]]; then
  echo "$tree"
  exit
fi
if [[ $(id -u) != 0 ]]; then
  echo "base-image.sh: only root can make a base image; it would be \`$tree\`" >&2
  exit 1
fi
command -v mmdebstrap >/dev/null || {
  echo "base-image.sh: mmdebstrap is missing; hint: \`make setup\`" >&2
  exit 1
}

mkdir -p "$images"
# Two at once: the second waits, and finds it.
exec 9>"$images/.lock"
flock 9
if [[ -d $tree ]]; then
  echo "$tree"
  exit
fi
partial=$tree.partial
rm -rf --one-file-system "$partial"
hooks=$(mktemp)
trap 'rm -rf --one-file-system "$hooks" "$partial"' EXIT

cat >"$hooks" <<'HOOK'
#!/bin/sh
# Runs when the packages are installed; $1 is the tree, OFFERED what its repository is to hold.
set -eu
tree=$1

# --- A repository of what is offered: one folder of packages with an index.
chroot "$tree" apt-get clean
chroot "$tree" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -qq -y --no-install-recommends --download-only $OFFERED >/dev/null
repository=$tree/usr/local/share/debian
mkdir -p "$repository"
mv "$tree"/var/cache/apt/archives/*.deb "$repository/"
for package in "$repository"/*.deb; do
  dpkg-deb --field "$package"
  echo "Filename: ./$(basename "$package")"
  echo "Size: $(stat -c %s "$package")"
  echo "SHA256: $(sha256sum "$package" | cut -d' ' -f1)"
  echo
done >"$repository/Packages"
rm -f "$tree"/etc/apt/sources.list "$tree"/etc/apt/sources.list.d/*
# Trusted: these were verified when they were fetched, and lie where only root writes.
cat >"$tree/etc/apt/sources.list.d/lab.sources" <<END
Types: deb
URIs: file:/usr/local/share/debian
Suites: ./
Trusted: yes
END

# --- The user whom Debian's images have, with the key that the launch named.
chroot "$tree" useradd --create-home --shell /bin/bash admin
echo 'admin ALL=(ALL) NOPASSWD:ALL' >"$tree/etc/sudoers.d/90-admin"
chmod 0440 "$tree/etc/sudoers.d/90-admin"
cat >"$tree/usr/local/sbin/lab-ssh-keys" <<'END'
#!/bin/sh
# What cloud-init would do: host keys of this machine's own, and the launch's key for `admin`.
set -eu
ssh-keygen -A
metadata=http://169.254.169.254/latest
ask() { curl --silent --show-error --fail --noproxy '*' --max-time 5 "$@"; }
token=$(ask --retry 5 --retry-connrefused --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token")
# A machine that was launched without a key has no such path.
key=$(ask --header "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/public-keys/0/openssh-key" 2>/dev/null) || exit 0
install -d -m 0700 -o admin -g admin /home/admin/.ssh
umask 077
printf '%s\n' "$key" >/home/admin/.ssh/authorized_keys
chown admin:admin /home/admin/.ssh/authorized_keys
END
chmod 0755 "$tree/usr/local/sbin/lab-ssh-keys"
cat >"$tree/etc/systemd/system/lab-ssh-keys.service" <<'END'
[Unit]
Description=SSH keys of this machine and of its launch
Before=ssh.service ssh.socket

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-ssh-keys

[Install]
WantedBy=multi-user.target
END
chroot "$tree" systemctl enable --quiet lab-ssh-keys.service ssh.service

# --- No console to log in at, no disk to mount or to check, no sleep: a container.
chroot "$tree" systemctl mask --quiet console-getty.service getty.target apt-daily.timer \
  apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
: >"$tree/etc/fstab"

# --- Nothing of the machine that it was made on, and nothing that machines must not share.
rm -f "$tree"/etc/ssh/ssh_host_* "$tree"/etc/resolv.conf "$tree"/etc/hostname \
  "$tree"/etc/apt/apt.conf.d/99mmdebstrap "$tree"/var/lib/dbus/machine-id
: >"$tree/etc/machine-id"
chroot "$tree" apt-get clean
rm -rf "$tree"/var/lib/apt/lists/* "$tree"/var/log/apt "$tree"/var/log/journal/* \
  "$tree"/var/log/*.log "$tree"/var/cache/debconf/*-old "$tree"/var/lib/dpkg/*-old
HOOK
chmod 0700 "$hooks"

mapfile -t options < <(apt_proxies)
mirror=${DEBIAN_MIRROR:-}
for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
  if [[ -z $mirror && -s $file ]] && grep -qw "$suite" "$file"; then
    mirror=$file
  fi
done

echo "making the base image in $tree" >&2
OFFERED="${offered[*]}" mmdebstrap --quiet --mode=root --variant=minbase --format=directory \
  --include="$(IFS=,; echo "${packages[*]}")" "${options[@]}" \
  --customize-hook="$hooks" \
  "$suite" "$partial" ${mirror:+"$mirror"} >&2
# Devices are the container's own.
rm -rf --one-file-system "$partial"/dev
mkdir -m 0755 "$partial"/dev
mv "$partial" "$tree"
echo "$tree"
