"""The report of the lab's matrix: a section per machine, which a run of another machine leaves alone."""

from __future__ import annotations

from scripts.lab_matrix import MATRIX, captures, report, section

CHECKED = "<!-- layouts checked: begin -->\n## Layouts checked\n\nby others\n<!-- layouts checked: end -->"


def row(machine: str, share: str) -> dict[str, str]:
    return {"machine": machine, "kernel": f"6.12-{machine}", "story": "panic", "tasks": share}


def test_a_run_of_one_machine_leaves_what_others_wrote() -> None:
    first = report("", {"x86-64": section([row("amd64", "100 %")], [], ["an older one"])})
    both = report(
        f"{first}\n{CHECKED}\n", {"arm64": section([row("arm64", "99.9 %")], ["a/b, tasks: 1 of 2"], [])}
    )
    assert "| 6.12-amd64 | panic | 100 % |" in both
    assert "| 6.12-arm64 | panic | 99.9 % |" in both
    assert "- a, tasks: 1 of 2 (b)" in both
    assert both.index("## x86-64") < both.index("## arm64") < both.index(CHECKED)
    assert both.count("## Layouts checked") == 1
    # Nothing moves where nothing is new, and what is new takes the place of the older.
    assert report(both, {}) == both
    again = report(both, {"x86-64": section([row("amd64", "98 %")], [], [])})
    assert "an older one" not in again
    assert "| 6.12-amd64 | panic | 98 % |" in again
    assert "| 6.12-arm64 | panic | 99.9 % |" in again


def test_what_an_emulated_arm64_cannot_do_is_not_asked_of_it() -> None:
    for name, (_, _, machine, larger) in MATRIX.items():
        asked = list(captures(name))
        assert {options.machine for _, options in asked} == {machine}
        assert (True in {options.la57 for _, options in asked}) is larger
        told = [options.settings.get("WHERE") for story, options in asked if story == "irq"]
        assert told == ["nmi" if machine == "amd64" else "hardirq"]
