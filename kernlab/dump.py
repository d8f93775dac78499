"""`Dump`: the one door to a crash dump. It owns the `Kernel`; what hangs off it stands in contents.py."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from kernlab.contents import Contents
from kernlab.core.kernel import Kernel
from kernlab.core.regions import as_its_kernel
from kernlab.core.struct import Struct, value_at
from kernlab.core.struct_array import StructArray, whole
from kernlab.core.variables import percpu_type, variable_type
from kernlab.dataframes import origin
from kernlab.dataframes.lazy import Method
from kernlab.dataframes.registry import Entry, Registry
from kernlab.debuginfo import global_variables
from kernlab.debuginfo.vmcoreinfo import Vmcoreinfo
from kernlab.debuginfo.vmcoreinfo_in_memory import find_vmcoreinfo
from kernlab.errors import DumpFileError, FaultError, KernlabError, PageExcluded
from kernlab.formats import DumpFile, open_dump_file
from kernlab.formats.live import LIVE, LiveFile
from kernlab.linux import debug_types, kernel_modules
from kernlab.linux.debug_files import Paths, use_debug_files
from kernlab.linux.given_files import Path_, symbol_source, use_types
from kernlab.memory.address_space import fault
from kernlab.memory.arena import DEFAULT_BOUND
from kernlab.redaction import NONE, Redaction, check_level, redacted
from kernlab.util.addresses import number
from kernlab.util.closing import Closing
from kernlab.util.losses import Losing
from kernlab.util.problems import beside
from kernlab.util.text import Spelt, nearest

if TYPE_CHECKING:
    import pandas as pd

#: A machine that runs has other use for its memory.
_LIVE_BOUND = 256 << 20
_NOT_REDACTED = (
    "a running machine cannot be redacted: what is private is found first, and would be other things by the time that "
    "a table is read. Save a dump of it, and redact that (kernlab redact); redact='none' shows it as it is"
)

#: A VMCOREINFO is one page; a file larger than this is something else.
_LARGEST_VMCOREINFO = 1 << 20


class Dump(Contents, Spelt, Closing):
    """An open crash dump.

    Tables without parameters are attributes that are built once (`dump.tasks`), tables with parameters methods;
    `dump.tables` lists them. Use it as a context manager, or `close()` it: what was read already stays usable.
    Two threads may use one dump.
    """

    _spoken = "a dump"
    _look_at = "; dump.tables lists the tables there are"

    #: Its tables by name, those of plug-ins among them.
    _registry: ClassVar[Registry]

    def __init_subclass__(cls) -> None:
        cls._registry = Registry(cls)

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        super().__init__()
        self._closed = False
        #: What was hidden of this dump, and how often; None where it was opened as it is.
        self.redaction: Redaction | None = None
        kernel.token = origin.register(self, kernel.source)
        kernel.host = _Host(kernel.token)
        # Not at exit: there is nothing to gain then.
        weakref.finalize(self, kernel.forget).atexit = False

    if not TYPE_CHECKING:
        # A type checker shall find a name that is spelt wrong.
        def __getattr__(self, name: str) -> Any:
            if not name.startswith("_") and not hasattr(type(self), name) and name in self._registry:
                return self._of_plugin(self._registry[name])
            return super().__getattr__(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._registry})

    def _of_plugin(self, entry: Entry) -> Any:
        """A table that no line names: built and kept, or a method."""
        if not entry.is_method:
            return self._table(entry)
        function = entry.load().function
        return Method(f"{function.__module__}:{function.__name__}", function).__get__(self)

    def _open_kernel(self) -> Kernel:
        if self._closed:
            raise KernlabError(f"{self.kernel.source} was closed; open it again with kernlab.open")
        return self.kernel

    @property
    def tables(self) -> pd.DataFrame:
        """Every table: name, description, rows (missing until it was built).

        >>> dump.tables.set_index("name").loc["zones", "description"]
        'Memory zones of each NUMA node, one row each (/proc/zoneinfo).'
        """
        import pandas as pd

        from kernlab.dataframes import frame

        listed = sorted(self._registry.items())
        rows = [len(self._built[name]) if name in self._built else None for name, _ in listed]
        with self.kernel.scope("tables") as here:
            here.lost(*self._registry.problems)
            return frame(
                self.kernel,
                "tables",
                name=[name for name, _ in listed],
                description=[entry.description for _, entry in listed],
                rows=pd.array(rows, dtype="Int64"),
            )

    @property
    def problems(self) -> list[str]:
        """What this dump lacks, as the file and every table and trace read so far say it, each sentence once.

        >>> oops = kernlab.open(kernlab.sample("oops"))
        >>> oops.problems
        []
        """
        with self._lock:
            built, views = list(self._built.values()), list(self._views.values())
        own = self.kernel.problems
        told = [p for table in built for p in getattr(table, "attrs", {}).get("problems", [])]
        # Those of traces hold tables of their own.
        told += [p for view in views if isinstance(view, Losing) for p in view.problems]
        return [*dict.fromkeys(own), *beside(told, own)]

    @property
    def signature(self) -> str:
        """One line to find a dump's siblings by: the same over releases, and over which CPU or thread died.

        It is `v1:kind:module:function<caller<caller`; `kernlab.oops.signature(dump.signature, coarse=True)` has the
        first function only. A log of such a crash has the same, wherever its report tells.

        >>> oops = kernlab.open(kernlab.sample("oops"))
        >>> oops.signature
        'v1:null-dereference:kernlab_story:order_check<story_write<proc_reg_write'
        """
        return str(self.verdict.attrs["signature"])

    def symbol(self, name: str) -> int:
        """Address of a symbol. Raises a KernlabError that names symbols spelt alike.

        >>> hex(dump.symbol("init_task"))
        '0xffffffff9bc1aa40'
        """
        return self._open_kernel().symbol(name)

    def symbolize(self, addresses: Any) -> Any:
        """Address to "name+0x1f/0x80", as the kernel's %pS prints it; what no symbol covers as hexadecimal.

        One address gives a str, several (list, array, Series) a list of str, None where one is missing.

        >>> dump.symbolize(dump.symbol("schedule") + 8)
        'schedule+0x8/0xd0'
        >>> dump.symbolize([dump.symbol("jiffies"), 42])
        ['jiffies+0x0/0x40', '0x000000000000002a']
        """
        kernel = self._open_kernel()
        wanted = kernel.addresses(addresses)
        found = kernel.symbolize(wanted.values)
        named = [
            None if missing else name if name is not None else f"{address:#018x}"
            for name, address, missing in zip(
                found, wanted.values.tolist(), wanted.missing.tolist(), strict=True
            )
        ]
        return named[0] if wanted.single else named

    def variable(self, name: str, type: str | None = None) -> Any:  # noqa: A002
        """A global variable: a Python value, or a `Struct`. `type` is its C type where kernlab does not know it.

        Raises KernlabError (which lists what is known) for a variable without a known type, FaultError, PageExcluded.

        >>> dump.variable("nr_threads", "int")
        94
        >>> dump.variable("init_task").comm
        'swapper/0'
        """
        kernel = self._open_kernel()
        address = kernel.symbol(name)
        c_type = type or global_variables.TYPES.get(name)
        described = variable_type(kernel, name) if c_type is None else kernel.find_type(c_type)
        if described is None:
            raise KernlabError(
                f"{name} lies at {address:#018x}, but dumps do not say what type a global variable has; "
                f"name it: dump.variable({name!r}, 'struct …'), or open the dump with the kernel's vmlinux=, which has "
                "the types of all (with drgn: pip install 'kernlab[dwarf]')"
            )
        return value_at(kernel, described, address)

    def percpu(self, name: str, type: str | None = None) -> Any:  # noqa: A002
        """A per-CPU variable on every possible CPU, in ascending order: a `StructArray`, or a `Column` of scalars.

        Raises KernlabError as `variable` does.

        >>> dump.percpu("runqueues")["nr_running"].values
        array([0, 2], dtype=uint32)
        """
        from kernlab.walk.cpus import cpus, percpu

        kernel = self._open_kernel()
        address = kernel.symbol(name)
        described = percpu_type(kernel, name) if type is None else kernel.find_type(type)
        if described is None:
            if c_type := global_variables.PERCPU_TYPES.get(name):
                # It says why not.
                kernel.find_type(c_type)
            raise KernlabError(
                f"{name} is not a per-CPU variable whose type this dump tells; name it: dump.percpu({name!r}, '…')"
            )
        return whole(StructArray(kernel, described, percpu(kernel, address, cpus(kernel))))

    def struct(self, type: str, address: Any) -> Struct:  # noqa: A002
        """One struct: `dump.struct("task_struct", "init_task").comm`. Raises TypeNotFoundError, AddressError.

        An address is given, here as everywhere, as an integer of any sign, a struct, hexadecimal text or a symbol.

        >>> init = dump.struct("task_struct", "init_task")
        >>> init.comm, init["signal->nr_threads"]
        ('swapper/0', 1)
        """
        kernel = self._open_kernel()
        return Struct(kernel, kernel.find_type(type), kernel.address(address))

    def structs(self, type: str, addresses: Any) -> StructArray:  # noqa: A002
        """Many structs: `dump.structs("task_struct", tasks.address)["comm"]`; missing addresses, missing values.

        >>> dump.structs("task_struct", dump.tasks.address.head(3))["comm"].values
        array(['swapper/1', 'swapper/0', 'init'], dtype=object)
        """
        kernel = self._open_kernel()
        return StructArray(kernel, type, kernel.addresses(addresses).values)

    def read(self, address: Any, size: int, physical: bool = False) -> bytes:
        """`size` bytes at a kernel virtual (or physical) address.

        Raises PageExcluded where the dump lacks the page, FaultError where nothing is mapped, AddressError for what is
        not an address.

        >>> dump.read("linux_banner", 17)
        b'Linux version 6.1'
        """
        kernel = self._open_kernel()
        # A symbol's address is virtual.
        return kernel.read(number(address) if physical else kernel.address(address), size, physical)

    def translate(self, addresses: Any) -> Any:
        """Kernel virtual addresses to physical ones: int to int, several to an address array.

        What is not mapped raises FaultError for one address and is missing among several.

        >>> hex(dump.translate("init_task"))
        '0x1e41aa40'
        """
        kernel = self._open_kernel()
        wanted = kernel.addresses(addresses)
        physical, status = kernel.memory.translate(wanted.values)
        if wanted.single:
            if status[0]:
                raise fault(int(status[0]), int(wanted.values[0]))
            return int(physical[0])
        from kernlab.dataframes.address import AddressArray

        return AddressArray(physical, (status != 0) | wanted.missing)

    def refresh(self) -> Self:
        """Of a running machine: let go of the tables that were built, so that they are made of its memory as it is now.

        What is kept elsewhere (`before = dump.tasks`) stays what it was. Gives the dump: `dump.refresh().tasks`. A dump
        in a file does not change, and keeps its tables.

        >>> dump.refresh() is dump
        True
        """
        kernel = self._open_kernel()
        if kernel.changes:
            kernel.anew(modules=True)
            with self._lock:
                self._built.clear()
                self._views.clear()
        return self

    def close(self) -> None:
        """Close the dump's files. Tables that were built stay.

        >>> panic = kernlab.open(kernlab.sample("panic"))
        >>> panic.close()
        """
        if not self._closed:
            self._closed = True
            self.kernel.close()

    def __repr__(self) -> str:
        release = self.kernel.vmcoreinfo.release or "unknown kernel"
        state = ", closed" if self._closed else ""
        return f"<kernlab.Dump {self.kernel.source}: Linux {release}, {self.kernel.file.format}{state}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython prints in a terminal: the card, as text."""
        printer.text(repr(self) if self._closed else self._plain_card)

    def __getitem__(self, name: object) -> Any:
        """No table is had this way; the error says how one is."""
        spelt = name if isinstance(name, str) and name in dir(self) else None
        how = f"write dump.{spelt}" if spelt else f"{name!r} is not one{nearest(str(name), self._public())}"
        raise TypeError(f"a dump's tables are its attributes: {how}")

    # What has __getitem__ would be taken for a sequence.
    __iter__ = None

    def _public(self) -> list[str]:
        return [name for name in dir(self) if name[0] != "_"]

    def _repr_html_(self) -> str | None:
        return None if self._closed else self._card


