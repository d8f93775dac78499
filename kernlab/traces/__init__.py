"""Trace buffers (in dumps, live, in files) in, event DataFrames out: relay and its clients, blktrace, ftrace."""
