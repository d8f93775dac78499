"""What each place in the kernel's source has allocated and not freed, as /proc/allocinfo lists it."""

from __future__ import annotations

import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.linux.allocations.code_tags import code_tags, why_none
from kernlab.walk.strings import c_strings


@table(rows="struct alloc_tag")
def allocations(kernel: Kernel) -> pd.DataFrame:
    """One row per place in the source that allocates, in the kernel's order; empty where it does not count.

    Columns: size_bytes (allocated there and not freed), calls (how many allocations that is), file, line, function,
    module ('' for the kernel's own), address (of the alloc_tag). Needs CONFIG_MEM_ALLOC_PROFILING; while the sysctl
    vm.mem_profiling is 0 nothing is added. Mirrors lib/alloc_tag.c (/proc/allocinfo).

    >>> len(dump.allocations), dump.allocations.attrs["problems"][-1]
    (0, 'memory allocation profiling is off in this kernel (CONFIG_MEM_ALLOC_PROFILING)')
    """
    if why := why_none(kernel):
        kernel.lost(why)
        return empty(
            kernel,
            "allocations",
            **dict.fromkeys(("size_bytes", "calls"), "Int64"),
            file="str",
            line="Int64",
            function="str",
            module="str",
            address="struct alloc_tag",
        )
    tags = code_tags(kernel)
    place = tags.tag.follow("ct").prefetch("lineno", "modname", "function", "filename")
    module = c_strings(kernel, place["modname"], 64)
    own = (place["modname"] == 0).true
    module.values[own], module.valid[own] = "", True
    return frame(
        kernel,
        "allocations",
        size_bytes=nullable(tags.bytes),
        calls=nullable(tags.calls),
        file=c_strings(kernel, place["filename"], 256),
        line=nullable(place["lineno"].int64),
        function=c_strings(kernel, place["function"], 256),
        module=module,
        address=tags.tag,
    )
