"""The player in a real browser: play, scrub, zoom, keys alone, jumps, lanes; what it shows is what the frames say."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from support.jupyterlab import PICTURES, ROOT, UNREADABLE

pytest.importorskip("anywidget", reason="anywidget is not installed (the extra 'jupyter')")

from support.player_page import page_of
from support.replay_frames import story

from kernlab.player.pack import pack

pytestmark = pytest.mark.long

HOSTILE = '<img id=harm src=x onerror="window.harm=1"> $x$ \x1b[31m\u202e'
#: The colours of a lane's canvas in one column of it, as a share of its width.
COLUMN = """([lane, share]) => {
  const canvas = document.querySelector(`canvas[data-lane='${lane}']`);
  const left = 52 * devicePixelRatio, right = canvas.width - 14 * devicePixelRatio;
  const x = Math.round(left + (right - left) * share);
  const { data } = canvas.getContext("2d").getImageData(x, 0, 1, canvas.height);
  const found = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) found.add(data.slice(i, i + 3).join());
  return [...found];
}"""
BLUE = "0,114,178"


@pytest.fixture(scope="module")
def frames():
    return story()


@pytest.fixture(scope="module")
def files(tmp_path_factory, frames):
    """Pages of recordings, by name."""
    folder = tmp_path_factory.mktemp("player")
    hostile = story(names={"leak": HOSTILE, "nginx": "</script><u id=harm>"}, texts=[HOSTILE] * 3)
    made = {}
    for name, shown in (("story", frames), ("hostile", hostile)):
        made[name] = folder / f"{name}.html"
        made[name].write_text(page_of(pack(shown)), "utf-8")
    return made


class Shown:
    """A page with a player."""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(".klp")
        self.stack = page.locator(".klp-stack")

    @property
    def time(self):
        """Seconds since boot at the cursor."""
        return float(self.root.get_attribute("data-time"))

    @property
    def view(self):
        """(from, to) in ticks, of what the lanes show: by where the frame on the map lies."""
        box, frame = (self.page.locator(name).bounding_box() for name in (".klp-map", ".klp-window"))
        room = box["width"] - 52 - 14
        left = (frame["x"] - box["x"] - 52) / room
        return left, left + frame["width"] / room

    def settle(self):
        self.page.wait_for_timeout(200)

    def key(self, *names):
        for name in names:
            self.page.keyboard.press(name)
        self.settle()

    def drag(self, start, end, *, on=None, y=0.5, keys=()):
        box = (on or self.stack).bounding_box()
        mouse = self.page.mouse
        for key in keys:
            self.page.keyboard.down(key)
        mouse.move(box["x"] + start * box["width"], box["y"] + y * box["height"])
        mouse.down()
        for step in range(1, 6):
            at = start + (end - start) * step / 5
            mouse.move(box["x"] + at * box["width"], box["y"] + y * box["height"])
        mouse.up()
        for key in keys:
            self.page.keyboard.up(key)
        self.settle()


@pytest.fixture
def show(browser, files):
    """`show(name, dark=False, width=1280)`: a recording in a fresh page, whose console must stay silent."""
    contexts, said = [], []

    def make(name="story", *, dark=False, width=1280, touch=False):
        context = browser.new_context(
            viewport={"width": width, "height": 1100},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            has_touch=touch,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"file://{files[name]}")
        page.locator(".klp-stack").wait_for()
        page.wait_for_function("document.querySelector('.klp-timeline').dataset.drawn")
        return Shown(page)

    yield make
    for context in contexts:
        context.close()
    assert said == []


def picture(shown, name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    shown.page.screenshot(path=str(PICTURES / f"player-{name}.png"), full_page=True)


def test_it_plays_to_the_crash_and_paints_only_the_cursor(show, frames):
    shown = show()
    crash = frames.crash.total_seconds()
    assert shown.time == pytest.approx(crash, abs=1e-6), "it begins at the crash"
    assert shown.root.locator(".klp-clock b").inner_text() == "the crash"
    shown.key("Home")
    painted = shown.page.locator(".klp-timeline").get_attribute("data-drawn")
    shown.stack.focus()
    shown.key(" ")
    before = shown.time
    shown.page.wait_for_timeout(600)
    assert shown.time > before
    assert shown.page.locator(".klp-timeline").get_attribute("data-drawn") == painted
    shown.key(" ")
    stopped = shown.time
    shown.page.wait_for_timeout(300)
    assert shown.time == stopped
    shown.root.get_by_label("Speed").select_option("300")
    shown.root.get_by_role("button", name="Play").click()
    shown.root.locator(".klp-clock b", has_text="the crash").wait_for()
    shown.root.get_by_role("button", name="Play").wait_for()


def test_the_panel_says_what_the_frames_say(show, frames):
    """At instants all over the recording, on both sides of a hole."""
    shown = show()
    first = frames.memory["time"].min().total_seconds()
    crash = frames.crash.total_seconds()
    for share in (0.1, 0.31, 0.4, 0.55, 0.83, 0.97):
        shown.drag(share, share, on=shown.page.locator(".klp-map"))
        time = pd.Timedelta(shown.time, "s")
        assert first < shown.time < crash
        own = frames.running[(frames.running["start"] <= time) & (frames.running["end"] > time)]
        rows = shown.page.locator(".klp-rows-cpus li").all()
        assert len(rows) == 4
        for cpu, row in enumerate(rows):
            ran = own[own["cpu"] == cpu]
            said = row.locator(".klp-task").inner_text()
            if not len(ran):
                assert said == "not known"
            elif ran["pid"].iloc[0] == 0:
                assert said == "idle"
            else:
                assert said == f"{ran['comm'].iloc[0]} ({ran['pid'].iloc[0]})"
        out = frames.requests[
            (frames.requests["start"] <= time)
            & ((frames.requests["end"] > time) | frames.requests["end"].isna())
        ]
        count = (
            shown.page.locator(".klp-panel section", has_text="Requests out")
            .locator(".klp-said")
            .inner_text()
        )
        assert count.lower() == (str(len(out)) if len(out) else "none")
        last = frames.memory[frames.memory["time"] <= time].iloc[-1]
        free = shown.page.locator(".klp-rows-kinds li", has_text="free").locator(".klp-number").inner_text()
        if last["source"] == "break":
            assert free == "?"
        else:
            value, unit = free.split()
            assert float(value) * 1024 ** ["B", "KiB", "MiB", "GiB"].index(unit) == pytest.approx(
                last["free_bytes"], rel=0.05
            )
        line = frames.log[frames.log["time"] <= time]["text"].iloc[-1]
        assert shown.page.locator(".klp-rows-log li").first.locator(".klp-line").inner_text() == line


def test_a_break_is_hatched_and_not_bridged(show, frames):
    shown = show()
    hole = frames.memory.loc[frames.memory["source"] == "break", "time"].iloc[0]
    after = frames.memory.loc[frames.memory["time"] > hole, "time"].iloc[0]
    begin = frames.memory["time"].min()
    middle = (hole + (after - hole) / 2 - begin) / (frames.crash - begin)
    for lane in ("memory", "processes"):
        assert BLUE in shown.page.evaluate(COLUMN, [lane, middle - 0.05]), (
            "there is anonymous memory beside it"
        )
        assert BLUE not in shown.page.evaluate(COLUMN, [lane, middle])
    # The crash is beyond it: what is known again is drawn again.
    assert BLUE in shown.page.evaluate(COLUMN, ["memory", middle + 0.05])


def test_zoom_by_keys_wheel_buttons_and_brush(show):
    shown = show()
    assert shown.view == pytest.approx((0, 1), abs=0.01)
    shown.drag(0.5, 0.5)
    shown.stack.focus()
    shown.key("+", "+")
    assert shown.view[1] - shown.view[0] == pytest.approx(0.25, abs=0.02)
    shown.key("PageDown")
    assert shown.view[0] > 0.6
    shown.key("0")
    assert shown.view == pytest.approx((0, 1), abs=0.01)
    shown.root.get_by_role("button", name="Zoom in").click()
    shown.settle()
    assert shown.view[1] - shown.view[0] == pytest.approx(0.5, abs=0.02)
    shown.root.get_by_role("button", name="The whole range").click()
    shown.settle()
    box = shown.stack.bounding_box()
    shown.stack.focus()
    shown.page.mouse.move(box["x"] + 300, box["y"] + 200)
    shown.page.mouse.wheel(0, -240)
    shown.settle()
    narrow = shown.view
    assert narrow[1] - narrow[0] < 0.9
    shown.page.keyboard.down("Shift")
    shown.page.mouse.wheel(0, 120)
    shown.page.keyboard.up("Shift")
    shown.settle()
    assert shown.view[0] > narrow[0], "with Shift the wheel moves the view"
    shown.key("0")
    shown.drag(0.3, 0.5, keys=("Shift",))
    ranged = shown.root.locator(".klp-ranged")
    assert "range of" in ranged.inner_text()
    chosen = shown.page.evaluate("state.cursor.range")
    shown.stack.focus()
    shown.key("Enter")
    end = shown.page.evaluate("state.meta.end")
    assert shown.view == pytest.approx((chosen[0] / end, chosen[1] / end), abs=0.01)
    before = shown.view
    shown.drag(0.5, 0.3, keys=("Alt",))
    assert shown.view[0] > before[0]
    shown.key("Escape")
    assert ranged.is_hidden()


def test_two_fingers_zoom(show):
    shown = show(touch=True)
    box = shown.stack.bounding_box()
    shown.page.evaluate(
        """([x, y]) => {
          const stack = document.querySelector(".klp-stack");
          const send = (kind, id, at) => stack.dispatchEvent(new PointerEvent(kind,
            { pointerId: id, pointerType: "touch", clientX: at, clientY: y, bubbles: true, button: 0 }));
          stack.setPointerCapture = () => {};
          send("pointerdown", 5, x - 40); send("pointerdown", 6, x + 40);
          for (let apart = 60; apart <= 140; apart += 20) {
            send("pointermove", 5, x - apart); send("pointermove", 6, x + apart);
          }
          send("pointerup", 5, x - 140); send("pointerup", 6, x + 140);
        }""",
        [box["x"] + 450, box["y"] + 200],
    )  # fmt: skip
    shown.settle()
    assert shown.view[1] - shown.view[0] == pytest.approx(80 / 280, abs=0.03)


def test_keys_alone_go_everywhere(show, frames):
    shown = show()
    for _ in range(40):
        shown.page.keyboard.press("Tab")
        if shown.page.evaluate("document.activeElement.className") == "klp-map":
            break
    assert shown.page.evaluate("document.activeElement.getAttribute('role')") == "slider"
    times = {
        kind: rows["time"].dt.total_seconds().tolist()
        for kind, rows in frames.marks.groupby("kind", sort=False)
    }
    shown.key("m")
    assert shown.time == pytest.approx(times["peak memory"][0], abs=1e-6)
    shown.key("Home", "e")
    assert shown.time == pytest.approx(times["log error"][0], abs=1e-6)
    shown.key("e")
    assert shown.time == pytest.approx(times["log error"][1], abs=1e-6)
    assert "log error" in shown.root.get_by_role("status").last.inner_text()
    shown.key("u")
    assert shown.time == pytest.approx(times["unanswered request"][0], abs=1e-6)
    ordered = sorted({time for kind in times.values() for time in kind})
    at = next(i for i, time in enumerate(ordered) if abs(time - shown.time) < 1e-6)
    shown.key("j")
    assert shown.time == pytest.approx(ordered[at + 1], abs=1e-6)
    shown.key("k", "k")
    assert shown.time == pytest.approx(ordered[at - 1], abs=1e-6)
    shown.key("End")
    assert shown.page.locator(".klp-map").get_attribute("aria-valuetext") == "the crash"
    shown.key("ArrowLeft")
    assert shown.time == pytest.approx(frames.crash.total_seconds() - 0.3, abs=0.01)
    shown.key("Shift+ArrowLeft")
    assert shown.time == pytest.approx(frames.crash.total_seconds() - 3.3, abs=0.01)
    speed = shown.root.get_by_label("Speed")
    before = float(speed.input_value())
    shown.key("]")
    assert float(speed.input_value()) > before
    shown.key("[", "[")
    assert float(speed.input_value()) < before
    shown.key("i", "ArrowRight", "ArrowRight", "o")
    low, high = shown.page.evaluate("state.cursor.range")
    assert high > low
    shown.key("?")
    helped = shown.root.get_by_role("region", name="Keys and pointer")
    assert "play or pause" in helped.inner_text()
    shown.key("Escape")
    assert helped.is_hidden()


def test_lanes_can_be_chosen(show):
    shown = show()
    assert shown.page.locator(".klp-lane:visible").count() == 8
    shown.root.locator(".klp-lanes summary").click()
    shown.root.get_by_label("Disk vdb").uncheck()
    shown.root.get_by_label("Pressure").uncheck()
    shown.settle()
    names = [lane.get_attribute("data-lane") for lane in shown.page.locator(".klp-lane:visible").all()]
    assert names == ["memory", "processes", "cpus", "runnable", "disk:vda", "log"]
    assert shown.page.evaluate("state.lanes") == names
    shown.page.evaluate("state.lanes = ['cpus', 'log']; handlers['change:lanes'].forEach(each => each())")
    shown.settle()
    assert shown.page.locator(".klp-lane:visible").count() == 2


def test_what_is_known_of_one_instant_only_makes_no_lane(browser, tmp_path, frames):
    """As of a dump without a recorder: the kernel's averages of pressure and its counts, as they were at the end."""
    at_end = {
        "memory": frames.memory.tail(1),
        "memory_by_process": frames.memory_by_process.groupby("pid").tail(1).assign(time=frames.crash),
        "pressure": pd.concat([frames.pressure.tail(5)] * 3, ignore_index=True).assign(time=frames.crash),
        "runnable": frames.runnable.tail(4).assign(time=frames.crash),
        "trusted_from": frames.crash,
    }
    path = tmp_path / "page.html"
    path.write_text(page_of(pack(dataclasses.replace(frames, **at_end))), "utf-8")
    page = browser.new_page()
    page.goto(f"file://{path}")
    page.locator(".klp-rows-kinds li").first.wait_for()
    names = [lane.get_attribute("data-lane") for lane in page.locator(".klp-lane").all()]
    assert names == ["cpus", "disk:vda", "disk:vdb", "log"]
    assert "leak (812)" in page.locator(".klp-rows-processes").inner_text()
    assert "Of memory only the end is known" in page.locator(".klp-trust").inner_text()
    page.close()


