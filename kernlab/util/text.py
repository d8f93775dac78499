"""Kernel bytes in, `str` out: decoding keeps control characters, for a DataFrame holds what the kernel held."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernlab.errors import no_attribute_error

#: Rows decoded at a time: bounds the copies that decoding makes.
_CHUNK_BYTES = 64 << 20

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


class Address(int):
    """An address that shows itself in hexadecimal, `0x` and 16 digits; in all else an int."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{int(self):#018x}"

    __str__ = __repr__

    def __conform__(self, protocol: Any) -> str:
        """What sqlite3 stores: text, for its integers have a sign and 64 bits in all."""
        return str(self)


def decode(raw: bytes, *, cut: bool = False) -> str:
    """Bytes of the kernel as text: UTF-8, what is not stays readable as `\\xff`; control characters stay.

    With `cut`, only what comes before the first NUL, as in a C string.
    """
    if cut:
        raw = raw.split(b"\0", 1)[0]
    return raw.decode("utf-8", "backslashreplace")


def decode_rows(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.object_]:
    """Many C strings at once: uint8[n, width] to an object array of n `str`, each cut at its first NUL."""
    count, width = rows.shape
    result = np.empty(count, dtype=object)
    if not width:
        result[:] = ""
        return result
    step = max(_CHUNK_BYTES // width, 1)
    for start in range(0, count, step):
        chunk = np.ascontiguousarray(rows[start : start + step])
        # NumPy drops the NULs at the end by itself; what follows an earlier NUL (an old name) is cut here.
        strings: list[bytes] = chunk.view(f"S{width}").ravel().tolist()
        result[start : start + step] = [
            (row if b"\0" not in row else row.split(b"\0", 1)[0]).decode("utf-8", "backslashreplace")
            for row in strings
        ]
    return result


def human_bytes(count: Any) -> str:
    """A number of bytes as people read it: `512 B`, `1.5 KiB`, `3.9 GiB`; '' for what is missing."""
    if not isinstance(count, int | float | np.integer | np.floating) or count != count:
        return ""
    value = float(count)
    for unit in _UNITS:
        # 1023.95 would round to "1024.0".
        if abs(value) < (1024 if unit == "B" else 1023.95) or unit == _UNITS[-1]:
            return f"{int(value)} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit takes everything")


def human_time(seconds: float) -> str:
    """A span of time as people say it, in whole units: `17 s`, `1 min 24 s`, `3 h 5 min 7 s`, `2 d 7 h 40 min`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    shown = [f"{count:,} {unit}" for count, unit in ((days, "d"), (hour, "h"), (minute, "min")) if count]
    return " ".join(shown if days else [*shown, f"{second} s"])


def percent(share: float) -> str:
    """A share of 1 as people read it: `0%` only where it is nothing; '' for what is not a number."""
    if share != share:
        return ""
    if 0 < abs(share) < 0.0005:
        return "< 0.1%"
    return f"{share:.0%}" if abs(share) >= 0.1 or not share else f"{share:.1%}"


def few(items: Sequence[str], most: int = 8, *, between: str = ", ") -> str:
    """What a sentence says of a list that may be long: "a, b, c, d, e, f, g, h and 65,528 more"; '' of none."""
    shown = between.join(shorten(item, 160) for item in items[:most])
    return f"{shown} and {len(items) - most:,} more" if len(items) > most else shown


def nearest(name: str, known: Iterable[str], most: int = 3) -> str:
    """`; did you mean memory or meminfo?` of the known names that a name begins or is spelt like; '' for none."""
    names = list(known)
    begun = sorted((one for one in names if name and one.startswith(name)), key=len)
    near = dict.fromkeys([*begun[:most], *difflib.get_close_matches(name, names, most)])
    return f"; did you mean {' or '.join(list(near)[:most])}?" if near else ""


class Spelt:
    """A base for what users look into by name: an attribute that is not there is answered with those spelt alike."""

    #: How a user writes this, and where else to look when nothing is spelt alike (otherwise all there is).
    _spoken = "this"
    _look_at = ""

    if not TYPE_CHECKING:
        # A type checker shall find a name that is spelt wrong.
        def __getattr__(self, name: str) -> Any:
            """Only asked for what is not there, or for a property that raised an AttributeError."""
            if hasattr(type(self), name):
                with no_attribute_error(f"{name!r} of {self._spoken}", type(self).__module__):
                    return object.__getattribute__(self, name)
            if name.startswith("_"):
                raise AttributeError(name)
            known = [one for one in dir(self) if one[0] != "_"]
            hint = nearest(name, known) or self._look_at or f"; there are: {', '.join(known)}"
            raise AttributeError(f"{self._spoken} has no {name!r}{hint}")


def shorten(text: str, limit: int) -> str:
    """`text` in at most `limit` characters: its end gives way to an ellipsis."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"
