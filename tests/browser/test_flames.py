"""The flame graph in a real browser, without a network: zoom, search, keys, names that fit, names that are markup."""

from __future__ import annotations

import re

import pytest
from support.hostile import IMG
from support.jupyterlab import PICTURES

import kernlab
from kernlab.plots.flame_html import flame_html
from kernlab.plots.stacks import flames

#: Boxes that are seen, and whose name is wider than they are.
SHOWN = """root => [...root.querySelectorAll(".b")].filter(e => e.style.display !== "none")
  .map(e => e.querySelector("title").textContent.split(":")[0])"""
TOO_WIDE = """root => [...root.querySelectorAll(".b")].filter(e => e.style.display !== "none").filter(
  e => e.querySelector("text").getBBox().width > e.querySelector("rect").getBBox().width)
  .map(e => e.querySelector("text").textContent)"""


@pytest.fixture(scope="module")
def hung():
    with kernlab.open(kernlab.sample("hung")) as dump:
        yield dump


@pytest.fixture
def show(tmp_path, offline):
    """`show(rows)`: a page with the graph of these rows of `stacks`; nothing on it is an error at the end."""
    said = []

    def drawn(rows, *, dark=False, javascript=True, width=1200):
        path = tmp_path / "flames.html"
        body = f'<body data-jp-theme-light="{"false" if dark else "true"}">{flame_html(flames(rows))}</body>'
        path.write_text(f'<!doctype html><meta charset="utf-8">{body}', "utf-8")
        page = offline(path, javascript=javascript)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url))
        page.set_viewport_size({"width": width, "height": 700})
        if javascript:
            # What went wrong before there was somebody to listen.
            page.reload()
            said[:] = [one for one in said if not one.startswith("file:")]
        return page

    yield drawn
    assert said == []


def picture(page, name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(PICTURES / f"{name}.png"))


def box(page, name):
    return page.locator(".b", has=page.locator("title", has_text=re.compile(f"^{re.escape(name)}:"))).first


def test_a_click_zooms_and_the_way_back_is_in_sight(show, hung):
    page = show(hung.stacks)
    every = page.evaluate(SHOWN, page.locator("svg.flames").element_handle())
    root = page.locator("svg.flames").element_handle()
    back = page.get_by_role("button", name="Show all")
    assert back.is_hidden()
    picture(page, "flames-light")
    before = box(page, "order_place [kernlab_story]").bounding_box()["width"]
    box(page, "order_place [kernlab_story]").click()
    picture(page, "flames-zoomed")
    after = box(page, "order_place [kernlab_story]").bounding_box()["width"]
    assert after > 8 * before
    assert "rescuer_thread" not in page.evaluate(SHOWN, root)
    assert "__mutex_lock.constprop.0" in page.locator(".b text").all_text_contents()
    # Its callers stay, over the whole width.
    assert box(page, "do_syscall_64").bounding_box()["width"] == pytest.approx(after, abs=4)
    for leave in (
        back.click,
        lambda: page.keyboard.press("Escape"),
        lambda: page.locator(".b.k0").first.click(),
    ):
        leave()
        assert page.evaluate(SHOWN, root) == every
        assert back.is_hidden()
        box(page, "order_place [kernlab_story]").click()


def test_names_fit_their_boxes_at_every_width(show, hung):
    page = show(hung.stacks)
    for width in (1200, 700, 380, 1000):
        page.set_viewport_size({"width": width, "height": 700})
        page.wait_for_timeout(100)
        root = page.locator("svg.flames").element_handle()
        assert page.evaluate(TOO_WIDE, root) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        picture(page, f"flames-{width}")
    texts = page.locator(".b text").all_text_contents()
    assert any(text.endswith("…") for text in texts)
    assert "rescuer_thread" in texts
    still = show(hung.stacks, javascript=False)
    assert "rescuer_thread" in still.locator(".b text").all_text_contents()
    picture(still, "flames-without-scripts")


