"""`dump.replay(…)`: a dump, a window and a trace instance in, the `Replay` of them out, made once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernlab.core.facts import fact
from kernlab.core.kernel import Kernel
from kernlab.replay.replay import Replay
from kernlab.replay.sources import Sources
from kernlab.traces.clock.window import Instant, window

if TYPE_CHECKING:
    from kernlab.dump import Dump


class OpenReplay:
    """`dump.replay(since=None, until=None, instance=None)`: the last seconds of the machine on one clock."""

    def __init__(self, dump: Dump):
        self._dump = dump

    def __call__(
        self, since: Instant | None = None, until: Instant | None = None, instance: str | None = None
    ) -> Replay:
        """The last seconds of the machine, as a `Replay`: tables over time that end at the crash.

        since, until: seconds since boot, negative ones before the crash, a Timedelta, or a string that pandas reads;
        instance: the trace instance to go by: the recorder's ("kernlab") where there is one, else the fullest. The
        same arguments give the same object. Raises KernlabError for what is not an instant, or not an instance.

        >>> dump.replay(since=-5).log.text.iloc[0]
        'EXT4-fs (vda): re-mounted. Quota mode: none.'
        """
        kernel = self._dump._open_kernel()
        kept = _kept(kernel)
        if instance not in kept.sources:
            sources = Sources(kernel, self._dump.ftrace, self._dump.relay, instance)
            kept.sources.setdefault(instance, sources)
        sources = kept.sources[instance]
        first, last = window(sources.clocks, since, until)
        key = first, last, instance
        if key not in kept.replays:
            kept.replays.setdefault(key, Replay(kernel, sources, first, last))
        return kept.replays[key]


@dataclass
class _Kept:
    """What was made of a dump: its sources by trace instance, and its replays by window and instance."""

    sources: dict[str | None, Sources] = field(default_factory=dict)
    replays: dict[tuple[int, int, str | None], Replay] = field(default_factory=dict)


@fact
def _kept(kernel: Kernel) -> _Kept:
    return _Kept()
