"""What is to be hidden of one dump: a kernel that reads it in; frames to drop, places to rewrite, text to find out.

Each step finds one kind of secret (`STEPS`). One that cannot be done is told, by name, in every table's problems.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError
from kernlab.formats.base import Note
from kernlab.formats.cpu_notes import user_mode_note
from kernlab.linux.page.classifier import Kind
from kernlab.redaction import (
    attributes,
    buffers,
    ciphers,
    dentries,
    firmware,
    keys,
    labels,
    machine,
    mount_texts,
    network,
    processes,
    slabs,
    strictly,
    threads,
)
from kernlab.redaction.edits import Edits
from kernlab.redaction.found import Found
from kernlab.redaction.frames import (
    LEFT_OUT,
    Frames,
    Neighbours,
    constant,
    kernel_tables,
    kinds_of,
    neighbours,
    page_structs,
)
from kernlab.redaction.literals import Literals
from kernlab.redaction.map_file import RedactionMap
from kernlab.redaction.patterns import Patterns
from kernlab.redaction.sweep import Sweeper
from kernlab.redaction.words import Words

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: What is looked for, one after the other, and how it is called where it cannot be.
STEPS: tuple[tuple[str, Callable[[Found], None]], ...] = (
    ("names of the host", machine.host_names),
    ("what processes were started with", processes.told_to_processes),
    ("freed slab objects", slabs.freed_objects),
    ("names of files below home", dentries.below_home),
    ("registers of programs", threads.user_registers),
    ("states of FPUs", threads.fpu_registers),
    ("dead parts of stacks", threads.dead_stacks),
    ("addresses of the network", network.addresses),
    ("packets", buffers.packets),
    ("pages of pipes", buffers.pipes),
    ("messages", buffers.messages),
    ("buffers of terminals", buffers.terminals),
    ("consoles", buffers.consoles),
    ("keystrokes", buffers.keystrokes),
    ("rings of packets", buffers.rings),
    ("extended attributes", attributes.extended_attributes),
    ("keyrings", keys.keyrings),
    ("names of AppArmor's profiles", labels.profiles),
    ("ciphers", ciphers.cipher_contexts),
    ("keys of IPsec", ciphers.ipsec),
    ("keys of TLS", keys.tls),
    ("keys of disks", keys.disk_keys),
    ("keys of WireGuard", keys.wireguard),
    ("serial numbers", firmware.serial_numbers),
    ("serial numbers of disks", firmware.serials_of_disks),
    ("names of programs", strictly.programs),
    ("names of control groups", strictly.control_groups),
    ("what was mounted", mount_texts.mount_texts),
    ("the kernel's command line", strictly.command_line),
)

#: Sentences of what could not be read while secrets were looked for; the rest is counted.
_MOST_TOLD = 5


@dataclass
class Plan:
    """What `RedactedFile` does to the frames of a file; masks and edits go by the frames' indexes in it.

    dropped, swept bool[frames]: left out, and looked through for text; `counts` of what is dropped and rewritten.
    """

    level: str
    map: RedactionMap
    dropped: Mask
    swept: Mask
    edits: Edits
    sweeper: Sweeper
    words: Words
    counts: Counter[str]
    told: list[str]
    host: dict[bytes, bytes]
    _frames: Frames
    _neighbours: Neighbours
    _row: I64 = field(init=False)

    def __post_init__(self) -> None:
        self._row = np.full(len(self.dropped), -1, dtype=np.int64)
        self._row[self._frames.index] = np.arange(len(self._frames.index))

    def behind(self, indexes: I64) -> Iterator[tuple[int, int]]:
        """(row of `indexes`, index of a frame that goes on where that one ends)."""
        return self._beside(indexes, self._neighbours.behind)

    def before(self, indexes: I64) -> Iterator[tuple[int, int]]:
        """(row of `indexes`, index of a frame that ends where that one begins)."""
        return self._beside(indexes, self._neighbours.before)

    def _beside(self, indexes: I64, ways: tuple[I64, I64]) -> Iterator[tuple[int, int]]:
        row = self._row[indexes]
        for way in ways:
            other = np.where(row >= 0, way[row], -1)
            for place in np.flatnonzero(other >= 0).tolist():
                index = int(self._frames.index[other[place]])
                if self.swept[index] and not self.dropped[index]:
                    yield place, index

    def text(self, text: str) -> str:
        """Text that is in no frame, such as a file's name."""
        return self.sweeper.text(text)[0]

    def header(self, name: str, value: object) -> object:
        """A field of the file's own header."""
        if not isinstance(value, str):
            return value
        if name in ("nodename", "domainname"):
            known = self.host.get(value.encode("utf-8", "surrogateescape"))
            return known.decode("utf-8", "surrogateescape") if known is not None else value
        return self.text(value)

    def note(self, note: Note) -> Note:
        """A note of the file's own: of a CPU in user mode without the registers that hold its program's data."""
        desc = user_mode_note(note)
        return note if desc is None else dataclasses.replace(note, desc=desc)


def make_plan(kernel: Kernel, level: str, known: RedactionMap) -> Plan:
    """Find all that is to be hidden. Raises KernlabError where not even the users' pages can be told from others."""
    told: list[str] = []
    with kernel.scope("what a redaction rests on") as common:
        frames = Frames.of(kernel.file)
        kind = kinds_of(kernel, frames)
        edits = Edits(kernel, frames)
        found = Found(kernel, level, known, frames, kind, edits, Literals())
        found.prepare()
    losses: list[str] = []
    for what, step in STEPS:
        # A scope each: what one may read is bounded, and must not be at the cost of the next.
        with kernel.scope(what) as scope:
            try:
                step(found)
            except KernlabError as error:
                told.append(f"redaction: {what} could not all be found, so some may be left ({error})")
        losses += scope.losses
    with kernel.scope("redaction") as scope:
        edits.finish()
        dropped, counts = frames.mask(), Counter(edits.counts)
        for name, kinds in LEFT_OUT.items():
            rows = np.isin(kind, kinds)
            dropped[frames.index[rows]] = True
            if rows.any():
                counts[name] += int(rows.sum())
        swept = frames.mask()
        swept[frames.index] = True
        fixed = constant(kernel, frames)
        public = machine.public_addresses(frames, fixed)
        swept[frames.index[fixed]] = False
        for pass_over in (page_structs, kernel_tables):
            try:
                swept[frames.index[pass_over(kernel, frames)]] = False
            except KernlabError:
                # They are gone through like all others then.
                continue
        swept[frames.index[kind == Kind.PAGE_TABLE]] = False
        sides = neighbours(kernel, frames)
    if found.caches.missing:
        names = ", ".join(found.caches.missing)
        losses.insert(0, f"what lies in the slab caches {names} could not be found, so some may be left")
    # What tables lose as well they say themselves.
    own = dict.fromkeys([*losses, *scope.losses])
    losses = [loss for loss in own if loss not in common.losses]
    told += [f"redaction: {loss}" for loss in losses[:_MOST_TOLD]]
    if len(losses) > _MOST_TOLD:
        told.append(f"redaction: and {len(losses) - _MOST_TOLD:,} more things that could not be read")
    found.literals.prepare()
    patterns = Patterns(known, found.homes, public)
    return Plan(
        level,
        known,
        dropped,
        swept,
        edits,
        Sweeper(found.literals, patterns),
        Words(found.ipv4, known.addresses),
        counts,
        told,
        found.host,
        frames,
        sides,
    )
