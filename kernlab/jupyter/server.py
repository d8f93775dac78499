"""JupyterLab's server in, one route out: the summary of a dump below the server's root, without a kernel.

The file is opened by a process of its own, whose time and memory are bounded; the server reads at most so many
bytes of its answer. What lies outside the root, or is reached through a symbolic link that leads out, is refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

try:
    from jupyter_core.paths import is_hidden
    from jupyter_core.utils import ensure_async
    from jupyter_server.auth.decorator import authorized
    from jupyter_server.base.handlers import APIHandler
    from jupyter_server.utils import url_path_join
    from tornado import web
    from traitlets import Float, Integer
    from traitlets.config import Configurable
except ImportError as error:
    from kernlab.errors import MissingDependencyError

    raise MissingDependencyError(
        f"the server extension needs {error.name}: pip install 'kernlab[jupyter]'"
    ) from error

_MOST_BYTES = 1 << 18
_MOST_KEPT = 32
_LONGEST_PATH = 4096
_NO_FILE = "no such file below the folder that this server serves"


class Summaries(Configurable):
    """Makes summaries, a few at a time, and keeps them while their files stay as they are."""

    seconds = Float(30.0, help="A summary that takes longer is given up.").tag(config=True)
    workers = Integer(2, help="Summaries made at a time; others wait.").tag(config=True)
    waiting = Integer(16, help="Requests that may wait; those beyond are told to come back.").tag(config=True)

    def __init__(self, **given: Any):
        super().__init__(**given)
        self._kept: OrderedDict[tuple[str | int, ...], dict[str, Any]] = OrderedDict()
        self._turn: asyncio.Semaphore | None = None
        self._asked = 0

    async def summary(self, path: str) -> dict[str, Any]:
        """The summary of the file at `path`, an absolute one: title, why, rows, problems; or error.

        Raises FileNotFoundError when the file is gone, also when it went while its summary was made, and
        tornado's HTTPError 503 when too many wait.
        """
        key = _identity(path)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._turn is None:
            self._turn = asyncio.Semaphore(max(1, self.workers))
        if self._asked >= max(1, self.workers) + max(0, self.waiting):
            raise web.HTTPError(503, reason="too many summaries are being made: ask again in a while")
        self._asked += 1
        try:
            async with self._turn:
                if key in self._kept:
                    return self._kept[key]
                made, lasting = await self._make(path)
        finally:
            self._asked -= 1
        if _identity(path) == key and lasting:
            self._kept[key] = made
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return made

    async def _make(self, path: str) -> tuple[dict[str, Any], bool]:
        """A summary, and whether it would come out the same again."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kernlab.display.summary", path),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
        )
        try:
            async with asyncio.timeout(self.seconds):
                assert process.stdout is not None
                said = b""
                while len(said) <= _MOST_BYTES and (more := await process.stdout.read(_MOST_BYTES)):
                    said += more
                if len(said) > _MOST_BYTES:
                    return {"error": "what the dump says of itself is longer than a summary may be"}, True
                await process.wait()
        except TimeoutError:
            return {
                "error": f"no summary within {self.seconds:g} s: open the dump in a notebook, which may take longer"
            }, False
        finally:
            # Also when the reader went away.
            if process.returncode is None:
                process.kill()
                await asyncio.shield(process.wait())
        try:
            made = json.loads(said)
        except (ValueError, RecursionError):
            made = None
        if process.returncode or not isinstance(made, dict):
            # Killed by its own limits or by the system, which may have more memory next time.
            return {
                "error": "the process that read the dump ended without a summary; "
                "open the dump in a notebook, which may take more memory and time"
            }, False
        return made, True


def _identity(path: str) -> tuple[str | int, ...]:
    """A file as it is now: a write, another mode and another file in its place all change this."""
    try:
        known = os.stat(path)
    except OSError as error:
        raise FileNotFoundError(error.errno, "the file went away", path) from error
    return (path, known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns, known.st_ctime_ns)


def inside(root: str | os.PathLike[str], path: str) -> str | None:
    """The real path of a regular file below `root`, given relative to it; None for all else."""
    if not path or len(path) > _LONGEST_PATH or "\0" in path:
        return None
    top = os.path.realpath(root)
    try:
        found = os.path.realpath(os.path.join(top, path.strip("/")))
        if os.path.commonpath([top, found]) != top or not stat.S_ISREG(os.stat(found).st_mode):
            return None
    except (OSError, ValueError):
        return None
    return found


class SummaryHandler(APIHandler):
    """GET …/kernlab/summary?path=…"""

    auth_resource = "contents"

    def initialize(self, summaries: Summaries) -> None:
        """What answers."""
        self.summaries = summaries

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """The summary as JSON; 404 for what is not a file below the root, or hidden there."""
        # As it was sent: stripped, another file than the one asked for could be found.
        path = self.get_query_argument("path", strip=False)
        contents: Any = self.contents_manager
        root = getattr(contents, "root_dir", None)
        if not root:
            raise web.HTTPError(501, reason="this server keeps its files elsewhere than in a folder")
        found = inside(Path(root).expanduser(), path)
        if found is None or await self._hidden(path, found):
            raise web.HTTPError(404, reason=_NO_FILE)
        try:
            self.finish(await self.summaries.summary(found))
        except FileNotFoundError as error:
            raise web.HTTPError(404, reason=_NO_FILE) from error

    async def _hidden(self, path: str, found: str) -> bool:
        """As for the file browser: what is hidden there is none of this route's business, by whatever name."""
        contents: Any = self.contents_manager
        if contents.allow_hidden:
            return False
        top = os.path.realpath(Path(contents.root_dir).expanduser())
        return (
            any(part.startswith(".") for part in path.split("/"))
            or is_hidden(found, top)
            or bool(await ensure_async(contents.is_hidden(path)))
        )


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "kernlab.jupyter.server"}]


def _load_jupyter_server_extension(app: Any) -> None:
    """Add the route to a Jupyter server."""
    summaries = Summaries(parent=app)
    route = url_path_join(app.web_app.settings["base_url"], "kernlab", "summary")
    app.web_app.add_handlers(".*$", [(route, SummaryHandler, {"summaries": summaries})])
