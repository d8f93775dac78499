"""`.kern`: formulas, follow, where, owner, on real tables; and formulas against Python's own arithmetic."""

from __future__ import annotations

import operator
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.core.column import Column
from kernlab.dataframes import gather
from kernlab.errors import KernlabError, MemberNotFoundError

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)


class Structs:
    """Columns by name, as a StructArray gives them."""

    def __init__(self, **columns):
        self.columns = {name: self._column(values) for name, values in columns.items()}
        self.kernel = SimpleNamespace(types=SimpleNamespace(enumerator_or_none={"TASK_COMM_LEN": 16}.get))

    def _column(self, values):
        array = np.asarray(values[0])
        kind = {"i": "int", "u": "uint", "b": "bool", "f": "float", "O": "text"}[array.dtype.kind]
        return Column(array, np.asarray(values[1], dtype=bool), kind)

    def __len__(self):
        return len(next(iter(self.columns.values())).values)

    def __getitem__(self, path):
        if path not in self.columns:
            raise MemberNotFoundError(f"no member {path!r}")
        return self.columns[path]


def one(formula, **columns):
    found = gather.compute(Structs(**{n: ([v], [True]) for n, v in columns.items()}), formula)
    return found.values[0].item() if hasattr(found.values[0], "item") else found.values[0], bool(
        found.valid[0]
    )


def wrap(value, signed):
    value %= 2**64
    return value - 2**64 if signed and value >= 2**63 else value


@given(INT64, INT64, st.sampled_from("+-*&|^"))
def test_signed_arithmetic_wraps_as_c_does(a, b, sign):
    functions = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "&": operator.and_,
        "|": operator.or_,
        "^": operator.xor,
    }
    assert one(f"a {sign} b", a=np.int64(a), b=np.int64(b)) == (wrap(functions[sign](a, b), True), True)


@given(UINT64, INT64, st.sampled_from("+-*"))
def test_unsigned_wins(a, b, sign):
    functions = {"+": operator.add, "-": operator.sub, "*": operator.mul}
    assert one(f"a {sign} b", a=np.uint64(a), b=np.int64(b)) == (wrap(functions[sign](a, b), False), True)


@given(st.integers(-(2**62), 2**62), st.integers(-1000, 1000))
def test_division_cuts_towards_zero(a, b):
    if b == 0:
        assert one("a / b", a=np.int64(a), b=np.int64(b))[1] is False
        return
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    assert one("a / b", a=np.int64(a), b=np.int64(b)) == (quotient, True)
    assert one("a % b", a=np.int64(a), b=np.int64(b)) == (a - quotient * b, True)


@given(INT64, UINT64, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
def test_comparisons_are_of_what_numbers_are_worth(a, b, sign):
    functions = {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
    assert one(f"a {sign} b", a=np.int64(a), b=np.uint64(b)) == (functions[sign](a, b), True)


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 3 - 2", 5),
        ("1 << 2 + 1", 8),
        ("flags & 4 == 4", True),
        ("flags & 0x2 != 0", False),
        ("not flags == 4", True),
        ("!flags", False),
        ("-flags + ~0", -6),
        ("flags > 1 and name == 'init'", True),
        ('flags > 100 || name != "init"', False),
        ("0xffff888000000000 | 1", 0xFFFF888000000001),
        ("TASK_COMM_LEN * 2", 32),
        ("2K", 2048),
        ("1.5M", 3 << 19),
        ("0.3K", 307.2),
        ("1.0", 1.0),
        ("flags * 0.5", 2.5),
        ("flags > 4.5", True),
        ("name =~ 'in*'", True),
        ("name =~ 'IN*'", False),
        ("not name =~ '[j-z]*'", True),
        ("flags << 64", None),
        ("flags / 0", None),
    ],
)
def test_formulas(formula, value):
    found, valid = _named(formula)
    assert (found if valid else None) == value


def _named(formula):
    structs = Structs(
        flags=(np.array([5], dtype=np.uint32), [True]), name=(np.array(["init"], dtype=object), [True])
    )
    found = gather.compute(structs, formula)
    return found.values[0].item(), bool(found.valid[0])


def test_what_is_missing_makes_missing():
    structs = Structs(a=([1, 2, 3], [True, False, True]), b=([0, 1, 1], [True, True, False]))
    assert gather.compute(structs, "a + b").valid.tolist() == [True, False, False]
    both = gather.compute(structs, "a > 0 and b > 0")
    # False whatever the other one is.
    assert both.valid.tolist() == [True, False, False]
    either = gather.compute(structs, "a > 0 or b > 0")
    assert either.valid.tolist() == [True, True, True]
    assert either.values.tolist() == [True, True, True]


@pytest.mark.parametrize(
    "formula",
    ["", "a +", "+", "a b", "(a", "a)", "a ** 2", "a = 1", "__import__('os')", "a.b(", "a[", "'x", "a if b else c",
     "1.", "1.5.2", "10MB", "1e5", "a =~", "0x1fK", "99999999999999999999", "lambda: 0", "a; b", "~" * 60 + "a"],
)  # fmt: skip
def test_what_is_no_formula_is_refused(formula):
    with pytest.raises(KernlabError):
        gather.compute(Structs(a=([1], [True]), b=([1], [True])), formula)


