"""The undamaged dumps: opened, every step done once with an account of what it reads, all frames in memory."""

from __future__ import annotations

import contextlib
import lzma
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from support.overlay import Overlay

import kernlab
from fuzz.limits import peak_beyond
from fuzz.pictures import Picture, picture
from fuzz.recording import Reads, Recorder, RecordingSpace, Walk
from fuzz.steps import Step, steps
from kernlab.core import kernel as kernel_module
from kernlab.core.kernel import Kernel
from kernlab.dump import Dump
from kernlab.formats import open_dump_file
from kernlab.formats.base import DumpFile, FrameStatus
from kernlab.walk import lists, rbtree

ROOT = Path(__file__).resolve().parents[2]
DUMPS = Path(os.environ.get("KERNLAB_TEST_DUMPS", ROOT.parent / "shared" / "dumps"))
SAMPLES = ROOT / "samples"
#: The dumps that are damaged, by their short names.
NAMES = ("5.10", "6.1", "6.12", "7.2")

#: What opening a dump reads, as a step of its own.
OPEN = "open"

#: Addresses of things in the dump that steps with parameters are asked about.
_KNOWN = 160
_RANGE_FRAMES = 1 << 20


@dataclass
class Answer:
    """What an undamaged step gives, and costs."""

    picture: Picture
    kernel_problems: list[str]
    seconds: float
    peak: int


class Preloaded(DumpFile):
    """A dump file whose frames all lie decompressed in memory, which the processes of all cases share."""

    def __init__(self, below: DumpFile):
        self.below = below
        self.path, self.format, self.machine = below.path, below.format, below.machine
        self.page_size, self.vmcoreinfo = below.page_size, below.vmcoreinfo
        self.header, self.notes, self._problems = below.header, below.notes, list(below.problems)
        self.frame_count, self.max_pfn = below.frame_count, below.max_pfn
        self.rows = np.empty((below.frame_count, below.page_size), dtype=np.uint8)
        self.status = below.read_into(np.arange(below.frame_count), self.rows)

    @property
    def problems(self) -> list[str]:  # type: ignore[override]
        return list(self._problems)

    def find(self, pfns: np.ndarray) -> np.ndarray:
        return self.below.find(pfns)

    def read_into(self, indices: np.ndarray, out: np.ndarray) -> np.ndarray:
        np.take(self.rows, indices, axis=0, out=out)
        return self.status[indices]

    def present(self, most: int) -> Iterator[np.ndarray]:
        return self.below.present(most)

    def close(self) -> None:
        pass


@dataclass
class Subject:
    """One undamaged dump. `dump` itself builds nothing: every step gets a `Dump` of its own (`fresh`)."""

    name: str
    path: Path
    dump: Dump
    file: Preloaded
    known: list[int] = field(default_factory=list)
    #: How the files begin that the cases of this process write.
    prefix: str = field(default_factory=lambda: prefix())
    answers: dict[str, Answer] = field(default_factory=dict)
    reads: dict[str, Reads] = field(default_factory=dict)

    def fresh(self) -> Dump:
        """An undamaged dump of which nothing was asked yet."""
        return Overlay(self.dump).dump()

    def that_read(self, physical: int, size: int = 1) -> list[str]:
        """The steps that read some of these bytes."""
        return [name for name, reads in self.reads.items() if reads.touches(physical, size)]

    def that_read_frames(self, frames: Sequence[int]) -> list[str]:
        """The steps that read some of these page frames."""
        wanted = np.asarray(frames, dtype=np.int64)
        return [name for name, reads in self.reads.items() if reads.has_frame(wanted)]

    def word(self, physical: int, size: int = 8) -> int | None:
        """The number at a physical address; None where there is none."""
        with contextlib.suppress(kernlab.KernlabError):
            return int.from_bytes(self.dump.read(physical, size, physical=True), "little")
        return None

    def readable(self, address: int) -> bool:
        """Can eight bytes be read at a kernel virtual address?"""
        _, status = self.dump.kernel.gather([address % (1 << 64)], 8)
        return not status[0]


def prefix() -> str:
    """How the names of files begin that cases of this process write."""
    return f"kernlab-fuzz-{os.getpid()}"


def find(name: str) -> Path | None:
    """The file of a dump by its short name, in the folder of dumps or else among the samples."""
    for folder in (DUMPS / f"debian-{name}", SAMPLES / f"debian-{name}", SAMPLES / name):
        for file in ("vmcore", "vmcore.xz"):
            if (folder / file).is_file():
                return folder / file
    return None


def available(wanted: Sequence[str]) -> list[str]:
    """The dumps that are on this machine; the bundled ones, said so, where those of the lab are not."""
    found = [name for name in wanted if find(name) is not None]
    if len(found) < len(wanted):
        bundled = sorted(folder.name for folder in SAMPLES.iterdir() if list(folder.glob("vmcore*")))
        missing = ", ".join(name for name in wanted if name not in found)
        # As many as were asked for.
        others = [name.removeprefix("debian-") for name in bundled]
        found = list(dict.fromkeys([*found, *others]))[: len(wanted)]
        print(f"fuzz: {missing} not in {DUMPS}: damaging {', '.join(found)} instead", file=sys.stderr)
    return found


