"""Kernel parameters that let the recorder's buffer survive a warm reboot: a size in, words for the command line out."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kernlab.errors import KernlabError
from kernlab.recorder import service

#: Where Debian's update-grub looks for more settings.
GRUB = Path("/etc/default/grub.d/kernlab-recorder.cfg")
#: What the kernel must have been built with; both came in 6.12.
_NEEDED = ("reserve_mem_find_by_name", "ring_buffer_alloc_range")


def parameters(size_mib: int) -> str:
    """reserve_mem= and trace_instance= for a buffer of all CPUs; it is off until the recorder starts.

    Mirrors Documentation/trace/debugging.rst (Persistent buffers across boots).
    """
    name = service.INSTANCE
    return f"reserve_mem={size_mib}M:4096:{name} trace_instance={name}^traceoff@{name}"


def default_mib(cpus: int | None = None) -> int:
    """4 MiB for each CPU, no more than 256 in all: the memory is gone for everything else."""
    return min(4 * (cpus or os.cpu_count() or 1), 256)


def supported(kallsyms: Path = Path("/proc/kallsyms")) -> bool | None:
    """Can the running kernel do it? None where its symbols cannot be read."""
    try:
        text = kallsyms.read_text("utf-8", "replace")
    except OSError:
        return None
    names = set(re.findall(r"^\S+ \S (\w+)", text, re.MULTILINE))
    if not names:
        return None
    # The compiler may have put a static function into its caller: a symbol that begins with the name is enough.
    return all(any(name.lstrip("_").startswith(needed) for name in names) for needed in _NEEDED)


def write_grub(size_mib: int, path: Path = GRUB) -> Path:
    """Write the parameters to where update-grub reads them; KernlabError where this machine has no such folder."""
    if not path.parent.is_dir():
        raise KernlabError(
            f"there is no {path.parent}, so this is not Debian's GRUB. Add these words to the kernel's command line "
            f"yourself: {parameters(size_mib)}"
        )
    path.write_text(
        "# Written by `kernlab recorder install --boot-map-grub`; `kernlab recorder uninstall` removes it.\n"
        f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {parameters(size_mib)}"\n'
    )
    return path
