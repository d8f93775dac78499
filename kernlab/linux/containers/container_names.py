"""The container or unit that a cgroup is of, by its path: as engines and systemd name their cgroups."""

from __future__ import annotations

import re

#: How many digits of an identifier engines show (docker ps, podman ps).
_SHOWN = 12
_ID = r"(?P<id>[0-9a-f]{12,64})"
#: One part of a path that names a container: what engine's it is, and the part.
_CONTAINERS = (
    ("docker", re.compile(rf"docker-{_ID}\.scope")),
    ("podman", re.compile(rf"libpod-(?:payload-)?{_ID}(?:\.scope)?")),
    ("crio", re.compile(rf"crio-{_ID}(?:\.scope)?")),
    ("containerd", re.compile(rf"(?:cri-containerd|containerd|nerdctl)-{_ID}\.scope")),
    ("machine", re.compile(r"machine-(?P<id>.+)\.scope")),
    ("machine", re.compile(r"systemd-nspawn@(?P<id>.+)\.service")),
    ("lxc", re.compile(r"lxc\.payload\.(?P<id>.+)")),
)
#: A bare identifier is a container of what the parts above it name, the innermost first.
_BARE = re.compile(r"(?P<id>[0-9a-f]{64})")
_ABOVE = (
    ("docker", re.compile(r"docker(?:\.slice)?")),
    ("podman", re.compile(r"libpod_parent")),
    ("lxc", re.compile(r"lxc")),
    ("ecs", re.compile(r"ecs(?:tasks)?.*")),
    ("kubernetes", re.compile(r"kubepods.*|pod[0-9a-f]{8}[-_].*")),
)
#: Below a folder of these names lies one container each, by its own name.
_FOLDERS = {"lxc": "lxc", "lxc.payload": "lxc"}
_UNIT = re.compile(r".+\.(?:service|scope|mount|socket|swap)")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def container_name(path: str) -> tuple[str, bool] | None:
    """What a path of a cgroup ("/system.slice/docker-….scope") says: (name, is it a container?); None for nothing.

    The innermost container is "docker:0123456789ab", "podman:…", "crio:…", "containerd:…", "kubernetes:…" (a container
    of a pod whose engine is not named), "ecs:…", "container:…" (of who knows whom), "lxc:mail", "machine:web" (of
    systemd-machined); else the systemd unit that it is in, "nginx.service", "session-3.scope": the outermost, as a
    user's units are all in user@1000.service.
    """
    parts = path.removesuffix(" (deleted)").split("/")
    for at in range(len(parts) - 1, 0, -1):
        found = _container(parts, at)
        if found is not None:
            return found, True
    unit = next((part for part in parts if _UNIT.fullmatch(part)), None)
    return None if unit is None else (_plain(unit), False)


def _container(parts: list[str], at: int) -> str | None:
    part = parts[at]
    for engine, pattern in _CONTAINERS:
        match = pattern.fullmatch(part)
        if match:
            name = match["id"]
            return f"{engine}:{_plain(name) if engine in ('machine', 'lxc') else name[:_SHOWN]}"
    if _BARE.fullmatch(part):
        above = reversed(parts[:at])
        engine = next(
            (engine for upper in above for engine, pattern in _ABOVE if pattern.fullmatch(upper)), "container"
        )
        return f"{engine}:{part[:_SHOWN]}"
    folder = _FOLDERS.get(parts[at - 1])
    return f"{folder}:{part}" if folder else None


def _plain(name: str) -> str:
    r"""A name without systemd's escapes ("\x2d")."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), name)
