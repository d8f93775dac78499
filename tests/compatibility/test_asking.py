"""What is asked for by name is noted while somebody listens, and only then."""

from __future__ import annotations

import pytest

from kernlab.debuginfo import asking
from kernlab.debuginfo.asking import noted
from kernlab.errors import MemberNotFoundError, SymbolNotFoundError, TypeNotFoundError


@pytest.fixture
def dump(opened):
    return opened("debian-6.1")


def test_each_kind_is_noted_in_order(dump):
    tasks = dump.structs("task_struct", ["init_task"])
    with noted() as notes:
        tasks.has("no_such_member")
        tasks["comm"]
        dump.kernel.symbols.get("init_task")
        dump.kernel.types.enumerator_or_none("PIDTYPE_TGID")
        dump.kernel.types.get("struct no_such_type")
    assert list(notes.found.items()) == [
        (("member", "struct task_struct.no_such_member"), False),
        (("member", "struct task_struct.comm"), True),
        (("symbol", "init_task"), True),
        (("enumerator", "PIDTYPE_TGID"), True),
        (("type", "struct no_such_type"), False),
    ]


def test_who_takes_no_for_an_answer(dump):
    tasks = dump.structs("task_struct", ["init_task"])
    with noted() as notes:
        tasks.first("no_such_member", "comm")
        dump.kernel.find_symbol("no_such_symbol")
        for ask, error in (
            (lambda: tasks["nor_this_one"], MemberNotFoundError),
            (lambda: dump.kernel.symbol("nor_this_symbol"), SymbolNotFoundError),
            (lambda: dump.kernel.find_type("struct nor_this_type"), TypeNotFoundError),
            (lambda: dump.kernel.types.find("struct nor_that"), TypeNotFoundError),
            (lambda: dump.kernel.types.enumerator("NOR_THIS_ONE"), TypeNotFoundError),
        ):
            with pytest.raises(error):
                ask()
    softly = {name for _, name in notes.soft if "no_such" in name or "nor_" in name.lower()}
    assert softly == {"struct task_struct.no_such_member", "no_such_symbol"}


def test_the_outer_one_hears_the_inner_one(dump):
    with noted() as outer:
        with noted() as inner:
            dump.kernel.types.get("struct page")
        dump.kernel.types.get("struct file")
    assert list(inner.found) == [("type", "struct page")]
    assert set(outer.found) == {("type", "struct page"), ("type", "struct file")}


def test_nobody_listens_after_an_error(dump):
    with pytest.raises(TypeNotFoundError), noted():
        dump.kernel.find_type("struct no_such_type")
    assert asking.notes is None
