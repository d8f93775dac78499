"""The plots: what they draw adds up to the tables, they take axes and themes, carry alternative text, and escape."""

from __future__ import annotations

import base64
import io
import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

mpl.use("Agg")
from matplotlib import pyplot

from kernlab import KernlabError
from kernlab.linux.page.classifier import KIND_NAMES
from kernlab.plots import style
from kernlab.plots.bars import bars, slabs
from kernlab.plots.page_counts import GROUP_OF, GROUPS, count
from kernlab.plots.physical import hilbert, raster
from kernlab.util.text import human_bytes

NAMES = ["memory", "zones", "physical", "slabs", "processes", "maps", "stacks"]
PAGE = 4096


@pytest.fixture(scope="module")
def sample(opened):
    return opened("debian-6.1")


@pytest.fixture(autouse=True)
def _close():
    # pandas' own tests of extension arrays leave another backend behind.
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_every_plot_draws_in_both_themes_800_pixels_wide(sample, name, theme):
    ax = getattr(sample.plot, name)(theme=theme)
    ax.figure.canvas.draw()
    assert ax.figure.canvas.get_width_height()[0] == 800
    wanted = style.LIGHT if theme == "light" else style.DARK
    assert mpl.colors.same_color(ax.figure.get_facecolor(), wanted.background)
    assert len(ax.get_label()) > 40


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_off(sample, name):
    ax = getattr(sample.plot, name)()
    figure = ax.figure
    figure.canvas.draw()
    drawn = ax.get_tightbbox(figure.canvas.get_renderer())
    width, height = figure.canvas.get_width_height()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width + 1
    assert drawn.y1 <= height + 1


@pytest.mark.parametrize("name", NAMES)
def test_it_draws_on_the_axes_given_and_takes_their_background(sample, name):
    with pyplot.style.context("dark_background"):
        given = pyplot.subplots()[1]
    assert getattr(sample.plot, name)(ax=given) is given
    assert style.theme_of(None, given) is style.DARK


def test_a_theme_that_is_none_is_refused(sample):
    with pytest.raises(KernlabError, match="'light' or 'dark'"):
        sample.plot.memory(theme="blue")
    with pytest.raises(KernlabError, match="top must be at least 1"):
        sample.plot.slabs(top=0)


