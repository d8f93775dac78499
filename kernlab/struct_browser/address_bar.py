"""The address bar: what a person types in, the place that is meant out. A small parser; nothing is ever evaluated.

Understood: `0xffff…`, a symbol, `struct task_struct @ 0x…`, `(struct mm_struct *)0x…`, `init_task.mm->pgd`,
`*expression`, `&expression`, `per_cpu(runqueues, 1)`, `container_of(0x…, struct task_struct, tasks)`, `pid(1)`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import container
from kernlab.core.variables import percpu_type, variable_type
from kernlab.debuginfo import global_variables
from kernlab.debuginfo.member_path import resolve
from kernlab.debuginfo.types import ArrayType, PointerType, StructType, Type, VoidType
from kernlab.errors import FaultError, KernlabError
from kernlab.linux.whatis.answers import SLAB_OBJECT
from kernlab.struct_browser.identify import identify, type_of
from kernlab.struct_browser.page_reader import PageReader
from kernlab.struct_browser.rows import Location
from kernlab.util.addresses import in_text
from kernlab.walk.cpus import cpus, percpu
from kernlab.walk.xarray import idr_entries

_LONGEST = 1000
_DEEPEST = 16
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}(?![0-9A-Za-z_])|\d{1,20}(?![0-9A-Za-z_])")
_TYPE = re.compile(r"\s*((?:(?:struct|union|enum)\s+)?[A-Za-z_]\w*(?:\s+[A-Za-z_]\w*)*\s*)((?:\*\s*)*)$")
_TAIL = re.compile(r"\s*(?:->|\.|\[)")
_PATH = re.compile(r"(?:\s*(?:->|\.)\s*[A-Za-z_]\w*|\s*\[\s*(?:0[xX][0-9a-fA-F]+|\d+)\s*\])+")
_LAST = re.compile(
    r"^(?:(?P<before>.*?)\s*(?:->|\.)\s*)?(?P<name>[A-Za-z_]\w*)\s*(?P<index>(?:\[[^\]]*\]\s*)*)$"
)
_AT = re.compile(r"^\s*((?:(?:struct|union)\s+)?[A-Za-z_]\w*)\s*(?:@|\s(?=\s*0[xX]))\s*(.+)$", re.DOTALL)


_WORD = PointerType(VoidType)

#: What is shown from its start on, wherever in it an address points: an array's symbol is shown from the address on.
_SHOWN_WHOLE = (SLAB_OBJECT, "page struct")
_UNKNOWN = "nothing is known of this address at a glance (dump.owner looks through all of memory)"


@dataclass(frozen=True)
class Value:
    """What an expression stands for: a place of a type, or (without `stored`) a plain number or pointer."""

    type: Type | None
    address: int
    stored: bool
    owner: tuple[str, str] = ("", "")
    bits: tuple[int, int] = (0, 0)
    code: str = ""


def find(kernel: Kernel, typed: str) -> Location:
    """The place that an expression names.

    Raises KernlabError that says what was not understood, or what could not be read on the way.
    """
    if len(typed) > _LONGEST:
        raise KernlabError(
            f"{len(typed):,} characters are too many for an address; the longest is {_LONGEST:,}"
        )
    if not typed.strip():
        raise KernlabError("type a symbol, an address, or: struct task_struct @ 0xffff…")
    parser = _Parser(kernel, typed)
    value = parser.whole()
    return place_of(kernel, value, typed.strip())


def address_of(kernel: Kernel, typed: str) -> int:
    """The address that an expression stands for: a number, what a pointer holds, or where something lies.

    Raises KernlabError as `find` does.
    """
    parser = _Parser(kernel, typed)
    return parser._number(parser.whole())


def place_of(kernel: Kernel, value: Value, name: str) -> Location:
    """A place to show for a value; what a bare address is, is looked up."""
    if value.stored and value.type is not None:
        return Location(
            name,
            value.type,
            value.address,
            value.owner,
            value.bits[0],
            value.bits[1],
            code=value.code or code_of(value.type, value),
        )
    if isinstance(value.type, PointerType):
        if not value.address:
            raise FaultError(f"{name} is a NULL pointer", 0)
        target = value.type.target
        if target.size:
            return Location(name, target, value.address, code=code_of(target, value))
    return at_address(kernel, value.address, name)


def at_address(kernel: Kernel, address: int, name: str = "") -> Location:
    """What lies at a bare address: a typed global, a slab object, or else words."""
    (answer,) = identify(kernel, [address])
    kind = type_of(kernel, answer)
    if kind is not None and (not answer.offset or answer.kind in _SHOWN_WHOLE):
        value = Value(kind, answer.start, True)
        return Location(name, kind, answer.start, code=code_of(kind, value), note=answer.label)
    # As pointers, so that those words that are some lead on.
    words = ArrayType(lambda: _WORD, 64)
    return Location(
        name,
        words,
        address,
        code=f"dump.read({address:#x}, {words.size})",
        note=answer.label or f"{answer.kind or _UNKNOWN}: shown as words",
    )


def is_untyped(place: Location) -> bool:
    """Is nothing known of what lies there, so that it is shown as words?"""
    kind = place.kind
    return isinstance(kind, ArrayType) and kind.element is _WORD


def code_of(kind: Type, value: Value) -> str:
    """The Python expression that gives a struct again."""
    if isinstance(kind.strip(), StructType) and "{" not in kind.c_name:
        return f"dump.struct({kind.c_name!r}, {value.address:#x})"
    return f"dump.read({value.address:#x}, {max(kind.size, 1)})"


class _Parser:
    """Recursive descent over one expression, bounded in depth."""

    def __init__(self, kernel: Kernel, typed: str):
        self.kernel = kernel
        self.text = typed
        self.at = 0
        self.depth = 0

    def whole(self) -> Value:
        given = in_text(self.text)
        if given is not None:
            return Value(None, given, False)
        match = _AT.match(self.text)
        if match is not None and (kind := self._type_or_none(match[1])) is not None:
            self.at = match.start(2)
            value = self.expression()
            self._end()
            return Value(kind, self._number(value), True)
        value = self.expression()
        self._end()
        return value

    def _end(self) -> None:
        if self.text[self.at :].strip():
            raise KernlabError(f"cannot read {self.text!r} from {self.text[self.at :].strip()!r} on")

    def _type_or_none(self, name: str) -> Type | None:
        words = name.split()
        if len(words) == 1 and self.kernel.types.get(f"struct {words[0]}") is not None:
            return self.kernel.find_type(f"struct {words[0]}")
        if len(words) > 1:
            return self.kernel.find_type(" ".join(words))
        try:
            return self.kernel.type_anywhere(" ".join(words))
        except KernlabError:
            return None

    def _skip(self) -> str:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def expression(self) -> Value:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise KernlabError(f"{self.text!r} is nested deeper than {_DEEPEST}")
        try:
            return self._unary()
        finally:
            self.depth -= 1

    def _unary(self) -> Value:
        character = self._skip()
        if character == "*":
            self.at += 1
            value = self.expression()
            return self._pointee(value)
        if character == "&":
            self.at += 1
            value = self.expression()
            if not value.stored or value.type is None:
                raise KernlabError(f"{self.text!r}: & needs something that lies in memory")
            kept = value.type
            return Value(PointerType(lambda: kept), value.address, False)
        if character == "(":
            cast = self._cast()
            if cast is not None:
                value = self.expression()
                return Value(cast, self._number(value), False)
            self.at += 1
            value = self.whole_inside()
            return self._tail(value)
        return self._tail(self._primary())

    def whole_inside(self) -> Value:
        end = self.text.find(")", self.at)
        inside = self.text[self.at : end] if end >= 0 else ""
        match = _AT.match(inside)
        if match is not None and "(" not in inside and (kind := self._type_or_none(match[1])) is not None:
            self.at += match.start(2)
            value = Value(kind, self._number(self.expression()), True)
        else:
            value = self.expression()
        self._expect(")")
        return value

    def _expect(self, character: str) -> None:
        if self._skip() != character:
            rest = self.text[self.at :].strip()
            raise KernlabError(
                f"{self.text!r}: {character!r} is missing {f'before {rest!r}' if rest else 'at the end'}"
            )
        self.at += 1

    def _cast(self) -> PointerType | None:
        """`(type *)` at the cursor, which moves behind it."""
        end = self.text.find(")", self.at)
        inside = self.text[self.at + 1 : end] if end > 0 else ""
        match = _TYPE.match(inside)
        if match is None or not match[2].strip():
            return None
        kind = self._type_or_none(match[1])
        if kind is None:
            raise KernlabError(f"this kernel has no type {match[1].strip()!r}")
        for _ in range(match[2].count("*")):
            kind = PointerType(lambda kind=kind: kind)  # type: ignore[misc]
        self.at = end + 1
        assert isinstance(kind, PointerType)
        return kind

    def _primary(self) -> Value:
        self._skip()
        number = _NUMBER.match(self.text, self.at)
        if number is not None:
            self.at = number.end()
            value = int(number[0], 0) if number[0][:2] in ("0x", "0X") else int(number[0])
            if value >> 64:
                raise KernlabError(f"{number[0]} does not fit into 64 bits")
            return Value(None, value, False)
        name = re.compile(r"[A-Za-z_]\w*").match(self.text, self.at)
        if name is None:
            rest = self.text[self.at :]
            raise KernlabError(
                f"cannot read {self.text!r}{f' from {rest!r} on' if rest else ': it ends too early'}"
            )
        self.at = name.end()
        if self._skip() == "(":
            return self._call(name[0])
        return self._global(name[0])

    def _arguments(self, wanted: int, what: str) -> list[str]:
        self._expect("(")
        end, depth = self.at, 1
        while end < len(self.text) and depth:
            depth += {"(": 1, ")": -1}.get(self.text[end], 0)
            end += 1
        if depth:
            raise KernlabError(f"{self.text!r}: ')' is missing")
        parts = [part.strip() for part in self.text[self.at : end - 1].rsplit(",", wanted - 1)]
        if len(parts) != wanted or not all(parts):
            raise KernlabError(f"{what}")
        self.at = end
        return parts

    def _inner(self, typed: str) -> Value:
        inner = _Parser(self.kernel, typed)
        inner.depth = self.depth
        return inner.whole()

    def _call(self, name: str) -> Value:
        kernel = self.kernel
        if name == "per_cpu":
            variable, cpu = self._arguments(2, "write per_cpu(variable, cpu)")
            return self._per_cpu(variable, int(cpu) if cpu.isdigit() else -1)
        if name == "container_of":
            inner, kind, member = self._arguments(3, "write container_of(address, struct type, member)")
            address = self._number(self._inner(inner))
            outer = container(kernel, kind, member, [address])
            return Value(outer.type, int(outer.addresses[0]), True)
        if name == "pid":
            (given,) = self._arguments(1, "write pid(number)")
            return self._task(int(given) if given.isdigit() else -1)
        raise KernlabError(f"there is no {name}(); there are per_cpu(), container_of() and pid()")

    def _per_cpu(self, variable: str, cpu: int) -> Value:
        kernel = self.kernel
        kind = percpu_type(kernel, variable)
        if kind is None:
            raise KernlabError(f"{variable} is not a per-CPU variable whose type is known")
        numbers = cpus(kernel)
        if cpu not in numbers.tolist():
            raise KernlabError(f"there is no CPU {cpu}: this machine has {len(numbers)}, from 0 on")
        at = percpu(kernel, kernel.symbol(variable), numbers[numbers == cpu])
        return Value(kind, int(at[0]), True, ("", variable))

    def _task(self, wanted: int) -> Value:
        """kernel/pid.c, find_task_by_pid_ns, in the initial namespace."""
        kernel = self.kernel
        space = kernel.find_type("struct pid_namespace").strip()
        assert isinstance(space, StructType)
        idr = kernel.symbol("init_pid_ns") + space.member("idr").offset
        _, numbers, pointers = idr_entries(kernel, [idr], what="pids")
        for number, pointer in zip(numbers.tolist(), pointers.tolist(), strict=True):
            if number == wanted:
                head = resolve(kernel.find_type("struct pid"), "tasks[0].first")
                first = PageReader(kernel).word(pointer + head.hops[0])
                if first:
                    task = container(kernel, "struct task_struct", "pid_links[0]", [first])
                    return Value(task.type, int(task.addresses[0]), True)
        raise KernlabError(f"no task has the pid {wanted}" if wanted >= 0 else "write pid(number)")

    def _global(self, name: str) -> Value:
        kernel = self.kernel
        kind = percpu_type(kernel, name)
        if kind is not None and name in kernel.symbols:
            numbers = cpus(kernel)
            index = re.compile(r"\s*\[\s*(\d{1,5})\s*\]").match(self.text, self.at)
            if index is not None:
                self.at = index.end()
                return self._per_cpu(name, int(index[1]))
            return self._per_cpu(name, int(numbers[0]))
        address = kernel.symbol(name)
        known = global_variables.TYPES.get(name)
        described = kernel.find_type(known) if known is not None else variable_type(kernel, name)
        if described is None:
            return Value(None, address, False)
        return Value(described, address, True, ("", name), code=f"dump.variable({name!r})")

    def _tail(self, value: Value) -> Value:
        if not _TAIL.match(self.text, self.at):
            return value
        path = _PATH.match(self.text, self.at)
        if path is None:
            raise KernlabError(f"cannot read {self.text!r} from {self.text[self.at :]!r} on")
        self.at = path.end()
        start = self._pointee(value) if not value.stored and isinstance(value.type, PointerType) else value
        if start.type is None:
            raise KernlabError(
                f"the type of {self.text[: path.start()].strip()!r} is not known: cast it, as in "
                "((struct … *)address)->member"
            )
        kind = start.type.strip()
        if isinstance(kind, ArrayType | PointerType) and not path[0].lstrip().startswith("["):
            start = self._pointee(start)
            assert start.type is not None
            kind = start.type.strip()
        member = re.sub(r"^\s*(?:->|\.)", "", path[0])
        access = resolve(kind, member)
        reader, base = PageReader(self.kernel), start.address
        for hop in access.hops[:-1]:
            base = reader.word(base + hop)
            if not base:
                raise FaultError(f"{self.text!r} leads through a NULL pointer", 0)
        owner, declared = _owner(kind, member)
        code = f"dump.struct({kind.c_name!r}, {start.address:#x})[{member!r}]"
        return Value(
            declared or access.type,
            (base + access.hops[-1]) % (1 << 64),
            True,
            owner,
            (access.bit_offset, access.bit_size),
            code if isinstance(kind, StructType) and "{" not in kind.c_name else "",
        )

    def _pointee(self, value: Value) -> Value:
        kind = value.type.strip() if value.type is not None else None
        if isinstance(kind, ArrayType) and value.stored:
            return Value(kind.element, value.address, True)
        if not isinstance(kind, PointerType):
            raise KernlabError(f"{self.text!r}: {kind.c_name if kind else 'a bare number'} is not a pointer")
        address = PageReader(self.kernel).word(value.address) if value.stored else value.address
        if not address:
            raise FaultError(f"{self.text!r} leads through a NULL pointer", 0)
        return Value(kind.target, address, True)

    def _number(self, value: Value) -> int:
        """A value as an address: a number, a pointer's content, or where a struct lies."""
        kind = value.type.strip() if value.type is not None else None
        if value.stored and isinstance(kind, PointerType):
            return PageReader(self.kernel).word(value.address)
        return value.address


def _owner(kind: Type, path: str) -> tuple[tuple[str, str], Type | None]:
    """(struct, member) that a path ends in, and the member's type as it was declared where no index follows."""
    match = _LAST.match(path)
    if match is None:
        return ("", ""), None
    outer = resolve(kind, match["before"]).type.strip() if match["before"] else kind
    if isinstance(outer, PointerType):
        outer = outer.target.strip()
    if not isinstance(outer, StructType):
        return ("", ""), None
    return (outer.c_name, match["name"]), None if match["index"] else outer.member(match["name"]).type
