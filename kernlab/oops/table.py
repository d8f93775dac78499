"""A kernel log in, a table of its reports out; a report in, a table of its frames out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kernlab.dataframes import frame, objects
from kernlab.errors import KernlabError
from kernlab.oops.frames import frame_of
from kernlab.oops.interleaving import reports_of
from kernlab.oops.lines import Log
from kernlab.oops.row import row

if TYPE_CHECKING:
    Text = str | pd.Series[str] | pd.DataFrame

#: A column's values by its dtype.
_DTYPES = {
    "kind": "str",
    "title": "str",
    "function": "str",
    "module": "str",
    "cpu": "Int64",
    "pid": "Int64",
    "comm": "str",
    "offset": "int64",
    "end": "int64",
    "timestamp": "timedelta64[ns]",
    "caller": "str",
    "release": "str",
    "taint": "str",
    "frames": "object",
    "corrupted": "bool",
    "why": "str",
    "details": "object",
    "signature": "str",
}


def parse(log: Text) -> pd.DataFrame:
    """The reports of a kernel log, one row each, in the log's order.

    `log` is text with any prefix (dmesg, a serial console, syslog, journalctl -k), a table such as `dump.log`, or a
    Series of records; an index of timedeltas tells their times. Rows of a facility that is not the kernel's (0) are
    what programs wrote, and begin no report.

    kind (one of `kernlab.oops.forms.KINDS`), title (as syzbot gives them), function and module (to blame: not where a
    lock or a copy failed but who asked for it), cpu, pid, comm, offset and end (of its first line and behind its last
    one: lines of a text, rows of a table), timestamp (since boot), caller (`T12`, `C0`), release, taint, frames (as
    the kernel prints them, "? " before those that are not sure), corrupted and why (no stack, or broken off by another
    report), details (a dict of what only some say: address, access, seconds, device, file, at, allocated, freed,
    tainting_modules, panic …), signature.

    A panic that follows from a report is in its details. A report that another broke off is a row of its own, and so
    is the other, whose details name the first one's offset as `inside`.

    >>> log = '''
    ... [   12.300001] BUG: kernel NULL pointer dereference, address: 0000000000000010
    ... [   12.300002] Oops: Oops: 0002 [#1] SMP
    ... [   12.300003] CPU: 1 UID: 0 PID: 77 Comm: billing Tainted: G  OE  6.12.1 #1
    ... [   12.300004] RIP: 0010:shop_check+0x1c/0x30 [shop]
    ... [   12.300005] Call Trace:
    ... [   12.300006]  shop_write+0x5e/0xe0 [shop]
    ... [   12.300007]  vfs_write+0xf8/0x390
    ... '''
    >>> kernlab.oops.parse(log)[["kind", "function", "module", "pid"]]
                   kind    function module  pid
    0  null dereference  shop_check   shop   77
    """
    if not isinstance(log, (str, pd.Series, pd.DataFrame)) or (
        isinstance(log, pd.DataFrame) and "text" not in log
    ):
        raise KernlabError(
            f"kernlab.oops.parse takes text, a table with a column text or a Series of records, not "
            f"{type(log).__name__}. "
            "Of bytes it takes what decode() gives."
        )
    reports, problems = reports_of(Log(log))
    rows = [row(report) for report in reports]
    # Looking a dtype up by its name takes longer than a column of a few rows.
    known = {dtype: pd.api.types.pandas_dtype(dtype) for dtype in set(_DTYPES.values())}
    columns = {name: _column(known[dtype], [each[name] for each in rows]) for name, dtype in _DTYPES.items()}
    table = frame(None, "oops", **columns)
    table.attrs["problems"] += problems
    return table


def stack(report: Mapping[str, Any] | pd.Series[Any]) -> pd.DataFrame:
    """The frames of a report (a row of `parse`), the innermost first: name, offset, size, module, reliable.

    >>> log = "BUG: Bad page state in process a  pfn:1\\n foo+0x12/0x34 [bar]\\n ? baz+0x1/0x2"
    >>> kernlab.oops.stack(kernlab.oops.parse(log).iloc[0])
      name  offset  size module  reliable
    0  foo      18    52    bar      True
    1  baz       1     2          False
    """
    frames = [frame_of(text) for text in report["frames"]]
    found = [each for each in frames if each is not None]
    text, number = pd.api.types.pandas_dtype("str"), pd.Int64Dtype()
    return frame(
        None,
        "stack",
        name=_column(text, [each.name for each in found]),
        offset=_column(number, [each.offset for each in found]),
        size=_column(number, [each.size for each in found]),
        module=_column(text, [each.module for each in found]),
        reliable=_column(np.dtype(bool), [each.reliable for each in found]),
    )


def _column(dtype: Any, values: list[Any]) -> Any:
    if dtype.kind == "O" and isinstance(dtype, np.dtype):
        return objects(values)
    if dtype.kind == "m":
        missing = np.iinfo("i8").min
        return np.array([missing if value is None else value for value in values], dtype="i8").view(dtype)
    if isinstance(dtype, np.dtype):
        return np.array(values, dtype=dtype)
    return pd.array([pd.NA if value is None else value for value in values], dtype=dtype)
