"""Names of AppArmor's profiles, which are paths of programs, or bear containers' names."""

from __future__ import annotations

import numpy as np

from kernlab.core.struct_array import StructArray
from kernlab.linux.credentials import apparmor_labels
from kernlab.linux.tasks import find_tasks
from kernlab.redaction.found import Found
from kernlab.redaction.reading import text_at

_LONGEST = 4096
#: What every machine has.
_OPEN = (b"", b"unconfined")


def profiles(found: Found) -> None:
    """What the profiles are called that confine tasks."""
    kernel = found.kernel
    pointer = find_tasks(kernel)["real_cred"]
    cred = StructArray(kernel, "struct cred", np.unique(pointer.values[pointer.true]))
    label = apparmor_labels(kernel, cred)
    if label is None:
        return
    name = label["hname"]
    where = np.unique(name.values[name.true]).astype(np.uint64)
    for address, text in zip(where.tolist(), text_at(kernel, where, _LONGEST), strict=True):
        if text not in _OPEN:
            found.edits.write(address, found.map.names.of(text), "name of a profile")
