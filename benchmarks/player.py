"""The player in a real JupyterLab and Chromium, on a million intervals: frames a second, and how long an instant takes.

    python benchmarks/player.py [--intervals 1000000] [--requests 200000] [--seeks 100] [--seconds 10]

The frames are made up (tests/support/replay_frames.py). Measured in the page: from the cell's end to the first picture,
the times between frames (requestAnimationFrame) while it plays, from a click at a random instant to the frame in which
cursor and panel are there, and from a key to the frame in which a zoomed view is painted. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

from support.jupyterlab import Desk, desk_alone  # noqa: E402

CELLS = (
    """
import sys, time
sys.path[:0] = [TESTS]
from support.replay_frames import story
from kernlab.player.pack import pack
from kernlab.player.still import Still
from kernlab.player.widget import Player
frames = story(intervals=INTERVALS, requests=REQUESTS, readings=READINGS)
began = time.perf_counter()
packed = pack(frames)
print(f"{time.perf_counter() - began:.2f} {len(packed.data)}")
""",
    "Player(packed, Still(frames))",
)

#: The times between frames while something goes on.
FRAMES = """seconds => new Promise(resolve => {
  const times = [];
  const until = performance.now() + 1000 * seconds;
  const look = now => {
    times.push(now);
    if (now < until) requestAnimationFrame(look);
    else resolve(times.slice(1).map((time, i) => time - times[i]));
  };
  requestAnimationFrame(look);
})"""

#: From a click on the map of the whole to the frame after the panel has the new time.
SEEK = """async share => {
  const root = document.querySelector('.klp'), map = root.querySelector('.klp-map');
  const box = map.getBoundingClientRect();
  const clientX = box.left + 52 + share * (box.width - 66);
  const at = { clientX, clientY: box.top + 9, pointerId: 1, button: 0, bubbles: true };
  map.setPointerCapture = () => {};
  const before = root.dataset.time, began = performance.now();
  map.dispatchEvent(new PointerEvent('pointerdown', at));
  map.dispatchEvent(new PointerEvent('pointerup', at));
  if (root.dataset.time === before) throw new Error('it did not go there');
  const worked = performance.now() - began;
  const painted = new MessageChannel();
  await new Promise(done => {
    painted.port1.onmessage = done;
    requestAnimationFrame(() => painted.port2.postMessage(0));
  });
  return [worked, performance.now() - began];
}"""

#: From a key to the frame in which the lanes are painted anew; and what painting took of it.
ZOOM = """async key => {
  const root = document.querySelector('.klp'), timeline = root.querySelector('.klp-timeline');
  delete timeline.dataset.drawn;
  const began = performance.now();
  root.querySelector('.klp-stack').dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  while (!timeline.dataset.drawn) await new Promise(done => requestAnimationFrame(done));
  return [Number(timeline.dataset.drawn), performance.now() - began];
}"""


def main(arguments: list[str]) -> int:
    """Measure and print; 1 where there is no browser."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--intervals", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--readings", type=int, default=200_000, help="of memory")
    parser.add_argument("--seeks", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10, help="of play")
    given = parser.parse_args(arguments)
    with desk_alone(1100) as desk:
        if desk is None:
            return 1
        measure(desk, given)
    return 0


def measure(desk: Desk, given: argparse.Namespace) -> None:
    """Print the figures of a reader's steps."""
    setting = (
        f"TESTS, INTERVALS = {str(ROOT / 'tests')!r}, {given.intervals}\n"
        f"REQUESTS, READINGS = {given.requests}, {given.readings}\n"
    )
    panel = desk.notebook("player.ipynb", (setting + CELLS[0], CELLS[1]), seconds=300)
    panel.locator(".klp-timeline[data-drawn]").wait_for(timeout=120_000)
    took, size = panel.locator(".jp-OutputArea-output").first.inner_text().split()
    page = desk.page
    painted = page.evaluate("document.querySelector('.klp-timeline').dataset.drawn")
    print(
        f"{given.intervals:,} intervals, {given.requests:,} requests, {given.readings:,} readings: packed in {took} s, "
        f"{int(size) / 1e6:.1f} MB; the first painting {float(painted):,.0f} ms"
    )
    panel.locator(".klp-stack").scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    page.evaluate("document.querySelector('.klp-stack').focus()")
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    report_frames("playing, the whole in view", page.evaluate(FRAMES, given.seconds))
    page.keyboard.press("Space")
    shares = [(number * 0.618034) % 1 * 0.98 + 0.01 for number in range(given.seeks)]
    report("to an instant, the whole in view", [page.evaluate(SEEK, share) for share in shares])
    report("zoom, twentyfold and back", [page.evaluate(ZOOM, key) for key in "++++-----" * 3])
    page.keyboard.press("0")
    page.wait_for_timeout(300)
    for _ in range(5):
        page.keyboard.press("+")
    page.wait_for_timeout(300)
    page.keyboard.press("Space")
    report_frames("playing, a 32nd in view, pages turning", page.evaluate(FRAMES, given.seconds))
    page.keyboard.press("Space")
    report("to an instant, the view moves along", [page.evaluate(SEEK, share) for share in shares])


def report_frames(step: str, apart: list[float]) -> None:
    """One line on the times between frames."""
    ordered = sorted(apart)
    rate = 1000 * len(apart) / sum(apart)
    print(
        f"  {step:42}{rate:6.1f} frames/s; apart: median {statistics.median(apart):.1f} ms, "
        f"99 % within {ordered[int(len(ordered) * 0.99)]:.0f} ms, at most {ordered[-1]:.0f} ms"
    )


def report(step: str, pairs: list[Any]) -> None:
    """One line on [milliseconds of work, milliseconds until it was on the screen]."""
    work, shown = zip(*pairs, strict=True)
    print(
        f"  {step:42}{statistics.median(shown):6.1f} ms until it is shown (at most {max(shown):.0f}), "
        f"of it work {statistics.median(work):.1f} ms (at most {max(work):.0f})"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