def test_a_click_on_a_task_leads_to_its_stack_and_struct(show):
    shown = show()
    shown.root.locator(".klp-rows-cpus .klp-task", has_text="leak").first.click()
    detail = shown.root.get_by_role("region", name="The chosen task")
    assert "pid 812" in detail.inner_text()
    shown.page.evaluate("window.delay = 2500")
    detail.get_by_role("button", name="stack").click()
    detail.get_by_text("Waiting for the kernel").wait_for()
    detail.locator("pre", has_text="schedule+0x5a").wait_for()
    shown.page.evaluate("window.delay = 10")
    detail.get_by_role("button", name="open in the struct browser").click()
    detail.get_by_text("open below").wait_for()
    asked = shown.page.evaluate("asked.map(each => [each.op, state.meta.tasks[each.task].pid])")
    assert asked == [["stack", 812], ["struct", 812]]
    shown.stack.focus()
    shown.key("Escape")
    assert detail.is_hidden()
    # On the lane itself: the last interval of CPU 1 is the leak's.
    lane = shown.page.locator("canvas[data-lane=cpus]")
    box = lane.bounding_box()
    shown.page.mouse.click(box["x"] + box["width"] - 40, box["y"] + box["height"] * 0.38)
    assert "leak" in detail.inner_text()
    assert "CPU 1" in detail.inner_text()


