"""Progress bars: shown to whoever looks, for work that takes long, and taken away whatever happens."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

import pytest

from kernlab.util import progress as module
from kernlab.util.progress import progress


class Screen(io.StringIO):
    def __init__(self, terminal: bool):
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(module, "_DELAY", 0.0)
    monkeypatch.delenv("KERNLAB_PROGRESS", raising=False)


def shown(monkeypatch, *, terminal: bool, what: str = "Unpacking vmcore.xz") -> str:
    screen = Screen(terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    with progress(what, 4096, "B") as bar:
        for _ in range(4):
            bar.advance(1024)
    return screen.getvalue()


@pytest.mark.usefixtures("at_once")
class TestShown:
    def test_in_a_terminal(self, monkeypatch):
        text = shown(monkeypatch, terminal=True)
        assert "Unpacking vmcore.xz" in text
        assert "4.00k" in text
        assert text.endswith("\r"), "it goes when the work is done"

    def test_not_where_nobody_looks(self, monkeypatch):
        assert shown(monkeypatch, terminal=False) == ""

    def test_not_without_a_standard_error(self, monkeypatch):
        monkeypatch.setattr(sys, "stderr", None)
        with progress("x", 3) as bar:
            bar.advance()

    @pytest.mark.parametrize("terminal", [True, False])
    @pytest.mark.parametrize("choice", ["0", "1"])
    def test_as_asked(self, monkeypatch, terminal, choice):
        monkeypatch.setenv("KERNLAB_PROGRESS", choice)
        assert bool(shown(monkeypatch, terminal=terminal)) == (choice == "1")

    def test_names_cannot_move_the_cursor(self, monkeypatch):
        text = shown(monkeypatch, terminal=True, what="Unpacking \x1b]0;evil\x07\x1b[2J\n.xz")
        assert "\x1b" not in text.replace("\x1b[A", "")
        assert "\x07" not in text
        assert "\n" not in text

    def test_without_tqdm(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "tqdm", None)
        assert shown(monkeypatch, terminal=True) == ""

    def test_an_interrupt_passes_and_takes_the_bar_away(self, monkeypatch):
        screen = Screen(True)
        monkeypatch.setattr(sys, "stderr", screen)

        def work() -> None:
            with progress("x", 10) as bar:
                bar.advance()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            work()
        assert screen.getvalue().endswith("\r")

    def test_no_total(self, monkeypatch):
        screen = Screen(True)
        monkeypatch.setattr(sys, "stderr", screen)
        with progress("Looking", unit=" pages") as bar:
            bar.advance(5)
        assert "5.00 pages" in screen.getvalue()

    def test_in_a_notebook(self, monkeypatch):
        """A kernel's shell is where bars are widgets, if ipywidgets is there; what it draws is tqdm's own."""
        monkeypatch.setattr(module, "_in_notebook", lambda: True)
        made: list[dict[str, object]] = []

        class Bar:
            n = 0

            def __init__(self, **how: object):
                made.append(how)

            def update(self, amount: int) -> None:
                self.n += amount

            def close(self) -> None:
                made.append({"closed at": self.n})

        monkeypatch.setattr(module, "_bar_class", lambda: Bar)
        monkeypatch.setattr(module.frontend, "is_watched", lambda: True)
        assert module.wanted()
        with progress("x", 10) as bar:
            bar.advance(10)
        assert made[0]["total"] == 10
        assert made[0]["file"] is None
        assert made[1] == {"closed at": 10}


@pytest.mark.parametrize("done", [100, 99, 1])
@pytest.mark.parametrize("fails", [False, True])
def test_no_bar_is_left_in_red(monkeypatch, done, fails):
    """tqdm's bar for notebooks keeps one that stands below its total, in red; it moves ten times a second at most."""
    bars = pytest.importorskip("tqdm.notebook", reason="tqdm is not installed (the extra 'lab')")
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed (the extra 'lab')")
    monkeypatch.setattr(module, "_in_notebook", lambda: True)
    monkeypatch.setattr(module, "_DELAY", 0.0)
    monkeypatch.setenv("KERNLAB_PROGRESS", "1")
    said: list[dict[str, object]] = []

    class Bar(bars.tqdm):
        def display(self, *given, **how):
            said.append(how)
            return super().display(*given, **how)

    monkeypatch.setattr(module, "_bar_class", lambda: Bar)
    with contextlib.suppress(KeyboardInterrupt), progress("x", 100) as bar:
        for _ in range(done):
            bar.advance()
        assert said, "it is shown"
        if fails:
            raise KeyboardInterrupt
    assert said[-1].get("close"), "it goes when the work is over"
    assert not any(how.get("bar_style") == "danger" for how in said)


def test_no_bar_where_a_notebook_is_executed_without_a_reader(monkeypatch):
    """What nbconvert and nbclient execute is read later: bars would be kept as widgets of a page without a kernel."""
    monkeypatch.delenv("KERNLAB_PROGRESS", raising=False)
    monkeypatch.setattr(module, "_in_notebook", lambda: True)
    for watched in (True, False):
        monkeypatch.setattr(module.frontend, "is_watched", lambda watched=watched: watched)
        assert module.wanted() is watched


def test_short_work_shows_nothing(monkeypatch):
    monkeypatch.delenv("KERNLAB_PROGRESS", raising=False)
    monkeypatch.setattr(module, "_DELAY", 3600)
    assert shown(monkeypatch, terminal=True) == ""


def test_nothing_is_imported_for_short_work():
    script = (
        "import sys\n"
        "from kernlab.util.progress import progress\n"
        "with progress('x', 3) as bar: bar.advance(3)\n"
        "print([name for name in ('tqdm', 'IPython', 'ipywidgets') if name in sys.modules])\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
