"""Which columns of which tables may differ between a dump and the same redacted, by level."""

from __future__ import annotations

from kernlab.redaction.levels import NONE, STRICT

_SHARE: dict[str, tuple[str, ...]] = {
    "info": ("nodename", "cmdline", "file"),
    "log": ("text",),
}
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
