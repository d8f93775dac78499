"""Would the dump be saved, whole and of what trouble? Service, room, makedumpfile and sysctls in, checks out."""

from __future__ import annotations

import re

from kernlab.kdump_status.machine import TYPES, Machine
from kernlab.kdump_status.needs import dump_size
from kernlab.kdump_status.report import Check, State
from kernlab.util.text import human_bytes

#: What each makedumpfile knows (LATEST_VERSION in its makedumpfile.h), newest first; newer kernels make it warn.
_KNOWS = (
    ((1, 7, 9), (7, 0)),
    ((1, 7, 8), (6, 17)),
    ((1, 7, 7), (6, 14)),
    ((1, 7, 6), (6, 11)),
    ((1, 7, 5), (6, 8)),
    ((1, 7, 4), (6, 6)),
    ((1, 7, 3), (6, 3)),
    ((1, 7, 2), (6, 0)),
    ((1, 7, 1), (5, 17)),
    ((1, 7, 0), (5, 15)),
    ((1, 6, 9), (5, 12)),
    ((1, 6, 8), (5, 9)),
    ((1, 6, 7), (5, 4)),
    ((1, 6, 6), (5, 1)),
)

#: Kernels from which on a makedumpfile before that version takes kernel pages for user data and leaves them out:
#: makedumpfile commits bad2a7c ("Fix wrong exclusion of Slab pages on Linux 6.10-rc1 and later"), 72c3414 ("fix
#: detection of typed (compound) pages (Linux 6.12)"), f50c015 ("Fix wrong exclusion of compound tail pages on Linux
#: 7.1 and later", after 1.7.9).
_LOSES = (((6, 10), (1, 7, 6)), ((6, 12), (1, 7, 7)), ((7, 1), (1, 7, 10)))

#: makedumpfile's bit for user data: the guess that goes wrong.
_USER_DATA = 8

#: Pages of kernels compress to about a third or a quarter; a fifth is the best that can be hoped for.
_BEST_COMPRESSION = 5

_SYSRQ_DUMP = 0x8


def service(machine: Machine) -> Check:
    """The distribution's service: installed, switched on, starting at boot."""
    title, name = "service", "service"
    wanted = "kdump-tools, kdump-utils or kdump, on at boot: it loads the crash kernel and saves the dump"
    found = machine.service
    if found is None:
        # Somebody may have loaded a crash kernel by hand; what that does after a crash is not known.
        state: State = "warn" if machine.crash_loaded else "fail"
        return Check(name, title, state, "none found", wanted, "install the distribution's kdump package")
    if found.disabled_by:
        state = "warn" if machine.crash_loaded else "fail"
        said = f"{found.name}, switched off: {found.disabled_by}"
        return Check(name, title, state, said, wanted, f"set it, then {found.load}")
    if found.enabled is False:
        said = f"{found.name}, not started at boot"
        remedy = f"systemctl enable --now {found.name}"
        return Check(name, title, "warn" if machine.crash_loaded else "fail", said, wanted, remedy)
    return Check(name, title, "ok", f"{found.name} ({found.config}), saves with {found.collector}", wanted)


def target(machine: Machine) -> Check | None:
    """Where dumps go, and whether one fits there."""
    title, name = "target", "target"
    found = machine.service
    if found is None:
        return None
    level = found.dump_level
    if machine.inside:
        return _room_after_crash(machine)
    size = dump_size(machine, level or 0)
    wanted = "room for a dump of this machine"
    if size is not None:
        compressed = ", before compression" if found.compresses else ""
        wanted += (
            f": about {human_bytes(size.kept)} if it died now, at dump level {level or 0}{compressed}, "
            f"by {size.source}"
        )
    if not found.target:
        said = f"{found.remote}: room there was not looked at" if found.remote else "unknown"
        return Check(
            name, title, "note", said, wanted, "see that the target can be written from the crash kernel"
        )
    if machine.free is None:
        return Check(
            name, title, "warn", f"{found.target}: free room unknown", wanted, "see that the folder is there"
        )
    said = f"{found.target}, {human_bytes(machine.free)} free"
    if size is None or machine.free >= size.kept:
        return Check(name, title, "ok", said, wanted)
    remedy = f"make room, or name another place in {found.config}"
    if level is not None and level != 31:
        remedy += ", or leave out more (-d 31)"
    hopeless = machine.free < size.kept // (_BEST_COMPRESSION if found.compresses else 1)
    if hopeless:
        return Check(name, title, "fail", f"{said}: too little", wanted, remedy)
    return Check(name, title, "warn", f"{said}: enough only if the pages compress well", wanted, remedy)


def _room_after_crash(machine: Machine) -> Check | None:
    """Room for the dump that waits in /proc/vmcore; what of it will be left out is not known before it is read."""
    if machine.free is None or not machine.vmcore_bytes or machine.service is None:
        return None
    said = f"{machine.service.target}, {human_bytes(machine.free)} free"
    wanted = (
        f"room for the dump: /proc/vmcore has {human_bytes(machine.vmcore_bytes)}, all pages, not compressed"
    )
    if machine.free >= machine.vmcore_bytes:
        return Check("target", "target", "ok", said, wanted)
    remedy = "leave out what is not needed (makedumpfile -c -d 31), or save to another place"
    return Check("target", "target", "note", said, wanted, remedy)


