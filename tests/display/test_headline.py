"""The card's first lines: the verdict's, and the kernel's own last words where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import kernlab
from kernlab.display import headline
from kernlab.display.card import card, plain
from kernlab.errors import KernlabError

SAID = "BUG: kernel NULL pointer dereference, address: 0000000000000000"
DIED = "A NULL pointer in order_check of the module kernlab_story"


@pytest.fixture
def oops() -> Iterator[Any]:
    """A dump whose tables a test may spoil."""
    with kernlab.open(kernlab.sample("oops")) as dump:
        yield dump


def test_what_it_died_of_comes_first_and_how_sure_that_is(oops: Any) -> None:
    machine, died, because, sure, *rest = plain(oops).splitlines()
    assert machine.startswith("Linux 7.2.")
    assert died == DIED
    assert because.startswith("The machine stopped because the kernel's code followed a pointer")
    assert sure.startswith("How sure: High (97%)")
    assert any(line.startswith("last words ") and line.endswith(SAID) for line in rest)
    page = card(oops)
    assert page.index(f"<h3>{DIED}</h3>") < page.index("The machine stopped because") < page.index("<dl>")


def test_of_a_huge_dump_the_verdict_is_shown_once_it_was_asked_for(
    oops: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headline, "_MOST_FRAMES", oops.kernel.file.frame_count - 1)
    assert plain(oops).splitlines()[1] == SAID
    assert f'<p class="why">{SAID}</p>' in card(oops)
    assert not headline.built(oops, "verdict")
    assert len(oops.verdict)
    assert plain(oops).splitlines()[1] == DIED


def test_without_a_verdict_the_kernel_s_words_stand_first(oops: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    oops._built["verdict"] = oops.verdict.iloc[:0]
    assert plain(oops).splitlines()[1] == SAID
    oops._built["verdict"] = None

    def unreadable(_: Any) -> Any:
        raise KernlabError("no table")

    monkeypatch.setattr(type(oops), "verdict", property(unreadable))
    assert plain(oops).splitlines()[1] == SAID


def test_what_is_only_beside_is_no_headline(oops: Any) -> None:
    oops._built["verdict"] = oops.verdict.assign(role="beside")
    assert headline.headline(oops) is None
