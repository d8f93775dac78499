"""The flame graph: its boxes add up to the stacks, and its HTML zooms, follows its page, and escapes."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

import kernlab
from kernlab.errors import KernlabError
from kernlab.plots.flame_html import flame_html
from kernlab.plots.stacks import GUESS, KINDS, MODULE, ROOT, colours_of, flames, ink_of, told
from kernlab.plots.style import DARK, LIGHT


@pytest.fixture(scope="module")
def hung():
    with kernlab.open(kernlab.sample("hung")) as dump:
        yield dump


def test_every_box_is_as_many_threads_as_have_its_callers(hung):
    rows = hung.stacks
    found = flames(rows)
    assert found.threads == rows["task"].nunique()
    assert found.cut == ""
    paths = {}
    for _, mine in rows.sort_values("frame", ascending=False).groupby("task"):
        path = ()
        for symbol in mine["symbol"]:
            path = (*path, re.sub(r"\+0x[0-9a-f]+/0x[0-9a-f]+", "", symbol))
            paths[path] = paths.get(path, 0) + 1
    drawn, stack = {}, []
    for box in found.boxes:
        del stack[box.depth :]
        stack.append(box)
        if box.kind != ROOT:
            drawn[tuple(one.name for one in stack[1:])] = box.count
            below = stack[-2]
            assert below.start <= box.start
            assert box.start + box.count <= below.start + below.count
    assert drawn == paths


def test_kinds_and_words(hung):
    found = flames(hung.stacks[hung.stacks["state"] == "D"])
    by_name = {box.name: box for box in found.boxes}
    place = by_name["order_place [kernlab_story]"]
    assert place.kind == MODULE
    assert told(place, found.threads).startswith(
        "order_place [kernlab_story]: 6 of 7 threads (85.7%): order-1 (179), "
    )
    guessed = hung.stacks.assign(reliable=False)
    assert {box.kind for box in flames(guessed).boxes} == {ROOT, GUESS}


def test_no_depth_and_no_number_is_too_much(hung):
    one = hung.stacks[hung.stacks["pid"] == 176]
    deep = one.iloc[[0] * 500].assign(frame=range(500))
    assert flames(deep).depth == 121
    assert flames(deep).cut == "stacks are cut after 120 of 500 frames"
    names = [*(f"f{number}" for number in range(5000)), *["same"] * 50]
    many = one.iloc[[0] * 5050].assign(task=range(5050), symbol=[f"{name}+0x0/0x1" for name in names])
    found = flames(many)
    assert [box.name for box in found.boxes] == ["all", "same"]
    assert found.cut == "functions of 1 thread are left out"


def test_what_is_not_stacks_is_refused(hung):
    with pytest.raises(KernlabError, match="hold no frame"):
        hung.plot.stacks(hung.stacks.iloc[:0])
    with pytest.raises(KernlabError, match="they lack task"):
        hung.plot.stacks(hung.tasks)


def test_a_notebook_gets_both_the_picture_and_what_zooms(hung):
    figure = hung.plot.stacks().figure
    data, metadata = figure._repr_mimebundle_()
    assert data["image/png"][:4] == b"\x89PNG"
    assert "Flame graph of the stacks" in metadata["image/png"]["alt"]
    page = data["text/html"]
    assert "http" not in page
    assert 'data-jp-theme-light="false"' in page
    # The caller's axes are a part of the caller's figure.
    from matplotlib.figure import Figure

    other = Figure()
    hung.plot.stacks(ax=other.subplots())
    assert "flames" not in str(other._repr_mimebundle_()[0].get("text/html", ""))


def test_the_html_is_whole_and_escapes(hung):
    hostile = "<img id=harm onerror=x>$x$</script>\x1b"
    rows = hung.stacks.assign(comm=hostile, symbol=f"{hostile}+0x1/0x2 [{hostile}]")
    page = flame_html(flames(rows))
    assert "<img" not in page
    assert "\x1b" not in page
    assert page.count("</script>") == 1
    whole = ElementTree.fromstring(
        page.replace("<script>", "<script><![CDATA[").replace("</script>", "]]></script>")
    )
    assert "mathjax_ignore" in whole.get("class")
    titles = [title.text for title in whole.iter("title")]
    assert any(hostile[:20] in title for title in titles)


def brightness(colour):
    """Relative luminance of `#rrggbb` (WCAG 2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_name_can_be_read_on_its_box(theme):
    for kind, fill in enumerate(colours_of(theme)):
        low, high = sorted((brightness(fill), brightness(ink_of(theme, kind))))
        assert (high + 0.05) / (low + 0.05) >= 4.5, KINDS[kind]
