# What scripts that make trees of Debian share; sourced, not run.

# The code name of a release.
suite_of() { # RELEASE
  case $1 in
    12) echo bookworm ;;
    13) echo trixie ;;
    *)
      echo "$(basename "$0"): the release of Debian is 12 or 13, not \`$1\`" >&2
      return 1
      ;;
  esac
}

# The host's own way to Debian's mirror, as its apt has it: one option of mmdebstrap a line.
apt_proxies() {
  local kind proxy
  for kind in http https; do
    proxy=
    eval "$(apt-config shell proxy "Acquire::$kind::Proxy")"
    [[ -z $proxy ]] || echo "--aptopt=Acquire::$kind::Proxy \"$proxy\""
  done
}