@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 1280), (False, 500), (True, 500)])
def test_it_can_be_read_and_axe_finds_nothing_serious(show, dark, width):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed (the extra 'dev')"
    )
    shown = show(dark=dark, width=width)
    shown.stack.focus()
    shown.key("m", "+", "+", "?")
    shown.root.locator(".klp-notes summary").first.click()
    shown.root.locator(".klp-marks summary").click()
    shown.root.locator(".klp-task:not(:disabled)").first.click()
    shown.settle()
    picture(shown, f"open-{'dark' if dark else 'light'}-{width}")
    assert ("klp-dark" in shown.root.get_attribute("class")) == dark
    assert shown.root.evaluate(UNREADABLE) == []
    found = axe.Axe().run(shown.page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        "nothing is wider than the page"
    )
    shown.key("0", "?", "Escape", "Escape")
    picture(shown, f"whole-{'dark' if dark else 'light'}-{width}")


def test_names_and_lines_are_text(show):
    shown = show("hostile")
    shown.stack.focus()
    for key in ("e", "e", "u", "End", "m"):
        shown.key(key)
    shown.root.locator(".klp-marks summary").click()
    shown.root.locator(".klp-rows-processes .klp-task").first.click()
    box = shown.page.locator("canvas[data-lane=cpus]").bounding_box()
    shown.page.mouse.move(box["x"] + box["width"] - 40, box["y"] + box["height"] * 0.38)
    shown.settle()
    text = shown.root.inner_text()
    assert "<img id=harm src=x onerror=" in text
    assert "␛[31m\\u202e" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert shown.page.locator("#harm").count() == 0
    assert shown.page.evaluate("window.harm") is None


