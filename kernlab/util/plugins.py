"""Entry points of installed distributions in, what they offer by name out; a bad one is reported and breaks nothing."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from kernlab.errors import KernlabError, PluginWarning

#: What was warned of: once is enough.
_told: set[str] = set()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Plugin:
    """What a distribution offers under a name; nothing of it is imported before `load`."""

    name: str
    distribution: str
    point: EntryPoint

    def load(self) -> Any:
        """The object itself. Raises KernlabError, whatever its module raises."""
        try:
            return self.point.load()
        except (Exception, SystemExit) as error:
            raise KernlabError(
                f"{self.name} of the plug-in {self.distribution} cannot be imported from {self.point.value}: {error!r}"
            ) from error


@functools.cache
def _installed(group: str) -> tuple[Plugin, ...]:
    """Everything that a group of entry points offers, by name and distribution."""
    found = [
        Plugin(point.name, point.dist.name if point.dist is not None else "without a name", point)
        for point in entry_points(group=group)
    ]
    # A distribution that is on the path twice is one.
    distinct = {(plugin.name, plugin.distribution): plugin for plugin in reversed(found)}
    return tuple(distinct[key] for key in sorted(distinct))


def plugins(group: str, refused: Callable[[str], str]) -> tuple[dict[str, Plugin], list[str]]:
    """The plug-ins of a group by name, and why others are not among them, one sentence each.

    `refused(name)` says why a name cannot be had, '' where it can. Of several that have the same name the first
    distribution's counts. What is refused is warned of once.
    """
    taken: dict[str, Plugin] = {}
    problems = []
    for plugin in _installed(group):
        why = refused(plugin.name)
        if not why and plugin.name in taken:
            why = f"{taken[plugin.name].distribution} has that name already"
        if why:
            problems.append(
                f"{plugin.name} of the plug-in {plugin.distribution} (entry point {group}) is not used: {why}"
            )
        else:
            taken[plugin.name] = plugin
    with _lock:
        new = [problem for problem in problems if problem not in _told]
        _told.update(new)
    for problem in new:
        warnings.warn(problem, PluginWarning, stacklevel=2)
    return taken, problems
