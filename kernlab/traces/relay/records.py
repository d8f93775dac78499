"""Bytes that a relay client wrote in, rows out: structs by their C type, NumPy dtypes, SystemTap's bulk records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes.builder import build
from kernlab.debuginfo.types import ArrayType, StructType, Type
from kernlab.errors import KernlabError
from kernlab.util import losses

U8 = npt.NDArray[np.uint8]

#: What SystemTap puts before each message in bulk mode: struct _stp_trace (magic, sequence, length of the message).
STP_MAGIC = 0xBAA99FF0
_STP_HEADER = 12

#: More columns than this no struct of a trace has.
_MOST_COLUMNS = 512


@dataclass(frozen=True, slots=True)
class Chunk:
    """One sub-buffer's bytes of one CPU, from the first record on; records that end by `wanted_from` were read.

    `open_end`: where its records end is not known; after the last one zeros follow, or what was there before.
    """

    cpu: int
    number: int
    data: U8
    wanted_from: int = 0
    stale: bool = False
    open_end: bool = False


def record_columns(
    chunks: Sequence[Chunk],
    type: str | np.dtype[Any] | Any,  # noqa: A002
    *,
    kernel: Kernel | None,
    header: int,
) -> dict[str, Any]:
    """Records of one size as columns: cpu, and the members of a C type of `kernel`, or of a NumPy dtype.

    Raises KernlabError, TypeNotFoundError.
    """
    if isinstance(type, str) and type.startswith(("struct ", "union ")):
        if kernel is None:
            raise KernlabError(f"whose {type}? Name an open dump of that kernel: dump=…, or give a dtype")
        kind = kernel.find_type(type)
        rows, cpus = fixed_records(chunks, kind.size, header=header)
        columns = struct_columns(kernel.token, rows, kind)
    else:
        try:
            dtype = np.dtype(type)
        except (TypeError, ValueError) as error:
            raise KernlabError(
                f"{type!r} is neither a C type (struct …) nor a NumPy dtype: {error}"
            ) from error
        rows, cpus = fixed_records(chunks, dtype.itemsize, header=header)
        columns = dtype_columns(rows, dtype)
    # A record may have a member "cpu" of its own: it gets another name.
    return {"cpu": cpus} | {
        f"record_{name}" if name == "cpu" else name: values for name, values in columns.items()
    }


def fixed_records(chunks: Sequence[Chunk], size: int, *, header: int = 0) -> tuple[U8, npt.NDArray[np.int64]]:
    """Records of `size` bytes that fill each sub-buffer from `header` bytes on: (uint8[n, size], cpu int64[n])."""
    if size <= 0:
        raise KernlabError(f"records of {size} bytes cannot be told apart")
    rows, cpus, left = [], [], 0
    for chunk in chunks:
        if chunk.stale:
            # Where its first record begins is not known.
            continue
        data = chunk.data[header:]
        count = len(data) // size
        if chunk.open_end:
            used = np.flatnonzero(data[: count * size].reshape(count, size).any(axis=1))
            count = int(used[-1]) + 1 if len(used) else 0
        else:
            left += len(data) - count * size
        skip = max((chunk.wanted_from - header) // size, 0)
        taken = data[skip * size : count * size].reshape(-1, size)
        rows.append(taken)
        cpus.append(np.full(len(taken), chunk.cpu, dtype=np.int64))
    if left:
        losses.lost(f"{left:,} bytes at the ends of sub-buffers are less than a record of {size:,} bytes")
    if not rows:
        return np.zeros((0, size), dtype=np.uint8), np.zeros(0, dtype=np.int64)
    return np.concatenate(rows), np.concatenate(cpus)


class _Records:
    """Stands where structs expect the memory of a dump: record i lies at address 1 + i × size."""

    #: What else a StructArray asks its kernel for: nobody notes what is read here, nor answers for it.
    journal = answer = None

    def __init__(self, rows: U8):
        self._flat = np.ascontiguousarray(rows).reshape(-1)

    def gather(self, addresses: npt.ArrayLike, size: int, what: str = "") -> tuple[U8, U8]:
        wanted = np.asarray(addresses, dtype=np.uint64).astype(np.int64) - 1
        inside = (wanted >= 0) & (wanted + size <= len(self._flat))
        index = np.where(inside, wanted, 0)[:, None] + np.arange(size)
        out = self._flat[index] if len(self._flat) else np.zeros((len(wanted), size), dtype=np.uint8)
        out[~inside] = 0
        return out, np.where(inside, 0, 4).astype(np.uint8)


def struct_columns(token: str, rows: U8, type: Type) -> dict[str, Any]:  # noqa: A002
    """One column per scalar member of a struct, members of members by their path; `rows` is uint8[n, type.size]."""
    start = 1 + np.arange(len(rows), dtype=np.uint64) * np.uint64(rows.shape[1])
    # A StructArray asks its kernel for nothing but bytes.
    records = StructArray(cast(Kernel, _Records(rows)), type, start)
    return {path: build(token, path, column) for path, column in _members(records, "")}


def _members(records: StructArray, before: str) -> list[tuple[str, Column]]:
    found: list[tuple[str, Column]] = []
    if not isinstance(records.type, StructType):
        return found
    for name in records.type.member_names():
        kind = records.type.member(name).type.strip()
        path = f"{before}.{name}" if before else name
        if isinstance(kind, StructType):
            found += _members(records.follow(name), path)
        elif isinstance(kind, ArrayType) and (
            not kind.count or isinstance(kind.element.strip(), StructType | ArrayType)
        ):
            continue
        else:
            column = records[name]
            if column.values.ndim == 2 and column.kind != "bytes":
                found += [
                    (f"{path}[{i}]", Column.of(column.values[:, i], column.valid, column.kind))
                    for i in range(column.values.shape[1])
                ]
            else:
                found.append((path, column))
        if len(found) > _MOST_COLUMNS:
            raise KernlabError(f"{records.type.c_name} has more than {_MOST_COLUMNS} members; give a dtype")
    return found


def dtype_columns(rows: U8, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The fields of a NumPy dtype as columns (one column "value" where it has none)."""
    values = np.ascontiguousarray(rows).view(dtype).reshape(-1)
    if not dtype.names:
        return {"value": _plain(values)}
    columns: dict[str, Any] = {}
    for name in dtype.names:
        column = values[name]
        if column.ndim > 1:
            flat = column.reshape(len(column), -1)
            columns.update({f"{name}[{i}]": _plain(flat[:, i]) for i in range(flat.shape[1])})
        else:
            columns[name] = _plain(column)
    return columns