def test_a_gap_is_idle_unless_events_are_missing_there(browser, tmp_path, frames):
    """Where a trace does not tell of idle threads, what lies between two intervals is no hole by itself."""
    running = frames.running[frames.running["pid"] != 0]
    gaps = running[running["cpu"] == 1].sort_values("start")
    ends, starts = gaps["end"].to_numpy()[:-1], gaps["start"].to_numpy()[1:]
    widest = int(np.argmax(starts - ends))
    middle = pd.Timedelta(ends[widest]) + (pd.Timedelta(starts[widest]) - pd.Timedelta(ends[widest])) / 2
    lost = frames.breaks.iloc[:1].assign(time=middle, cpu=1)
    page = browser.new_page()
    for breaks, said in ((lost.iloc[:0], "idle"), (lost, "not known")):
        packed = pack(dataclasses.replace(frames, running=running, breaks=breaks))
        assert packed.meta["idle_told"] is False
        path = tmp_path / f"{len(breaks)}.html"
        path.write_text(page_of(packed), "utf-8")
        page.goto(f"file://{path}")
        page.locator(".klp-rows-cpus li").first.wait_for()
        ticks = (middle.value - packed.meta["origin_ns"]) / packed.meta["tick_ns"]
        page.evaluate(
            "ticks => { state.wanted = {ticks, n: 1}; handlers['change:wanted'].forEach(each => each()); }",
            ticks,
        )
        assert page.locator(".klp-rows-cpus li").nth(1).locator(".klp-task").inner_text() == said
    page.close()


