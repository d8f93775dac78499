"""LZO-RLE, LZO1X with runs of zeros (zram's own algorithm): compressed bytes in, a page out.

Mirrors lib/lzo/lzo1x_decompress_safe.c; Linux commit 5ee4014af99f ("lib/lzo: implement run-length encoding") (in v5.1).
"""

from __future__ import annotations

#: The first byte of data that has a version, and the version behind it with runs (include: LZO_VERSION).
_VERSIONED = 17
_MIN_ZERO_RUN = 4
_M2_MOST = 0x0800


def lzo_rle_decompress(data: bytes, size: int) -> bytes:
    """At most `size` bytes of a page. Raises ValueError for data that is damaged."""
    try:
        return _decompress(data, size)
    except IndexError:
        raise ValueError("it ends too early") from None


def _decompress(data: bytes, size: int) -> bytes:
    out = bytearray()
    at, version, literals = 0, 0, 0
    # lzo1x of before is the same without a version.
    if len(data) >= 5 and data[0] == _VERSIONED:
        version, at = data[1], 2
        if version > 1:
            raise ValueError(f"it is of version {version}")
    state = 0
    if data[at] > 17:
        literals = data[at] - 17
        at += 1
        if len(data) < at + literals or literals > size:
            raise ValueError("its first literals reach beyond its end")
        out += data[at : at + literals]
        at += literals
        state = 4 if literals >= 4 else literals
    while True:
        code = data[at]
        at += 1
        if code < 16:
            if state == 0:
                literals, at = (code + 3, at) if code else _length(data, at, 18)
                if len(data) < at + literals or len(out) + literals > size:
                    raise ValueError("its literals reach beyond its end")
                out += data[at : at + literals]
                at += literals
                state = 4
                continue
            following = code & 3
            distance = 1 + (code >> 2) + (data[at] << 2)
            at += 1
            length = 2
            if state == 4:
                distance += _M2_MOST
                length = 3
        elif code >= 64:
            following = code & 3
            distance = 1 + (code >> 2 & 7) + (data[at] << 3)
            at += 1
            length = (code >> 5) + 1
        elif code >= 32:
            length, at = ((code & 31) + 2, at) if code & 31 else _length(data, at, 33)
            word = data[at] | data[at + 1] << 8
            at += 2
            distance, following = 1 + (word >> 2), word & 3
        else:
            word = data[at] | data[at + 1] << 8
            if word & 0xFFFC == 0xFFFC and code & 0xF8 == 0x18 and version:
                # A run of zeros: its length is 11 bits, of which three stand in the code.
                following, run = word & 3, (code & 7 | data[at + 2] << 3) + _MIN_ZERO_RUN
                at += 3
                if len(out) + run > size:
                    raise ValueError("a run of zeros reaches beyond the page's end")
                out += bytes(run)
                state, at = _literals(data, at, following, out, size)
                continue
            length, at = ((code & 7) + 2, at) if code & 7 else _length(data, at, 9)
            word = data[at] | data[at + 1] << 8
            at += 2
            distance, following = ((code & 8) << 11) + (word >> 2), word & 3
            if not distance:
                if length != 3:
                    raise ValueError("its end is none")
                return bytes(out)
            distance += 0x4000
        if distance > len(out) or len(out) + length > size:
            raise ValueError("a repetition reaches beyond the page")
        _repeat(out, distance, length)
        state, at = _literals(data, at, following, out, size)


def _literals(data: bytes, at: int, count: int, out: bytearray, size: int) -> tuple[int, int]:
    """Copy up to three literals that follow a repetition: how many, and where its data goes on."""
    if len(data) < at + count or len(out) + count > size:
        raise ValueError("its literals reach beyond its end")
    out += data[at : at + count]
    return count, at + count


def _repeat(out: bytearray, distance: int, length: int) -> None:
    start = len(out) - distance
    if distance >= length:
        out += out[start : start + length]
        return
    pattern = out[start:]
    times = -(-length // distance)
    out += (pattern * times)[:length]


def _length(data: bytes, at: int, base: int) -> tuple[int, int]:
    """A length whose bytes of 0 stand for 255 each: the length, and where its data goes on."""
    start = at
    while data[at] == 0:
        at += 1
    return base + (at - start) * 255 + data[at], at + 1
