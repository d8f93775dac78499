"""Files that were given with a dump, for its kernel's types and symbols: opened, and told apart by content."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import zlib
from pathlib import Path
from typing import Any

from kernlab.core.kernel import Kernel
from kernlab.core.own_symbols import SymbolSource
from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.debug_file import DebugFile, DebugInfoError
from kernlab.debuginfo.debug_search import DebugSearch, folders, module_of
from kernlab.debuginfo.given_symbols import GivenSymbols, parse_system_map
from kernlab.debuginfo.isf import IsfTypes
from kernlab.debuginfo.types import StructType, Types
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import KernlabError
from kernlab.linux.debug_files import Paths

Path_ = str | os.PathLike[str]

_ELF, _BTF = b"\x7fELF", b"\x9f\xeb"
#: No ISF, System.map or BTF unpacks to more bytes.
_LARGEST = 1 << 30
_LONGEST_BANNER = 1024


def use_types(kernel: Kernel, path: Path_, *, any_build: bool = False) -> None:
    """Have the kernel's types come from a file of BTF, or from a symbol file of Volatility (ISF).

    Neither has a build id: an ISF is held against the kernel's banner, and both against the sizes and offsets that
    VMCOREINFO tells. Raises KernlabError for another file, and for one of another kernel unless `any_build`.
    """
    types = _read_types(Path(os.path.expanduser(path)))
    wrong = _other_banner(kernel, types) or _other_layout(kernel, types)
    if wrong and not any_build:
        raise KernlabError(
            f"{path} is of another kernel: {wrong}. any_build=True (--any-build) takes it all the same"
        )
    if wrong:
        kernel.dump_lost(
            f"{path} is of another kernel ({wrong}): it was used because that was asked for, and what it says may be "
            "wrong"
        )
    kernel.types = types


def symbol_source(
    symbols: Path_ | None, types: Path_ | None, vmlinux: Paths | None, any_build: bool
) -> SymbolSource:
    """Where symbols come from that the dump lacks: the file that was named for them, else the types' or vmlinux'."""
    if symbols is not None:
        named = Path(os.path.expanduser(symbols))
        return SymbolSource(lambda info: _read_symbols(named), named=True, any_build=any_build)
    listed = [vmlinux] if isinstance(vmlinux, str | os.PathLike) else list(vmlinux or ())
    paths = [Path(os.path.expanduser(path)) for path in listed]

    def read(info: Vmcoreinfo) -> GivenSymbols | None:
        if types is not None:
            described = _read_types(Path(os.path.expanduser(types)))
            if isinstance(described, IsfTypes) and len(described.symbols.names):
                return described.symbols
        file = _kernels_file(paths, info)
        return _of_vmlinux(file) if file is not None else None

    return SymbolSource(read, any_build=any_build)


def _kernels_file(paths: list[Path], info: Vmcoreinfo) -> DebugFile | None:
    """The kernel's own file among those given, or in folders by the build id of VMCOREINFO (since Linux 5.9)."""
    for path in paths:
        if os.path.isfile(path) and not module_of(path):
            return DebugFile(path)
    places = [*(path for path in paths if os.path.isdir(path)), *folders()]
    return DebugSearch(places, info.release or "").kernel(info.get("BUILD-ID", "").lower())


def _of_vmlinux(file: DebugFile) -> GivenSymbols:
    names, addresses, letters = file.all_symbols()
    return GivenSymbols(str(file.path), names, addresses, letters, file.build_id)


def _read_symbols(path: Path) -> GivenSymbols:
    start = _start(path)
    if start.startswith(_ELF):
        return _of_vmlinux(DebugFile(path))
    data = _unpacked(path)
    if data.lstrip()[:1] == b"{":
        return _isf(data, path).symbols
    return parse_system_map(data, str(path))


def _read_types(path: Path) -> Types:
    start = _start(path)
    if start.startswith(_ELF):
        raise KernlabError(
            f"{path} is an ELF file: give it as vmlinux=, which reads its types, symbols and source lines"
        )
    data = _unpacked(path)
    if data.startswith(_BTF):
        return Btf(data)
    if data.lstrip()[:1] == b"{":
        return _isf(data, path)
    raise KernlabError(
        f"{path} has no types: it is neither BTF (as /sys/kernel/btf/vmlinux, which begins with 9f eb) nor a "
        "symbol file of Volatility (ISF, JSON; both may be packed with xz, gzip or bzip2)"
    )


def _isf(data: bytes, path: Path) -> IsfTypes:
    try:
        document: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise KernlabError(
            f"{path} is no symbol file of Volatility (ISF): it is not JSON ({error})"
        ) from error
    return IsfTypes(document, str(path))


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(8)
    except (OSError, ValueError) as error:
        raise DebugInfoError(f"{path} cannot be read: {error}") from error


def _unpacked(path: Path) -> bytes:
    """A file's bytes, unpacked. Raises KernlabError for one that is damaged, or too large to be what is asked for."""
    start = _start(path)
    openers: tuple[tuple[bytes, Any], ...] = (
        (b"\xfd7zXZ", lzma.open),
        (b"\x1f\x8b", gzip.open),
        (b"BZh", bz2.open),
    )
    opener = next((found for magic, found in openers if start.startswith(magic)), open)
    try:
        with opener(path, "rb") as stream:
            data: bytes = stream.read(_LARGEST + 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
        raise KernlabError(f"{path} does not unpack: {error}") from error
    if len(data) > _LARGEST:
        raise KernlabError(f"{path} has more than {_LARGEST:,} bytes, which no file of types or symbols has")
    return data


def _other_banner(kernel: Kernel, types: Types) -> str:
    """Why an ISF's banner is not this kernel's; "" where it is, or one of them is not known."""
    said = types.banner if isinstance(types, IsfTypes) else ""
    address = kernel.symbols.get("linux_banner")
    if not said or address is None:
        return ""
    raw, there = kernel.memory.read_partial(address, _LONGEST_BANNER)
    here = raw.tobytes().partition(b"\0")[0].decode("utf-8", "backslashreplace").strip()
    if not there.all() or not here.startswith("Linux version") or here == said:
        return ""
    return f"it says “{said}”, the dump “{here}”"


def _other_layout(kernel: Kernel, types: Types) -> str:
    """What VMCOREINFO says of a struct that these types contradict; "" where they agree in all that both know."""
    for key in kernel.vmcoreinfo:
        what, _, rest = key.partition("(")
        name, _, member = rest.removesuffix(")").partition(".")
        kind = types.get(f"struct {name}") if what in ("SIZE", "OFFSET") else None
        struct = kind.strip() if kind is not None else None
        if not isinstance(struct, StructType):
            continue
        if what == "SIZE":
            told, found = kernel.vmcoreinfo.size(name), struct.size
        elif member in struct.member_names():
            told, found = kernel.vmcoreinfo.offset(f"{name}.{member}"), struct.member(member).offset
        else:
            continue
        if told is not None and told != found:
            return f"by it {key} is {found:,}, by the dump's VMCOREINFO {told:,}"
    return ""
