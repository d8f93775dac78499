"""Which package has the debug file of a kernel: its release in, a sentence that names package and file out."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*")
_BUILD_ID = re.compile(r"[0-9a-f]{16,128}")

#: How distributions' releases look, the package, and where its vmlinux lies once installed.
_DISTRIBUTIONS = (
    (r"el\d+(_\d+)?uek|uek", "kernel-uek-debuginfo-{0}", "/usr/lib/debug/lib/modules/{0}/vmlinux"),
    (
        r"\.(el\d+|fc\d+|amzn\d+|oe\d+|ky\d+|an\d+|al\d+|tl\d+)([._]|$)",
        "kernel-debuginfo-{0}",
        "/usr/lib/debug/lib/modules/{0}/vmlinux",
    ),
    (
        r"^\d+\.\d+\.0-\d+-(generic|lowlatency|aws|azure|gcp|gke|kvm|oracle|oem|raspi|ibm|nvidia)",
        "linux-image-unsigned-{0}-dbgsym",
        "/usr/lib/debug/boot/vmlinux-{0}",
    ),
    (
        r"(-\d+|\+(deb|bpo)\d+)(-[a-z]+)*-(amd64|arm64)$",
        "linux-image-{0}-dbg",
        "/usr/lib/debug/boot/vmlinux-{0}",
    ),
    (
        r"-[\d.]+-(default|azure|rt|preempt|64kb)$",
        "kernel-{1}-debuginfo (of {0})",
        "/usr/lib/debug/boot/vmlinux-{0}.debug or /usr/lib/debug/lib/modules/{0}/vmlinux.debug",
    ),
)


def told(release: str, build_id: str = "") -> str:
    """What would help a dump that lacks types: the package of this release, the file, and how to give it."""
    release = release if _PLAIN.fullmatch(release) else ""
    which = f" with build id {build_id}" if _BUILD_ID.fullmatch(build_id) else ""
    give = (
        "kernlab.open(…, vmlinux=PATH) or --vmlinux PATH reads the types from it; types=FILE takes BTF or a Volatility "
        "symbol file (ISF)"
    )
    for pattern, package, path in _DISTRIBUTIONS:
        if release and re.search(pattern, release):
            flavour = release.rpartition("-")[2]
            return (
                f"The kernel's vmlinux with debug information{which} would help: package "
                f"{package.format(release, flavour)} has it as {path.format(release)}. {give}"
            )
    of = f" of exactly {release}" if release else ""
    return (
        f"The vmlinux{of} with debug information{which} would help: the one in the folder that it was built in "
        f"(CONFIG_DEBUG_INFO), or its distribution's debug package. {give}"
    )