#: Every table by name.
TABLES = Dump._registry = Registry(Dump)


def open(  # noqa: A001
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    vmlinux: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    vmcoreinfo: str | os.PathLike[str] | bytes | None = None,
    format: str | None = None,  # noqa: A002
    zero_excluded: bool = False,
    arena_bytes: int = DEFAULT_BOUND,
    redact: str = "none",
    redaction_map: str | os.PathLike[str] | None = None,
    types: str | os.PathLike[str] | None = None,
    symbols: str | os.PathLike[str] | None = None,
    any_build: bool = False,
) -> Dump:
    """Open a crash dump.

    Parameters: path of a dump file, plain, flattened or compressed (of a split dump the list of its pieces, in any
    order), or "live" for the running kernel, which only root may read (docs/how-to/live.md; a file of that name is
    "./live"); vmcoreinfo: the note's text, or a file that holds it, for dumps that lack it (else it is looked for
    in the machine's memory); format: "kdump", "elf", "lime", "avml", "vmware", "qemu-saved" or "raw" for a file
    that its content does not tell (a raw image of physical memory never does); zero_excluded: in ELF, LiME and AVML
    files read memory that was left out as zeros; arena_bytes: how much decompressed memory to keep; vmlinux: for
    kernels without types of their own (BTF), for the types of all global variables, and for source lines in stacks:
    the kernel's vmlinux or .debug file with DWARF, a module's .ko.debug, a folder that has them, or a list of
    these. KERNLAB_DEBUG_PATH names folders where they are looked for without it; types: another file that has the
    kernel's types, of BTF or of Volatility (ISF), packed or not; symbols: a System.map (or kallsyms, ISF, vmlinux) for
    kernels whose own table names no variables, or is lost; any_build: take such a file though it is of another build,
    and say so in `dump.problems` (docs/how-to/without-btf.md); redact: "share" or "strict" hides what is nobody else's
    business (docs/redaction.md) from every table, widget and report of this dump, and `dump.redaction` says what;
    redaction_map: the map of an earlier redaction, so that the same names get the same pseudonyms.
    Raises KernlabError (an OSError too where the file cannot be opened) that says what was found.

    >>> with kernlab.open(kernlab.sample("panic")) as panic:
    ...     panic.info.panic_message
    'Kernel panic - not syncing: sysrq triggered crash'
    """
    pieces = (
        path if isinstance(path, str | bytes | os.PathLike) or not isinstance(path, Iterable) else list(path)
    )
    file: DumpFile
    # By that name only: what touches the running kernel is asked for. Of a path (Path("live"), "./live") it is a file.
    if isinstance(path, str) and path == LIVE:
        if redact != NONE:
            raise KernlabError(_NOT_REDACTED)
        file, arena_bytes = LiveFile(), min(arena_bytes, _LIVE_BOUND)
    else:
        file = open_dump_file(pieces, format=format, zero_excluded=zero_excluded)
    try:
        note, doubts = _note(vmcoreinfo), list[str]()
        if note is None and file.vmcoreinfo is None and not file.changes:
            note, doubts = find_vmcoreinfo(file)
        file = as_its_kernel(file, Vmcoreinfo.parse(note or file.vmcoreinfo or b""))
        redaction, source = None, symbol_source(symbols, types, vmlinux, any_build)
        if check_level(redact) != NONE:
            plain = Kernel.open(file, vmcoreinfo=note, arena_bound=arena_bytes, symbols=source)
            plain.host = _Host("")
            _use(plain, vmlinux, types, any_build)
            file, redaction = redacted(plain, file, redact, redaction_map=redaction_map)
        kernel = Kernel.open(file, vmcoreinfo=note, arena_bound=arena_bytes, symbols=source)
        kernel.dump_lost(*doubts)
        dump = Dump(kernel)
        dump.redaction = redaction
        _use(kernel, vmlinux, types, any_build)
        return dump
    except BaseException as error:
        file.close()
        if isinstance(error, KernlabError) and file.problems:
            # What is missing most likely lay in the part that the file lacks.
            raise KernlabError(
                f"{file.path}: {error}. The file itself is not whole: {file.problems[0]}"
            ) from error
        if isinstance(error, FaultError | PageExcluded) and str(file.path) not in str(error):
            error.args = (f"{file.path}: {error}", *error.args[1:])
        raise


