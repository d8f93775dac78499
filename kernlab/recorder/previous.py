"""What the previous boot recorded, after a warm reboot: from the mapped buffer, or the service's copy, to a file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kernlab.errors import KernlabError
from kernlab.recorder import service
from kernlab.recorder.trace_dat import write_dat
from kernlab.traces.ftrace import files as ftrace
from kernlab.util.files import whole_file
from kernlab.util.text import human_bytes

#: Where the installed service keeps it before it records over it.
KEPT = Path("/var/lib/kernlab-recorder/previous")


def save(
    output: Path, *, as_text: bool = False, machine: service.Machine | None = None, kept: Path = KEPT
) -> str:
    """Write the previous boot's events to `output`, a trace.dat or text; a sentence on what was written.

    KernlabError where this boot has nothing of the one before, OSError.
    """
    machine = machine or service.Machine()
    if service.holds_previous_boot(machine):
        if as_text:
            return _save_text(Path(machine.instance, "trace"), output)
        # Reading takes the bytes out of the buffer: the copy stays.
        kept.parent.mkdir(parents=True, exist_ok=True)
        service.copy_trace(machine, str(kept))
    if not kept.is_dir():
        raise KernlabError(_why_not(machine))
    if as_text:
        return _save_lines(kept, output)
    written = write_dat(kept, output)
    return (
        f"{human_bytes(written)} of events of the previous boot are in {output}; their copy stays in {kept}."
    )


def _save_text(trace: Path, output: Path) -> str:
    with whole_file(output) as temporary, trace.open("rb") as source, temporary.open("wb") as target:
        while piece := source.read(1 << 20):
            target.write(piece)
    return f"The events of the previous boot are in {output}, as the kernel prints them."


def _save_lines(kept: Path, output: Path) -> str:
    """The copy's events as the kernel would print them; names of tasks are not in it, their numbers are."""
    with tempfile.TemporaryDirectory(prefix="kernlab-") as folder:
        dat = Path(folder) / "kept.dat"
        write_dat(kept, dat)
        with ftrace.open(dat) as trace, whole_file(output) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in trace.lines()), encoding="utf-8")
    return f"The events of the previous boot are in {output}, read from their copy in {kept}."


def _why_not(machine: service.Machine) -> str:
    if not Path(machine.instance, "last_boot_info").exists():
        return (
            "no buffer of the recorder was mapped at boot. `kernlab recorder install --boot-map` prints the kernel's "
            "parameters that do it (kernels from 6.12 on)."
        )
    return (
        "the recorder's buffer holds nothing of the previous boot: it was a cold start, its firmware cleared memory, "
        "or this boot's events are in it already (install with --boot-map keeps them before)."
    )
