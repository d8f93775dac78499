"""Plots of block I/O: sectors over time, requests and bytes a second, latencies, queue depths."""

from kernlab.plots.io.figures import depth, iops, latency, offsets, throughput

__all__ = ["depth", "iops", "latency", "offsets", "throughput"]
