"""A model of relay's writer and reader, told in sub-buffers' contents, not in counters: what tests compare with.

Written from Documentation/filesystems/relay.rst and the behaviour of kernel/relay.c; shares no code with kernlab.
"""

from __future__ import annotations


class Model:
    """One relay buffer. `contents[s]` is what was written into sub-buffer number s; the last one is the current."""

    def __init__(self, size: int, count: int, *, overwrite: bool):
        self.size, self.count, self.overwrite = size, count, overwrite
        self.memory = bytearray(size * count)
        self.contents: list[bytes] = [b""]
        self.padding = [0] * count
        self.full = False
        self.consumed = 0
        self.position = 0

    @property
    def produced(self) -> int:
        return len(self.contents) - (0 if self.full else 1)

    @property
    def offset(self) -> int:
        return self.size + 1 if self.full else len(self.contents[-1])

    @property
    def current(self) -> int:
        # While writes are refused, `data` stays on the sub-buffer that was filled last.
        return (len(self.contents) - 1) % self.count

    def write(self, data: bytes) -> bool:
        """relay_write: False where it is dropped."""
        if self.full or len(self.contents[-1]) + len(data) > self.size:
            if not self._switch():
                return False
            if len(data) > self.size:
                return False
        slot = self.current
        at = slot * self.size + len(self.contents[-1])
        self.memory[at : at + len(data)] = data
        self.contents[-1] += data
        return True

    def flush(self) -> None:
        """relay_flush: the current sub-buffer ends here."""
        self._switch()

    def _switch(self) -> bool:
        if not self.full:
            self.padding[self.current] = self.size - len(self.contents[-1])
            self.full = True
        if not self.overwrite and self.produced - self.consumed >= self.count:
            return False
        self.full = False
        self.contents.append(b"")
        self.padding[self.current] = 0
        return True

    def read(self, count: int) -> bytes:
        """read(2): at most `count` bytes, to the end of a sub-buffer at most; b"" where nothing is left."""
        while True:
            if not self.full and self.produced - self.consumed >= self.count:
                self.consumed, self.position = self.produced - self.count + 1, 0
            if self.consumed >= len(self.contents):
                return b""
            content = self.contents[self.consumed]
            done = self.consumed < self.produced
            taken = content[self.position : self.position + count]
            self.position += len(taken)
            if done and self.position == len(content):
                self.consumed, self.position = self.consumed + 1, 0
            if taken or not done:
                return taken

    def rest(self) -> bytes:
        """Everything that reads would still give."""
        found = b""
        while piece := self.read(1 << 20):
            found += piece
        return found

    def whole(self) -> list[int]:
        """The numbers of the sub-buffers that nothing has been written over yet."""
        oldest = self.produced - self.count + (0 if self.full else 1)
        return list(range(max(oldest, 0), len(self.contents)))
