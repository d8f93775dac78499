"""Plots of block I/O: sectors over time, requests and bytes a second, latencies, queue depths."""

from kernlab.plots.io.figures import depth, iops, latency, offsets, throughput
from kernlab.plots.io.window import on_axis

__all__ = ["depth", "iops", "latency", "offsets", "on_axis", "throughput"]
