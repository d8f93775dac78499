"""kallsyms of every generation, on images whose every symbol is known."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from debuginfo.make_kallsyms import BASE, GENERATIONS, PAGE, Image, Kallsyms, kernel_symbols
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernlab.debuginfo.kallsyms.read import read_kallsyms
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.errors import FaultError, KernlabError


def rows(table):
    return list(zip(table.addresses.tolist(), map(chr, table.types), table.names(), strict=True))


def made(generation="percpu", count=700, **options):
    # Only the first generation has absolute symbols in a table of offsets.
    kallsyms = Kallsyms(kernel_symbols(count, 40 if generation == "percpu" else 0), generation, **options)
    return kallsyms, kallsyms.build()


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("after", [False, True])
def test_each_generation_is_told_from_the_data(generation, after):
    kallsyms, data = made(generation, tables_after_index=after)
    assert rows(read_kallsyms(Image(data), kallsyms.vmcoreinfo())) == kallsyms.symbols


@pytest.mark.parametrize("generation", ["percpu", "unsigned", "relative"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("align", [4, 8])
def test_tables_are_found_by_their_shape(generation, after, align):
    # With tables aligned to 4 (7.2), one of the two has markers that end right where the tokens begin.
    for count in (700, 700 + 256):
        kallsyms, data = made(generation, count, tables_after_index=after, align=align)
        assert rows(read_kallsyms(Image(data), kallsyms.vmcoreinfo(tables=False))) == kallsyms.symbols


@pytest.mark.parametrize("generation", ["percpu", "unsigned"])
def test_tables_of_wider_numbers_are_found(generation):
    """Before Linux 4.20 markers and the number of symbols took 8 bytes; VMCOREINFO names none of the tables."""
    for count in (700, 700 + 256):
        kallsyms, data = made(generation, count, width=8)
        assert rows(read_kallsyms(Image(data), kallsyms.vmcoreinfo(tables=False))) == kallsyms.symbols


def test_the_search_passes_over_holes_and_decoys():
    kallsyms, data = made()
    decoy = b"".join(b"%d\0" % digit for digit in range(10))
    data = decoy + data[len(decoy) :]
    assert (
        rows(read_kallsyms(Image(data, frozenset({1})), kallsyms.vmcoreinfo(tables=False)))
        == kallsyms.symbols
    )


def test_many_decoys_end_in_an_error_soon():
    class Counted(Image):
        reads = 0

        def read_partial(self, address, size):
            self.reads += 1
            return super().read_partial(address, size)

    image = Counted(b"".join(b"%d\0" % digit for digit in range(10)) * 5_000)
    info = Vmcoreinfo({"SYMBOL(_stext)": f"{BASE:x}", "NUMBER(KERNEL_IMAGE_SIZE)": f"{16 << 20}"})
    with pytest.raises(KernlabError, match="no kallsyms was found"):
        read_kallsyms(image, info)
    assert image.reads < 200


def test_names_of_more_than_127_tokens():
    symbols = kernel_symbols(300)
    symbols[5] = (symbols[5][0], "t", "x" * 127)
    symbols[6] = (symbols[6][0], "t", "_RN" + "Zy" * 240)
    kallsyms = Kallsyms(symbols)
    assert rows(read_kallsyms(Image(kallsyms.build()), kallsyms.vmcoreinfo())) == symbols


def test_bytes_that_are_no_utf8_stay_visible():
    symbols = kernel_symbols(300)
    symbols[5] = (symbols[5][0], "t", "a\xffb")
    kallsyms = Kallsyms(symbols)
    assert read_kallsyms(Image(kallsyms.build()), kallsyms.vmcoreinfo()).names()[5] == "a\\xffb"


def test_the_first_symbol_is_a_witness_as_good_as_any():
    kallsyms, data = made("unsigned")
    assert kallsyms.symbols[0][2] == "_stext"
    wrong = Vmcoreinfo({**kallsyms.vmcoreinfo(), "SYMBOL(_stext)": f"{BASE + 8:x}"})
    doubts: list[str] = []
    assert rows(read_kallsyms(Image(data), wrong, doubts)) == kallsyms.symbols
    assert doubts == [f"VMCOREINFO says SYMBOL(_stext)={BASE + 8:#x}, kallsyms {BASE:#x}: that was believed"]


def test_where_no_witness_is_right_nothing_is_believed():
    kallsyms, data = made("unsigned")
    told = kallsyms.vmcoreinfo()
    shifted = {
        key: f"{int(told[key], 16) + 4096:x}" for key in told if "kallsyms" not in key and "SYMBOL" in key
    }
    with pytest.raises(KernlabError, match=r"contradicts its VMCOREINFO: of \d symbols .* 0 have"):
        read_kallsyms(Image(data), Vmcoreinfo({**told, **shifted}))


def test_without_witnesses_what_ascends_is_believed():
    kallsyms, data = made()
    blind = {key: value for key, value in kallsyms.vmcoreinfo().items() if "kallsyms" in key}
    assert rows(read_kallsyms(Image(data), Vmcoreinfo(blind))) == kallsyms.symbols
    at = kallsyms.places["offsets"] - BASE
    noise = np.random.default_rng(1).bytes(4 * len(kallsyms.symbols))
    data = data[:at] + noise + data[at + len(noise) :]
    with pytest.raises(KernlabError, match="do not ascend in any"):
        read_kallsyms(Image(data), Vmcoreinfo(blind))


@pytest.mark.parametrize("key", ["names", "num_syms", "token_table", "token_index", "offsets"])
def test_a_missing_page_is_named(key):
    kallsyms = Kallsyms(kernel_symbols(2000))
    # Each table on pages of its own: what else lies there would be missing, too.
    data = kallsyms.build()
    page = (kallsyms.places[key] - BASE) // PAGE
    with pytest.raises(KernlabError) as raised:
        read_kallsyms(Image(data, frozenset({page})), kallsyms.vmcoreinfo())
    assert isinstance(raised.value, FaultError) or "damaged" in str(raised.value)


@pytest.mark.parametrize(
    ("key", "bytes_"),
    [
        ("num_syms", struct.pack("<I", 0)),
        ("num_syms", struct.pack("<I", 0xFFFFFFFF)),
        ("num_syms", struct.pack("<I", 1 << 22)),
        ("token_index", bytes(512)),
        ("token_table", bytes(64)),
        ("token_table", b"x" * 300),
        ("names", b"\0" * 64),
        ("names", b"\xff" * 64),
    ],
)
def test_damage_is_an_error_that_says_so(key, bytes_):
    kallsyms, data = made()
    at = kallsyms.places[key] - BASE
    with pytest.raises(KernlabError):
        read_kallsyms(Image(data[:at] + bytes_ + data[at + len(bytes_) :]), kallsyms.vmcoreinfo())


def test_names_that_claim_terabytes_are_refused():
    # A token of 60,000 bytes, and 200,000 names of two of them each.
    names, count = b"\x03T\x01\x01", 200_000
    image = Kallsyms(kernel_symbols(10), tokens={1: b"y" * 60_000})
    data = bytearray(image.build())
    at = len(data)
    data += names * count
    struct.pack_into("<I", data, image.places["num_syms"] - BASE, count)
    info = Vmcoreinfo({**image.vmcoreinfo(), "SYMBOL(kallsyms_names)": f"{BASE + at:x}"})
    with pytest.raises(KernlabError, match="would take"):
        read_kallsyms(Image(bytes(data)), info)


def test_tables_that_nobody_can_find():
    with pytest.raises(KernlabError, match="neither kallsyms nor _stext"):
        read_kallsyms(Image(bytes(PAGE)), Vmcoreinfo({}))
    with pytest.raises(KernlabError, match="no kallsyms was found"):
        read_kallsyms(Image(bytes(64 * PAGE)), Vmcoreinfo({"SYMBOL(_stext)": f"{BASE:x}"}))


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, 1 << 20), st.sampled_from("tTdDrRbBVW"), NAMES), max_size=40), st.data()
)
def test_any_names_come_back(some, data):
    generation = data.draw(st.sampled_from(GENERATIONS))
    extra = sorted((BASE + offset, letter, name) for offset, letter, name in some)
    symbols = sorted([*kernel_symbols(5), *extra], key=lambda symbol: symbol[0])
    names = [name for _, _, name in symbols]
    if any(names.count(witness) > 1 for witness in ("_stext", "init_uts_ns", "swapper_pg_dir")):
        return
    kallsyms = Kallsyms(symbols, generation, tables_after_index=data.draw(st.booleans()))
    assert rows(read_kallsyms(Image(kallsyms.build()), kallsyms.vmcoreinfo())) == symbols


SOUND, SOUND_DATA = made(count=600)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(3 * PAGE, len(SOUND_DATA) - 9), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_a_damaged_image_is_read_or_refused(changes, tables):
    data = bytearray(SOUND_DATA)
    for at, piece in changes:
        data[at : at + len(piece)] = piece
    try:
        table = read_kallsyms(Image(bytes(data)), SOUND.vmcoreinfo(tables))
    except KernlabError:
        return
    assert len(table) == len(table.names()) == len(table.addresses)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["names", "num_syms", "token_table", "token_index", "offsets", "relative_base"]),
        st.one_of(st.integers(-(1 << 70), 1 << 70), st.integers(BASE, BASE + len(SOUND_DATA))),
    )
)
def test_addresses_from_a_damaged_vmcoreinfo(wrong):
    info = {**SOUND.vmcoreinfo(), **{f"SYMBOL(kallsyms_{key})": f"{value:x}" for key, value in wrong.items()}}
    try:
        table = read_kallsyms(Image(SOUND_DATA), Vmcoreinfo(info))
    except KernlabError:
        return
    assert len(table) == len(table.names())
