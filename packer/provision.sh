#!/bin/sh
# Runs as root on the instance that becomes the image. What it leaves is listed in docs/image.md.
set -eu

export DEBIAN_FRONTEND=noninteractive
image=/tmp/image

apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates postgresql-client

install -m 0755 "$image/mattermost-agent" /usr/bin/mattermost-agent
install -m 0644 "$image"/mattermost*.service /usr/lib/systemd/system/
install -D -m 0644 "$image/sysusers.d/mattermost.conf" /usr/lib/sysusers.d/mattermost.conf
install -D -m 0644 "$image/tmpfiles.d/mattermost.conf" /usr/lib/tmpfiles.d/mattermost.conf
systemd-sysusers mattermost.conf
systemd-tmpfiles --create mattermost.conf

if [ -s "$image/cached.tar.gz" ]; then
	digest=$(sha256sum "$image/cached.tar.gz" | cut -d' ' -f1)
	install -D -m 0644 "$image/cached.tar.gz" "/var/cache/mattermost-agent/mattermost-$digest.tar.gz"
fi

# The agent alone starts at boot; it starts Mattermost.
systemctl enable mattermost-agent.service

# Nothing of this machine may live on in its copies.
apt-get clean
rm -rf "$image" /var/lib/apt/lists/* /root/.bash_history /home/*/.bash_history \
	/root/.ssh/authorized_keys /home/*/.ssh/authorized_keys /etc/ssh/ssh_host_*
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id
journalctl --rotate --vacuum-time=1s >/dev/null 2>&1 || true
