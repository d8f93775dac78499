"""The state of devices behind the memory of a QEMU stream: bytes in, notes of the CPUs' registers out.

QEMU describes that state at the stream's end, in JSON (migration/savevm.c, since QEMU 2.3; its scripts/
analyze-migration.py reads it): the fields of each device in the order in which they were written, with their sizes.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from typing import Any

from kernlab.formats.base import Note
from kernlab.formats.cpu_notes import made_notes
from kernlab.formats.register_sets import AARCH64, X86_64, RegisterSet

_DESCRIPTION = re.compile(rb'\x06(....)\{"', re.DOTALL)
#: Devices' state takes some MiB; what lies behind the memory and is larger than this is not looked through.
_LARGEST = 256 << 20

# target/i386/machine.c, vmstate_x86_cpu: R_EAX … R_EDI and r8 to r15; R_ES … R_GS.
_GENERAL = (
    *("ax", "cx", "dx", "bx", "sp", "bp", "si", "di"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
_SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")
_SEGMENT = struct.Struct(">IQII")
_SINGLE = {"env.eip": "ip", "env.eflags": "flags", "env.kernelgsbase": "kernel_gs_base"} | {
    f"env.cr[{number}]": f"cr{number}" for number in (0, 2, 3, 4)
}
# target/arm/machine.c, vmstate_arm_cpu: x0 to x30 and the stack pointer; cpsr is PSTATE in 64-bit mode.
_ARM = (*AARCH64.names[:31], "sp")
_SINGLE |= {"env.pc": "pc", "cpsr": "pstate"}
_KINDS: dict[str, RegisterSet] = {"x86_64": X86_64, "aarch64": AARCH64}


def registers_of(state: bytes, machine: str) -> list[Note]:
    """Notes of the CPUs of a machine ("x86_64", "aarch64"); none where the stream does not describe them."""
    kind = _KINDS[machine]
    fields = _cpu_fields(state)
    # The number of the instance and the version stand behind the device's name.
    found = [] if fields is None else list(re.finditer(rb"\x04....\x03cpu(....)....", state, re.DOTALL))
    cpus: dict[int, dict[str, int]] = {}
    for match in found:
        registers = _registers(state, match.end(), fields or [])
        if kind.ip in registers:
            cpus.setdefault(int.from_bytes(match[1], "big"), registers)
    return made_notes([cpus[number] for number in sorted(cpus)], kind)


def _cpu_fields(state: bytes) -> list[Any] | None:
    """What the description says of the first CPU's fields; None where there is none that can be read."""
    for match in _DESCRIPTION.finditer(state[:_LARGEST]):
        start = match.end() - 2
        if int.from_bytes(match[1], "big") > len(state) - start:
            continue
        try:
            description = json.loads(state[start : start + int.from_bytes(match[1], "big")])
            devices = description["devices"]
            return next((list(device["fields"]) for device in devices if device["name"] == "cpu"), None)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return None


def _registers(state: bytes, place: int, fields: list[Any]) -> dict[str, int]:
    """The registers in the fields of one CPU, which begin at `place`."""
    found: dict[str, int] = {}
    for field in fields:
        if not isinstance(field, Mapping):
            return found
        name, size, count = field.get("name"), field.get("size", 0), field.get("array_len", 1)
        if (
            not isinstance(size, int)
            or not isinstance(count, int)
            or not 0 <= size * count <= len(state) - place
        ):
            return found
        data = state[place : place + size * count]
        if name == "env.regs" and len(data) == 8 * len(_GENERAL):
            found |= dict(zip(_GENERAL, struct.unpack(f">{len(_GENERAL)}Q", data), strict=True))
        elif name == "env.segs" and len(data) == _SEGMENT.size * len(_SEGMENTS):
            for own, (selector, base, _, _) in zip(_SEGMENTS, _SEGMENT.iter_unpack(data), strict=True):
                found |= {own: selector, f"{own}_base": base}
        elif name == "env.xregs" and len(data) == 8 * len(_ARM):
            found |= dict(zip(_ARM, struct.unpack(f">{len(_ARM)}Q", data), strict=True))
        elif name in _SINGLE and size in (4, 8):
            found[_SINGLE[name]] = int.from_bytes(data[:size], "big")
        place += size * count
    return found
