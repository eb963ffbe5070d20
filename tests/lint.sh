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
# Both styles: as it is for Packer 1.6, with the plugin's block beside it for later ones. Packer 1.6 reads
# that block as far as it goes: its syntax, and that it is the one thing 1.6 does not know.
template=$root/packer
mkdir "$template"
cp packer/*.pkr.hcl "$template/"
cp packer/plugins.pkr.hcl.example "$template/plugins.pkr.hcl"
packer_says() { # What Packer itself finds wrong with the template
  for file in "$template"/*.pkr.hcl; do
    packer fmt -check "$file" >/dev/null || {
      echo "packer/$(basename "$file") is not formatted; run \`packer fmt packer/\`" >&2
      exit 1
    }
  done
  if packer version | grep -q 'v1\.6'; then
    packer validate -var agent_binary=/bin/true packer/
    if said=$(packer validate -var agent_binary=/bin/true "$template" 2>&1); then
      echo "packer 1.6 takes the plugin's block now: packer/plugins.pkr.hcl.example can be part of the template" >&2
      exit 1
    fi
    if [[ $(grep -c '^Error:' <<<"$said") != 1 ]] || ! grep -qF 'Blocks of type "required_plugins" are not expected' <<<"$said"; then
      echo "$said" >&2
      exit 1
    fi
  else
    packer init "$template"
    packer validate -var agent_binary=/bin/true "$template"
  fi
}
if command -v packer >/dev/null; then
  packer_says
else
  echo "SKIPPED: no \`packer\` here; tests/conformance/test_template.py still parses the template and looks its names up" >&2
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
if ! grep -A3 '^variable "agent_version"' packer/mattermost-base.pkr.hcl | grep -qF "\"$version\""; then
  echo "packer/mattermost-base.pkr.hcl: the default of agent_version is not $version" >&2
  exit 1
fi

echo "== shell"
bash -n tests/*.sh
sh -n packer/provision.sh
