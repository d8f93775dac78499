"""Which bytes of memory a step reads, and for what: an `AddressSpace` that keeps account."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt

from kernlab.core.members import is_char
from kernlab.memory import AddressSpace, Located

U64 = npt.NDArray[np.uint64]

WORD = 8
#: Of each kind of place so many are kept to choose from.
KEPT = 400
_DEEPEST = 60
#: Rooms that read on behalf of others.
_BETWEEN = ("kernlab.memory.", "kernlab.core.", "kernlab.walk.")


@dataclass
class Site:
    """One kind of place that a step reads: physical `addresses` of `size` bytes; `text`: it takes them for text."""

    label: str
    size: int
    text: bool = False
    addresses: list[int] = field(default_factory=list)


@dataclass
class Walk:
    """A list or tree that a step walks: entries `type_name` by `member`, `heads` and `nodes` by virtual address."""

    kind: str
    type_name: str
    member: str
    head: int
    nodes: list[int]


@dataclass
class Reads:
    """What one step reads: words, by the page frames that they lie in, and the sites."""

    frames: npt.NDArray[np.int64]
    words: npt.NDArray[np.uint8]  # uint8[n, page size / 64]: a bit for each word of each frame
    sites: list[Site]
    walks: list[Walk]

    def touches(self, physical: int, size: int) -> bool:
        """Does the step read any of these bytes?"""
        return any(self._word(word) for word in range(physical // WORD, (physical + size - 1) // WORD + 1))

    def _word(self, word: int) -> bool:
        per_frame = self.words.shape[1] * 8
        row = int(np.searchsorted(self.frames, word // per_frame))
        if row == len(self.frames) or self.frames[row] != word // per_frame:
            return False
        bit = word % per_frame
        return bool(self.words[row, bit // 8] >> (7 - bit % 8) & 1)

    def has_frame(self, frames: npt.NDArray[np.int64]) -> bool:
        """Does the step read any of these page frames?"""
        return bool(np.isin(frames, self.frames).any())


class RecordingSpace(AddressSpace):
    """Made of an `AddressSpace` by `record`; notes each read before it is done."""

    recorder: Recorder

    def _gather_within(self, addresses: Any, size: int, physical: bool, out: Any) -> Any:
        recorder = self.recorder
        if recorder.quiet:
            return super()._gather_within(addresses, size, physical, out)
        known = np.zeros(len(addresses), dtype=np.uint8)
        at = addresses
        if not physical:
            with recorder.silence():
                at, known = self._translate(addresses)
        status = super()._gather_within(addresses, size, physical, out)
        recorder.note(at[(status == 0) & (known == 0)], size, sys._getframe(1))
        return status

    def _read_pages(self, address: int, size: int, physical: bool) -> Any:
        # It gathers whole pages, of which its caller wants these bytes.
        recorder = self.recorder
        with recorder.silence():
            data, status = super()._read_pages(address, size, physical)
            edges = range(address - address % self.page_size, address + size, self.page_size)
            parts = [(max(edge, address), min(edge + self.page_size, address + size)) for edge in edges]
            starts = np.array([start for start, _ in parts], dtype=np.uint64)
            at = starts if physical else self._translate(starts)[0]
        # The page tables on the way are read, too.
        if not physical and not recorder.quiet:
            self._translate(starts)
        for (start, end), where, bad in zip(parts, at.tolist(), status.tolist(), strict=True):
            if not bad and not recorder.quiet:
                recorder.note(np.array([where], dtype=np.uint64), end - start, sys._getframe(1))
        return data, status

    def read_pages(self, pages: Located, out: Any, *, keep: bool = True) -> Any:
        status = super().read_pages(pages, out, keep=keep)
        there = pages.frames[(status == 0) & (pages.frames >= 0)]
        if len(there):
            numbers = self.recorder.numbers[there]
            page = np.uint64(self.page_size)
            self.recorder.note(numbers.astype(np.uint64) * page, self.page_size, sys._getframe(1))
        return status


class Recorder:
    """Collects the reads of one step after the other: `start`, run it, `stop`."""

    def __init__(self, file: Any):
        self.numbers = np.concatenate([np.zeros(0, dtype=np.int64), *file.present(1 << 20)])
        self.page = file.page_size
        self._marks = np.zeros(file.max_pfn * (self.page // WORD), dtype=bool)
        self._rows = self._marks.reshape(-1, self.page // WORD)
        self._touched = np.zeros(file.max_pfn, dtype=bool)
        self._random = random.Random(0)
        self._lock = threading.Lock()
        self._local = threading.local()
        self.start()

    @property
    def quiet(self) -> bool:
        return bool(getattr(self._local, "quiet", False))

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Note nothing that this thread reads in the block."""
        before = self.quiet
        self._local.quiet = True
        try:
            yield
        finally:
            self._local.quiet = before

    def start(self) -> None:
        self._rows[self._touched] = False
        self._touched[:] = False
        self._sites: dict[tuple[str, int], Site] = {}
        self.walks: list[Walk] = []
        self._failed: Exception | None = None

    def stop(self) -> Reads:
        if self._failed is not None:
            raise RuntimeError("the account of what a step reads is wrong") from self._failed
        frames = np.flatnonzero(self._touched)
        sites = [site for site in self._sites.values() if site.addresses]
        return Reads(frames, np.packbits(self._rows[frames], axis=1), sites, self.walks)

    def note(self, physical: U64, size: int, frame: FrameType) -> None:
        if len(physical) and size:
            with self._lock:
                try:
                    self._note(physical, size, frame)
                except Exception as error:
                    # Raised at the end: what is looked at may take any exception for one of its own.
                    self._failed = self._failed or error

    def _note(self, physical: U64, size: int, frame: FrameType) -> None:
        label, text, places, base = _what(frame)
        for offset, width in places or ((0, size),):
            at = physical + np.uint64(offset)
            self._mark(at, width)
            name = f"{label}+{offset}" if places and label == base else label
            site = self._sites.setdefault((name, width), Site(name, width))
            site.text |= text
            picked = at.tolist()
            if len(picked) > KEPT:
                picked = self._random.sample(picked, KEPT)
            site.addresses += picked
            if len(site.addresses) > 2 * KEPT:
                distinct = list(dict.fromkeys(site.addresses))
                site.addresses = self._random.sample(distinct, min(KEPT, len(distinct)))

    def _mark(self, physical: U64, size: int) -> None:
        first = (physical // WORD).astype(np.int64)
        last = ((physical + np.uint64(size - 1)) // WORD).astype(np.int64)
        per_page = self.page // WORD
        self._touched[first // per_page] = self._touched[last // per_page] = True
        if len(first) * 4 < size // WORD:
            for start, end in zip(first.tolist(), last.tolist(), strict=True):
                self._marks[start : end + 1] = True
            return
        for step in range(int((last - first).max()) + 1):
            self._marks[np.minimum(first + step, last)] = True


def _what(frame: FrameType | None) -> tuple[str, bool, tuple[tuple[int, int], ...], str]:
    """What a read is for, by who asked: (label, is it text, places within what is read, label without a member)."""
    text, places, walker = False, (), ""
    for _ in range(_DEEPEST):
        if frame is None:
            break
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        here = frame.f_locals
        if module == "kernlab.core.members" and name == "_array":
            text |= "element" in here and is_char(here["element"])
        elif module == "kernlab.core.prefetch" and name == "prefetch":
            places = tuple(sorted(here["places"]))
        elif module == "kernlab.walk.strings":
            text = True
        elif module == "kernlab.core.struct_array" and name in ("__getitem__", "prefetch"):
            key = here.get("key", "")
            owner = here["self"].type.c_name.removeprefix("struct ")
            if name == "prefetch":
                return f"{owner}.prefetch", text, places, f"{owner}.prefetch"
            if isinstance(key, str):
                return f"{owner}.{key}", text, (), ""
        elif module == "kernlab.core.struct" and name == "__getitem__":
            owner = here["self"].type_.c_name.removeprefix("struct ")
            return f"{owner}.{here.get('path', '')}", text, (), ""
        elif module.startswith("kernlab.walk.") and not walker:
            walker = name
            if "type_name" in here:
                return (
                    f"{here['type_name'].removeprefix('struct ')}.{here.get('member', '')} {name}",
                    text,
                    (),
                    "",
                )
        elif module.startswith("kernlab.memory.page_tables"):
            walker = walker or "page tables"
        elif module.startswith("kernlab.") and not module.startswith(
            ("kernlab.memory.", "kernlab.core.", "kernlab.walk.")
        ):
            at = f"{module.removeprefix('kernlab.')}.{name}"
            return (f"{at} {walker}" if walker else at).replace(":", " "), text, (), ""
        frame = frame.f_back
    return walker or "unknown", text, (), ""
