#!/bin/sh
# Debian packages for the optional tests and the lab: none is needed for kernlab, `make demo` or the base of `make test`.
# A test whose program is missing skips and says so.
#
#   scripts/install-system-packages.sh [browser] [lab] [peers] [oracle]      (default: browser)
#
#   browser   chromium, its driver and fonts: notebooks and reports looked at as a person sees them
#   lab       QEMU, kexec, makedumpfile and what builds a guest: dumps captured from scratch
#   peers     trace-cmd, blkparse, btt, bpftool, pahole: what they print, to compare with
#   oracle    crash and gdb: other tools' answers to compare with
set -eu

packages=""
for group in "${@:-browser}"; do
    case $group in
        browser) packages="$packages chromium chromium-driver fonts-dejavu-core" ;;
        lab) packages="$packages qemu-system-x86 qemu-utils kexec-tools makedumpfile busybox-static cpio e2fsprogs" ;;
        peers) packages="$packages trace-cmd blktrace bpftool dwarves" ;;
        oracle) packages="$packages crash gdb" ;;
        *) echo "There is no group '$group': browser, lab, peers or oracle." >&2; exit 2 ;;
    esac
done

missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || { echo "Already installed:$packages"; exit 0; }

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
$sudo apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
