"""Many structs by their addresses: a struct type and addresses in, columns out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from kernlab.core import members, telling
from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.operators import NotANumber
from kernlab.core.prefetch import Place, Prefetched, prefetch
from kernlab.core.struct import Struct, explore
from kernlab.debuginfo import asking
from kernlab.debuginfo.member_path import Access, resolve
from kernlab.debuginfo.types import ArrayType, PointerType, StructType, Type
from kernlab.errors import AddressError, BudgetError, KernlabError, MemberNotFoundError

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


#: What is asked of numbers and texts only (Column).
_OF_NUMBERS = frozenset(
    name for name in vars(Column) if not name.startswith("_") and name not in ("type", "valid", "of", "has")
)


class StructArray(NotANumber):
    """N structs of one type (a C name or a `Type`), by their addresses uint64[n].

    `array["mm->total_vm"]` reads one member of all of them in one pass and gives a `Column`; a path that ends in a
    struct gives the `StructArray` of what is embedded. Structs whose own address is not `valid` (or NULL) give values
    that are not valid, and so does a path that leads through NULL: there is nothing. What cannot be read is told to the
    scope that is open (`Kernel.lost`), unless within `Kernel.quiet`.
    """

    def __init__(
        self,
        kernel: Kernel,
        type: Type | str,  # noqa: A002
        addresses: npt.ArrayLike,
        valid: Mask | None = None,
    ):
        self.kernel = kernel
        self.type = (kernel.find_type(type) if isinstance(type, str) else type).strip()
        try:
            self.addresses: U64 = np.ascontiguousarray(addresses, dtype=np.uint64)
        except (TypeError, ValueError, OverflowError) as error:
            raise AddressError(f"these are not addresses of {self.type.c_name}: {error}") from error
        if self.addresses.ndim != 1:
            raise AddressError(f"these are arrays, not addresses of {self.type.c_name}")
        self.valid: Mask = self.addresses != 0 if valid is None else valid & (self.addresses != 0)
        self._prefetched: Prefetched | None = None

    def __len__(self) -> int:
        return len(self.addresses)

    def __iter__(self) -> Iterator[Struct]:
        for address in self.addresses.tolist():
            yield Struct(self.kernel, self.type, address)

    @overload
    def __getitem__(self, key: str) -> Column: ...
    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Struct: ...
    @overload
    def __getitem__(self, key: slice | npt.NDArray[Any]) -> StructArray: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            found = self.member(resolve(self.type, key), key)
            return found.called(f"{self.type.c_name}: {key}") if isinstance(found, Column) else found
        if isinstance(key, int | np.integer):
            return Struct(self.kernel, self.type, int(self.addresses[key]))
        picked = StructArray(self.kernel, self.type, self.addresses[key], self.valid[key])
        return picked if self._prefetched is None else picked._with(self._prefetched[key])

    def _called(self) -> str:
        return self.type.c_name

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            # Types that are damaged, or a kernel's to come, may have a struct where a number was.
            if name in _OF_NUMBERS:
                raise MemberNotFoundError(
                    f"{self.type.c_name} is a struct here, where a number or text is needed"
                )
            raise AttributeError(f"'StructArray' object has no attribute {name!r}")

    def has(self, path: str) -> bool:
        """Does this kernel's type have the member?

        >>> tasks = dump.structs("task_struct", dump.tasks.address)
        >>> tasks.has("__state"), tasks.has("state")
        (True, False)
        """
        try:
            with asking.softly() if asking.notes is not None else nullcontext():
                resolve(self.type, path)
        except MemberNotFoundError:
            return False
        return True

    def first(self, *paths: str) -> Column:
        """The column of the first path that this kernel's type has: newest layout first.

        Raises MemberNotFoundError when it has none of them.

        >>> tasks = dump.structs("task_struct", dump.tasks.address.head(2))
        >>> tasks.first("__state", "state").values
        array([0, 0], dtype=uint32)
        """
        for path in paths[:-1]:
            if self.has(path):
                return self[path]
        return self[paths[-1]]

    def follow(self, path: str, to: str | None = None) -> StructArray:
        """The structs that a pointer member points to, or that are embedded at `path`; `to` names another type.

        >>> tasks = dump.structs("task_struct", dump.tasks.address.tail(2))
        >>> tasks.follow("mm")["map_count"].tolist()
        [10, None]
        """
        access = resolve(self.type, path)
        column = self.member(access, path)
        if isinstance(column, StructArray):
            return column if to is None else column.cast(to)
        if not isinstance(access.type, PointerType):
            raise MemberNotFoundError(
                f"{path!r} of {self.type.c_name} is {access.type.c_name}, which is not a pointer"
            )
        return StructArray(self.kernel, to or access.type.target, column.values, column.valid)

    def cast(self, to: str) -> StructArray:
        """The same addresses as another type."""
        return StructArray(self.kernel, to, self.addresses, self.valid)

    def container(self, type_name: str, member: str) -> StructArray:
        """The structs that these are the member `member` of (include/linux/container_of.h)."""
        return container(self.kernel, type_name, member, self.addresses, self.valid)

    def elements(self, path: str, count: int | None = None) -> tuple[npt.NDArray[np.int64], StructArray]:
        """All elements of an array member: (owner int64[m], StructArray of m); `count` overrides its length.

        Raises MemberNotFoundError for what is not an array, BudgetError for more elements in all than the file holds.
        """
        access = resolve(self.type, path)
        if not isinstance(access.type, ArrayType):
            raise MemberNotFoundError(f"{path!r} of {self.type.c_name} is {access.type.c_name}, not an array")
        wanted = int((access.type.count if count is None else count) or 0)
        if not self.kernel.budget.holds(wanted * len(self), access.type.element.size):
            raise BudgetError(
                f"{wanted:,} elements of {path!r} in each of {len(self):,} {self.type.c_name} are refused: the file "
                "does not hold so much memory"
            )
        base, valid = members.locate(partial(self._bytes, path), self.addresses, self.valid, access)
        step = np.arange(wanted, dtype=np.uint64) * np.uint64(access.type.element.size)
        owner = np.repeat(np.arange(len(self)), wanted)
        addresses = (base[:, None] + step).reshape(-1)
        return owner, StructArray(self.kernel, access.type.element, addresses, np.repeat(valid, wanted))

    def frame(self, columns: dict[str, str] | list[str]) -> Any:
        """A DataFrame of members: `{"comm": "comm", "pages": "mm->total_vm"}` or a list of paths.

        >>> dump.structs("task_struct", ["init_task"]).frame({"comm": "comm", "threads": "signal->nr_threads"})
                comm  threads
        0  swapper/0        1
        """
        if self.kernel.host is None:
            raise KernlabError("these structs belong to no open dump, so nothing builds frames for them")
        paths = columns if isinstance(columns, dict) else {path: path for path in columns}
        # In a scope: what cannot be read is told in the frame's attrs.
        with self.kernel.watched():
            return self.kernel.host.frame(self, {name: self[path] for name, path in paths.items()})

    def explore(self, **options: Any) -> Any:
        """The struct browser on these structs; `options` are those of `dump.explore`."""
        return explore(self.kernel, self, options)

    def member(self, access: Access, path: str = "") -> Column | StructArray:
        """What lies at a path that is resolved already: as `array["path"]`, and structs for a path that ends in one.

        `path` names it, in what is told of it.
        """
        if self.kernel.journal is not None:
            self.kernel.journal.member(self.type, path, access)
        read = partial(self._bytes, path)
        base, valid = members.locate(read, self.addresses, self.valid, access)
        if isinstance(access.type, StructType):
            return StructArray(self.kernel, access.type, base, valid)
        if self.kernel.answer is not None:
            return self.kernel.answer(access, valid)
        return members.column(read, base, valid, access)

    def prefetch(self, *paths: str) -> StructArray:
        """The same structs with these members read in one go: those that this kernel has, in the struct itself."""
        places = {place for path in paths if (place := self._place(path)) is not None}
        if not len(self) or not any(width for _, width in places):
            return self
        return self._with(prefetch(self.kernel, self.addresses, self.valid, places))

    def _place(self, path: str) -> Place | None:
        """Offset and size of a plain member; None for one that the type does not have or that lies behind a pointer."""
        try:
            with asking.softly() if asking.notes is not None else nullcontext():
                access = resolve(self.type, path)
        except MemberNotFoundError:
            return None
        # Of a bit-field the bytes up to its last bit are asked for.
        size = (access.bit_offset + access.bit_size + 7) // 8 if access.bit_size else access.type.size
        return (int(access.hops[0]), int(size)) if len(access.hops) == 1 else None

    def _with(self, prefetched: Prefetched | None) -> StructArray:
        result = StructArray(self.kernel, self.type, self.addresses, self.valid)
        result._prefetched = prefetched
        return result

    def _bytes(self, path: str, addresses: U64, valid: Mask, size: int) -> tuple[npt.NDArray[np.uint8], Mask]:
        """`size` bytes on the way to `path`, at an address for each struct; tells of those that cannot be read."""
        rows, read = self._read(addresses, valid, size)
        if not read.all() and telling.is_asked() and len(lost := np.flatnonzero(valid & ~read)):
            where = addresses[lost]
            # Asked again: why one failed is worth nothing to the many that do not.
            _, status = self.kernel.gather(where, size, "")
            asked = len(np.unique(self.addresses[self.valid]))
            nameless = isinstance(self.type, StructType) and not self.type.name
            kind = "structs without a name" if nameless else self.type.c_name
            telling.tell(kind, path, self.addresses[lost], asked, where, status)
        return rows, read

    def _read(self, addresses: U64, valid: Mask, size: int) -> tuple[npt.NDArray[np.uint8], Mask]:
        here = self._prefetched
        if here is not None and len(self) and len(addresses) == len(self):
            place = (int(addresses[0]) - int(self.addresses[0]), size)
            if place in here.cuts and (addresses - self.addresses == np.uint64(place[0])).all():
                return here.bytes(self.kernel, addresses, valid, place)
        return members.read_bytes(self.kernel, addresses, valid, size)

    def __repr__(self) -> str:
        shown = ", ".join(f"{address:#018x}" for address in self.addresses[:3].tolist())
        return (
            f"<StructArray of {len(self):,} × {self.type.c_name}: [{shown}{', …' if len(self) > 3 else ''}]>"
        )


def container(
    kernel: Kernel, type_name: str, member: str, addresses: npt.ArrayLike, valid: Mask | None = None
) -> StructArray:
    """The structs of which `addresses` are the member `member`: container_of for many; a NULL stays NULL."""
    outer = kernel.find_type(type_name)
    access = resolve(outer, member)
    if len(access.hops) > 1 or access.bit_size:
        raise KernlabError(f"{member!r} does not lie inside {outer.c_name}, so it has no container")
    inner = np.ascontiguousarray(addresses, dtype=np.uint64)
    found = inner != 0 if valid is None else valid & (inner != 0)
    return StructArray(kernel, outer, np.where(found, inner - np.uint64(access.hops[0]), np.uint64(0)), found)


def whole(array: StructArray) -> StructArray | Column:
    """The array itself where its type is a struct, else the column of the scalars (or arrays) at its addresses."""
    return array if isinstance(array.type, StructType) else array.member(Access((0,), array.type))
