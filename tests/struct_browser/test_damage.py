"""Damage and hostility: a browser goes on, and the bad member says why."""

from __future__ import annotations

import threading
import unicodedata

import pytest
from support.overlay import PAGE, Overlay

from kernlab.struct_browser import snapshot
from kernlab.struct_browser.explore import Snapshot
from kernlab.struct_browser.session import Session

NODES = 1_000_000
#: Each made node is as large as this.
NODE = 64


@pytest.fixture
def dump(opened):
    return opened("debian-6.1")


@pytest.fixture
def pid1(dump):
    return int(dump.tasks[dump.tasks.pid == 1].address.iloc[0])


def member(dump, path, kind="struct task_struct"):
    return dump.kernel.find_type(kind).strip().member(path).offset


def go(dump, text):
    session = Session(dump.kernel)
    answer = session.answer({"op": "go", "text": text})
    assert "error" not in answer, answer
    return session, answer


def rows(session, view):
    found, page = list(view["page"]["rows"]), view["page"]
    while page["next"] is not None:
        page = session.answer({"op": "children", "id": view["root"]["id"], "offset": page["next"]})
        found += page["rows"]
    return {row["name"]: row for row in found}, page


def million(dump, last):
    """A list of a million links behind init_task.children, whose end leads to node `last` (or to an address)."""
    overlay = Overlay(dump)
    first = 0

    def page(number):
        words = bytearray(PAGE)
        for slot in range(PAGE // NODE):
            index = number * (PAGE // NODE) + slot
            following = first + (index + 1) * NODE if index + 1 < NODES else last(first)
            words[slot * NODE : slot * NODE + 8] = following.to_bytes(8, "little")
        return bytes(words)

    first = overlay.make(NODES * NODE // PAGE, page)
    overlay.word(dump.symbol("init_task") + member(dump, "children"), first)
    return overlay.dump(), first


def test_a_cyclic_list_of_a_million_stays_browsable(dump):
    broken, first = million(dump, lambda first: first + 1000 * NODE)
    session, view = go(broken, "init_task.children")
    assert len(view["page"]["rows"]) == 200
    assert view["page"]["next"] == 200
    sibling = member(dump, "sibling")
    assert [int(row["address"], 16) for row in view["page"]["rows"][:3]] == [
        first + i * NODE - sibling for i in range(3)
    ]
    later = session.answer({"op": "children", "id": view["root"]["id"], "offset": 200, "count": 5})
    assert int(later["rows"][0]["address"], 16) == first + 200 * NODE - sibling


def test_a_short_cycle_ends_and_says_so(dump, pid1):
    sibling = member(dump, "sibling")
    overlay = Overlay(dump).word(pid1 + sibling, pid1 + sibling)
    session, view = go(overlay.dump(), "init_task.children")
    found, page = rows(session, view)
    assert list(found) == ["[0]"]
    assert "leads back to entry 0" in page["problem"]


@pytest.mark.parametrize(
    ("pointer", "told"),
    [
        (0, "NULL"),
        (0xDEAD000000000100, "LIST_POISON1"),
        (0x6B6B6B6B6B6B6B6B, "POISON_FREE"),
        (0x123, "not the address of a kernel object"),
        (0xFFFF800000000008, "cannot be read"),
        (0xFFFFFFFFFFFFFFF8, "cannot be read"),
    ],
)
def test_a_list_that_leads_nowhere_says_why(dump, pid1, pointer, told):
    overlay = Overlay(dump).word(pid1 + member(dump, "sibling"), pointer)
    session, view = go(overlay.dump(), "init_task.children")
    found, page = rows(session, view)
    # An entry that cannot be read is shown all the same: its members say why.
    assert list(found) == (["[0]", "[1]"] if told == "cannot be read" else ["[0]"])
    assert told in page["problem"]


@pytest.mark.parametrize(
    "pointer", [0x10, 0xFFFF800000000000, 0xFFFFFFFFFFFFFFF0, 0x00007F0000000000, 0xDEAD000000000122]
)
def test_a_wild_pointer_costs_its_own_row_only(dump, pid1, pointer):
    overlay = Overlay(dump).word(pid1 + member(dump, "mm"), pointer)
    session, view = go(overlay.dump(), "pid(1)")
    found, _ = rows(session, view)
    assert found["comm"]["value"] == '"init"'
    assert int(found["mm"]["target"], 16) == pointer
    opened = session.answer({"op": "children", "id": found["mm"]["id"]})
    assert "error" in opened or all(row["why"] or row["opens"] for row in opened["rows"]), opened
    why = opened.get("error") or next(row["why"] for row in opened["rows"] if row["why"])
    assert "nothing is mapped" in why or "beyond the end" in why, why


@pytest.mark.parametrize("lose", ["exclude", "lose", "remove"])
def test_members_on_a_missing_page_say_why(dump, pid1, lose):
    offset = member(dump, "comm")
    page = (pid1 + offset) // PAGE * PAGE
    overlay = Overlay(dump)
    getattr(overlay, lose)(page)
    broken = overlay.dump()
    session, view = go(broken, f"struct task_struct @ {pid1:#x}")
    found, _ = rows(session, view)
    assert found["comm"]["why"]
    assert f"{pid1 + offset:#x}" in found["comm"]["why"]
    for row in found.values():
        inside = int(row["address"], 16)
        if not page <= inside < page + PAGE and inside + 8 <= page:
            assert not row["why"], row
    dumped = session.answer({"op": "bytes", "id": view["root"]["id"], "offset": offset})
    assert any(not line["hex"] for line in dumped["lines"])
    assert dumped["problems"]
    tree = snapshot.as_html(view, {})
    assert "comm" in tree


def test_a_tree_that_holds_itself_is_bounded(dump, pid1):
    overlay = Overlay(dump)
    root = dump.symbol("vmap_area_root")
    top = int.from_bytes(dump.read(root, 8), "little")
    left = member(dump, "rb_left", "struct rb_node")
    overlay.word(top + left, top)
    session, view = go(overlay.dump(), "vmap_area_root")
    found, page = rows(session, view)
    assert found == {}
    assert "leads back" in page["problem"]


HOSTILE = {
    "markup": b"<img src=x onerror=alert(1)>",
    "math": b"$x^2$ $$\\frac{1}{2}$$",
    "ansi": b"\x1b[31mred\x1b]0;title\x07",
    "bidi": "\u202egnp.exe\u2066".encode(),
    "invalid": b"\xff\xfe\xc3(\x80",
    "quotes": b"\"'`&amp;</td>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_strings_are_inert_and_legible(dump, pid1, name):
    raw = HOSTILE[name][:15]
    overlay = Overlay(dump).write(pid1 + member(dump, "comm"), raw.ljust(16, b"\0"))
    broken = overlay.dump()
    session, view = go(broken, f"struct task_struct @ {pid1:#x}")
    found, _ = rows(session, view)
    shown = found["comm"]["value"]
    assert all(unicodedata.category(c)[0] != "C" for c in shown), shown
    assert shown.startswith('"')
    for piece in (b"img", b"x^2", b"red", b"gnp", b"(", b"amp"):
        if piece in raw:
            assert piece.decode() in shown
    tree = Snapshot(view, {})
    page = tree._repr_html_()
    assert "<img" not in page
    assert "</td>" not in page
    assert "mathjax_ignore" in page
    assert "\x1b" not in page + repr(tree)
    assert "\u202e" not in page + repr(tree)


def test_a_name_of_ten_kilobytes(dump):
    overlay = Overlay(dump)
    where = overlay.make(4, lambda number: b"A" * PAGE if number < 3 else bytes(PAGE))
    resource = dump.symbol("iomem_resource")
    overlay.word(resource + member(dump, "name", "struct resource"), where)
    session, view = go(overlay.dump(), "iomem_resource")
    found, _ = rows(session, view)
    assert len(found["name"]["summary"]) < 400
    assert "A" * 100 in found["name"]["summary"]
    assert "…" in found["name"]["summary"]
    assert len(view["root"]["summary"]) < 400


def test_a_damaged_dump_can_be_walked_through(opened):
    dump = opened("damaged-7.2")
    session = Session(dump.kernel)
    lost = 0
    for text in (
        "init_task",
        "init_task.tasks",
        "slab_caches",
        "super_blocks",
        "modules",
        "init_net",
        "pid(1)",
    ):
        answer = session.answer({"op": "go", "text": text})
        if "error" in answer:
            continue
        for row in answer["page"]["rows"]:
            lost += bool(row["why"])
            if row["opens"]:
                inner = session.answer({"op": "children", "id": row["id"], "count": 20})
                lost += (
                    "error" in inner or bool(inner["problem"]) or sum(bool(r["why"]) for r in inner["rows"])
                )
    assert lost > 0


def test_two_threads_and_a_closed_dump(dump_files):
    import kernlab

    dump = kernlab.open(dump_files("debian-6.1").vmcore)
    session = Session(dump.kernel)
    answers = []

    def walk(text):
        answers.extend(session.answer({"op": "go", "text": text}) for _ in range(5))

    threads = [
        threading.Thread(target=walk, args=(text,))
        for text in ("init_task.tasks", "slab_caches", "pid(1)", "super_blocks")
    ]
    threads.append(threading.Thread(target=lambda: dump.maps))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20
    assert not [answer["error"] for answer in answers if "error" in answer]
    dump.close()
    number = answers[0]["root"]["id"]
    said = session.answer({"op": "children", "id": number})
    assert "error" in said or said["rows"]
