"""The story of a verdict: every finding has its words, and the story says what the findings say and no more."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kernlab.oops.forms import KINDS
from kernlab.verdict import rules
from kernlab.verdict.story import story, tell
from kernlab.verdict.verdict import verdict_of_log
from kernlab.verdict.vocabulary import VOCABULARY, word
from kernlab.verdict.words.word import FIELDS, filled

_SAMPLES = Path(__file__).resolve().parents[2] / "samples"
_ALL = {name: f"<{name}>" for name in FIELDS}
#: To whom to give it is always known.
_WHOM = {"maintainer": "the maintainers of your kernel"}


def _made(*rows: dict[str, Any], problems: tuple[str, ...] = ()) -> pd.DataFrame:
    empty = {"pid": pd.NA, "module": None, "function": None, "device": None, "role": "end", "since": pd.NaT}
    more = {"confidence": 0.97, "evidence": [], "against": [], "cell": "dump.log"}
    table = pd.DataFrame([{"finding": "BUG", "subject": "", **empty, **more, **row} for row in rows])
    table.attrs["problems"] = list(problems)
    return table


def _literals() -> dict[str, str]:
    """Words that rules write as a literal where a finding is made: the word, and where it stands."""
    found = {}
    for path in sorted(Path(rules.__path__[0]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id not in ("Finding", "Holder"):
                continue
            named = [each.value for each in node.keywords if each.arg == "finding"]
            for given in (*node.args[:1], *named):
                # The condition of a choice is no word.
                chosen = [given.body, given.orelse] if isinstance(given, ast.IfExp) else [given]
                for each in (one for part in chosen for one in ast.walk(part)):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str):
                        found[each.value] = f"{path.name}:{each.lineno}"
    return found


def test_every_kind_of_end_has_its_words() -> None:
    assert set(KINDS) | {"stopped"} <= set(VOCABULARY)


def test_every_finding_that_a_rule_names_has_its_words() -> None:
    named = _literals()
    assert {"deadlock", "stuck I/O", "memory cgroup out of memory"} <= set(named), "the scan finds no more"
    strange = {finding: where for finding, where in named.items() if finding not in VOCABULARY}
    assert not strange, f"add words for these in kernlab/verdict/words: {strange}"


@pytest.mark.parametrize("finding", sorted(VOCABULARY))
def test_words_make_whole_sentences_whatever_is_known(finding: str) -> None:
    said = VOCABULARY[finding]
    patterns = [said.title, said.because, *said.steps, said.sure, said.doubt, said.lost, said.noticed]
    assert set(re.findall(r"\{(\w*)\}", " ".join(patterns))) <= set(FIELDS)
    for known in (
        _ALL,
        {},
        {"subject": "x (7)", "who": "x (7)"},
        {"subject": "x", "what": "x"},
    ):
        made = [filled(pattern, {**_WHOM, **known}) for pattern in patterns if pattern]
        for sentence in made:
            # A step that has nothing to name is left out.
            assert not re.search(r"[\[\]{}]|  |\s[.,;:]|[:;,]$| \(\)", sentence), sentence
        title, because = made[:2]
        assert re.search(r"^(?:[A-Z]|<who>|x\b).*[^.]$", title)
        assert re.search(r"[^.]$", because)
        assert all(
            step.endswith((".", "?")) for step in (filled(one, _WHOM | known) for one in said.steps) if step
        )


def test_how_sure_it_is_changes_what_is_said() -> None:
    sure, likely, hint = (
        tell(
            _made({"finding": "slab leak", "subject": "shop_cart", "role": "cause", "confidence": confidence})
        )
        for confidence in (0.9, 0.6, 0.3)
    )
    assert sure.died[0].startswith("The machine stopped because")
    assert likely.died[0].startswith("The machine probably stopped because")
    assert hint.died[0].startswith("The machine may have stopped because")
    assert [each.sure.split()[0] for each in (sure, likely, hint)] == ["High", "Medium", "Low"]


def test_what_is_beside_the_end_is_never_told_as_its_cause() -> None:
    old = {
        "finding": "WARNING", "subject": "weigher (99)", "role": "beside", "function": "scales_read",
        "since": pd.Timedelta(minutes=5), "confidence": 0.9,
    }  # fmt: skip
    told = tell(
        _made({"finding": "null dereference", "subject": "miller (7)", "function": "stone_weigh"}, old)
    )
    assert "scales_read" not in " ".join((told.title, *told.died, *told.why, *told.next))
    (line,) = told.besides
    assert re.search(r"scales_read.*, 5 min 0 s before the end$", line)
    titled = {"table": "log", "rows": [1], "says": "WARNING in scales_read"}
    killed = titled | {"says": "weigher (99) was killed for it"}
    (line,) = tell(
        _made({}, old | {"subject": "an earlier report, 300 s before the end", "evidence": [titled, killed]})
    ).besides
    assert line.endswith(", 5 min 0 s before the end – weigher (99) was killed for it"), (
        "the title says no more"
    )
    (line,) = tell(_made({}, old | {"subject": "3 earlier reports, the last 300 s before the end"})).besides
    assert re.search(r"scales_read, 3 times, the last 5 min 0 s before the end$", line)
    alone = tell(_made(old))
    assert alone.title == "No end of this machine was found, but this: A warning of the kernel in scales_read"
    assert alone.died[0].startswith("Nothing tells how the machine ended, or that it did")
    assert "because" not in " ".join(alone.died)


def test_what_stands_still_beside_the_end_is_cared_for() -> None:
    waits = {"table": "waits", "rows": [1, 2], "says": "for 16 s or more"}
    stands = {
        "finding": "deadlock", "subject": "a (1) → x → b (2) → y → a (1)", "role": "beside", "module": "shop",
        "since": pd.Timedelta(seconds=16), "evidence": [waits],
    }  # fmt: skip
    told = tell(_made({"finding": "sysrq"}, stands))
    assert told.besides[0].endswith(": a (1) → x → b (2) → y → a (1), since 16 s before the end")
    assert any("stacks to the maintainers of the module shop" in step for step in told.next)
    unsure = tell(_made({"finding": "sysrq"}, stands | {"confidence": 0.3}))
    assert "shop" not in " ".join(unsure.next)


def test_memory_did_not_run_out_where_the_end_was_another() -> None:
    held = {"finding": "page tables", "subject": "page tables", "confidence": 0.75}
    (line,) = tell(_made({}, held | {"role": "beside"})).besides
    assert line.startswith("most of memory was in the tables that say where each program's memory is")
    assert "memory ran out" in tell(_made(held | {"role": "cause"})).died[0]


def test_a_hint_against_which_nearly_all_speaks_is_not_told() -> None:
    first = {"finding": "process took the memory", "subject": "reporting (124)", "role": "cause"}
    faint, hint = (
        {"finding": "slab leak", "subject": "story", "role": "cause", "confidence": c} for c in (0.06, 0.3)
    )
    assert not tell(_made(first, faint)).besides
    assert tell(_made(first, hint)).besides == ("Only a hint (30%): slab leak: story",)


def test_a_kernel_that_checks_each_access_is_not_asked_to() -> None:
    log = (
        "[   12.300001] BUG: KASAN: use-after-free in shop_pay+0x1c/0x30 [shop]\n"
        "[   12.300002] Read of size 8 at addr ffff888100a0b2c8 by task billing/77\n"
        "[   12.300003] CPU: 1 PID: 77 Comm: billing Tainted: G  OE  6.12.1 #1\n"
        "[   12.300004] Call Trace:\n"
        "[   12.300005]  dump_stack_lvl+0x34/0x44\n"
        "[   12.300006]  print_report+0xcc/0x620\n"
        "[   12.300007]  kasan_report+0xaf/0xe0\n"
        "[   12.300008]  shop_pay+0x1c/0x30 [shop]\n"
        "[   12.300009]  shop_write+0x5e/0xe0 [shop]\n"
        "[   12.300010]  vfs_write+0xf8/0x390\n"
    )
    told = story(verdict_of_log(log))
    assert "found in shop_pay of the module shop" in told
    assert "(of KASAN" not in told, "that is no object"
    assert told.count("use-after-free in shop_pay") == 1, "once, as what shows it"
    assert "Run the same work on a kernel that checks" not in told
    bare = {"finding": "use after free", "subject": "shop_cart", "role": "end"}
    assert "Run the same work on a kernel that checks" in story(_made(bare))


def test_two_deadlocks_are_two_in_the_title() -> None:
    two = [
        {"finding": "deadlock", "subject": f"{a} (1) → x → {b} (2) → y → {a} (1)", "role": "cause"}
        for a, b in ("ab", "cd", "ef")
    ]
    assert tell(_made(*two[:2])).title == "2 deadlocks: a and b wait for each other, and so do c and d"
    assert tell(_made(*two)).title.endswith(", and so do c and d, and e and f")


def test_only_a_text_that_is_no_log_of_a_kernel_is_doubted() -> None:
    """A wrong file would else be told to be a machine that is well."""
    for text, known in (
        ("Dear all,\nthe kernel panicked yesterday.\n", False),
        ("Linux version 6.12.1 (shop)\nCommand line: quiet\n", True),
        ("[    0.000000] Command line: quiet\n", True),
        ("Nov 30 19:00:01 shop kernel: Command line: quiet\n", True),
    ):
        doubted = any("no line of this text" in one for one in verdict_of_log(text).attrs["problems"])
        assert doubted is not known, text


def test_no_findings_and_no_end_are_said_to_be_that() -> None:
    told = story(_made().reindex(columns=_made({}).columns))
    assert "no end" in told
    assert "Low" in told
    live = story(_made({"finding": "stopped", "confidence": 0.9}))
    assert "did not crash" in live
    assert "The machine stopped because" not in live
    assert "lost" not in live
    assert "not yet written to a disk is lost" in story(_made({}))


def test_what_could_not_be_looked_at_is_a_doubt() -> None:
    told = tell(_made({}, problems=("3 of 102 tasks could not be read", "and more")))
    assert any("3 of 102 tasks could not be read, and 1 more" in doubt for doubt in told.doubts)


def test_a_finding_without_words_is_told_as_it_is() -> None:
    told = story(_made({"finding": "gremlins [x|{y}]", "subject": "gizmo", "role": "cause"}))
    assert told.startswith("Gremlins xy: gizmo\n")
    assert word("gremlins").title not in {known.title for known in VOCABULARY.values()}


def test_a_log_alone_has_its_story_too() -> None:
    log = (
        "[   12.300001] BUG: kernel NULL pointer dereference, address: 0000000000000010\n"
        "[   12.300002] Oops: Oops: 0002 [#1] SMP\n"
        "[   12.300003] CPU: 1 UID: 0 PID: 77 Comm: billing Tainted: G  OE  6.12.1 #1\n"
        "[   12.300004] RIP: 0010:shop_check+0x1c/0x30 [shop]\n"
        "[   12.300005] Call Trace:\n"
        "[   12.300006]  shop_write+0x5e/0xe0 [shop]\n"
        "[   12.300007] Kernel panic - not syncing: Fatal exception\n"
    )
    told = story(verdict_of_log(log))
    assert told.startswith("A NULL pointer in shop_check of the module shop\n")
    assert "while billing (77) ran" in told
    assert "Only the log was there to look at" in told
    assert "dump." not in told, "there is none that could be asked"
    assert "See it: lines 1 to 7 of the log." in told
    cut = story(verdict_of_log(log.partition("[   12.300007]")[0]))
    assert "The machine probably stopped because" in cut, "that it did is not in the log"


def test_nothing_of_a_dump_acts_on_a_terminal() -> None:
    evil = "\x1b[2J\u202e\x07"
    told = story(
        _made(
            {
                "subject": f"{evil} (7)", "module": evil, "function": evil, "device": evil, "against": [evil],
                "evidence": [{"table": "log", "rows": [], "says": evil}], "cell": f"dump.slab_objects('{evil}')",
            },
            {"finding": evil, "subject": evil, "role": "beside", "evidence": []},
            problems=(evil,),
        )
    )  # fmt: skip
    assert not {c for c in told if not c.isprintable()} - {"\n"}
    assert "␛[2J" in told


@pytest.mark.parametrize("sample", ["oom", "deadlock", "oops", "lockup"])
def test_the_story_of_a_log_alone_asks_for_no_dump(sample):
    """Nor does it say that anything was counted which the log only tells."""
    text = story(verdict_of_log((_SAMPLES / sample / "vmcore-dmesg.txt").read_text()))
    assert not re.search(r"\bdump\.\w", text)
    assert "counted page by page" not in text
