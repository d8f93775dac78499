"""What zram and zswap compress with: pages of other tools' compressors, runs of zeros written here, damage."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.formats.lzo_rle import lzo_rle_decompress
from kernlab.formats.swap_codecs import decompress

PAGE = 4096


def pages() -> dict[str, bytes]:
    """Pages of several kinds."""
    noise = random.Random(1)
    text = b"".join(b"line %05d of a page that says little\n" % line for line in range(120))
    sparse = bytearray(PAGE)
    for at in range(0, PAGE, 200):
        sparse[at] = at // 200 + 1
    return {
        "text": text[:PAGE].ljust(PAGE, b"\n"),
        "runs": (b"a" * 700 + b"b" * 900) * 2 + b"c" * (PAGE - 3200),
        "sparse": bytes(sparse),
        "half noise": noise.randbytes(PAGE // 2) + bytes(PAGE // 2),
        "noise": noise.randbytes(PAGE),
        "numbers": b"".join(number.to_bytes(8, "little") for number in range(PAGE // 8)),
        "distant": noise.randbytes(1900)
        + b"x" * 30
        + noise.randbytes(100)
        + bytes(66)
        + noise.randbytes(2000),
    }


def compressors() -> dict[str, object]:
    from cramjam import lz4
    from lzallright import LZOCompressor
    from zstandard import ZstdCompressor

    lzo = LZOCompressor()
    return {
        "lzo": lzo.compress,
        # What LZO-RLE gives where there are no zeros, but for its head.
        "lzo-rle": lambda page: b"\x11\1" + bytes(lzo.compress(page)),
        "lz4": lambda page: bytes(lz4.compress_block(page, store_size=False)),
        "zstd": ZstdCompressor(write_content_size=False).compress,
    }


@pytest.mark.parametrize("kind", pages())
@pytest.mark.parametrize("algorithm", ["lzo", "lzo-rle", "lz4", "zstd"])
def test_pages(algorithm, kind):
    page = pages()[kind]
    packed = bytes(compressors()[algorithm](page))
    assert decompress(algorithm, packed, PAGE) == (page, "")


@pytest.mark.parametrize("kind", pages())
def test_plain_lzo_is_read_by_both(kind):
    """LZO of before is LZO-RLE without its head: two decoders, one answer."""
    page = pages()[kind]
    assert lzo_rle_decompress(bytes(compressors()["lzo"](page)), PAGE) == page


def packed_runs(parts: list[tuple[bytes, int]]) -> bytes:
    """LZO-RLE of literals and runs of zeros, written as lib/lzo/lzo1x_compress.c does: literals are four or more, or at
    most three that go into the instruction before them."""
    out = bytearray(b"\x11\1")
    for place, (literals, zeros) in enumerate(parts):
        count = len(literals)
        if count and place == 0 and count <= 238:
            out.append(count + 17)
        elif 0 < count <= 3:
            out[-2 if out[-2] == 0xFF else -3] |= count
        elif count <= 18 and count:
            out.append(count - 3)
        elif count:
            rest, more = divmod(count - 18, 255)
            out += bytes([0, *[0] * (rest if more else rest - 1), more or 255])
        out += literals
        if zeros:
            run = zeros - 4
            # 0 0 0 1 1 X X X, 0xfffc with the literals that follow in its low two bits, and the rest of the length.
            out += bytes([0x18 | run & 7, 0xFC, 0xFF, run >> 3])
    return bytes(out + b"\x11\0\0")


def test_runs_of_zeros():
    parts = [(b"begin", 4), (b"four" * 5, 2051), (b"x" * 300, 100), (b"tail", 11)]
    expected = b"".join(literals + bytes(zeros) for literals, zeros in parts)
    assert lzo_rle_decompress(packed_runs(parts), PAGE) == expected
    # Without its head the same bytes are no runs.
    with pytest.raises(ValueError, match=r"beyond|ends"):
        lzo_rle_decompress(packed_runs(parts)[2:], PAGE)


def test_a_run_with_literals_behind():
    """Up to three literals stand in the low bits of the instruction in front of them."""
    data = b"\x11\1" + bytes([17 + 5]) + b"begin" + bytes([0x18 | 1, 0xFC | 2, 0xFF, 0]) + b"ab" + b"\x11\0\0"
    assert lzo_rle_decompress(data, PAGE) == b"begin" + bytes(5) + b"ab"


@pytest.mark.parametrize("algorithm", ["lzo", "lzo-rle", "lz4", "zstd"])
def test_damage_is_said(algorithm):
    packed = bytes(compressors()[algorithm](pages()["text"]))
    page, why = decompress(algorithm, packed[: len(packed) // 2], PAGE)
    assert page is None
    assert algorithm in why
    # A page that is longer than a page.
    long = bytes(compressors()[algorithm](pages()["text"] * 2))
    assert decompress(algorithm, long, PAGE)[0] is None


def test_what_nobody_reads():
    assert decompress("842", b"abc", PAGE) == (None, "pages compressed with 842 cannot be read")
    assert "unknown" in decompress("", b"abc", PAGE)[1]


@given(st.binary(max_size=300), st.booleans())
def test_lzo_rle_of_anything(data, headed):
    try:
        page = lzo_rle_decompress((b"\x11\1" if headed else b"") + data, PAGE)
    except ValueError:
        return
    assert len(page) <= PAGE
