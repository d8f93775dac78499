"""A real JupyterLab and a real browser. Without Chromium or playwright these tests skip, and say so.

`desk` is a page on a JupyterLab that all tests of a worker share (`lab`); the tests of a file pass the page on,
cleared. When a test ends, the page's console must have called nothing an error.
Pictures go to build/browser/: look at them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import pytest
from support.jupyterlab import Desk, Server, find_chromium


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A JupyterLab of its own: `lab.root` is the folder that it serves, `lab.dump(path)` puts a dump there."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed (the extra 'lab')")
    _chromium()
    with Server(tmp_path_factory.mktemp("lab")) as server:
        yield server


_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the fixtures of a test know that it failed."""
    report = yield
    if report.when == "call" and report.failed:
        item.stash[_failed] = True
    return report


# One browser a file: playwright keeps an event loop running while it is up, which other tests must not find.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    program = _chromium()
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (the extra 'dev')"
    )
    # Chromium's sandbox does not work for root.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=flags)
        yield running
        running.close()


VIEW = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"}


def _tell(request: pytest.FixtureRequest, desks: Iterable[Desk]) -> bool:
    """Whether the test failed; then what the page showed, which tells a lost click from an answer that never came."""
    failed = _failed in request.node.stash
    if failed:
        for number, desk in enumerate(desk for desk in desks if not desk.page.is_closed()):
            picture = desk.picture(f"failed-{request.node.name}-{number}")
            print(f"The page when the test failed ({picture}):\n{desk.text()}\nIts console: {desk.said}")
            log = desk.server.log.read_text(errors="replace").splitlines()[-40:]
            print("\n".join(["What its JupyterLab said last:", *log]))
    return failed


@pytest.fixture
def desks(request: pytest.FixtureRequest, browser: Any) -> Iterator[Callable[..., Desk]]:
    """`desks(server)`: a fresh page on that server; `desks(server, page)`: one that is open already, of these pages."""
    context = browser.new_context(**VIEW)
    context.set_default_timeout(90_000)
    opened: list[Desk] = []

    def take(server: Server, page: Any = None) -> Desk:
        opened.append(Desk(page or context.new_page(), server))
        return opened[-1]

    yield take
    _tell(request, opened)
    context.close()
    for server in {desk.server for desk in opened}:
        server.end_kernels()


@pytest.fixture(scope="module")
def pages(browser: Any, lab: Server) -> Iterator[tuple[Any, list[tuple[Any, str]]]]:
    """A context, and in a list the page of it that the test before left in order, and what it left there."""
    context = browser.new_context(**VIEW)
    context.set_default_timeout(90_000)
    yield context, []
    context.close()
    lab.end_kernels()


@pytest.fixture
def desk(
    request: pytest.FixtureRequest, pages: tuple[Any, list[tuple[Any, str]]], lab: Server
) -> Iterator[Desk]:
    """A page on the JupyterLab: `desk.notebook(name, cells)`, `desk.open(path)`, `desk.page`, `desk.picture(name)`.

    The page of the test before, where that passed: cleared, or with what that left for others (`Desk.leaves`).
    """
    context, left = pages
    page, holds = left.pop() if left else (context.new_page(), None)
    desk = Desk(page, lab, holds=holds)
    yield desk
    failed = _tell(request, [desk])
    if failed or desk.said or not desk.leave():
        page.close()
        desk.leaves = ""
    else:
        left.append((page, desk.leaves))
    if not desk.leaves:
        lab.end_kernels()
    assert desk.said == [], "the browser's console shows errors"


@pytest.fixture
def offline(browser: Any) -> Iterator[Any]:
    """`offline(path, javascript=False)`: a page that shows a local HTML file and can reach no network."""
    contexts = []

    def show(path: os.PathLike[str], *, javascript: bool = False) -> Any:
        context = browser.new_context(
            viewport={"width": 1200, "height": 900}, java_script_enabled=javascript, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.goto(f"file://{os.fspath(path)}")
        return page

    yield show
    for context in contexts:
        context.close()


def _chromium() -> str:
    program = find_chromium()
    if program is None:
        pytest.skip(
            "no Chromium on this machine: scripts/install-system-packages.sh browser installs it, "
            "KERNLAB_CHROMIUM names another"
        )
    return program
