"""A log as JSON in, as lines out: what `dmesg --json` and `journalctl -o json` write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from kernlab.util import losses

#: journalctl: microseconds since boot, by the kernel's own clock where it is known (systemd.journal-fields(7)).
_TIMES = ("_SOURCE_MONOTONIC_TIMESTAMP", "__MONOTONIC_TIMESTAMP")
#: Seconds that no machine ran.
_NEVER = 10**10


def lines_of_json(text: str) -> str | None:
    """The log that some JSON holds, a record a line; None where it is no log.

    Of a journal the kernel's own records, where it says which these are.
    """
    begin = text[:4096].lstrip()
    if not begin.startswith(("{", "[")) or not any(
        name in text[: 1 << 16] for name in ('"msg"', '"MESSAGE"')
    ):
        return None
    records = list(_records(text))
    if any(record.get("_TRANSPORT") == "kernel" for record in records):
        records = [record for record in records if record.get("_TRANSPORT") == "kernel"]
    lines = [line for record in records for line in _lines(record)]
    return "\n".join(lines) if lines else None


def _records(text: str) -> Iterator[dict[str, Any]]:
    """The records of one document, else those of one a line."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        yield from _by_line(text)
        return
    if isinstance(whole, dict) and isinstance(whole.get("dmesg"), list):
        whole = whole["dmesg"]
    yield from (each for each in _listed(whole) if isinstance(each, dict))


def _by_line(text: str) -> Iterator[dict[str, Any]]:
    broken = 0
    for line in text.split("\n"):
        # Of `dmesg --json` that was cut each record is a line, too.
        bare = line.strip().rstrip(",")
        if not bare.startswith("{") or bare == "{":
            continue
        try:
            record = json.loads(bare)
        except (ValueError, RecursionError):
            broken += 1
            continue
        if isinstance(record, dict):
            yield record
    if broken:
        losses.lost(f"{broken:,} line{'s' if broken > 1 else ''} of the log cut within JSON")


def _listed(whole: Any) -> Iterable[Any]:
    return whole if isinstance(whole, list) else [whole]


def _lines(record: dict[str, Any]) -> Iterator[str]:
    said = record.get("msg", record.get("MESSAGE"))
    if isinstance(said, list):
        # Bytes that are no text (systemd's journal export).
        said = bytes(each for each in said if isinstance(each, int) and 0 <= each < 256).decode(
            "utf-8", "backslashreplace"
        )
    if not isinstance(said, str):
        return
    stamp, by = _stamp(record), record.get("caller")
    caller = f"[{by:>6}]" if isinstance(by, str) and by[1:].isdecimal() else ""
    for line in said.split("\n"):
        yield f"{stamp}{caller} {line}" if stamp or caller else line


def _stamp(record: dict[str, Any]) -> str:
    seconds = record.get("time")
    if isinstance(seconds, (int, float)) and 0 <= seconds < _NEVER:
        return f"[{seconds:12.6f}]"
    for name in _TIMES:
        since = record.get(name)
        if isinstance(since, str) and since.isdecimal() and len(since) < 18:
            return f"[{int(since) / 1e6:12.6f}]"
    return ""
