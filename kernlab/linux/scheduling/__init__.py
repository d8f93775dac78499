"""Scheduling: each CPU's queue, the groups of tasks, and what waits on which tree or list, in columns."""
