"""Which frames are not gone through for text: never those with the kernel's own data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernlab.redaction.frames import Frames, constant, kernel_tables, page_structs


@pytest.mark.parametrize("passed_over", [constant, kernel_tables, page_structs])
def test_the_data_of_the_kernel_is_gone_through(passed_over: Any, whole_dump: Any, opened: Any) -> None:
    """The log, names of the machine, the first task; with four levels of page tables the array of page structs ends
    where nothing is, and the kernel's image lies behind it."""
    kernel = opened(whole_dump.name).kernel
    frames = Frames.of(kernel.file)
    named = [kernel.symbol(name) for name in ("__log_buf", "init_task", "init_uts_ns")]
    physical, status = kernel.memory.translate(np.array(named, dtype=np.uint64))
    assert not status.any()
    rows = frames.rows((physical // np.uint64(kernel.page_size)).astype(np.int64))
    assert (rows >= 0).all()
    mask = passed_over(kernel, frames)
    assert mask.any()
    assert not mask[rows].any()
