"""BTF whose every type is known, written as Documentation/bpf/btf.rst says; shares no code with kernlab."""

from __future__ import annotations

import struct

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO = range(1, 14)
VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(14, 20)
SIGNED, CHAR, BOOL = 1, 2, 4


class Blob:
    """Types are added one by one; each call gives the type's number. `bytes()` is the blob."""

    def __init__(self, first_id: int = 1, first_string: int = 0) -> None:
        self.first_id, self.first_string = first_id, first_string
        self.types: list[bytes] = []
        self.strings = b"" if first_string else b"\0"
        self.known: dict[str, int] = {} if first_string else {"": 0}

    def string(self, text: str) -> int:
        if text == "":
            return 0
        if text not in self.known:
            self.known[text] = self.first_string + len(self.strings)
            self.strings += text.encode() + b"\0"
        return self.known[text]

    def add(
        self,
        kind: int,
        name: str = "",
        third: int = 0,
        words: tuple[int, ...] = (),
        vlen: int = 0,
        flag: bool = False,
    ) -> int:
        head = struct.pack("<III", self.string(name), flag << 31 | kind << 24 | vlen, third)
        self.types.append(head + b"".join(struct.pack("<I", word & 0xFFFFFFFF) for word in words))
        return self.first_id + len(self.types) - 1

    @property
    def next_id(self) -> int:
        return self.first_id + len(self.types)

    @property
    def next_string(self) -> int:
        return self.first_string + len(self.strings)

    def int(self, name: str, size: int, encoding: int = 0) -> int:
        return self.add(INT, name, size, (encoding << 24 | 8 * size,))

    def array(self, element: int, count: int) -> int:
        return self.add(ARRAY, words=(element, element, count))

    def struct(
        self,
        name: str,
        size: int,
        members: list[tuple[str, int, int] | tuple[str, int, int, int]],
        kind: int = STRUCT,
    ) -> int:
        """Members are (name, type, bit offset), or with a fourth, the bits of a bitfield."""
        flag = any(len(member) == 4 for member in members)
        words: list[int] = []
        for text, type_id, bits, *width in members:
            words += [self.string(text), type_id, (width[0] if width else 0) << 24 | bits if flag else bits]
        return self.add(kind, name, size, tuple(words), len(members), flag)

    def enum(self, name: str, values: dict[str, int], size: int = 4, signed: bool = False) -> int:
        words = [word for text, value in values.items() for word in (self.string(text), value)]
        return self.add(ENUM, name, size, tuple(words), len(values), signed)

    def enum64(self, name: str, values: dict[str, int], signed: bool = False) -> int:
        words: list[int] = []
        for text, value in values.items():
            words += [self.string(text), value & 0xFFFFFFFF, value >> 32]
        return self.add(ENUM64, name, 8, tuple(words), len(values), signed)

    def prototype(self, result: int, parameters: list[tuple[str, int]]) -> int:
        words = [word for text, type_id in parameters for word in (self.string(text), type_id)]
        return self.add(FUNC_PROTO, "", result, tuple(words), len(parameters))

    def bytes(self) -> bytes:
        types = b"".join(self.types)
        # A module's strings begin with an empty one, too (libbpf writes it so).
        strings = self.strings or b"\0"
        return (
            struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
            + types
            + strings
        )
