"""Why did it die? Rules over tables and log, each with evidence, doubt, and the cell that shows it.

    import kernlab
    kernlab.open("vmcore").verdict
    kernlab.verdict.of_log(open("vmcore-dmesg.txt").read())

`of_log` is the verdict of a log that was saved without its dump, `lines` the table of its lines that evidence names;
`story` tells a verdict in plain words.
"""

from __future__ import annotations

from kernlab.verdict.log_alone import lines_of as lines
from kernlab.verdict.story import story
from kernlab.verdict.verdict import verdict_of_log as of_log

__all__ = ["lines", "of_log", "story"]
