#!/usr/bin/env bash
# fetch_debian_ort_headers.sh SUITE FOLDER: unpacks libonnxruntime-dev of a Debian suite into FOLDER.
#
# Needs no root and leaves the system alone: every apt folder is a private, temporary one. The mirror is the machine's own,
# apt's signature check (the Debian archive keyring) is the trust anchor.
set -euo pipefail

suite=$1
folder=$(realpath -m "$2")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
  echo "$1" >&2
  exit 3
}

for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || fail "$tool is not installed"
done
[ -r "$keyring" ] || fail "the Debian archive keyring is not installed"

# The mirror as apt knows it; before a first `apt-get update` it knows none, then as the sources files name it.
mirror=$(apt-get indextargets --format '$(REPO_URI)|$(ORIGIN)|$(LABEL)' 2>/dev/null |
  awk -F'|' '$2 == "Debian" && $3 == "Debian" { print $1; exit }') || true
if [ -z "$mirror" ]; then
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep -v '^ *#' | grep -oE '(https?|mirror\+[a-z]+)://[^ ]+' | grep -E '/debian/?$' | head -n 1) || true
fi
[ -n "$mirror" ] || fail "apt is configured with no Debian mirror"

private=$(mktemp -d)
trap 'rm -rf "$private"' EXIT
mkdir -p "$private"/{lists/partial,archives/partial}
echo "deb [signed-by=$keyring] $mirror $suite main" >"$private/sources.list"

apt=(apt-get -q
  -o Dir::Etc::sourcelist="$private/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o Dir::State::lists="$private/lists" -o Dir::State::status=/dev/null
  -o Dir::Cache="$private" -o Dir::Cache::archives="$private/archives"
  -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
  -o Acquire::Languages=none -o Debug::NoLocking=1 -o APT::Sandbox::User=)

cd "$private"
"${apt[@]}" update
"${apt[@]}" download "libonnxruntime-dev/$suite"
mkdir -p "$folder"
dpkg-deb -x "$private"/libonnxruntime-dev_*.deb "$folder"
