"""A dump without types, and files that have them: a vmlinux of DWARF, made of its BTF; an ISF."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support.overlay import Overlay

from kernlab.core.kernel import Kernel
from kernlab.core.own_symbols import SymbolSource
from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.types import (
    ArrayType,
    EnumType,
    ForwardType,
    FunctionType,
    IntType,
    PointerType,
    StructType,
    Type,
)
from kernlab.dump import Dump

#: Where the made vmlinux has its variables, as kernels are linked.
TEXT = 0xFFFF_FFFF_8100_0000


def btf_of(dump: Dump) -> bytes:
    start, stop = (dump.symbol(f"__{end}_BTF") for end in ("start", "stop"))
    return dump.read(start, stop - start)


def hidden(dump: Dump, source: SymbolSource | None = None, overlay: Overlay | None = None) -> Dump:
    """The same dump of a kernel that was built without CONFIG_DEBUG_INFO_BTF."""
    changed = overlay or Overlay(dump)
    changed.write(dump.symbol("__start_BTF"), bytes(64))
    kernel = Kernel.open(changed.file(), symbols=source)
    # Such a kernel does not have these symbols, nor what its modules' BTF hangs on.
    kernel.symbols._found.update(dict.fromkeys(("__start_BTF", "__stop_BTF", "btf_modules")))
    return Dump(kernel)


def vmlinux_of(
    dump: Dump,
    folder: Path,
    build_id: str,
    variables: dict[str, str] | None = None,
    options: tuple[str, ...] = (),
) -> Path:
    """A vmlinux of DWARF: the dump's types as C (by bpftool), compiled with gcc; skips without these.

    `variables` are C declarations of globals, which get the distance from _text that they have in the dump.
    """
    for tool in ("bpftool", "gcc"):
        if shutil.which(tool) is None and not Path(f"/usr/sbin/{tool}").exists():
            pytest.skip(f"no {tool} to make a vmlinux of a kernel's types (apt-get install {tool})")
    (folder / "types.btf").write_bytes(btf_of(dump))
    bpftool = shutil.which("bpftool") or "/usr/sbin/bpftool"
    header = subprocess.run(
        [bpftool, "btf", "dump", "file", "types.btf", "format", "c"],
        cwd=folder,
        capture_output=True,
        check=True,
    ).stdout
    (folder / "vmlinux.h").write_bytes(header)
    source, places = ['#include "vmlinux.h"', "void _start(void) {}"], []
    for number, (name, declared) in enumerate((variables or {}).items()):
        source.append(f'__attribute__((section(".one{number}"))) {declared};')
        places.append(
            f"-Wl,--section-start=.one{number}={dump.symbol(name) - dump.symbol('_text') + TEXT:#x}"
        )
    (folder / "made.c").write_text("\n".join(source) + "\n")
    made = folder / "vmlinux"
    command = ["gcc", "-g", "-w", "-ffreestanding", "-fno-pic", "-mcmodel=kernel", *options]
    command += [
        "-fno-eliminate-unused-debug-types",
        "-nostdlib",
        "-static",
        "-no-pie",
        f"-Wl,-Ttext={TEXT:#x}",
    ]
    command += [
        f"-Wl,--defsym=_text={TEXT:#x}",
        f"-Wl,--build-id=0x{build_id}",
        *places,
        "-o",
        str(made),
        "made.c",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this gcc cannot compile the kernel's types: {done.stderr.strip().splitlines()[-1]}")
    return made


class Isf:
    """A symbol file of Volatility, as dwarf2json writes them, of some structs and what lies within these."""

    def __init__(self, btf: Btf, structs: Iterable[str]):
        self._btf = btf
        self._names: dict[int, str] = {}
        self._kept: list[Type] = []
        self.document: dict[str, Any] = {
            "metadata": {"format": "4.1.0", "producer": {"name": "test", "version": "1"}},
            **{part: {} for part in ("base_types", "user_types", "enums", "symbols")},
        }
        self.document["base_types"]["void"] = {"size": 0, "signed": False, "kind": "void", "endian": "little"}
        for name in structs:
            self._type(btf.find(name), True)

    def symbol(self, name: str, address: int, kind: str | None = None, data: str | None = None) -> None:
        told = self._type(self._btf.find(kind), True) if kind else {"kind": "base", "name": "void"}
        self.document["symbols"][name] = {"type": told, "address": address}
        if data is not None:
            self.document["symbols"][name]["constant_data"] = data

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(self.document))
        return path

    def _name(self, kind: Type) -> str:
        # What has an id in here stays alive.
        self._kept.append(kind)
        return kind.name or self._names.setdefault(id(kind), f"unnamed_{len(self._names):016x}")

    def _type(self, kind: Type, is_whole: bool) -> dict[str, Any]:
        kind = kind.strip()
        if isinstance(kind, PointerType):
            # What is only pointed to is named, and described where it was asked for.
            return {"kind": "pointer", "subtype": self._type(kind.target, False)}
        if isinstance(kind, ArrayType):
            return {"kind": "array", "count": kind.count, "subtype": self._type(kind.element, is_whole)}
        if isinstance(kind, FunctionType):
            return {"kind": "function"}
        if isinstance(kind, StructType):
            if is_whole or not kind.name:
                self._struct(kind)
            return {"kind": "union" if kind.is_union else "struct", "name": self._name(kind)}
        if isinstance(kind, ForwardType):
            return {"kind": "union" if kind.is_union else "struct", "name": kind.name}
        if isinstance(kind, EnumType):
            told = {"size": kind.size, "base": "int", "constants": dict(kind.enumerators)}
            self.document["enums"][self._name(kind)] = told
            return {"kind": "enum", "name": self._name(kind)}
        if isinstance(kind, IntType):
            what = "bool" if kind.is_bool else "char" if "char" in kind.name else "int"
            told = {"size": kind.size, "signed": kind.signed, "kind": what, "endian": "little"}
            self.document["base_types"][kind.name] = told
            return {"kind": "base", "name": kind.name}
        return {"kind": "base", "name": "void"}

    def _struct(self, kind: StructType) -> None:
        name, structs = self._name(kind), self.document["user_types"]
        if name in structs:
            return
        fields: dict[str, Any] = {}
        structs[name] = {"size": kind.size, "kind": "union" if kind.is_union else "struct", "fields": fields}
        # Their order is lost in a Go map.
        for number, member in reversed(list(enumerate(kind.members))):
            told, offset = self._type(member.type, True), member.offset
            if member.bit_size:
                unit = 8 * max(member.type.size, 1)
                offset = member.bit_offset // unit * unit // 8
                position = member.bit_offset - 8 * offset
                told = {
                    "kind": "bitfield",
                    "bit_position": position,
                    "bit_length": member.bit_size,
                    "type": told,
                }
            field = {"type": told, "offset": offset}
            if not member.name:
                field["anonymous"] = True
            fields[member.name or f"unnamed_field_{number:x}"] = field


def shape(kind: Type, depth: int = 0) -> Any:
    """What a type is, to be compared with the same of another reader: typedefs aside."""
    kind = kind.strip()
    if isinstance(kind, StructType):
        if kind.name or depth > 8:
            return "union" if kind.is_union else "struct", kind.name, kind.size
        return kind.is_union, kind.size, members(kind, depth)
    if isinstance(kind, IntType):
        return kind.name, kind.size, kind.signed, kind.is_bool
    if isinstance(kind, EnumType):
        return "enum", kind.name, kind.size, tuple(sorted(kind.enumerators.items()))
    if isinstance(kind, ArrayType):
        return "array", kind.count, shape(kind.element, depth + 1)
    if isinstance(kind, PointerType):
        return "pointer", getattr(kind.target.strip(), "name", "")
    return type(kind).__name__, kind.size


def members(kind: StructType, depth: int = 0) -> list[Any]:
    listed = [(one.bit_offset, one.name, one.bit_size, shape(one.type, depth + 1)) for one in kind.members]
    return sorted(listed, key=repr)
