"""How a report's notebook opens its dump, and what it leaves behind at its end: the map of what was redacted."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernlab.dump import Dump
from kernlab.dump import open as open_any
from kernlab.errors import KernlabError

#: How much is redacted, least first.
LEVELS = ("none", "share", "strict")
#: Tells a report's kernel of the map of an earlier redaction; a path in a cell would be in the report.
MAP_VARIABLE = "KERNLAB_REPORT_MAP"
#: The same of files of types and symbols, as JSON: what else kernlab.open takes.
FILES_VARIABLE = "KERNLAB_REPORT_FILES"


def open_dump(
    vmcore: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    redact: str = "share",
    format: str | None = None,  # noqa: A002
    vmlinux: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
) -> Dump:
    """Open a dump for a report: as `kernlab.open` does, but redacted for people outside unless it is told otherwise.

    vmcore: a path, or the list of a split dump's pieces; redact: "none", "share" or "strict"; format, vmlinux: as for
    `kernlab.open`. The map that `kernlab report --map` names is used where it is there already: names become what they
    became before. Raises KernlabError.
    """
    if redact not in LEVELS:
        raise KernlabError(f"a report is redacted to one of {', '.join(LEVELS)}, not {redact!r}")
    options: dict[str, Any] = {"format": format, "vmlinux": vmlinux, "redact": redact}
    known = os.environ.get(MAP_VARIABLE, "")
    if redact != "none" and known:
        options["redaction_map"] = known
    options |= json.loads(os.environ.get(FILES_VARIABLE, "") or "{}")
    return open_any(vmcore, **options)


def finish(redact: str, redaction_map: str | None) -> None:
    """The last cell that a runner adds: prints, as JSON, how the dumps that are still open are redacted, and writes
    their map where one is wanted.

    Of several dumps the first one's map is written to the file, those of others beside it, with a number.
    """
    from kernlab.dataframes import origin

    levels = []
    for place, dump in enumerate(origin.alive()):
        redaction = getattr(dump, "redaction", None)
        levels.append("none" if redaction is None else str(redaction.level))
        if redaction is not None and redaction_map is not None:
            path = Path(redaction_map)
            redaction.write_map(path if not place else path.with_name(f"{path.name}.{place + 1}"))
    print(json.dumps({"wanted": redact, "levels": levels}))