def _use(kernel: Kernel, vmlinux: Paths | None, types: Path_ | None, any_build: bool) -> None:
    """Have a kernel read the files that were given with its dump; first the types, which the others may need."""
    if types is not None:
        use_types(kernel, types, any_build=any_build)
    if vmlinux is not None:
        use_debug_files(kernel, vmlinux, any_build=any_build)


def _note(given: str | os.PathLike[str] | bytes | None) -> bytes | None:
    if given is None or isinstance(given, bytes):
        return given
    try:
        with Path(given).open("rb") as stream:
            return stream.read(_LARGEST_VMCOREINFO)
    except OSError as error:
        raise DumpFileError(
            error.errno, f"the vmcoreinfo file cannot be read: {error.strerror}", str(given)
        ) from error


class _Host:
    """What a kernel asks of rooms below its own. It knows its dump by the token: else both would never go."""

    load_modules = staticmethod(kernel_modules.load)
    other_types = staticmethod(debug_types.other_types)
    variable_types = staticmethod(debug_types.variable_types)
    module_types = staticmethod(debug_types.types_of_module)

    def __init__(self, token: str):
        self._token = token

    def frame(self, structs: StructArray, columns: dict[str, Any]) -> pd.DataFrame:
        from kernlab.dataframes import frame

        build: Callable[..., pd.DataFrame] = frame
        return build(structs.kernel, structs.type.c_name, **columns)

    def explore(self, what: Struct | StructArray, **options: Any) -> Any:
        return origin.find(self._token).explore(what, **options)