def test_the_explorers_tab(desk, lab, dump_files):
    """Made when it is first opened, kept while other tables are looked at; a struct opens below the explorer."""
    lab.dump(dump_files("debian-6.1").vmcore, "crash.vmcore")
    cells = (
        "import kernlab; dump = kernlab.open('crash.vmcore')",
        "explorer = dump.explorer(height='760px'); explorer",
    )
    panel = desk.notebook("explorer.ipynb", cells)
    board = panel.locator(".kl-explorer")
    entry = board.locator(".kl-entry[data-view=replay]")
    entry.wait_for(timeout=60_000)
    entry.click()
    shown = board.locator(".klp")
    shown.wait_for(timeout=120_000)
    assert shown.locator(".klp-lane[data-lane^='disk:']").count() >= 1, "there is a block trace"
    shown.locator(".klp-stack").focus()
    desk.page.keyboard.press("Home")
    time = shown.get_attribute("data-time")
    board.locator(".kl-entry[data-view=tasks]").click()
    board.locator(".kl-count", has_text="rows").first.wait_for()
    assert shown.count() == 0
    entry.click()
    shown.wait_for()
    assert shown.get_attribute("data-time") == time, "it is as it was left"
    desk.picture("player-explorer", panel)
    task = shown.locator(".klp-task:not(:disabled)").first
    if task.count():
        task.click()
        shown.get_by_role("button", name="open in the struct browser").click()
        panel.locator(".klb-headline").wait_for()


