"""A symbol of Rust's compiler in, the function's path as people write it out: without hashes of crates.

Each build has hashes of its own. The scheme is v0 (RFC 2603), which the kernel is built with.
"""

from __future__ import annotations

from functools import lru_cache

#: What type a letter is.
_BASIC = {
    "a": "i8",
    "b": "bool",
    "c": "char",
    "d": "f64",
    "e": "str",
    "f": "f32",
    "h": "u8",
    "i": "isize",
    "j": "usize",
    "l": "i32",
    "m": "u32",
    "n": "i128",
    "o": "u128",
    "s": "i16",
    "t": "u16",
    "u": "()",
    "v": "...",
    "x": "i64",
    "y": "u64",
    "z": "!",
    "p": "_",
}
#: Paths within paths, and steps for a name: no symbol of the kernel's (KSYM_NAME_LEN) comes near.
_DEEPEST, _MOST = 64, 4096
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@lru_cache(maxsize=1 << 10)
def demangled(name: str) -> str:
    """The path of a function of Rust; any other name as it is.

    >>> from kernlab.oops.rust import demangled
    >>> demangled("_RNvMs3_NtCshgDM7dBCdno_4shop4cartNtB5_4Cart3pay")
    '<shop::cart::Cart>::pay'
    """
    if not name.startswith("_R"):
        return name
    try:
        return _Reader(name[2:].partition(".")[0]).path(0)
    except (ValueError, IndexError, KeyError):
        return name


class _Reader:
    """Reads a symbol from its beginning; backward references are places in it."""

    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.steps = 0

    def path(self, depth: int) -> str:
        """A path: of a crate, an implementation, a name within one, with generic arguments, or one told before."""
        self._step(depth)
        what = self._next()
        if what == "C":
            return self._name()
        if what in "MX":  # an implementation stands somewhere; what it is of says more
            self._number("s")
            self.path(depth + 1)
            return f"<{self._of(depth, what == 'X')}>"
        if what == "Y":
            return f"<{self._of(depth, True)}>"
        if what == "N":
            space = self._next()
            outer, name = self.path(depth + 1), self._name()
            return (
                f"{outer}::{{{'closure' if space == 'C' else 'shim'}}}"
                if space.isupper()
                else f"{outer}::{name}"
            )
        if what == "I":
            path = self.path(depth + 1)
            return f"{path}::<{', '.join(self._list(depth))}>" if depth else f"{path}{self._dropped(depth)}"
        if what == "B":
            return self._again(self.path, depth)
        raise ValueError(what)

    def _of(self, depth: int, trait: bool) -> str:
        kind = self._type(depth + 1)
        return f"{kind} as {self.path(depth + 1)}" if trait else kind

    def _dropped(self, depth: int) -> str:
        self._list(depth)
        return ""

    def _list(self, depth: int) -> list[str]:
        found = []
        while not self._take("E"):
            if self._take("L"):
                self._number("")
                found.append("'_")
            elif self._take("K"):
                found.append(self._constant(depth))
            else:
                found.append(self._type(depth + 1))
        return found

    def _constant(self, depth: int) -> str:
        if self._take("B"):
            return self._again(self._constant, depth)
        self._type(depth + 1)
        end = self.text.index("_", self.at)
        digits, self.at = self.text[self.at : end], end + 1
        return f"0x{digits}"

    def _type(self, depth: int) -> str:
        self._step(depth)
        what = self._next()
        if what in _BASIC:
            return _BASIC[what]
        if what in "RQ":
            if self._take("L"):
                self._number("")
            return f"&{'mut ' if what == 'Q' else ''}{self._type(depth + 1)}"
        if what in "PO":
            return f"*{'const' if what == 'P' else 'mut'} {self._type(depth + 1)}"
        if what == "S":
            return f"[{self._type(depth + 1)}]"
        if what == "A":
            return f"[{self._type(depth + 1)}; {self._constant(depth)}]"
        if what == "T":
            return f"({', '.join(self._list(depth))})"
        if what == "B":
            return self._again(self._type, depth)
        if what in "FD":
            raise ValueError("pointers of functions and dynamic types are not read")
        self.at -= 1
        return self.path(depth + 1)

    def _name(self) -> str:
        self._number("s")
        coded = self._take("u")
        begin = self.at
        while self.text[self.at].isdigit():
            self.at += 1
        length = int(self.text[begin : self.at][:4])
        self._take("_")
        name, self.at = self.text[self.at : self.at + length], self.at + length
        if coded or len(name) < length:
            raise ValueError("punycode")
        return name

    def _again(self, read: object, depth: int) -> str:
        place = self._number("")
        here, self.at = self.at, place
        if place >= here:
            raise ValueError(place)
        found: str = read(depth + 1)  # type: ignore[operator]
        self.at = here
        return found

    def _number(self, mark: str) -> int:
        """A number in base 62, behind its mark: "_" is 0, "0_" 1."""
        if mark and not self._take(mark):
            return 0
        end = self.text.index("_", self.at)
        digits, self.at = self.text[self.at : end], end + 1
        value = 0
        for digit in digits[:8]:
            value = value * 62 + _DIGITS.index(digit)
        return value + bool(digits)

    def _take(self, mark: str) -> bool:
        found = self.text[self.at : self.at + 1] == mark
        self.at += found
        return found

    def _next(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def _step(self, depth: int) -> None:
        self.steps += 1
        if depth > _DEEPEST or self.steps > _MOST:
            raise ValueError("too deep")