def test_colours_tell_apart_in_both_themes_and_against_the_background():
    for theme in (style.LIGHT, style.DARK):
        shades = [mpl.colors.to_rgb(getattr(theme, name)) for _, name, _ in GROUPS]
        assert len(set(shades)) == len(GROUPS)

        def luminance(colour):
            linear = [
                c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour)
            ]
            return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

        for text in (theme.ink, theme.soft):
            bright, dark = sorted([luminance(text), luminance(theme.background)], reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 4.5  # WCAG AA


def test_counted_frames_are_those_of_pages(dump):
    frames = count(dump.kernel)
    pages = dump.pages
    kinds = pages["kind"].value_counts()
    assert frames.kinds.sum(axis=0).tolist() == [int(kinds[name]) for name in KIND_NAMES]
    assert frames.cells.sum() == len(pages)
    group = GROUP_OF[pages["kind"].cat.codes]
    cell = pages["pfn"] // frames.per_cell
    for index in range(len(GROUPS)):
        expected = np.bincount(cell[group == index], minlength=len(frames.cells))
        assert frames.cells[:, index].tolist() == expected.tolist()


def test_every_kind_of_page_has_a_group():
    named = [kind for _, _, kinds in GROUPS for kind in kinds]
    assert sorted(named) == list(range(len(KIND_NAMES)))


def test_bars_of_memory_are_the_sums(sample):
    ax = sample.plot.memory()
    heads = [bar.get_width() for bar in ax.patches if bar.get_height() > 0.7]
    assert sum(heads) == len(sample.pages) * PAGE


def test_a_groups_kinds_lie_end_to_end_and_shares_are_of_what_is_managed(sample):
    ax = sample.plot.memory()
    labels = [tick.get_text() for tick in ax.get_yticklabels()]
    assert len(set(labels)) == len(labels)
    shares, at, head = 0.0, 0.0, 0.0
    for bar, text in zip(ax.patches, ax.texts, strict=False):
        if bar.get_height() > 0.7:
            assert at in (0, head), "kinds do not add up to their group"
            head, at = bar.get_width(), 0.0
            shares += bar.get_width() if "%" in text.get_text() else 0
        else:
            assert bar.get_x() == at
            at += bar.get_width()
    assert human_bytes(int(shares)) == ax.get_title("left").rpartition(": ")[2]
    assert shares < len(sample.pages) * PAGE, "what is not usable has a share"


def test_bars_of_slabs_and_processes_add_up_to_the_tables(sample):
    ax = sample.plot.slabs(top=3)
    assert sum(bar.get_width() for bar in ax.patches) == sample.slabs["bytes"].sum()
    assert ax.get_yticklabels()[-1].get_text() == f"{len(sample.slabs) - 3:,} others"
    ax = sample.plot.processes(top=5)
    table = sample.memory_by_process
    assert (
        sum(bar.get_width() for bar in ax.patches)
        == table[["pss_bytes", "page_tables_bytes", "swap_bytes"]].sum().sum()
    )


@pytest.mark.parametrize("name", ["slabs", "processes"])
def test_the_legend_covers_no_bar(sample, name):
    # With three bars that of all the others is the longest.
    ax = getattr(sample.plot, name)(top=3)
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().y1 <= ax.get_window_extent().y0


def test_the_title_of_processes_is_what_their_bars_add_up_to(sample):
    from kernlab.util.text import human_bytes

    ax = sample.plot.processes()
    swapped = sample.memory_by_process["swap_bytes"].sum()
    held = sum(patch.get_width() for patch in ax.patches) - swapped
    assert human_bytes(int(held)) in " ".join(text.get_text() for text in ax.figure.findobj(match=Text))


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0"), (64 << 20, "64 MiB"), (5 << 28, "1.25 GiB"), (9 << 27, "1.125 GiB")]
)
def test_ticks_say_round_numbers_exactly(value, words):
    assert style.in_words(value) == words


def test_maps_of_one_process(sample):
    ax = sample.plot.maps(1)
    mine = sample.map_usage[sample.map_usage["pid"] == 1]
    assert sum(bar.get_width() for bar in ax.patches) == mine["rss_bytes"].sum()
    with pytest.raises(KernlabError, match="no memory maps"):
        sample.plot.maps(2)


def test_the_curve_visits_every_cell_once_and_only_steps_to_neighbours():
    for side in (1, 2, 4, 8, 64):
        x, y = hilbert(side)
        assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == side * side
        assert (np.abs(np.diff(x)) + np.abs(np.diff(y)) == 1).all()
        assert (x[0], y[0]) == (0, 0)
        assert (x[-1], y[-1]) == (side - 1, 0)


@pytest.mark.parametrize("cells", [1, 5, 100, 4096, 40_000, 131_072])
def test_the_raster_holds_every_cell_once(cells):
    picture = raster(np.arange(cells))
    assert sorted(picture[picture >= 0].tolist()) == list(range(cells))
    height, width = picture.shape
    assert width * height <= 2 * cells + 64 * 64 or cells < 16


def test_names_from_the_dump_are_drawn_not_interpreted():
    table = pd.DataFrame(
        {
            "name": pd.array(["$\\frac{", "_hidden", "x" * 200, "\x1b[31m"], dtype="str"),
            "bytes": pd.array([40, 30, 20, 10], dtype="Int64"),
            "used_bytes": pd.array([40, 20, None, 10], dtype="Int64"),
            "flags": pd.array(["", "", "", ""], dtype="str"),
        }
    )
    ax = slabs(table, None, 15, None)
    ax.figure.canvas.draw()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[0] == "\\$\\frac{"
    assert len(labels[2]) <= 32
    assert "\x1b" not in "".join(labels) + ax.get_label()


