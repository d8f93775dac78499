"""Kernel logs in, their reports out: what went wrong, in which function of which task, with which stack.

    import kernlab
    kernlab.oops.parse(open("vmcore-dmesg.txt").read())

`parse` makes a table of a log, `stack` one of a report's frames, `signature` finds a report's siblings, and
`stack_signature` gives a stack of a dump the signature that a log's has.
"""

from __future__ import annotations

from kernlab.oops.signature import signature, stack_signature
from kernlab.oops.table import parse, stack

__all__ = ["parse", "signature", "stack", "stack_signature"]
