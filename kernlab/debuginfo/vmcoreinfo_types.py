"""The types of the kernel's log as VMCOREINFO has them: enough to read it where the kernel's own types are lost."""

from __future__ import annotations

from kernlab.debuginfo.types import ArrayType, IntType, Member, PointerType, StructType, Type, VoidType
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo

_BYTE = IntType("unsigned char", 1, signed=False)
_CHAR = IntType("char", 1, signed=True, is_char=True)
_SHORT = IntType("unsigned short", 2, signed=False)
_INT = IntType("unsigned int", 4, signed=False)
_LONG = IntType("unsigned long", 8, signed=False)
_POINTER = PointerType(VoidType)

# kernel/printk/printk_ringbuffer.h; the names are those that log_buf_vmcoreinfo_setup() (kernel/printk/printk.c, since
# v5.10) writes: (struct, members).
_STRUCTS: dict[str, dict[str, str | Type]] = {
    "printk_ringbuffer": {
        "desc_ring": "prb_desc_ring",
        "text_data_ring": "prb_data_ring",
        "fail": "atomic_long_t",
    },
    "prb_desc_ring": {
        "count_bits": _INT,
        "descs": _POINTER,
        "infos": _POINTER,
        "head_id": "atomic_long_t",
        "tail_id": "atomic_long_t",
    },
    "prb_data_ring": {
        "size_bits": _INT,
        "data": _POINTER,
        "head_lpos": "atomic_long_t",
        "tail_lpos": "atomic_long_t",
    },
    "prb_desc": {"state_var": "atomic_long_t", "text_blk_lpos": "prb_data_blk_lpos"},
    "prb_data_blk_lpos": {"begin": _LONG, "next": _LONG},
    "printk_info": {"seq": _LONG, "ts_nsec": _LONG, "text_len": _SHORT, "caller_id": _INT},
    "atomic_long_t": {"counter": IntType("long", 8, signed=True)},
}


# kernel/printk/printk.c, log_buf_vmcoreinfo_setup() before v5.10: of these it writes the last only where there is one
# (CONFIG_PRINTK_CALLER, since v5.1).
_RECORD: dict[str, Type] = {
    "ts_nsec": _LONG,
    "len": _SHORT,
    "text_len": _SHORT,
    "dict_len": _SHORT,
    "caller_id": _INT,
}


def log_types(info: Vmcoreinfo) -> dict[str, StructType]:
    """The log's structs by their C names; none where this VMCOREINFO does not describe them all."""
    return {f"struct {name}": struct for name, struct in {**_ring_types(info), **_record_type(info)}.items()}


def _record_type(info: Vmcoreinfo) -> dict[str, StructType]:
    """The record of the log before v5.10."""
    size = info.size("printk_log")
    known = {member: info.offset(f"printk_log.{member}") for member in _RECORD}
    offsets = {member: offset for member, offset in known.items() if offset is not None}
    if size is None or not {*_RECORD} - {"caller_id"} <= offsets.keys():
        return {}
    found = [Member(name, lambda kind=_RECORD[name]: kind, 8 * at) for name, at in offsets.items()]  # type: ignore[misc]
    found += _behind_length(8 * offsets["dict_len"])
    return {"printk_log": StructType("printk_log", size, False, lambda: found)}


def _ring_types(info: Vmcoreinfo) -> dict[str, StructType]:
    """The structs of the ring of records since v5.10."""
    made: dict[str, StructType] = {}
    for name, members in _STRUCTS.items():
        size = info.size(name)
        offsets = {member: info.offset(f"{name}.{member}") for member in members}
        if size is None or None in offsets.values():
            return {}
        found = [
            _member(made, member, members[member], 8 * offset)
            for member, offset in offsets.items()
            if offset is not None
        ]
        if name == "printk_info":
            found += _behind_length(8 * (offsets["text_len"] or 0))
        made[name] = StructType(name, size, False, lambda found=found: found)  # type: ignore[misc]
    block = [Member("id", lambda: _LONG, 0), Member("data", lambda: ArrayType(lambda: _CHAR, 0), 64)]
    made["prb_data_block"] = StructType("prb_data_block", 8, False, lambda: block)
    return made


def _member(made: dict[str, StructType], name: str, kind: str | Type, bits: int) -> Member:
    # By name, because a struct may stand before those that it is made of.
    return Member(name, lambda: made[kind] if isinstance(kind, str) else kind, bits)


def _behind_length(bits: int) -> list[Member]:
    """facility, flags:5 and level:3 follow the last length in every kernel; VMCOREINFO does not name them."""
    return [
        Member("facility", lambda: _BYTE, bits + 16),
        Member("flags", lambda: _BYTE, bits + 24, 5),
        Member("level", lambda: _BYTE, bits + 29, 3),
    ]
