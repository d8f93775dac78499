"""Which columns of which tables may differ between a dump and the same redacted, by level."""

from __future__ import annotations

from kernlab.redaction.levels import NONE, STRICT

#: The general registers, of CPUs that were in user mode.
_REGISTERS = (
    *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di"),
    *(f"x{number}" for number in range(31)),
)

#: A program, a control group or a file may bear a user's, a host's or a customer's name, so every name may differ.
_SHARE: dict[str, tuple[str, ...]] = {
    "file_locks": ("comm", "path"),
    "filesystems": ("source", "mount"),
    "files": ("comm", "path"),
    "bpf_maps": ("name",),
    "bpf_programs": ("name", "attached"),
    "cmdline": ("parameter", "value"),
    "cgroup_io": ("hierarchy", "path"),
    "cgroup_memory": ("hierarchy", "path"),
    "cgroups": ("hierarchy", "path"),
    "inflight": ("comm", "cgroup", "path"),
    "credentials": ("comm", "label"),
    "delays": ("comm",),
    "disks": ("serial",),
    "dmi": (
        *("product_serial", "product_uuid", "board_serial", "board_asset_tag"),
        *("chassis_serial", "chassis_asset_tag"),
    ),
    "holders": ("comm", "path", "detail"),
    "info": ("nodename", "cmdline", "file", "panic_message", "panic_comm"),
    "log": ("text",),
    "keys": ("description",),
    "locks": ("name", "holder_comm", "note"),
    "map_usage": ("path",),
    "maps": ("path",),
    "memory_by_cgroup": ("path",),
    "memory_by_file": ("path",),
    "memory_by_process": ("comm", "cgroup", "exe"),
    "queued_signals": ("comm",),
    "queued": ("comm", "group"),
    "namespaces": ("comm", "hostname"),
    "pressure": ("path",),
    "mounts": ("source", "target", "options", "root", "super_options"),
    "nvme": ("serial", "nqn"),
    "page_owner": ("comm",),
    "neighbours": ("ip", "mac"),
    "netdevs": ("mac", "ipv4", "ipv6"),
    "registers": ("comm", *_REGISTERS),
    "routes": ("destination", "source_prefix", "gateway", "source"),
    "runqueues": ("comm",),
    "signal_actions": ("comm",),
    "signals": ("comm",),
    "sockets": ("local", "remote"),
    "stacks": ("comm",),
    "suspects": ("lead", "subject", "evidence", "cell"),
    "swap": ("path",),
    "tasks": ("comm", "cgroup", "container", "exe"),
    "timeline": ("comm", "text"),
    "timers": ("comm",),
    "tmpfs": ("mount",),
    "volumes": ("path",),
    "verdict": ("subject", "device", "evidence", "against", "cell"),
    "waits": ("comm", "name", "holder_comm", "note"),
}
#: What is unknown of freed objects is zeroed there, too.
_STRICT: dict[str, tuple[str, ...]] = {}


def columns(level: str) -> dict[str, list[str]]:
    """Table → columns."""
    if level == NONE:
        return {}
    tables = {table: list(names) for table, names in _SHARE.items()}
    if level == STRICT:
        for table, names in _STRICT.items():
            tables[table] = sorted({*tables.get(table, []), *names})
    return tables
