"""Subsystems of the kernel, read in columns: tasks, paths, VMAs, zones, slabs. Nothing here knows pandas."""