def test_text_and_numbers_do_not_mix():
    for formula in ("name + 1", "name > 1", "-name", "name & flags", "flags =~ '5'"):
        with pytest.raises(KernlabError, match="text"):
            _named(formula)


def test_calculated_columns(dump):
    tasks = dump.tasks
    sizes = tasks.kern.field("mm->total_vm * 4096")
    pd.testing.assert_series_equal(sizes.astype("Int64"), tasks.vsz_bytes.astype("Int64"), check_names=False)
    more = tasks.kern.assign(vm_bytes="mm->total_vm * 4096", kernel="flags & 0x200000 != 0", same="comm")
    assert more.columns.tolist() == [*tasks.columns, "vm_bytes", "kernel", "same"]
    assert more.kernel.astype(bool).tolist() == tasks.kthread.tolist()
    assert more.attrs == tasks.attrs
    assert more.same.tolist() == tasks.comm.tolist()


def test_where(dump):
    tasks = dump.tasks.sample(frac=1, random_state=1)
    found = tasks.kern.where("mm->total_vm * 4096 > 1000000 and pid != 1")
    expected = tasks[(tasks.vsz_bytes > 1000000).fillna(False).astype(bool) & (tasks.pid != 1)]
    assert len(found) > 0
    pd.testing.assert_frame_equal(found, expected)
    assert tasks.kern.where("comm == 'init'").pid.tolist() == tasks[tasks.comm == "init"].pid.tolist()


def test_follow(dump):
    tasks = dump.tasks.sample(frac=1, random_state=2)
    found = tasks.kern.follow("mm")
    assert found.index.equals(tasks.index)
    assert found.address.tolist() == tasks.mm.replace(0, pd.NA).tolist() or (
        found.address.fillna(0).tolist() == tasks.mm.fillna(0).tolist()
    )
    assert (found.total_vm * 4096).tolist() == tasks.vsz_bytes.tolist()
    assert found.kern.type == "struct mm_struct"
    few = tasks.kern.follow("real_parent", "pid", "comm")
    assert few.columns.tolist() == ["address", "pid", "comm"]
    real = tasks.pid > 0
    assert few.pid[real].tolist() == tasks.ppid[real].tolist()
    # What is embedded can be followed, too.
    assert tasks.kern.follow("se", "sum_exec_runtime").kern.type == "struct sched_entity"
    with pytest.raises(MemberNotFoundError, match="not a pointer"):
        tasks.kern.follow("pid")


def test_owner(dump):
    tasks = dump.tasks
    links = tasks.kern.field("signal->thread_head.next").to_frame("link")
    owners = links.kern.on("link").owner("struct task_struct", "thread_node")
    assert set(owners.dropna()) <= set(tasks.address)
    found = tasks.kern.owner()
    assert found.index.equals(tasks.index)
    idle = tasks.address[tasks.pid == 0]
    assert found.label[idle.index[idle == dump.symbol("init_task")][0]].startswith("init_task+0x0/")
    others = found[tasks.pid > 0]
    assert set(others.type) == {"struct task_struct"}
    assert others.start.tolist() == tasks.address[tasks.pid > 0].tolist()
    with pytest.raises(KernlabError, match="both"):
        tasks.kern.owner("struct task_struct")


def test_owner_knows_what_dump_owner_knows(opened):
    dump = opened("debian-6.1")
    tasks = dump.tasks[dump.tasks.pid > 0]
    stacks = (tasks.kern.field("stack").astype("address") + 64).to_frame("stack")
    assert set(dump.owner(stacks["stack"]).kind) == {"kernel stack"}
    found = stacks.kern.owner()
    assert set(found.kind) == {"kernel stack"}
    assert found.holder.tolist() == (tasks.comm + " (" + tasks.pid.astype(str) + ")").tolist()


def test_explore_and_identify(dump):
    tasks = dump.tasks
    assert f"{len(tasks):,} × struct task_struct" in repr(tasks.kern.explore())
    assert "struct task_struct" in repr(dump.struct("task_struct", dump.symbol("init_task")).explore())
    assert "2 × struct task_struct" in repr(dump.explore(tasks.head(2)))
    assert "2 × struct task_struct" in repr(dump.explore(tasks.address.head(2)))
    assert "struct task_struct @" in repr(dump.explore(tasks.iloc[3]))
    assert "struct task_struct @" in repr(dump.explore())
    with pytest.raises(KernlabError, match="cannot be browsed"):
        dump.explore(1.5)
    found = dump.identify([dump.symbol("slab_caches") + 8, 0x10])
    assert found.label.iloc[0].startswith("slab_caches+0x8/")
    assert found.type.iloc[0] == "struct list_head"
    assert found.label.isna().tolist() == [False, True]
