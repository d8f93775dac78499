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
        f"the server extension needs {error.name}: pip install 'kernlab[lab]'"
    ) from error

_MOST_BYTES = 1 << 18
_MOST_KEPT = 32
_LONGEST_PATH = 4096


class Summaries(Configurable):
    """Makes summaries, a few at a time, and keeps them while their files stay as they are."""

    seconds = Float(30.0, help="A summary that takes longer is given up.").tag(config=True)
    workers = Integer(2, help="Summaries made at a time; others wait.").tag(config=True)

    def __init__(self, **given: Any):
        super().__init__(**given)
        self._kept: OrderedDict[tuple[str, int, int], dict[str, Any]] = OrderedDict()
        self._turn: asyncio.Semaphore | None = None

    async def summary(self, path: str) -> dict[str, Any]:
        """The summary of the file at `path`, an absolute one: title, why, rows, problems; or error."""
        known = os.stat(path)
        key = (path, known.st_mtime_ns, known.st_size)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._turn is None:
            self._turn = asyncio.Semaphore(max(1, self.workers))
        async with self._turn:
            if key in self._kept:
                return self._kept[key]
            made = await self._make(path)
        if "again" not in made:
            self._kept[key] = made
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return made

    async def _make(self, path: str) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kernlab.summary", path),
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
                if len(said) <= _MOST_BYTES:
                    await process.wait()
        except TimeoutError:
            return {
                "error": f"no summary within {self.seconds:g} s: open the dump in a notebook, which may take longer",
                "again": True,
            }
        finally:
            # Also when the reader went away.
            if process.returncode is None:
                process.kill()
                await asyncio.shield(process.wait())
        try:
            made: dict[str, Any] = json.loads(said)
        except ValueError:
            return {"error": "the dump could not be read within the memory that a summary may take"}
        return made


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
        """The summary as JSON; 404 for what is no file below the root, or hidden there."""
        path = self.get_query_argument("path")
        contents: Any = self.contents_manager
        root = getattr(contents, "root_dir", None)
        if not root:
            raise web.HTTPError(501, reason="this server keeps its files elsewhere than in a folder")
        found = inside(Path(root).expanduser(), path)
        # As for the file browser: what is hidden there is no business of this route.
        hidden = contents.allow_hidden is False and (
            await ensure_async(contents.is_hidden(path))
            or any(part.startswith(".") for part in path.split("/"))
        )
        if found is None or hidden:
            raise web.HTTPError(404, reason="no such file below the folder that this server serves")
        self.finish(await self.summaries.summary(found))


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "kernlab.server"}]


def _load_jupyter_server_extension(app: Any) -> None:
    """Add the route to a Jupyter server."""
    summaries = Summaries(parent=app)
    route = url_path_join(app.web_app.settings["base_url"], "kernlab", "summary")
    app.web_app.add_handlers(".*$", [(route, SummaryHandler, {"summaries": summaries})])