def test_what_is_pointed_at_or_searched_says_whose_it_is(show, hung):
    page = show(hung.stacks, dark=True)
    said = page.get_by_role("status")
    assert "Point at a function" in said.inner_text()
    box(page, "order_place [kernlab_story]").hover()
    assert said.inner_text().startswith(
        "order_place [kernlab_story]: 6 of 82 threads (7.3%): order-1 (179), order-2 (180)"
    )
    page.mouse.move(5, 5)
    page.get_by_role("searchbox").fill("mutex_LOCK")
    assert said.inner_text() == "6 of 82 threads (7.3%) are in functions with “mutex_LOCK” in their names."
    assert [hit.split(":")[0] for hit in page.locator(".hit title").all_text_contents()] == [
        "__mutex_lock.constprop.0"
    ]
    picture(page, "flames-dark-search")
    # A function that stands on another of the same name is counted once.
    page.get_by_role("searchbox").fill("schedule")
    asleep = hung.stacks.loc[hung.stacks["symbol"].str.contains("schedule"), "task"].nunique()
    assert said.inner_text().startswith(f"{asleep} of 82 threads")
    page.get_by_role("searchbox").press("Escape")
    assert "Point at a function" in said.inner_text()
    assert page.locator(".hit").count() == 0


def test_the_keyboard_reaches_every_box(show, hung):
    page = show(hung.stacks)
    stops = page.evaluate(
        "[...document.querySelectorAll('*')].filter(e => e.tabIndex >= 0 && e.checkVisibility()).length"
    )
    assert stops == 2, "the search, and the boxes as one"
    page.get_by_role("searchbox").focus()
    page.keyboard.press("Tab")
    said = page.get_by_role("status")
    assert said.inner_text().startswith("all: 82 of 82 threads")
    for key, name in (
        ("ArrowUp", "ret_from_fork_asm"),
        ("ArrowRight", "entry_SYSCALL_64_after_hwframe"),
        ("ArrowUp", "do_syscall_64"),
        ("ArrowDown", "entry_SYSCALL_64_after_hwframe"),
    ):
        page.keyboard.press(key)
        assert said.inner_text().startswith(f"{name}: ")
    page.keyboard.press("Enter")
    root = page.locator("svg.flames").element_handle()
    assert "ret_from_fork" not in page.evaluate(SHOWN, root)
    picture(page, "flames-keyboard")


def test_somebody_who_cannot_see_it_is_told(show, hung):
    page = show(hung.stacks, javascript=False)
    graph = page.get_by_role("img", name="What everybody was doing: 82 threads")
    assert graph.count() == 1
    told = page.locator("desc").text_content()
    assert told.startswith("Flame graph of the stacks of 82 threads, by function: ret_from_fork_asm 61")


def test_many_stacks_are_a_picture_and_not_a_pale_stain(show, hung):
    """Of 2,248 threads one has half a pixel, less than a border."""
    rows = hung.stacks
    one = rows[rows["pid"] == 176]
    crowd = [
        one.assign(task=number, pid=number, symbol=one["symbol"] + str(number)) for number in range(2000)
    ]
    import pandas as pd

    page = show(pd.concat([rows, *crowd]))
    strokes = page.locator(".b.hair rect").first.evaluate("e => getComputedStyle(e).stroke")
    assert strokes == "none"
    picture(page, "flames-many")


def test_names_that_are_markup_are_text(show, hung):
    name = IMG.decode()
    page = show(hung.stacks.assign(comm=name, symbol=f"{name}$x$+0x1/0x2 [</text><script>{name}]"))
    box(page, "all").hover()
    page.locator(".b").nth(3).hover()
    page.locator(".b").nth(3).click()
    page.get_by_role("searchbox").fill(name)
    page.wait_for_timeout(200)
    assert name in page.get_by_role("status").inner_text()
    assert page.evaluate("window.harm") is None
    assert page.locator("#harm, [onerror], img").count() == 0
    assert page.locator("script").count() == 1
