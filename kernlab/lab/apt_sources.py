"""Where this machine gets Debian from, and the apt configuration of a root of the lab's own that goes there too.

Comes in: the machine's apt configuration (asked of apt itself), or KERNLAB_LAB_MIRROR. Goes out: the text of a
sources.list and of an apt.conf.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from kernlab.lab.steps import LabError, run

#: Names under which a Debian mirror serves its suites, apart from updates, security and backports.
_SUITE = re.compile(
    r"(buster|bullseye|bookworm|trixie|forky|duke|sid|unstable|testing|oldoldstable|oldstable|stable)"
    r"(-updates|-security|-backports|-proposed-updates|/updates)?$"
)
_BACKPORTS = "-backports"


@dataclass(frozen=True)
class Mirror:
    """Where the machine fetches Debian's main archive and, if it does, the security archive.

    `main` and `security` may begin with apt's own options for a source, as in `[trusted=yes] file:/srv/debian`.
    """

    main: str
    security: str | None
    signed_by: str | None


def configured_mirror() -> Mirror:
    """The machine's own Debian mirror, as apt understands its sources."""
    override = os.environ.get("KERNLAB_LAB_MIRROR")
    if override:
        return Mirror(override, os.environ.get("KERNLAB_LAB_SECURITY_MIRROR"), None)
    main = security = signed_by = None
    for line in _index_targets().splitlines():
        uri, release, component, keys = line.split("|")
        match = _SUITE.match(release)
        if component != "main" or match is None:
            continue
        signed_by = signed_by or (keys if not keys.startswith("$") else None)
        if match[2] in ("-security", "/updates"):
            security = security or uri
        else:
            main = main or uri
    if main is None:
        raise LabError(
            "No Debian mirror is among this machine's apt sources (`apt-get indextargets` names none). "
            "Set KERNLAB_LAB_MIRROR to the address of one."
        )
    return Mirror(main, security, signed_by)


def sources(release: str, mirror: Mirror) -> str:
    """The sources.list of a root: the release, and what it is completed by (its base, updates, security)."""

    def line(where: str, suite: str) -> str:
        keys = f"[signed-by={mirror.signed_by}] " if mirror.signed_by else ""
        return f"deb {keys}{where} {suite} main\n"

    base = release.removesuffix(_BACKPORTS)
    suites = [release]
    if release == "experimental":
        suites.append("sid")
    elif release not in ("sid", "unstable"):
        suites += [base] if base != release else []
        suites.append(f"{base}-updates")
    lines = [line(mirror.main, suite) for suite in suites]
    if mirror.security and f"{base}-updates" in suites:
        lines.append(line(mirror.security, f"{base}-security"))
    return "".join(lines)


def configuration(release: str, folder: Path, architecture: str = "amd64") -> str:
    """The apt.conf of a root in `folder`: to the network as the machine goes, everything else of its own."""
    own = {
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::State::extended_states": folder / "extended_states",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": folder / "empty",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": folder / "empty",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": folder / "empty",
        "Dir::Log": folder,
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        # Nothing is installed, so no other user's rights are needed to write the lab's own folders.
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
    }
    if release.endswith(_BACKPORTS):
        # A backport may need others of its suite, which apt would otherwise never choose over the base's.
        own["APT::Default-Release"] = release
    lines = [line for line in _inherited().splitlines() if line.startswith("Acquire::")]
    return "\n".join([*lines, *(f'{key} "{value}";' for key, value in own.items())]) + "\n"


@functools.cache
def _index_targets() -> str:
    words = ["--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)", "Created-By: Packages"]
    what = "Asking apt for the machine's Debian mirror"
    return run(["apt-get", "indextargets", *words], what=what, limit_seconds=60)


@functools.cache
def _inherited() -> str:
    return run(["apt-config", "dump"], what="Reading apt's configuration", limit_seconds=60)