def _plain(values: npt.NDArray[Any]) -> Any:
    if values.dtype.kind in "SU":
        texts = [
            item.decode("utf-8", "backslashreplace") if isinstance(item, bytes) else item for item in values
        ]
        return pd.array(np.array(texts, dtype=object), dtype="str")
    if values.dtype.kind == "V":
        out = np.empty(len(values), dtype=object)
        out[:] = [item.tobytes() for item in values]
        return out
    return values.astype(values.dtype.newbyteorder("="))


def is_systemtap(start: bytes) -> bool:
    """Do bytes begin with a message of SystemTap's bulk mode? Raises KernlabError for those of a big-endian machine."""
    if start[:4] == STP_MAGIC.to_bytes(4, "big"):
        raise KernlabError(
            "these are messages of SystemTap's bulk mode from a big-endian machine, which kernlab does not read: merge "
            "them there, with stap-merge"
        )
    return start[:4] == STP_MAGIC.to_bytes(4, "little")


def systemtap_records(chunks: Sequence[Chunk]) -> dict[str, Any]:
    """SystemTap's bulk mode: cpu, sequence, data (bytes) per message, in the order of sequence numbers.

    Chunks without its magic are plain text of the script: one row each, sequence missing.
    """
    rows: list[tuple[int, int | None, bytes]] = []
    skipped = 0
    for chunk in chunks:
        data = chunk.data.tobytes()
        is_systemtap(data)
        at, found = 0, []
        while at + _STP_HEADER <= len(data) and int.from_bytes(data[at : at + 4], "little") == STP_MAGIC:
            size = int.from_bytes(data[at + 8 : at + 12], "little")
            stop = at + _STP_HEADER + size
            if stop > len(data):
                break
            if stop > chunk.wanted_from:
                sequence = int.from_bytes(data[at + 4 : at + 8], "little")
                found.append((chunk.cpu, sequence, data[at + _STP_HEADER : stop]))
            at = stop
        if chunk.open_end:
            rows += found
            continue
        if at == 0 and data[chunk.wanted_from :]:
            rows.append((chunk.cpu, None, data[chunk.wanted_from :]))
            continue
        skipped += len(data) - at
        rows += found
    if skipped:
        losses.lost(f"{skipped:,} bytes are not whole SystemTap messages")
    rows.sort(key=lambda row: (row[1] is None, row[1] or 0))
    payload = np.empty(len(rows), dtype=object)
    payload[:] = [row[2] for row in rows]
    return {
        "cpu": np.array([row[0] for row in rows], dtype=np.int64),
        "sequence": pd.array([row[1] for row in rows], dtype="Int64"),
        "data": payload,
    }


def raw_chunks(chunks: Sequence[Chunk]) -> dict[str, Any]:
    """What nobody knows how to read: one row per sub-buffer with its unread bytes."""
    payload = np.empty(len(chunks), dtype=object)
    payload[:] = [chunk.data[chunk.wanted_from :].tobytes() for chunk in chunks]
    return {
        "cpu": np.array([chunk.cpu for chunk in chunks], dtype=np.int64),
        "subbuf": np.array([chunk.number for chunk in chunks], dtype=np.int64),
        "size_bytes": np.array([len(data) for data in payload], dtype=np.int64),
        "data": payload,
    }


def bytes_by_cpu(chunks: Sequence[Chunk]) -> dict[int, bytes]:
    """The bytes of each CPU from its first record on, stale ones left out: what a decoder of the user's is given."""
    found: dict[int, list[bytes]] = {}
    for chunk in chunks:
        parts = found.setdefault(chunk.cpu, [])
        if not chunk.stale:
            parts.append(chunk.data.tobytes())
    return {cpu: b"".join(parts) for cpu, parts in found.items()}


def hexdump(data: bytes, *, limit: int = 4096) -> str:
    """Offset, 16 bytes and their ASCII per line, as hexdump -C prints; at most `limit` bytes."""
    lines = []
    for at in range(0, min(len(data), limit), 16):
        row = data[at : min(at + 16, limit)]
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:08x}  {left:<23}  {right:<23}  |{shown}|")
    if len(data) > limit:
        lines.append(f"… and {len(data) - limit:,} more bytes")
    return "\n".join(lines)
