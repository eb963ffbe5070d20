#!/usr/bin/env bash
# What clippy does not look at: dependencies, units, the image's template, shell.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== cargo deny"
cargo deny --log-level error check bans licenses sources
# Advisories need their database; a machine that cannot fetch it says so and goes on.
if ! cargo deny check advisories 2>/tmp/deny.$$; then
  if grep -qiE 'failed to fetch|unable to|could not resolve|failed to clone|network' /tmp/deny.$$; then
    echo "SKIPPED: the advisory database cannot be fetched from here; run \`cargo deny check advisories\` where it can" >&2
  else
    cat /tmp/deny.$$ >&2
    exit 1
  fi
fi
rm -f /tmp/deny.$$

echo "== systemd"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/usr/bin" "$root/opt/mattermost/current/bin" "$root/opt/mattermost/releases/instance/bin" "$root/usr/lib/systemd/system" "$root/etc/mattermost-orchestrator"
for program in usr/bin/mattermost-agent usr/bin/orchestrator opt/mattermost/current/bin/mattermost opt/mattermost/releases/instance/bin/mattermost; do
  install -m 0755 /bin/true "$root/$program"
done
cp systemd/*.service "$root/usr/lib/systemd/system/"
for unit in systemd/*.service; do
  name=$(basename "$unit")
  name=${name/@./@instance.}
  # Only what is said about our own files counts: the scratch root lacks the distribution's units.
  said=$(systemd-analyze verify --man=no --root="$root" "$name" 2>&1 | grep -F "$name" | grep -v 'Unit [a-z-]*\.target not found' || true)
  if [[ -n $said ]]; then
    echo "$said" >&2
    exit 1
  fi
  limit=20
  [[ $name == mattermost* && $name != mattermost-agent.service ]] && limit=40
  exposure=$(systemd-analyze security --offline=true --threshold="$limit" --root="$root" "$name" 2>&1) || {
    echo "$exposure" >&2
    exit 1
  }
  grep Overall <<<"$exposure"
done

echo "== packer"
if packer version | grep -q 'v1\.6'; then
  packer validate -var agent_binary=/bin/true packer/ >/dev/null
fi
for file in packer/*.pkr.hcl; do
  packer fmt -check "$file" >/dev/null || { echo "packer fmt $file" >&2; exit 1; }
done

echo "== shell"
bash -n tests/*.sh
sh -n packer/provision.sh
