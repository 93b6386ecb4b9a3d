#!/usr/bin/env bash
# Makes the base image of deploy/Dockerfile where none can be pulled: Debian 13 by debootstrap, from
# the archive that this system takes its own packages from. Needs root, debootstrap and Docker.
#
#   deploy/base-image.sh [NAME]    NAME is debian:trixie-slim unless given
set -euo pipefail

name=${1:-debian:trixie-slim}
suite=trixie

if docker image inspect "$name" >/dev/null 2>&1; then
    echo "base-image: $name is there already"
    exit 0
fi
command -v debootstrap >/dev/null || {
    echo "base-image: debootstrap is not installed (apt-get install debootstrap)" >&2
    exit 1
}
[ "$(id -u)" -eq 0 ] || {
    echo "base-image: debootstrap needs root" >&2
    exit 1
}
archive=${DEBIAN_ARCHIVE:-$(apt-get indextargets --no-release-info \
    --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk '$1 !~ /-/ && $2 == "main" { print $3; exit }')}
[ -n "$archive" ] || {
    echo "base-image: apt knows no Debian archive; name one in DEBIAN_ARCHIVE" >&2
    exit 1
}

root=$(mktemp -d "${TMPDIR:-/tmp}/kindred-base.XXXXXX")
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$archive"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
tar -C "$root" --numeric-owner --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' \
    --exclude='./usr/share/locale/*' --exclude='./dev/*' -c . |
    docker import --change 'CMD ["bash"]' - "$name" >/dev/null
echo "base-image: $name is made"
