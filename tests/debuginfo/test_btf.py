"""BTF whose every type is known: all kinds, a module's, and damage, which must end in an error and never hang."""

from __future__ import annotations

import struct

import pytest
from debuginfo.make_btf import (
    BOOL,
    CHAR,
    CONST,
    DATASEC,
    DECL_TAG,
    FLOAT,
    FUNC,
    FWD,
    PTR,
    RESTRICT,
    SIGNED,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
    VOLATILE,
    Blob,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from kernlab.debuginfo.btf import Btf
from kernlab.debuginfo.types import (
    AliasType,
    ArrayType,
    EnumType,
    FloatType,
    ForwardType,
    FunctionType,
    IntType,
    PointerType,
    StructType,
    VoidType,
)
from kernlab.errors import KernlabError, MemberNotFoundError, TypeNotFoundError


def kernel():
    """A blob of every kind, in which every name says what it is."""
    blob = Blob()
    int_ = blob.int("int", 4, SIGNED)
    char = blob.int("char", 1, SIGNED | CHAR)
    ulong = blob.int("long unsigned int", 8)
    bool_ = blob.int("_Bool", 1, BOOL)
    blob.add(FLOAT, "double", 8)
    task = blob.next_id + 2
    to_task = blob.add(PTR, third=task)
    comm = blob.array(char, 16)
    blob.struct(
        "task",
        96,
        [("next", to_task, 0), ("comm", comm, 64), ("", 0, 192), ("", 0, 320), ("tail", int_, 736)],
    )
    inner = blob.struct("", 16, [("deep", int_, 32), ("deeper", ulong, 64)])
    outer = blob.struct("", 16, [("flat", ulong, 0), ("", inner, 0)], kind=UNION)
    tagged = blob.struct("counters", 8, [("low", int_, 0, 3), ("high", int_, 3, 29), ("plain", int_, 32)])
    patch(blob, task, 4, 2, outer)
    patch(blob, task, 4, 3, tagged)
    const = blob.add(CONST, third=ulong)
    volatile = blob.add(VOLATILE, third=const)
    blob.add(TYPEDEF, "jiffies_t", volatile)
    restrict = blob.add(RESTRICT, third=to_task)
    blob.add(TYPEDEF, "task", restrict)  # a typedef of a struct's name: the struct goes first
    tag = blob.add(TYPE_TAG, "rcu", char)
    blob.add(TYPEDEF, "text_t", blob.add(PTR, third=tag))
    blob.enum("pid_type", {"PIDTYPE_PID": 0, "PIDTYPE_TGID": 1, "PIDTYPE_MAX": 0xFFFFFFFF})
    blob.enum("event_state", {"DEAD": -4, "OFF": -1, "ACTIVE": 1}, signed=True)
    blob.enum64("wide", {"LOW": 1, "HIGH": 1 << 40})
    blob.enum64("wide_signed", {"NEGATIVE": -(1 << 40)}, signed=True)
    blob.add(FWD, "opaque")
    blob.add(FWD, "opaque_union", flag=True)
    proto = blob.prototype(int_, [("file", to_task), ("count", ulong), ("", 0)])
    function = blob.add(FUNC, "read_all", proto)
    blob.add(PTR, third=proto)
    blob.add(TYPEDEF, "reader_t", blob.next_id - 1)
    runqueues = blob.add(VAR, "runqueues", task, (1,))
    blob.add(DATASEC, ".data..percpu", 96, (runqueues, 0, 96), vlen=1)
    blob.add(DECL_TAG, "kfunc", function, (-1,))
    blob.struct("flexible", 8, [("n", bool_, 0), ("items", blob.array(to_task, 0), 64)])
    matrix = blob.array(blob.array(int_, 3), 2)
    blob.struct("shapes", 64, [("m", matrix, 0), ("p", blob.add(PTR, third=matrix), 192)])
    return blob


def patch(blob, type_id, members, which, target):
    """Let a struct's member have a type that was not known when the struct was added."""
    raw = bytearray(blob.types[type_id - blob.first_id])
    struct.pack_into("<I", raw, 12 + 12 * which + 4, target)
    blob.types[type_id - blob.first_id] = bytes(raw)


@pytest.fixture(scope="module")
def btf():
    return Btf(kernel().bytes())


def test_base_types(btf):
    int_ = btf.find("int")
    assert isinstance(int_, IntType)
    assert (int_.size, int_.signed, int_.is_bool, int_.is_char) == (4, True, False, False)
    assert btf.find("char").is_char
    assert btf.find("_Bool").is_bool
    assert isinstance(btf.find("double"), FloatType)
    assert isinstance(btf.find("void *").target, VoidType)


@pytest.mark.parametrize(
    "name", ["unsigned long", "long unsigned int", "unsigned long int", " long  unsigned "]
)
def test_integers_by_any_of_their_names(btf, name):
    assert btf.find(name) is btf.find("long unsigned int")


def test_integers_as_clang_calls_them():
    blob = Blob()
    blob.int("unsigned long", 8)
    blob.int("short", 2, SIGNED)
    btf = Btf(blob.bytes())
    assert btf.find("long unsigned int").name == "unsigned long"
    assert btf.find("short int").name == "short"
    assert btf.get("unsigned char") is None


def test_a_struct_goes_before_a_typedef_of_its_name(btf):
    assert isinstance(btf.find("task"), StructType)
    assert btf.find("struct task") is btf.find("task")
    assert btf.get("union task") is None
    assert btf.get("enum task") is None


def test_members_through_nameless_ones_tagged_or_not(btf):
    task = btf.find("struct task")
    assert task.member_names() == ["next", "comm", "flat", "deep", "deeper", "low", "high", "plain", "tail"]
    assert task.member("deep").bit_offset == 192 + 32
    assert task.member("deeper").offset == 32
    assert (task.member("low").bit_offset, task.member("low").bit_size) == (320, 3)
    assert (task.member("high").bit_offset, task.member("high").bit_size) == (323, 29)
    assert task.member("plain").bit_size == 0
    with pytest.raises(MemberNotFoundError, match=r"struct task .* no member 'taill'; did you mean 'tail'"):
        task.member("taill")


def test_a_nameless_struct_by_its_members():
    """What a single variable was declared with, such as tk_core."""
    blob = Blob()
    number = blob.int("u64", 8)
    blob.struct("named", 16, [("seq", number, 0), ("keeper", number, 64)])
    blob.struct("", 24, [("seq", number, 0), ("keeper", number, 64), ("more", number, 128)])
    blob.struct("", 16, [("seq", number, 0), ("keeper", number, 64)], kind=UNION)
    blob.struct("", 32, [("seq", number, 0), ("keeper", number, 128)])
    found = Btf(blob.bytes()).nameless("seq", "keeper")
    assert found.size == 32
    assert found.member("keeper").offset == 16
    assert Btf(blob.bytes()).nameless("keeper", "seq") is None
    assert Btf(blob.bytes()).nameless("seq", "elsewhere") is None


def test_types_that_hold_each_other(btf):
    task = btf.find("task")
    assert task.member("next").type.target.member("next").type.target is task


def test_qualifiers_are_stripped(btf):
    jiffies = btf.find("jiffies_t")
    assert isinstance(jiffies, AliasType)
    assert jiffies.strip() is btf.find("unsigned long")
    assert (jiffies.size, jiffies.c_name, jiffies.target.c_name) == (8, "jiffies_t", "long unsigned int")
    text = btf.find("text_t").strip()
    assert text.target.strip() is btf.find("char")
    assert text.c_name == "char *"  # "rcu" is the tag's name, no type's


def test_enums(btf):
    assert btf.find("enum pid_type").enumerators == {
        "PIDTYPE_PID": 0,
        "PIDTYPE_TGID": 1,
        "PIDTYPE_MAX": 0xFFFFFFFF,
    }
    assert btf.find("event_state").enumerators == {"DEAD": -4, "OFF": -1, "ACTIVE": 1}
    assert btf.find("enum wide").enumerators == {"LOW": 1, "HIGH": 1 << 40}
    assert btf.find("enum wide_signed").enumerators == {"NEGATIVE": -(1 << 40)}
    assert [btf.enumerator(name) for name in ("PIDTYPE_TGID", "DEAD", "HIGH", "NEGATIVE")] == [
        1,
        -4,
        1 << 40,
        -(1 << 40),
    ]
    with pytest.raises(TypeNotFoundError, match="PIDTYPE_NONE"):
        btf.enumerator("PIDTYPE_NONE")
    # A name that stands in the strings, but is no enumerator's.
    assert btf.enumerator_or_none("task") is None
    assert btf.enumerator_or_none("") is None


def test_signs_where_btf_does_not_tell_them():
    # 5.10's BTF marks no enum as signed (perf_event_state, FTRACE_FL_ENABLED).
    blob = Blob()
    blob.enum("event_state", {"DEAD": -4, "ACTIVE": 1})
    blob.enum("flags", {"ENABLED": 1 << 31, "REGS": 1 << 30})
    btf = Btf(blob.bytes())
    assert btf.find("event_state").enumerators == {"DEAD": -4, "ACTIVE": 1}
    assert btf.find("flags").enumerators == {"ENABLED": 1 << 31, "REGS": 1 << 30}


def test_forward_function_variable(btf):
    opaque = btf.find("struct opaque")
    assert isinstance(opaque, ForwardType)
    assert (opaque.c_name, btf.find("union opaque_union").c_name) == ("struct opaque", "union opaque_union")
    assert btf.variable("runqueues") is btf.find("struct task")
    assert btf.variable("task") is None
    reader = btf.find("reader_t").strip()
    assert isinstance(reader, PointerType)
    assert isinstance(reader.target, FunctionType)
    assert reader.target.result is btf.find("int")
    assert [(name, kind and kind.c_name) for name, kind in reader.target.parameters] == [
        ("file", "struct task *"),
        ("count", "long unsigned int"),
        ("", None),
    ]


def test_how_c_spells_them(btf):
    assert btf.find("struct task").member("comm").type.c_name == "char [16]"
    assert btf.find("struct shapes").member("m").type.c_name == "int [2][3]"
    assert btf.find("struct shapes").member("p").type.c_name == "int (*)[2][3]"
    assert btf.find("struct flexible").member("items").type.c_name == "struct task *[]"
    assert btf.find("reader_t").strip().c_name == "int (*)(struct task *, long unsigned int, ...)"
    assert btf.find("char **").c_name == "char **"
    assert btf.find("void *").c_name == "void *"


@pytest.mark.parametrize("name", ["int [2][3]", "char *[4]", "struct task **", "jiffies_t [7]", "int []"])
def test_names_lead_to_types_of_that_name(btf, name):
    assert btf.find(name).c_name.replace(" ", "") == name.replace(" ", "")


def test_sizes(btf):
    assert btf.find("int [2][3]").size == 24
    assert btf.find("struct task *[4]").size == 32
    assert btf.find("struct flexible").member("items").type.size == 0
    assert (btf.find("struct task").size, btf.find("enum wide").size) == (96, 8)


def test_declaration(btf):
    lines = btf.find("struct task").declaration().split("\n")
    assert [" ".join(line.split()) for line in lines] == [
        "struct task {",
        "struct task *next; /* 0 8 */",
        "char comm[16]; /* 8 16 */",
        "union {",
        "long unsigned int flat; /* 24 8 */",
        "struct {",
        "int deep; /* 28 4 */",
        "long unsigned int deeper; /* 32 8 */",
        "}; /* 24 16 */",
        "}; /* 24 16 */",
        "struct counters; /* 40 8 */",
        "int tail; /* 92 4 */",
        "}; /* 96 bytes */",
    ]


def test_declaration_of_bitfields(btf):
    # The unit's offset, and the bit in it, as pahole counts them.
    lines = btf.find("struct counters").declaration().split("\n")
    assert [" ".join(line.split()) for line in lines[1:-1]] == [
        "int low : 3; /* 0: 0 4 */",
        "int high : 29; /* 0: 3 4 */",
        "int plain; /* 4 4 */",
    ]


def test_names_of_a_kind(btf):
    assert btf.names("struct") == ["task", "counters", "flexible", "shapes"]
    assert btf.names("enum") == ["pid_type", "event_state", "wide", "wide_signed"]
    assert btf.names("typedef") == ["jiffies_t", "task", "text_t", "reader_t"]
    assert btf.names("base") == ["int", "char", "long unsigned int", "_Bool", "double"]
    assert btf.names("union") == []
    with pytest.raises(KernlabError, match="'colour' is not a kind"):
        btf.names("colour")


def test_has_member(btf):
    assert btf.has_member("struct task", "deep")
    assert not btf.has_member("struct task", "state")
    assert not btf.has_member("struct nothing", "state")
    assert not btf.has_member("int", "state")


def test_what_is_not_there_names_what_is_near(btf):
    with pytest.raises(TypeNotFoundError, match=r"no type 'struct tasks'; did you mean 'task'"):
        btf.find("struct tasks")
    for nonsense in ("", "struct", "a b*c", "*", "x" * 5000, "task\0", "int [", "-1"):
        assert btf.get(nonsense) is None


def test_a_module_continues_the_kernels_types():
    base = kernel()
    module = Blob(base.next_id, base.next_string)
    module.known.update({"task": base.known["task"], "comm": base.known["comm"]})
    task = Btf(base.bytes()).find("struct task")
    whole = Btf(base.bytes())
    number = next(n for n in range(1, base.next_id) if whole.by_id(n).c_name == "struct task")
    module.strings = b"\0"
    module.known.pop("", None)
    pointer = module.add(PTR, third=number)
    module.struct("driver", 16, [("owner", pointer, 0), ("comm", pointer, 64)])
    module.enum("driver_state", {"READY": 7})
    module.struct(
        "task", 8, [("own", pointer, 0)]
    )  # the module's own struct of a name that the kernel has, too
    split = Btf(module.bytes(), whole)
    driver = split.find("struct driver")
    assert driver.member("owner").type.target is whole.find("struct task")
    assert driver.member_names() == ["owner", "comm"]
    assert split.find("struct task").size == 8
    assert split.find("int") is whole.find("int")
    assert split.find("unsigned long") is whole.find("unsigned long")
    assert (split.enumerator("READY"), split.enumerator("DEAD")) == (7, -4)
    assert split.variable("runqueues") is whole.find("struct task")
    assert split.names("struct") == ["driver", "task"]
    assert task.size == 96


def test_a_base_without_types():
    base = Btf(Blob().bytes())
    module = Blob(1, 1)
    module.strings = b"\0"
    module.int("thing", 4)
    assert Btf(module.bytes(), base).find("thing").size == 4


def header(types=b"", strings=b"\0", magic=0xEB9F, version=1, length=24, **wrong):
    sizes = {
        "types_at": 0,
        "types_size": len(types),
        "strings_at": len(types),
        "strings_size": len(strings),
        **wrong,
    }
    return (
        struct.pack("<HBBI", magic, version, 0, length)
        + struct.pack("<4I", *sizes.values())
        + types
        + strings
    )


@pytest.mark.parametrize(
    ("blob", "says"),
    [
        (b"", "less than its header"),
        (header()[:20], "less than its header"),
        (header(magic=0x9FEB), "big-endian"),
        (header(magic=0x1234), "begins with 34 12 01"),
        (header(version=2), "instead of 9f eb 01"),
        (header(types_size=1 << 31), "damaged: its header claims"),
        (header(strings_size=1 << 31), "damaged: its header claims"),
        (header(strings_size=0), "damaged: its header claims"),
        (header(length=0xFFFFFFFF), "damaged: its header claims"),
        (header(bytes(4)), "its types end at byte 0, their section at 4"),
        (header(bytes(8)), "their section at 8"),
        (header(struct.pack("<III", 0, 20 << 24, 0)), "type 1 at byte 0 .* kind 20"),
        (header(bytes(12)), "kind 0"),
        (
            header(struct.pack("<IIII", 0, 1 << 24, 4, 32) + struct.pack("<III", 0, 31 << 24, 0)),
            "type 2 at byte 16 .* 31",
        ),
        (header(struct.pack("<III", 0, STRUCT << 24 | 9, 4)), "types end at byte 120, their section at 12"),
    ],
)
def test_damaged_blobs_say_what_is_wrong(blob, says):
    with pytest.raises(KernlabError, match=says):
        Btf(blob)


def everything(btf):
    """Ask each type all that it can tell; only KernlabErrors may come out."""
    for number in range(len(btf) + 2):
        for ask in (
            lambda kind: kind.c_name,
            lambda kind: kind.size,
            lambda kind: repr(kind),
            lambda kind: kind.strip(),
            lambda kind: kind.member_names() if isinstance(kind, StructType) else None,
            lambda kind: kind.declaration() if isinstance(kind, StructType) else None,
            lambda kind: kind.enumerators if isinstance(kind, EnumType) else None,
            lambda kind: kind.element if isinstance(kind, ArrayType) else None,
        ):
            try:
                ask(btf.by_id(number + btf._first_id - 1))
            except KernlabError:
                continue
    for name in ("a", "struct a", "enum a *[2]", "zzz"):
        btf.get(name)
        btf.near(name)
    for kind in ("struct", "union", "enum", "typedef", "base"):
        try:
            btf.names(kind)
        except KernlabError:
            continue


def test_types_that_hold_themselves():
    blob = Blob()
    twice = blob.next_id
    blob.struct("twice", 8, [("", twice, 0)] * 50)
    pointer = blob.next_id
    blob.add(PTR, third=pointer)
    array = blob.next_id
    blob.array(array, 1 << 31)
    alias = blob.next_id
    blob.add(TYPEDEF, "loop", alias)
    blob.add(CONST, third=blob.next_id)
    proto = blob.next_id
    blob.prototype(proto, [("x", proto)] * 60_000)
    for depth in range(200):  # each holds the next one twice: 2^200 ways to the last
        blob.struct(
            f"s{depth}", 8, [("", blob.next_id + 1, 0), ("", blob.next_id + 1, 32), (f"m{depth}", alias, 0)]
        )
    blob.struct("last", 8, [("end", alias, 0)])
    btf = Btf(blob.bytes())
    assert btf.find("struct twice").member_names() == []
    assert btf.find("struct s0").member_names()[-1] == "m0"
    assert "m50" in btf.find("struct s0").member_names()
    with pytest.raises(KernlabError, match="stands for itself"):
        btf.find("loop").strip()
    for number in (pointer, array, proto):
        with pytest.raises(KernlabError, match="does not end"):
            btf.by_id(number).c_name  # noqa: B018
    everything(btf)


def test_numbers_and_names_beyond_the_last():
    blob = Blob()
    blob.struct("a", 8, [("x", 999, 0)])
    blob.types[0] = blob.types[0][:12] + struct.pack("<I", 1 << 30) + blob.types[0][16:]
    btf = Btf(blob.bytes())
    with pytest.raises(KernlabError, match="a name at 1,073,741,824"):
        btf.find("struct a").member("x")
    with pytest.raises(KernlabError, match="names type 999 of 1"):
        btf.by_id(999)


MEMBERS = st.lists(
    st.tuples(st.text("abcdef", min_size=1, max_size=6), st.integers(0, 1 << 23)), unique_by=lambda m: m[0]
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.text("xyz", min_size=1, max_size=8), MEMBERS), unique_by=lambda s: s[0], max_size=20
    )
)
def test_any_structs_come_back(structs):
    blob = Blob()
    int_ = blob.int("int", 4, SIGNED)
    for name, members in structs:
        blob.struct(name, 1 << 20, [(member, int_, bits) for member, bits in members])
    btf = Btf(blob.bytes())
    assert btf.names("struct") == [name for name, _ in structs]
    for name, members in structs:
        found = btf.find(f"struct {name}")
        assert [(member.name, member.bit_offset) for member in found.members] == members
        assert all(member.type is btf.find("int") for member in found.members)


SOUND = kernel().bytes()


@settings(max_examples=400, deadline=2000)
@given(
    st.lists(
        st.tuples(st.integers(0, len(SOUND) - 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6
    )
)
def test_a_damaged_blob_is_read_or_refused(changes):
    blob = bytearray(SOUND)
    for at, piece in changes:
        blob[at : at + len(piece)] = piece
    try:
        btf = Btf(bytes(blob))
    except KernlabError:
        return
    everything(btf)


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=400))
def test_noise_behind_a_sound_header(noise):
    noise = noise[: len(noise) & ~3]
    try:
        btf = Btf(header(noise, b"\0a\0b\0"))
    except KernlabError:
        return
    everything(btf)
