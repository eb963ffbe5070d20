#!/usr/bin/env bash
# Runs a build and fails when it warns of our own crates. Cargo says warnings of unchanged crates again,
# so that a finished build is judged without compiling anything.
set -euo pipefail

said=$(mktemp)
trap 'rm -f "$said"' EXIT
"$@" 2>&1 | tee "$said"
if grep -q '^warning' "$said"; then
  echo "there are warnings (above); mend them, or \`#[expect(…, reason = \"…\")]\`" >&2
  exit 1
fi