def load(name: str, only: Sequence[str] | None = None, *, record: bool = True) -> Subject:
    """Open a dump and do its steps (`only` these, if given), recording what they read unless told not to."""
    path = find(name)
    if path is None:
        raise FileNotFoundError(f"there is no dump {name!r} in {DUMPS} nor in {SAMPLES}")
    if path.suffix == ".xz":
        unpacked = Path(tempfile.gettempdir()) / f"kernlab-fuzz-{name}-{path.stat().st_size}"
        if not unpacked.exists():
            with lzma.open(path) as packed, unpacked.with_suffix(".new").open("wb") as out:
                shutil.copyfileobj(packed, out)
            unpacked.with_suffix(".new").rename(unpacked)
        path = unpacked
    file = Preloaded(open_dump_file(path))
    recorder = Recorder(file) if record else None
    with _recording_opening(recorder):
        dump = Dump(Kernel.open(file))
        assert dump.kernel.types
    if recorder is not None:
        dump.kernel.memory.__class__ = kernel_module.AddressSpace
    subject = Subject(name, path, dump, file)
    if recorder is not None:
        subject.reads[OPEN] = recorder.stop()
    subject.known = _known(subject)
    for step in steps().values():
        if only is None or step.name in only:
            _answer(subject, step, recorder)
    return subject


def _known(subject: Subject) -> list[int]:
    """Addresses of things of every kind: some of each table's rows, and of symbols."""
    dump = subject.fresh()
    found: list[int] = []
    tables = [dump.tasks, dump.maps, dump.slabs, dump.modules, dump.vmalloc, dump.pages, dump.slab_objects()]
    for table in tables:
        found += [int(value) for value in table["address"].dropna().iloc[:: max(len(table) // 20, 1)]]
    found += [int(value) for value in dump.symbols["address"].iloc[:: max(len(dump.symbols) // 40, 1)]]
    return found[:: max(len(found) // _KNOWN, 1)]


def _answer(subject: Subject, step: Step, recorder: Recorder | None) -> None:
    dump = subject.fresh()
    if recorder is not None:
        memory: Any = dump.kernel.memory
        memory.__class__ = RecordingSpace
        memory.recorder = recorder
        recorder.start()
    start = time.process_time()
    with _recording_walks(recorder), warnings.catch_warnings(), peak_beyond() as peak:
        warnings.simplefilter("ignore")
        seen = picture(step.run(dump, subject.known))
    seconds = time.process_time() - start
    if recorder is not None:
        subject.reads[step.name] = recorder.stop()
    subject.answers[step.name] = Answer(seen, dump.kernel.problems, seconds, peak.bytes)


@contextlib.contextmanager
def _recording_opening(recorder: Recorder | None) -> Iterator[None]:
    if recorder is None:
        yield
        return
    plain = kernel_module.AddressSpace

    def make(*args: Any, **kwargs: Any) -> Any:
        memory = RecordingSpace(*args, **kwargs)
        memory.recorder = recorder
        return memory

    kernel_module.AddressSpace = make  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        kernel_module.AddressSpace = plain  # type: ignore[misc]


@contextlib.contextmanager
def _recording_walks(recorder: Recorder | None) -> Iterator[None]:
    """Note every list and tree: where the walks of kernlab.walk make structs of the nodes they found."""
    if recorder is None:
        yield
        return
    plain: dict[Any, Callable[..., Any]] = {module: module.container for module in (lists, rbtree)}

    def noting(kind: str, container: Callable[..., Any]) -> Callable[..., Any]:
        def made(kernel: Any, type_name: str, member: str, nodes: Any, *rest: Any) -> Any:
            here = sys._getframe(1).f_locals
            tops, owner = here.get("tops"), here.get("owner")
            if tops is not None and owner is not None and len(nodes):
                first = int(owner[0])
                mine = nodes[np.asarray(owner) == first][:KEPT_NODES].tolist()
                recorder.walks.append(Walk(kind, type_name, member, int(tops[first]), mine))
            return container(kernel, type_name, member, nodes, *rest)

        return made

    try:
        for module, container in plain.items():
            module.container = noting(module.__name__.rpartition(".")[2], container)
        yield
    finally:
        for module, container in plain.items():
            module.container = container


#: Nodes of a walk that are kept.
KEPT_NODES = 50


def frames_of(subject: Subject) -> np.ndarray:
    """The numbers of all page frames that the dump has."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *subject.file.present(_RANGE_FRAMES)])


STATUSES = {
    "excluded": FrameStatus.EXCLUDED,
    "lost": FrameStatus.LOST,
    "absent": FrameStatus.ABSENT,
}
