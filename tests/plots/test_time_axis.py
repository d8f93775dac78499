"""Names of moments: as many digits as tell them apart, never more than there is room for."""

from __future__ import annotations

from itertools import pairwise

import matplotlib as mpl
import pytest

mpl.use("Agg")
from matplotlib import pyplot

from kernlab.plots.time_axis import before, decimals, moment, name_seconds


@pytest.mark.parametrize(
    ("low", "high"), [(17.0, 17.01), (0, 4e9), (1_234_567.123456, 1_234_567.123466), (95.25, 125.25), (3, 3 + 2e-8)]
)  # fmt: skip
def test_all_ticks_differ_and_none_lies_on_another(low, high):
    figure, ax = pyplot.subplots(figsize=(8, 2), dpi=100)
    ax.set_xlim(low, high)
    ax.tick_params(labelsize="small")
    name_seconds(ax, low, high)
    figure.canvas.draw()
    labels = [label for label in ax.get_xticklabels() if label.get_window_extent().x0 > 0]
    assert len({label.get_text() for label in labels}) == len(labels) > 1
    boxes = sorted((label.get_window_extent().x0, label.get_window_extent().x1) for label in labels)
    assert all(one[1] <= other[0] for one, other in pairwise(boxes))
    pyplot.close(figure)


@pytest.mark.parametrize(
    ("seconds", "step", "most", "text"),
    [
        (-20, 5, 30, "−20 s"), (-0.02, 0.005, 0.03, "−20 ms"), (-2.5e-5, 5e-6, 5e-5, "−25 µs"), (0, 1, 9, "crash"),
        (-45.722, 0.002, 45.73, "−45.722 s"), (-0.5, 0.5, 1.5, "−0.5 s"), (-3e-8, 1e-8, 5e-8, "−30 ns"),
    ],
)  # fmt: skip
def test_times_before_the_crash(seconds, step, most, text):
    assert before(seconds, step, most) == text


def test_digits_behind_the_point():
    assert [decimals(step) for step in (100, 1, 0.5, 0.1, 0.002, 1e-9, 0)] == [0, 0, 1, 1, 3, 9, 0]
    assert moment(17.7185, 0.01) == "17.7185 s"
    assert moment(17.7185, 30) == "17.718 s"