def test_nothing_to_draw_is_drawn_too():
    ax = bars(pd.DataFrame({"a": pd.Series([], dtype="float64")}), ["red"], None, style.LIGHT, 5)
    ax.figure.canvas.draw()


def test_a_notebook_gets_the_alternative_text(sample):
    ax = sample.plot.memory()
    data, metadata = ax.figure._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"]["alt"] == ax.get_label()
    assert "Bar chart of the machine's memory" in ax.get_label()
    assert "Bar chart" not in data


def colours(figure):
    """All colours of a figure's artists, and how it is laid out."""
    found = [
        np.round(mpl.colors.to_rgba_array(getattr(artist, f"get_{name}")()), 6).tolist()
        for artist in figure.findobj(match=lambda each: isinstance(each, Text | Patch | Line2D))
        for name in ("color", "facecolor", "edgecolor")
        if hasattr(artist, f"get_{name}")
    ]
    return found, type(figure.get_layout_engine())


def pixels(png):
    return mpl.image.imread(io.BytesIO(png), format="png")[..., :3]


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_notebook_has_the_plot_in_both_themes(sample, name):
    """A saved picture cannot be drawn anew when its page turns dark: it carries its counterpart."""
    own, other = {}, {}
    grounds = {"light": style.LIGHT.background, "dark": style.DARK.background}
    for theme, ground in grounds.items():
        figure = getattr(sample.plot, name)(theme=theme).figure
        figure.canvas.draw()
        before = colours(figure)
        data, _ = figure._repr_mimebundle_()
        turned, drawn = (
            base64.b64decode(part)
            for part in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", data["text/html"])
        )
        assert drawn == data["image/png"]
        own[theme], other[theme] = pixels(drawn), pixels(turned)
        assert own[theme].shape == other[theme].shape
        assert mpl.colors.to_hex(own[theme][0, 0]).upper() == ground
        # And the figure is as it was.
        assert colours(figure) == before
    # The counterpart is what the other theme draws, to the last pixel but those on soft edges.
    for theme, turned in (("light", "dark"), ("dark", "light")):
        assert (np.abs(own[turned] - other[theme]).max(axis=2) > 0.02).mean() < 0.001
        assert mpl.colors.to_hex(other[theme][0, 0]).upper() == grounds[turned]


def test_what_a_notebook_draws_itself_turns_too_and_its_names_are_text():
    figure, ax = pyplot.subplots(layout="constrained")
    ax = style.axes(ax)
    ax.plot([1, 2], color=style.BLUE)
    ax.plot([2, 1], color="#123456")
    ax.set_title('"><script>alert(1)</script>', loc="left")
    data, metadata = figure._repr_mimebundle_()
    assert "<script>" not in data["text/html"]
    assert metadata["image/png"]["alt"] == '"><script>alert(1)</script>'
    other = base64.b64decode(re.search(r"base64,([A-Za-z0-9+/=]+)", data["text/html"])[1])
    shades = {tuple(np.round(shade * 255).astype(int)) for shade in pixels(other).reshape(-1, 3)}
    for colour, is_there in (
        (style.DARK.blue, True),
        (style.BLUE, False),
        ("#123456", True),
        ("black", False),
    ):
        assert (
            tuple(np.round(np.array(mpl.colors.to_rgb(colour)) * 255).astype(int)) in shades
        ) == is_there, colour
    with pyplot.style.context({"figure.facecolor": "#808000"}):
        odd, ax = pyplot.subplots()
        style.axes(ax)
        assert "text/html" not in odd._repr_mimebundle_()[0]


def test_a_damaged_dump_shows_what_is_unknown(damaged_dump, opened):
    dump = opened(damaged_dump.name)
    for name in NAMES:
        getattr(dump.plot, name)().figure.canvas.draw()
    legend = dump.plot.slabs().get_legend()
    assert "use unknown" in [text.get_text() for text in legend.get_texts()]