def makedumpfile(machine: Machine) -> Check | None:
    """Whether makedumpfile knows this kernel: an older one drops kernel pages unseen."""
    title, name = "makedumpfile", "makedumpfile"
    if machine.service is not None and machine.service.dump_level is None:
        return None
    if machine.makedumpfile is None:
        return Check(
            name,
            title,
            "warn",
            "not found, or it does not run",
            "makedumpfile as new as the kernel",
            "install it",
        )
    kernel = _numbers(machine.release or "")[:2]
    version = _numbers(machine.makedumpfile)
    given = machine.service.dump_level if machine.service else None
    level = 31 if given is None else given
    said = f"{machine.makedumpfile}, dump level {level}, on Linux {machine.release}"
    fixed = [since for first, since in _LOSES if kernel >= first and version < since]
    if fixed and level & _USER_DATA:
        newest = ".".join(map(str, max(fixed)))
        wanted = "makedumpfile after 1.7.9" if newest == "1.7.10" else f"makedumpfile {newest} or newer"
        return Check(
            name,
            title,
            "warn",
            f"{said}: it takes kernel pages (slabs among them) for user data and leaves them out",
            wanted,
            f"a newer makedumpfile, or a dump level without user data's bit: -d {level & ~_USER_DATA}",
        )
    knows = next((upto for since, upto in _KNOWS if version >= since), None)
    wanted = "a makedumpfile that knows the kernel"
    if knows is None or kernel > knows:
        known = "" if knows is None else f", knows kernels up to {knows[0]}.{knows[1]}"
        remedy = "see that a test dump opens: kernlab info; a newer makedumpfile is better"
        return Check(name, title, "note", f"{said}{known}", wanted, remedy)
    return Check(name, title, "ok", said, wanted)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def types(machine: Machine) -> Check | None:
    """Will the dump hold the kernel's own types, without which its structs are read by a debug file only?"""
    if machine.types is None:
        return None
    name, title, wanted = "types", "kernel's types", "types in the kernel (CONFIG_DEBUG_INFO_BTF)"
    if machine.types:
        return Check(name, title, "ok", f"{TYPES}: kernlab kernel-check says what it reads of them", wanted)
    return Check(
        name,
        title,
        "warn",
        f"none: there is no {TYPES}",
        wanted,
        f"keep the vmlinux with debug information of {machine.release or 'this kernel'}: its dumps need it",
    )


def panics(machine: Machine) -> list[Check]:
    """What trouble ends in a panic, and so in a dump; the rest is left to the administrator's choice."""
    have = machine.sysctls
    checks = []
    if (value := have.get("kernel/panic_on_oops")) is not None:
        checks.append(
            _sysctl(
                "kernel.panic_on_oops",
                value,
                "ok" if value else "warn",
                "1: an oops leaves a dump, before the damage spreads",
            )
        )
    for name, why in (
        ("kernel/hung_task_panic", "1 for a dump of tasks that hang"),
        ("vm/panic_on_oom", "1 (2: of a cpuset too) for a dump when memory runs out"),
        ("kernel/softlockup_panic", "1 for a dump of a CPU that loops in the kernel"),
        ("kernel/hardlockup_panic", "1 for a dump of a CPU that loops with interrupts off"),
        ("kernel/unknown_nmi_panic", "1 for a dump at the press of a machine's NMI button"),
        ("kernel/panic_on_warn", "0, but for tests: a warning is no reason to stop"),
    ):
        if (value := have.get(name)) is not None:
            odd = value != 0 if name == "kernel/panic_on_warn" else value == 0
            checks.append(_sysctl(name.replace("/", "."), value, "note" if odd else "ok", why))
    if (value := have.get("kernel/sysrq")) is not None:
        enabled = value == 1 or bool(value & _SYSRQ_DUMP)
        checks.append(
            _sysctl(
                "kernel.sysrq",
                value,
                "ok" if enabled else "note",
                "1, or bit 8: the keyboard's SysRq-c leaves a dump (/proc/sysrq-trigger does in any case)",
                set_to=str(value | _SYSRQ_DUMP),
            )
        )
    if (value := have.get("kernel/panic")) is not None:
        checks.append(
            _sysctl(
                "kernel.panic",
                value,
                "ok" if value else "note",
                "seconds until a reboot, not 0: where the crash kernel does not start, the machine waits for ever",
                set_to="10",
            )
        )
    if machine.notifiers_first:
        checks.append(
            Check(
                "crash_kexec_post_notifiers",
                "crash_kexec_post_notifiers",
                "note",
                "Y: the panic notifiers run before the crash kernel starts",
                "N, but where a hypervisor must hear of the panic first: a broken kernel does more before the dump",
                "take crash_kexec_post_notifiers from the kernel's command line",
            )
        )
    return checks


def _sysctl(name: str, value: int, state: State, wanted: str, set_to: str | None = None) -> Check:
    new = set_to if set_to is not None else "0" if wanted.startswith("0") else "1"
    remedy = "" if state == "ok" else f"sysctl -w {name}={new}"
    return Check(name, name, state, str(value), wanted, remedy)
