"""Tables in, matplotlib axes out: `dump.plot.slabs()`. Every plot takes `ax=` and returns the axes it drew on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kernlab.dump import Dump

__all__ = ["Plots"]


class Plots:
    """The plots of one dump. Each returns the matplotlib `Axes`, with labels escaped and sizes in binary units."""

    def __init__(self, dump: Dump):
        self._dump = dump

    def slabs(self, ax: Axes | None = None, top: int = 15) -> Axes:
        """Slab caches by memory, in use and free; the `top` largest and the rest as one bar."""
        from kernlab.plots.bars import slabs

        return slabs(self._dump.slabs, ax, top)

    def processes(self, ax: Axes | None = None, top: int = 15) -> Axes:
        """Processes by resident memory; the `top` largest and the rest as one bar."""
        from kernlab.plots.bars import processes

        return processes(self._dump.tasks, ax, top)

    def maps(self, ax: Axes | None = None, top: int = 15) -> Axes:
        """Processes by mapped address space, by kind of mapping."""
        from kernlab.plots.bars import maps

        return maps(self._dump.maps, self._dump.tasks, ax, top)

    def __repr__(self) -> str:
        names = [name for name in dir(self) if name[0] != "_"]
        return f"<plots of {self._dump!r}: {', '.join(names)}>"
