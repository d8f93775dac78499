"""What was replayed of a machine's last seconds, drawn: memory, CPUs, disks, pressure and the log over one time."""

from kernlab.plots.replay.figure import LANES, replay
from kernlab.plots.replay.static import figure_of, static

__all__ = ["LANES", "figure_of", "replay", "static"]
