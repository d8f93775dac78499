"""`.kern`: the rows of a table as the structs they were read from, to gather any more of their members.

The address column says in its dtype which dump it is of and which type lies there.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
import pandas as pd

from kernlab.dataframes import origin
from kernlab.dataframes.address import AddressArray, AddressDtype
from kernlab.errors import KernlabError
from kernlab.util.losses import Scope, scope

if TYPE_CHECKING:
    from kernlab.core.struct_array import StructArray
    from kernlab.dataframes.typed import Frame
    from kernlab.dump import Dump


@pd.api.extensions.register_dataframe_accessor("kern")
class KernAccessor:
    """Kernel structs behind the rows: `tasks.kern.field("signal->oom_score_adj")`, `tasks.kern.structs`."""

    def __init__(self, frame: pd.DataFrame, column: Hashable | None = None, target: str = ""):
        self._frame = cast("Frame", frame)
        self._column = column
        self._target = target
        if column is None and not self._candidates():
            # hasattr(frame, "kern") and tab completion ask like this; only AttributeError answers them.
            raise AttributeError(
                "this DataFrame has no column of addresses, so there are no structs behind its rows"
            )

    def _candidates(self) -> list[tuple[Hashable, AddressDtype]]:
        """Columns and levels of the index that hold addresses."""
        index, columns = self._frame.index, self._frame.columns
        levels = index.dtypes.items() if isinstance(index, pd.MultiIndex) else [(index.name, index.dtype)]
        # set_index(…, drop=False) has the same column twice.
        found = [*self._frame.dtypes.items(), *(level for level in levels if level[0] not in columns)]
        return [(name, dtype) for name, dtype in found if isinstance(dtype, AddressDtype)]

    def on(self, column: Hashable, type: str | None = None) -> KernAccessor:  # noqa: A002 - the word users expect
        """The same for another column of addresses (or level of the index): `tasks.kern.on("mm").field("total_vm")`.

        `type` names what lies there, where the column does not know it or for a look at it as something else.

        >>> dump.tasks.kern.on("mm").field("total_vm").tail(2)
        94     247
        95    <NA>
        Name: total_vm, dtype: UInt64
        """
        named = [name for name, _ in self._candidates() if name == column]
        if len(named) > 1:
            raise KernlabError(f"{len(named)} columns are called {column!r}: rename them to tell them apart")
        if not named:
            known = column in self._frame.columns or column in self._frame.index.names
            raise KernlabError(
                f"column {column!r} holds no addresses; columns of addresses: {self._listed()}"
                if known
                else f"there is no column {column!r}; columns of addresses: {self._listed()}"
            )
        return KernAccessor(self._frame, column, type or "")

    def _listed(self) -> str:
        return ", ".join(repr(name) for name, _ in self._candidates()) or "none"

    @property
    def column(self) -> Hashable:
        """The column (or level of the index) that the structs are taken from: the one that the rows stand for.

        A table of kernlab's knows it whatever it is called by now. In a table that somebody made, it is the column
        named "address", or the only column that there is. Raises KernlabError where several could be meant, or none:
        another one is not a stand-in for it.

        >>> dump.tasks.kern.column
        'address'
        """
        if self._column is not None:
            return self._column
        candidates = self._candidates()
        own = [(name, dtype.target) for name, dtype in candidates if dtype.of_rows]
        names = [name for name, _ in own or ((name, "") for name, _ in candidates)]
        if len(own) == 1 or (names.count("address") == 1 and len({target for _, target in own}) <= 1):
            return names[0] if len(own) == 1 else "address"
        if len(own) > 1:
            raise KernlabError(
                f"these rows stand for {len(own)} structs each, {', '.join(map(repr, names))}; say which are meant: "
                f".kern.on({names[0]!r})"
            )
        if len(candidates) == 1 and list(self._frame.columns) in ([], names):
            return names[0]
        raise KernlabError(
            "which addresses? No column is known to be what these rows stand for: it was dropped, or turned into "
            f"numbers. Choose another one with .kern.on({names[0]!r}); there are: {self._listed()}"
        )

    @property
    def addresses(self) -> AddressArray:
        """The addresses of the structs behind these rows, missing where there is none.

        >>> dump.tasks.kern.addresses[:2]
        <AddressArray>
        [0xff4719e38125c180, 0xffffffff9bc1aa40]
        Length: 2, dtype: address
        """
        column, frame = self.column, self._frame
        level: Any = column
        values = frame[column] if column in frame.columns else frame.index.get_level_values(level)
        assert isinstance(values.array, AddressArray)
        return values.array

    @property
    def dump(self) -> Dump:
        """The dump that these rows are of. Raises KernlabError when it is gone, or when there are several.

        >>> dump.tasks.kern.dump is dump
        True
        """
        found: Dump = origin.find(self.addresses.dtype.origin)
        return found

    @property
    def type(self) -> str:
        """The C type that lies at the addresses. Raises KernlabError where the column does not know.

        >>> dump.tasks.kern.type
        'struct task_struct'
        """
        target = self._target or self.addresses.dtype.target
        if not target or target == origin.MIXED:
            why = (
                "holds addresses of different types" if target else "does not say what lies at its addresses"
            )
            raise KernlabError(
                f"column {self.column!r} {why}; name it: .kern.on({self.column!r}, 'struct …')"
            )
        return target

    @property
    def structs(self) -> StructArray:
        """The `StructArray`, one struct per row; members are missing where the address is missing or NULL.

        >>> dump.tasks.kern.structs
        <StructArray of 96 × struct task_struct: [0xff4719e38125c180, 0xffffffff9bc1aa40, 0xff4719e3811f4180, …]>
        """
        addresses = self.addresses
        return self.dump.structs(self.type, addresses.fillna(0).to_numpy(dtype=np.uint64))

    @overload
    def field(self, path: str, /) -> pd.Series[Any]: ...
    @overload
    def field(self, path: str, second: str, /, *more: str) -> Frame: ...
    def field(self, *paths: str) -> pd.Series[Any] | pd.DataFrame:
        """One more member of these rows' structs, by its C path: a Series; with several paths a DataFrame.

        A path may be a formula, too: "mm->total_vm * 4096" (see kernlab.util.formula for what it computes).
        Missing where the address is missing or NULL or cannot be read; integers are Int64 or UInt64 for that. A
        pointer to char is the text that it points to ("d_name.name"); `structs` gives the bare pointer.
        Raises MemberNotFoundError, naming the nearest member.

        >>> dump.tasks.kern.field("signal->nr_threads").head(2)
        0    1
        1    1
        Name: signal->nr_threads, dtype: Int64
        >>> dump.tasks.kern.field("pid", "mm->map_count").tail(2)
             pid  mm->map_count
        94   256             10
        95  6893           <NA>
        """
        if not paths:
            raise KernlabError("name at least one member, as in .kern.field('signal->oom_score_adj')")
        structs = self.structs
        with scope("members", passing_on=True) as lost:
            series = [
                pd.Series(self._gathered(structs, path), index=self._frame.index, name=path, copy=False)
                for path in paths
            ]
        if len(paths) == 1:
            if lost:
                series[0].attrs["problems"] = lost.losses
            return series[0]
        result = pd.concat(series, axis=1)
        result.attrs = self._attrs(lost)
        return result

    def _attrs(self, lost: Scope) -> dict[Hashable, Any]:
        """The attrs of this table for one that was made of it, with what was lost in making that."""
        attrs = dict(self._frame.attrs)
        if lost:
            known = attrs.get("problems", [])
            attrs["problems"] = [*known, *(told for told in lost.losses if told not in known)]
        return attrs

    def _gathered(self, structs: Any, path: str) -> Any:
        """A member, or a formula of members, of these structs as an array for pandas."""
        from kernlab.dataframes.gather import gathered

        return gathered(self.addresses.dtype.origin, structs, path)

    def percpu(self, path: str) -> pd.DataFrame:
        """What a per-CPU pointer of these rows leads to on each CPU: `slabs.kern.percpu("cpu_slab->tid")`.

        Returns a DataFrame on the same index with a column for each possible CPU, named by its number: `.sum(axis=1)`
        is the machine's total, `.stack()` the long form. A path that ends in the pointer itself gives what it points
        to: `percpu("rss_stat[0].counters")` numbers, `percpu("cpu_slab")` the addresses of the structs, for
        `.kern.on(0)`. Missing where the pointer is NULL or missing, or cannot be read.
        Raises MemberNotFoundError, and KernlabError where the path goes through no per-CPU pointer.

        >>> dump.slabs.kern.percpu("cpu_slab->tid").head(2)
        cpu      0      1
        0    65536      1
        1        0  65537
        """
        from kernlab.dataframes.builder import build, nullable
        from kernlab.dataframes.gather import spelt_out
        from kernlab.walk.percpu_paths import percpu_members

        structs, token = self.structs, self.addresses.dtype.origin
        with scope("members", passing_on=True) as lost:
            numbers, members = percpu_members(structs, path)
            columns = {
                number: build(token, f"{path} of CPU {number}", nullable(spelt_out(structs, one)))
                for number, one in zip(numbers.tolist(), members, strict=True)
            }
        result = pd.DataFrame(columns, index=self._frame.index, copy=False)
        result.columns.name = "cpu"
        result.attrs = self._attrs(lost)
        return result

    def assign(self, /, **columns: str) -> Frame:
        """The table with more columns, each a member or a formula of members.

        `tasks.kern.assign(oom="signal->oom_score_adj", vm_bytes="mm->total_vm * 4096")`. Names that end in `_bytes`
        are shown in human units. Raises MemberNotFoundError, naming the nearest member.

        >>> tasks = dump.tasks.kern.assign(vm_bytes="mm->total_vm * 4096")
        >>> tasks[["comm", "vm_bytes"]].tail(2)
                    comm  vm_bytes
        94    relaystart   1011712
        95  ext4lazyinit      <NA>
        """
        structs = self.structs
        with scope("members", passing_on=True) as lost:
            made = {name: self._gathered(structs, path) for name, path in columns.items()}
        result = self._frame.copy(deep=False)
        for name, values in made.items():
            result[name] = pd.Series(values, index=result.index, copy=False)
        result.attrs = self._attrs(lost)
        return result

    def where(self, formula: str) -> Frame:
        """The rows whose structs fulfil a formula: `tasks.kern.where("mm->total_vm > 1000 and pid != 1")`.

        A row of which a needed member is missing is left out.

        >>> dump.tasks.kern.where("mm->total_vm > 1000 and pid != 1")[["pid", "comm"]].head(2)
            pid    comm
        59  116  app<1>
        60  117  app<2>
        """
        from kernlab.dataframes import gather

        with scope("members", passing_on=True) as lost:
            found = gather.compute(self.structs, formula)
        holds = found.valid & (found.values != ("" if found.values.dtype == object else 0))
        result = self._frame[np.asarray(holds, dtype=bool)]
        result.attrs = self._attrs(lost)
        return result

    def follow(self, path: str, *fields: str) -> Frame:
        """The table of what a pointer of these rows points to: one row each, on the same index.

        `tasks.kern.follow("mm")` has the address of each task's mm_struct and all its plain members (numbers,
        pointers, text), `tasks.kern.follow("mm", "total_vm", "map_count")` these. A member that is a struct itself is
        followed, too. Where the pointer is NULL or unknown, the columns are missing; rows that share a struct repeat
        it: `.drop_duplicates("address")`. Raises MemberNotFoundError, naming the nearest member.

        >>> dump.tasks.kern.follow("mm", "total_vm", "map_count").tail(2)
                       address  total_vm  map_count
        94  0xff4719e3a7fb1200       247         10
        95                <NA>      <NA>       <NA>
        """
        from kernlab.dataframes.builder import frame, nullable, spread
        from kernlab.dataframes.members import scalar_members
        from kernlab.walk.percpu_paths import refuse_percpu

        structs = self.structs
        refuse_percpu(structs, path, last=True)
        kernel = self.dump.kernel
        with scope("members", passing_on=True):
            target = structs.follow(path)
            members = spread((n, nullable(target[n])) for n in fields or scalar_members(target.type))
            made = frame(kernel, f"{path}: {target.type.c_name}", address=target, members=members)
        return cast("Frame", made.set_index(self._frame.index))

    @overload
    def owner(self) -> pd.DataFrame: ...
    @overload
    def owner(self, type: str, member: str) -> pd.Series[Any]: ...
    def owner(
        self,
        type: str | None = None,  # noqa: A002
        member: str | None = None,
    ) -> pd.DataFrame | pd.Series[Any]:
        """What these addresses lie in.

        With a type and a member (container_of): a Series with the address of the struct whose `member` lies there,
        `list_nodes.kern.owner("struct task_struct", "tasks")`. Without: a DataFrame on the same index with what
        `dump.owner` says of each address (kind, name, holder, start, size_bytes, offset, allocated, type), and label.

        >>> dump.tasks.kern.owner("struct signal_struct", "oom_score_adj").dtype
        AddressDtype('struct signal_struct')
        >>> dump.tasks[dump.tasks.pid == 1].kern.owner()[["kind", "name", "holder"]]
                  kind         name    holder
        2  slab object  task_struct  init (1)
        """
        if (type is None) != (member is None):
            raise KernlabError(
                "name both the struct and its member, as in .kern.owner('struct task_struct', 'tasks')"
            )
        addresses = self.addresses
        if type is None or member is None:
            found: pd.DataFrame = self.dump.identify(addresses).drop(columns="address")
            return found.set_index(self._frame.index)
        from kernlab.core.struct_array import container
        from kernlab.dataframes.builder import build

        inner = addresses.fillna(0).to_numpy(dtype=np.uint64)
        outer = container(self.dump.kernel, type, member, inner)
        built = build(addresses.dtype.origin, type, outer)
        return pd.Series(built, index=self._frame.index, name=outer.type.c_name, copy=False)

    def explore(self, **options: Any) -> Any:
        """The struct browser on the structs behind these rows; `options` are those of `dump.explore`.

        >>> browser = dump.tasks.kern.explore()
        """
        return self.dump.explore(self.structs, **options)
