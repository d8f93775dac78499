"""`dump.player()`: a replay in, a widget to play it out, or its figure where nobody can play."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kernlab.errors import KernlabError
from kernlab.player.pack import pack
from kernlab.player.still import Still, StillPlayer
from kernlab.traces.clock.clocks import clocks
from kernlab.traces.clock.window import Instant, instant
from kernlab.util import frontend

if TYPE_CHECKING:
    from kernlab.dump import Dump
    from kernlab.player.widget import Player

_HINT = 'pip install "kernlab[jupyter]" brings the player'
#: What plots call a disk's parts.
_DISKS = frozenset({"disks", "offsets", "depth", "latency"})


class OpenPlayer:
    """`dump.player()`: the last seconds of the machine, to play, scrub and zoom."""

    def __init__(self, dump: Dump):
        self._dump = dump

    def __call__(
        self,
        since: Instant | None = None,
        until: Instant | None = None,
        *,
        instance: str | None = None,
        lanes: Iterable[str] = (),
    ) -> Player | StillPlayer:
        """The replay of a window as a widget: lanes on one axis of time that ends at the crash.

        since, until, instance: as `dump.replay` takes them; lanes: those shown at first, of "memory", "processes",
        "cpus", "runnable", "disks", "pressure" and "log" (all). `player.time`, `player.range` and `player.moment`
        tell where the reader is; `player.seek(-2.5)` moves the cursor. Where anywidget is not installed, and where a
        notebook is executed without a reader (nbconvert), it is the figure of the replay and a table of its marks.
        Raises KernlabError for what is not an instant, a lane or a trace instance.

        >>> player = dump.player(since=-30)
        """
        dump = self._dump
        replay = dump.replay(since, until, instance)
        still = Still(replay, since, until)
        if frontend.is_executed_alone():
            return StillPlayer(still)
        try:
            from kernlab.player.widget import Player
        except ImportError:
            return StillPlayer(still, _HINT)
        bounds = [None if bound is None else int(bound.value) for bound in (replay.since, replay.until)]
        packed = pack(replay, *bounds)
        return Player(
            packed,
            still,
            dump=dump,
            moment=replay.at,
            instant=lambda value: instant(clocks(dump.kernel), value),
            lanes=_lanes(lanes, packed.meta),
        )


def is_worth_playing(dump: Dump) -> bool:
    """Does a dump hold traces, of which a replay tells more than its log and its tables do?"""
    try:
        return bool(dump.relay.block_traces) or len(dump.ftrace.counts) > 0
    except KernlabError:
        return False


def _lanes(wanted: Iterable[str], meta: dict[str, Any]) -> list[str]:
    """The front end's names of lanes, each disk's its own. Raises KernlabError for one that is none."""
    if isinstance(wanted, str):
        wanted = (wanted,)
    disks = [f"disk:{disk['name']}" for disk in meta["disks"]]
    known = {"memory", "processes", "cpus", "runnable", "pressure", "log", *_DISKS, *disks}
    found: list[str] = []
    for lane in wanted:
        if lane not in known:
            raise KernlabError(
                f"there is no lane {lane!r}; there are: {', '.join(sorted(known - _DISKS | {'disks'}))}"
            )
        found += disks if lane in _DISKS else [lane]
    return list(dict.fromkeys(found))
