#!/bin/sh
# Runs as root on the instance that becomes the image. What it leaves is listed in docs/image.md, and
# tests/e2e compares the image with that list.
set -eu

export DEBIAN_FRONTEND=noninteractive
image=/tmp/image

# On AWS cloud-init sets this machine up at the same time, and its apt has the locks. Whether it succeeded is
# its own affair; whoever else has a lock after it is waited for.
if command -v cloud-init >/dev/null; then
	cloud-init status --wait >/dev/null || true
fi
apt() {
	apt-get -qq -o DPkg::Lock::Timeout=300 "$@"
}
apt update
apt install -y --no-install-recommends ca-certificates postgresql-client >/dev/null

install -m 0755 "$image/mattermost-agent" /usr/bin/mattermost-agent
install -m 0644 "$image"/mattermost*.service /usr/lib/systemd/system/
install -D -m 0644 "$image/sysusers.d/mattermost.conf" /usr/lib/sysusers.d/mattermost.conf
install -D -m 0644 "$image/tmpfiles.d/mattermost.conf" /usr/lib/tmpfiles.d/mattermost.conf
systemd-sysusers mattermost.conf
systemd-tmpfiles --create mattermost.conf
# It must run here: an agent for another architecture or C library ends the build.
/usr/bin/mattermost-agent --version

for tarball in "$image"/*.tar.gz; do
	[ -e "$tarball" ] || continue
	digest=$(sha256sum "$tarball" | cut -d' ' -f1)
	install -D -m 0644 "$tarball" "/var/cache/mattermost-agent/mattermost-$digest.tar.gz"
done

# The agent alone starts at boot; it starts Mattermost.
systemctl enable --quiet mattermost-agent.service

# Nothing of this machine may live on in its copies. What is still written until it stops goes where
# no copy is made of: the journal into memory, logins and the random seed nowhere.
apt-get clean
if command -v cloud-init >/dev/null; then
	cloud-init clean --logs
fi
systemctl stop systemd-random-seed.service
journalctl --relinquish-var
rm -rf "$image" /var/log/journal/* /var/lib/apt/lists/* /var/lib/dpkg/*-old /var/cache/debconf/*-old \
	/root/.ssh /home/*/.ssh /root/.bash_history /home/*/.bash_history /home/*/.sudo_as_admin_successful \
	/etc/ssh/ssh_host_* /etc/.pwd.lock /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- \
	/var/lib/systemd/random-seed /var/lib/systemd/credential.secret /var/lib/dbus/machine-id \
	/var/log/wtmp /var/log/btmp /var/log/lastlog
find /var/log -type f ! -name README -delete
: >/etc/machine-id
