"""Structs as columns, over types and memory that the test made: every kind of member, by every kind of path."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from debuginfo import make_btf as btf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.heap import Heap

from kernlab.core.struct import Struct
from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.btf import Btf
from kernlab.errors import FaultError, KernlabError, MemberNotFoundError, PageExcluded, TypeNotFoundError

WILD = 0xFFFF_F000_DEAD_0000
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def types() -> Btf:
    """struct thing, which has a member of every kind; 200 bytes."""
    blob = btf.Blob()
    u64 = blob.int("unsigned long", 8)
    i32 = blob.int("int", 4, btf.SIGNED)
    u8 = blob.int("unsigned char", 1)
    char = blob.int("char", 1, btf.SIGNED | btf.CHAR)
    boolean = blob.int("_Bool", 1, btf.BOOL)
    i16 = blob.int("short", 2, btf.SIGNED)
    wide = blob.int("__int128", 16, btf.SIGNED)
    double = blob.add(btf.FLOAT, "double", 8)
    state = blob.enum("state", {"IDLE": 0, "BUSY": 2, "STUCK": 5})
    signed = blob.enum("signed_state", {"GONE": -1, "HERE": 1}, signed=True)
    long_enum = blob.enum64("long_state", {"HUGE": 1 << 40})
    point = blob.struct("point", 8, [("x", i32, 0), ("y", i32, 32)])
    tagged = blob.struct("tagged", 16, [("first", u64, 0), ("counters", u64, 64)])
    nameless = blob.struct("", 8, [("left", u64, 0), ("also_left", u64, 0)], kind=btf.UNION)
    thing_forward = blob.next_id + 20  # struct thing itself, patched below by its place
    members_before = len(blob.types)
    volatile = blob.add(btf.VOLATILE, third=u64)
    word_type = blob.add(btf.TYPEDEF, "word_t", u64)
    const = blob.add(btf.CONST, third=word_type)
    self_pointer = blob.add(btf.PTR, third=thing_forward)
    point_pointer = blob.add(btf.PTR, third=point)
    void_pointer = blob.add(btf.PTR)
    proto = blob.prototype(i32, [("a", i32)])
    function = blob.add(btf.PTR, third=proto)
    name = blob.array(char, 16)
    numbers = blob.array(i16, 4)
    points = blob.array(point, 3)
    grid = blob.array(blob.array(u8, 4), 2)
    flags = blob.array(boolean, 4)
    states = blob.array(state, 2)
    flexible = blob.array(u64, 0)
    while blob.next_id < thing_forward:
        blob.add(btf.TYPEDEF, f"filler{blob.next_id}", u64)
    assert blob.next_id == thing_forward, (blob.next_id, thing_forward, members_before)
    members = [
        ("id", volatile, 0, 0),
        ("delta", i32, 64, 0),
        ("small", u8, 96, 0),
        ("alive", boolean, 104, 0),
        ("level", u8, 112, 3),
        ("mark", i32, 115, 5),
        ("comm", name, 128, 0),
        ("numbers", numbers, 256, 0),
        ("next", self_pointer, 320, 0),
        ("where", point_pointer, 384, 0),
        ("data", void_pointer, 448, 0),
        ("call", function, 512, 0),
        ("state", state, 576, 0),
        ("signed_state", signed, 608, 0),
        ("long_state", long_enum, 640, 0),
        ("at", point, 704, 0),
        ("", nameless, 768, 0),
        ("", tagged, 832, 0),
        ("points", points, 960, 0),
        ("grid", grid, 1152, 0),
        ("ratio", double, 1216, 0),
        ("wide", wide, 1280, 0),
        ("word", const, 1408, 0),
        ("flags", flags, 1472, 0),
        ("states", states, 1504, 0),
        ("tail", flexible, 1600, 0),
    ]
    assert blob.struct("thing", 200, members) == thing_forward
    return Btf(blob.bytes())


@pytest.fixture(scope="module")
def known() -> Btf:
    return types()


@pytest.fixture(scope="module")
def below(opened):
    return opened("debian-6.1")


def made(below, known, contents: list[bytes], extra: int = 64) -> tuple[Heap, list[int]]:
    heap = Heap(below, pages=64)
    places = []
    for content in contents:
        places.append(heap.alloc(200 + extra))
        heap.put(places[-1], content)
    return heap, places


def things(heap: Heap, known: Btf, places: list[int]) -> StructArray:
    kernel = heap.kernel()
    kernel.types = known
    return StructArray(kernel, "struct thing", np.array(places, dtype=np.uint64))


CONTENT = st.lists(st.binary(min_size=232, max_size=232), min_size=1, max_size=5)


def number(content: bytes, offset: int, size: int, signed: bool = False) -> int:
    return int.from_bytes(content[offset : offset + size], "little", signed=signed)


@SETTINGS
@given(contents=CONTENT)
def test_every_kind_of_member_is_what_c_would_read(below, known, contents):
    heap, places = made(below, known, contents)
    array = things(heap, known, places)

    def column(path: str) -> list[object]:
        found = array[path]
        assert found.valid.all()
        return found.values.tolist()

    assert column("id") == [number(c, 0, 8) for c in contents]
    assert column("delta") == [number(c, 8, 4, True) for c in contents]
    assert column("small") == [number(c, 12, 1) for c in contents]
    assert column("alive") == [c[13] != 0 for c in contents]
    assert column("level") == [c[14] & 7 for c in contents]
    assert column("mark") == [((c[14] >> 3) ^ 16) - 16 for c in contents]
    assert column("comm") == [c[16:32].split(b"\0")[0].decode("utf-8", "backslashreplace") for c in contents]
    assert column("numbers") == [[number(c, 32 + 2 * i, 2, True) for i in range(4)] for c in contents]
    assert column("numbers[2]") == [number(c, 36, 2, True) for c in contents]
    assert column("data") == [number(c, 56, 8) for c in contents]
    assert column("state") == [number(c, 72, 4) for c in contents]
    assert column("signed_state") == [number(c, 76, 4, True) for c in contents]
    assert column("long_state") == [number(c, 80, 8) for c in contents]
    assert column("at.y") == [number(c, 92, 4, True) for c in contents]
    assert column("left") == column("also_left") == [number(c, 96, 8) for c in contents]
    assert column("counters") == [number(c, 112, 8) for c in contents]
    assert column("points[1].x") == [number(c, 128, 4, True) for c in contents]
    assert column("grid[1][2]") == [c[144 + 6] for c in contents]
    assert array["ratio"].values.tobytes() == b"".join(c[152:160] for c in contents)
    assert [row.tobytes() for row in array["wide"].values] == [c[160:176] for c in contents]
    assert column("word") == [number(c, 176, 8) for c in contents]
    assert column("flags") == [[b != 0 for b in c[184:188]] for c in contents]
    assert column("tail[3]") == [number(c, 200 + 24, 8) for c in contents]
    # One at a time, the same.
    for one, content in zip(array, contents, strict=True):
        assert one.delta == number(content, 8, 4, True)
        assert one.mark == ((content[14] >> 3) ^ 16) - 16
        assert one.numbers == [number(content, 32 + 2 * i, 2, True) for i in range(4)]
        assert [p.x for p in one.points] == [number(content, 120 + 8 * i, 4, True) for i in range(3)]
        assert one.counters == number(content, 112, 8)


def test_enums_know_their_names(below, known):
    contents = [bytearray(232) for _ in range(3)]
    for content, value in zip(contents, (5, 0, 77), strict=True):
        content[72:76] = value.to_bytes(4, "little")
        content[76:80] = (0xFFFFFFFF).to_bytes(4, "little")
        content[80:88] = (1 << 40).to_bytes(8, "little")
    heap, places = made(below, known, [bytes(c) for c in contents])
    array = things(heap, known, [*places, 0])
    assert array["state"].names() == ["STUCK", "IDLE", "77", None]
    assert array["signed_state"].names()[:1] == ["GONE"]
    assert array["long_state"].names()[:1] == ["HUGE"]
    one = array[0]
    assert one.state == 5
    assert str(one.state) == "STUCK"
    assert repr(array[2].state) == "(enum state)77"
    with pytest.raises(KernlabError, match="enum"):
        array["delta"].names()


def test_pointers_are_followed_and_null_ends_there(below, known):
    contents = [bytearray(232) for _ in range(4)]
    heap = Heap(below)
    places = [heap.alloc(232) for _ in range(4)]
    point = heap.alloc(8)
    heap.put(point, (7).to_bytes(4, "little") + (-9 & 0xFFFFFFFF).to_bytes(4, "little"))
    for row, (following, where) in enumerate(((places[1], point), (places[2], 0), (0, point), (WILD, WILD))):
        contents[row][40:48] = following.to_bytes(8, "little")
        contents[row][48:56] = where.to_bytes(8, "little")
        heap.put(places[row], bytes(contents[row]))
    array = things(heap, known, places)
    for path in ("where->y", "where.y"):
        column = array[path]
        assert column.valid.tolist() == [True, False, True, False]
        assert column.values[[0, 2]].tolist() == [-9, -9]
    assert array["next->next->where->x"].valid.tolist() == [True, False, False, False]
    pointers = array["next"]
    assert pointers.kind == "address"
    assert pointers.valid.all(), "a NULL that was read is a value"
    assert pointers.values.tolist() == [places[1], places[2], 0, WILD]
    followed = array.follow("next")
    assert followed.addresses.tolist()[:2] == places[1:3]
    assert followed.valid.tolist() == [True, True, False, True]
    assert followed["delta"].valid.tolist() == [True, True, False, False]
    assert array[2].next is None
    assert array[0].next == array[1]
    with pytest.raises(FaultError, match="NULL"):
        array[2]["next->delta"]
    with pytest.raises(FaultError):
        _ = array[3].next.delta


def test_what_is_not_in_the_dump_is_missing_one_member_at_a_time(below, known):
    heap = Heap(below)
    heap.alloc(4096 - 100, 1)
    place = heap.alloc(232, 1)  # 100 bytes on one page, the rest on the next
    other = heap.alloc(232)
    # Pages that were made cannot be left out: a real one is taken for that.
    array = things(heap, known, [place, other])
    assert array["delta"].valid.all()
    real = below.symbol("init_task") & ~4095
    dump = type(heap.overlay)(below).exclude(real).dump()
    dump.kernel.types = known
    cut = StructArray(dump.kernel, "struct thing", [real - 100, real + 4096])
    assert cut["delta"].valid.tolist() == [True, True]
    assert cut["points[2].y"].valid.tolist() == [False, True]
    assert cut["at"]["x"].valid.tolist() == [True, True]
    assert cut["left"].valid.tolist() == [False, True], "bytes 96 to 104 lie on both pages"
    with pytest.raises(PageExcluded):
        _ = cut[0].word
    values = {member.name: member.value for member in cut[0].members_()}
    assert isinstance(values["word"], PageExcluded)
    assert not isinstance(values["delta"], KernlabError)
    assert "left out of the dump" in repr(cut[0])


def test_errors_name_the_nearest(below, known):
    heap, places = made(below, known, [bytes(232)])
    array = things(heap, known, places)
    with pytest.raises(MemberNotFoundError, match="comm"):
        array["com"]
    with pytest.raises(MemberNotFoundError, match="no members"):
        array["delta.x"]
    with pytest.raises(MemberNotFoundError, match="points to nothing"):
        array["data->x"]
    for path in ("", "at..x", "at.", "->", "a b", "at[", "tail[99999999999999999999]", "x" * 2000):
        with pytest.raises(KernlabError):
            array[path]
    with pytest.raises(MemberNotFoundError):
        array.elements("delta")
    with pytest.raises(KernlabError, match="refused"):
        array.elements("tail", 1 << 40)
    with pytest.raises(TypeNotFoundError):
        array.cast("struct thong")
    with pytest.raises(AttributeError):
        _ = array[0].__nothing__


def test_elements_of_arrays_and_flexible_ones(below, known):
    contents = [bytearray(range(232)), bytearray(range(100, 100 + 132)) + bytearray(100)]
    heap, places = made(below, known, [bytes(c) for c in contents])
    array = things(heap, known, places)
    owner, points = array.elements("points")
    assert owner.tolist() == [0, 0, 0, 1, 1, 1]
    assert points["x"].values.tolist() == [
        number(contents[i], 120 + 8 * j, 4, True) for i in range(2) for j in range(3)
    ]
    owner, tail = array.elements("tail", 2)
    assert tail.addresses.tolist() == [place + 200 + 8 * j for place in places for j in range(2)]


def test_containers_lead_back(below, known):
    heap, places = made(below, known, [bytes(232)] * 3)
    array = things(heap, known, places)
    inner = array["at"]
    assert inner.addresses.tolist() == [place + 88 for place in places]
    assert inner.container("struct thing", "at").addresses.tolist() == places
    with pytest.raises(KernlabError, match="no container"):
        inner.container("struct thing", "where->x")


def test_gathers_do_not_grow_with_the_rows(below, known):
    heap = Heap(below)
    places = [heap.alloc(200) for _ in range(1000)]
    array = things(heap, known, places)
    memory = array.kernel.memory
    for path, most in (("delta", 1), ("at.x", 1), ("next->where->x", 3)):
        before = memory.gathers
        _ = array[path]
        assert memory.gathers - before <= most, path


def test_reprs_are_inert_and_readable(below, known):
    content = bytearray(232)
    content[16:32] = b"<img src=x>\x1b[31"
    content[72:76] = (2).to_bytes(4, "little")
    heap, places = made(below, known, [bytes(content)])
    one = things(heap, known, places)[0]
    assert isinstance(one, Struct)
    assert ".state = BUSY" in repr(one)
    assert "\x1b" not in repr(one)
    page = one._repr_html_()
    assert "<img" not in page
    assert "&lt;img" in page
    assert "3" in page
    assert "level" in dir(one)
    assert "counters" in one._ipython_key_completions_()
    assert hash(one) == hash(things(heap, known, places)[0])


def test_an_array_of_structs_can_be_copied(opened):
    tasks = opened("debian-6.1").structs("task_struct", ["init_task"])
    assert copy.copy(tasks)["comm"].tolist() == ["swapper/0"]
