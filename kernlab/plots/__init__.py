"""Tables in, matplotlib axes out: `dump.plot.memory()`. Every plot takes `ax=` and returns the axes it drew on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernlab.errors import KernlabError
from kernlab.util.text import Spelt

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.axes import Axes

    from kernlab.dump import Dump
    from kernlab.traces.clock.window import Instant

__all__ = ["Plots"]


class Plots(Spelt):
    """The plots of one dump. Each returns the matplotlib `Axes`, with labels escaped and sizes in binary units.

    `ax` is where to draw (new axes of 800 pixels' width otherwise); `theme` is "light" or "dark", by default what goes
    with the axes' background or matplotlib's settings. `ax.get_label()` is the plot's alternative text.
    """

    _spoken = "dump.plot"

    def __init__(self, dump: Dump):
        self._dump = dump

    def memory(self, ax: Axes | None = None, *, theme: str | None = None) -> Axes:
        """Where the machine's memory is: each use as a bar, its kinds below; shares are of what the kernel manages.

        >>> dump.plot.memory().get_title("left")
        'Where the memory is: 434.0 MiB'
        """
        from kernlab.plots.memory import memory

        return memory(self._frames(), ax, theme)

    def zones(self, ax: Axes | None = None, *, theme: str | None = None) -> Axes:
        """Each zone's memory by use, and how its free pages stand to its watermarks.

        >>> dump.plot.zones().get_title("left")
        'Zones by use'
        """
        from kernlab.plots.memory import zones

        return zones(self._frames(), ax, theme)

    def physical(self, ax: Axes | None = None, *, theme: str | None = None) -> Axes:
        """All page frames by use, along a Hilbert curve: fragmentation, and who lies beside whom.

        >>> dump.plot.physical().get_title("left")
        'Physical memory'
        """
        from kernlab.plots.physical import physical

        return physical(self._frames(), ax, theme)

    def slabs(self, ax: Axes | None = None, top: int = 15, *, theme: str | None = None) -> Axes:
        """Slab caches by memory, in use and free; the `top` largest and the rest as one bar.

        >>> dump.plot.slabs(top=5).get_title("left")
        'Slab memory: 22.3 MiB in 156 caches'
        """
        from kernlab.plots.bars import slabs

        return slabs(self._dump.slabs, ax, top, theme)

    def processes(self, ax: Axes | None = None, top: int = 15, *, theme: str | None = None) -> Axes:
        """Processes by memory, private and their share of what is shared; the `top` largest and the rest as one bar.

        >>> dump.plot.processes(top=5).get_title("left")
        'Memory of 17 processes: 26.9 MiB'
        """
        from kernlab.plots.bars import processes

        return processes(self._dump.memory_by_process, ax, top, theme)

    def maps(
        self, pid: int | None = None, ax: Axes | None = None, top: int = 15, *, theme: str | None = None
    ) -> Axes:
        """One process' mappings by what they hold in memory; without `pid` all processes by what they mapped.

        >>> dump.plot.maps(1).get_title("left")
        'Memory of init (1): 1.8 MiB resident'
        """
        from kernlab.plots.bars import maps, maps_of

        tasks = self._dump.tasks
        if pid is None:
            return maps(self._dump.maps, tasks, ax, top, theme)
        leader = tasks[tasks["pid"] == pid]
        comm = str(leader["comm"].iloc[0]) if len(leader) else "?"
        return maps_of(self._dump.map_usage, int(pid), comm, ax, top, theme)

    def stacks(
        self, rows: pd.DataFrame | None = None, ax: Axes | None = None, *, theme: str | None = None
    ) -> Axes:
        """What everybody was doing: the stacks of all threads as a flame graph, by how many threads were where.

        `rows` are some of `dump.stacks` (without them all). In a notebook it can be pointed at, and zooms on a click;
        `ax.figure.savefig("stacks.svg")` keeps it.

        >>> dump.plot.stacks(dump.stacks[dump.stacks.state == "S"]).get_title("left")
        'What everybody was doing: 53 threads'
        """
        from kernlab.plots.stacks import stacks

        return stacks(self._dump.stacks if rows is None else rows, ax, theme)

    def io_offsets(
        self,
        channel: str | int | None = None,
        ax: Axes | None = None,
        top: int = 5,
        *,
        device: str | None = None,
        mode: str = "all",
        since: Instant | None = None,
        until: Instant | None = None,
        theme: str | None = None,
    ) -> Axes:
        """Where on the disk each process read and wrote, over time, by a block trace in the dump's relay buffers.

        `channel` is one of blktrace's (a name or an address; without it the only one); `mode` as of `dump.relay.read`
        (what a reader had already and is still there is drawn, too); `device` one of the trace's ("254:0"; without it
        the busiest). Names are those of processes, not of threads. Times are seconds since boot as the log counts them;
        `since` and `until` (seconds since boot, -5 for 5 s before the crash, a Timedelta, text such as "-500ms") draw,
        count and average a part: in a short one each request has a line from its issue to its completion. Flushes, and
        rings for requests that never came back, stand below the axis where they have no place in the plot.

        >>> dump.plot.io_offsets("vda/trace").get_title("left")
        'Who asked for what: 40 requests, 6.0 MiB'
        """
        from kernlab.plots.io import offsets

        events = self._io_events(channel, mode, since, until, by_process=True)
        return offsets(events, ax, top, device=device, since=since, until=until, theme=theme)

    def io_iops(
        self,
        channel: str | int | None = None,
        ax: Axes | None = None,
        *,
        device: str | None = None,
        mode: str = "all",
        since: Instant | None = None,
        until: Instant | None = None,
        theme: str | None = None,
    ) -> Axes:
        """Reads and writes that the disk completed, a second; parameters as for `io_offsets`.

        >>> dump.plot.io_iops("vda/trace").get_title("left")
        'IOPS: 0.57 a second on average, 5.9 at most'
        """
        from kernlab.plots.io import iops

        events = self._io_events(channel, mode, since, until)
        return iops(events, ax, device=device, since=since, until=until, theme=theme)

    def io_throughput(
        self,
        channel: str | int | None = None,
        ax: Axes | None = None,
        *,
        device: str | None = None,
        mode: str = "all",
        since: Instant | None = None,
        until: Instant | None = None,
        theme: str | None = None,
    ) -> Axes:
        """Megabytes that the disk read and wrote, a second; parameters as for `io_offsets`.

        >>> dump.plot.io_throughput("vda/trace").get_title("left")
        'Throughput: 0.083 MB/s on average, 1.0 at most'
        """
        from kernlab.plots.io import throughput

        events = self._io_events(channel, mode, since, until)
        return throughput(events, ax, device=device, since=since, until=until, theme=theme)

    def io_latency(
        self,
        channel: str | int | None = None,
        ax: Axes | None = None,
        *,
        device: str | None = None,
        mode: str = "all",
        since: Instant | None = None,
        until: Instant | None = None,
        theme: str | None = None,
    ) -> Axes:
        """How long the disk took for each request, from issue to completion; parameters as for `io_offsets`.

        >>> dump.plot.io_latency("vda/trace").get_title("left")
        'Latency: 341 µs median, 8.01 ms for the slowest hundredth'
        """
        from kernlab.plots.io import latency

        events = self._io_events(channel, mode, since, until)
        return latency(events, ax, device=device, since=since, until=until, theme=theme)

    def io_depth(
        self,
        channel: str | int | None = None,
        ax: Axes | None = None,
        *,
        device: str | None = None,
        mode: str = "all",
        since: Instant | None = None,
        until: Instant | None = None,
        theme: str | None = None,
    ) -> Axes:
        """How many requests the disk worked on at a time; parameters as for `io_offsets`.

        >>> dump.plot.io_depth("vda/trace").get_title("left")
        'Queue depth: less than 0.01 on average, 7 at most, 0 at the end'
        """
        from kernlab.plots.io import depth

        events = self._io_events(channel, mode, since, until)
        return depth(events, ax, device=device, since=since, until=until, theme=theme)

    def replay(
        self,
        since: Instant | None = None,
        until: Instant | None = None,
        lanes: Iterable[str] | None = None,
        top: int = 5,
        *,
        instance: str | None = None,
        ax: Any = None,
        figsize: tuple[float, float] | None = None,
        theme: str | None = None,
    ) -> npt.NDArray[np.object_]:
        """The last seconds of the machine, lane below lane on one axis of time that ends at the crash.

        `lanes` are some of memory (by kind), processes, pressure, cpus (who ran), runnable, offsets, depth and latency
        (of a disk: "depth vdb" of one that is not the busiest), and log; without them all of which anything was
        recorded. `since`, `until` and `instance` as of `dump.replay`. The `top` most important processes have a colour
        each, the same in all lanes. What is not known is hatched; before the dashed line memory is not exact.

        Returns an array of `Axes`, one a lane, from the top down, as pandas does for subplots; `ax` takes as many to
        draw on. `figsize` is in inches (8 wide, and as high as the lanes need).

        >>> dump.plot.replay(lanes=["log"])[0].get_title("left")
        'Log: 1 error in 35 lines'
        """
        from kernlab.plots.replay import replay

        # Not only of the window: what was told before it holds on.
        frames = self._dump.replay(instance=instance)
        drawn: npt.NDArray[np.object_] = replay(
            frames, since, until, lanes, top,
            ax=ax, figsize=figsize, theme=theme, processes=self._processes(),
        )  # fmt: skip
        return drawn

    def _processes(self) -> dict[int, str]:
        """The names of processes by the pids of their threads, as far as the dump still knows them."""
        tasks = self._dump.tasks
        group, name = self._leaders(tasks)
        named = group.map(name).dropna()
        return dict(zip(named.index.tolist(), named.astype("str").tolist(), strict=True))

    @staticmethod
    def _leaders(tasks: pd.DataFrame) -> tuple[pd.Series[Any], pd.Series[Any]]:
        """The process (tgid) of each thread by its pid, and the name of each process."""
        leader = tasks[tasks["pid"] == tasks["tgid"]].drop_duplicates("tgid").set_index("tgid")["comm"]
        return tasks.drop_duplicates("pid").set_index("pid")["tgid"], leader

    def _io_events(
        self,
        channel: str | int | None,
        mode: str,
        since: Instant | None,
        until: Instant | None,
        *,
        by_process: bool = False,
    ) -> pd.DataFrame:
        from kernlab.plots.io import on_axis
        from kernlab.traces.clock.clocks import clocks

        relay = self._dump.relay
        if channel is None:
            names = relay.block_traces
            if len(names) != 1:
                found = (
                    f"{len(names)} blktrace channels, {', '.join(names)}: name one"
                    if names
                    else ("no blktrace channel: nobody traced a disk when the kernel died")
                )
                raise KernlabError(f"this dump has {found} (dump.relay.channels lists what there is)")
            channel = names[0]
        events: pd.DataFrame = relay.blktrace(channel, mode=mode).events
        try:
            events = on_axis(events, clocks(self._dump.kernel))
        except KernlabError:
            # All of it can be drawn by its own clock; a moment of the log's cannot be found by that.
            if since is not None or until is not None:
                raise
        if by_process:
            # Threads go by the name of their process, where the dump still knows it.
            group, leader = self._leaders(self._dump.tasks)
            name = events["pid"].map(group).map(leader)
            events["comm"] = name.where(name.notna() & (events["pid"] > 0), events["comm"]).astype("str")
        return events

    def _frames(self) -> Any:
        from kernlab.plots.page_counts import count

        # `memory`, `zones` and `physical` look at the same ones.
        return count(self._dump.kernel)

    def __repr__(self) -> str:
        names = [name for name in dir(self) if name[0] != "_"]
        return f"<plots of {self._dump!r}: {', '.join(names)}>"