def test_in_jupyterlab_with_a_kernel(desk, lab, dump_files):
    """A recording too large for the notebook is asked for; stack, struct browser and Python's side; saved, a figure."""
    lab.dump(dump_files("debian-6.1").vmcore, "crash.vmcore")
    cells = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "import kernlab, pandas as pd\n"
        "from support.replay_frames import story\n"
        "from kernlab.player.pack import pack\n"
        "from kernlab.player.still import Still\n"
        "from kernlab.player.widget import Player\n"
        "dump = kernlab.open('crash.vmcore')\n"
        "frames = story(intervals=60_000)\n"
        "task = int(dump.tasks.loc[dump.tasks.comm == 'kcompactd0', 'address'].iloc[0])\n"
        "frames.running['task'] = pd.array([task] * len(frames.running), dtype='UInt64')",
        "player = Player(pack(frames), Still(frames), dump=dump); player",
    )
    panel = desk.notebook("player.ipynb", cells)
    shown = panel.locator(".klp")
    shown.locator(".klp-rows-cpus .klp-task").first.wait_for()
    shown.locator(".klp-rows-cpus .klp-task", has_text="leak").first.click()
    detail = shown.get_by_role("region", name="The chosen task")
    detail.get_by_role("button", name="stack").click()
    detail.locator("pre", has_text="kcompactd+0x").wait_for()
    detail.get_by_role("button", name="open in the struct browser").click()
    panel.locator(".klb-headline", has_text="kcompactd0").wait_for()
    shown.locator(".klp-stack").focus()
    desk.page.keyboard.press("m")
    desk.page.wait_for_timeout(400)
    desk.page.keyboard.type("dd")
    assert desk.page.evaluate("window.jupyterapp.shell.currentWidget.content.model.cells.length") == 2
    desk.theme("JupyterLab Dark")
    panel.locator(".klp.klp-dark").wait_for()
    desk.page.wait_for_timeout(200)
    assert desk.unreadable(shown) == []
    desk.picture("player-jupyterlab-dark", shown)
    desk.theme("JupyterLab Light")
    panel.locator(".klp:not(.klp-dark)").wait_for()
    # Without its kernel the notebook that was saved shows the figure.
    desk.save()
    lab.end_kernels()
    desk.open("player.ipynb")
    # By the widget itself where its state was saved, which is off unless another test turned it on.
    still = desk.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)").locator(".kernlab-player, .klp-still")
    still.locator("img").first.wait_for()
    still.locator("td", has_text="peak memory").first.wait_for()
    desk.picture("player-saved")
    # What ipywidgets has to say of a model that is gone.
    desk.said[:] = [line for line in desk.said if "widget model not found" not in line]
