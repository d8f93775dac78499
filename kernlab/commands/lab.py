"""`kernlab lab`: a throw-away guest that dies of a chosen story, and the dump and the ground truth that it leaves."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kernlab.commands import completing, help_pages
from kernlab.commands.options import Quiet

if TYPE_CHECKING:
    from kernlab.lab.capture_options import Capture, Options
    from kernlab.lab.steps import Progress

app = help_pages.group("Crash a throw-away Debian guest, and keep its dump with the truth about it.")

_GUEST, _DUMP = "The guest", "The dump"

Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache", metavar="DIR", help="where packages are kept (default: XDG_CACHE_HOME/kernlab/lab)"
    ),
]


def _stories() -> list[str]:
    from kernlab.lab.scenarios import SCENARIOS

    return list(SCENARIOS)


def _end_cleanly(number: int, frame: object) -> None:
    """As Ctrl-C does: QEMU is ended, and what is half made goes away."""
    raise KeyboardInterrupt


@help_pages.verb(
    app,
    "run",
    examples="""
kernlab lab run oom --kernel 6.1 -o /tmp/oom
kernlab lab run panic --dump-format kdump --dump-format split
kernlab lab run deadlock --kernel 6.12 --set DIE=sysrq
kernlab lab run panic --kernel 6.12 --machine arm64
kernlab lab run panic --kernel sid --dry-run
""",
)
def run(
    scenario: Annotated[
        str,
        typer.Argument(
            metavar="SCENARIO",
            help="see `kernlab lab list`",
            autocompletion=completing.offering(_stories),
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="the folder to make (default: SCENARIO-KERNEL)"),
    ] = None,
    kernel: Annotated[
        str,
        typer.Option(
            "--kernel",
            metavar="KERNEL",
            rich_help_panel=_GUEST,
            help="5.10, 6.1, 6.12, sid, backports, testing or experimental (the newest of each), or the name of a "
            "package: linux-image-NAME, or linux-image-NAME/RELEASE where several releases have it; or the folder, "
            "with a / in it, in which you built a kernel (scripts/build_guest_kernel.sh)",
        ),
    ] = "6.1",
    flavour: Annotated[
        str | None,
        typer.Option(
            "--flavour",
            metavar="FLAVOUR",
            rich_help_panel=_GUEST,
            help="cloud, generic or rt, of arm64 also 16k, with pages of 16 KiB (default: as the story needs it)",
        ),
    ] = None,
    machine: Annotated[
        str,
        typer.Option(
            "--machine",
            metavar="NAME",
            rich_help_panel=_GUEST,
            help="amd64 or arm64, as Debian names them; arm64 is emulated",
        ),
    ] = "amd64",
    memory: Annotated[
        int | None, typer.Option("--memory", metavar="MIB", rich_help_panel=_GUEST, help="its memory")
    ] = None,
    cpus: Annotated[
        int | None, typer.Option("--cpus", metavar="N", rich_help_panel=_GUEST, help="its CPUs")
    ] = None,
    nodes: Annotated[
        int, typer.Option("--nodes", metavar="N", rich_help_panel=_GUEST, help="NUMA nodes")
    ] = 1,
    no_la57: Annotated[
        bool,
        typer.Option(
            "--no-la57",
            rich_help_panel=_GUEST,
            help="page tables of four levels, not five; of arm64: addresses of 48 bits, not 52",
        ),
    ] = False,
    no_kaslr: Annotated[
        bool,
        typer.Option("--no-kaslr", rich_help_panel=_GUEST, help="the kernel where it was linked to be"),
    ] = False,
    crashkernel: Annotated[
        str | None,
        typer.Option(
            "--crashkernel",
            metavar="SIZE",
            rich_help_panel=_GUEST,
            help="memory reserved for the crash kernel, such as 256M",
        ),
    ] = None,
    cmdline: Annotated[
        str,
        typer.Option(
            "--cmdline",
            metavar="WORDS",
            rich_help_panel=_GUEST,
            show_default=False,
            help="more words for the kernel's command line",
        ),
    ] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", rich_help_panel=_GUEST, help="a setting of the story; several"
        ),
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(
            "--level",
            metavar="LEVEL",
            rich_help_panel=_DUMP,
            help="makedumpfile's -d (default: the highest that loses no kernel page)",
        ),
    ] = None,
    compression: Annotated[
        str,
        typer.Option(
            "--compression", metavar="NAME", rich_help_panel=_DUMP, help="zlib, lzo, snappy, zstd or none"
        ),
    ] = "zlib",
    dump_format: Annotated[
        list[str] | None,
        typer.Option(
            "--dump-format",
            "--format",
            metavar="FORMAT",
            rich_help_panel=_DUMP,
            help="kdump (default), flattened, split, elf, elf-flattened, vmcore (a plain copy), or kdump packed "
            "otherwise than --compression says: zlib, lzo, snappy, zstd; several: one crash gives them all",
        ),
    ] = None,
    qemu: Annotated[
        list[str] | None,
        typer.Option(
            "--qemu",
            metavar="FORMAT",
            rich_help_panel=_DUMP,
            help="instead of a crash, QEMU dumps the stopped guest: elf, kdump-zlib, kdump-raw-zlib, and -lzo and "
            "-snappy where it was built with them; then it goes on and reads what is left in its traces",
        ),
    ] = None,
    no_vmcoreinfo: Annotated[
        bool,
        typer.Option("--no-vmcoreinfo", rich_help_panel=_DUMP, help="QEMU without its vmcoreinfo device"),
    ] = False,
    makedumpfile: Annotated[
        Path | None,
        typer.Option(
            "--makedumpfile",
            metavar="FILE",
            rich_help_panel=_DUMP,
            help="a makedumpfile of your own (scripts/build_makedumpfile.py), not Debian's",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="say which packages would be fetched, and how large they are, and end"
        ),
    ] = False,
    cache: Cache = None,
    quiet: Quiet = False,
) -> int:
    """Capture one story; print the paths of its dumps, one a line.

    Boots a Debian guest in QEMU, arms kdump, tells the story, takes the truth, lets the guest die and saves the dump.
    Packages come from this machine's own Debian mirror into a cache; nothing is installed.
    """
    signal.signal(signal.SIGTERM, _end_cleanly)
    from kernlab.lab.capture import run_scenario
    from kernlab.lab.capture_options import Options
    from kernlab.lab.steps import LabError, Progress

    settings: dict[str, str | int] = dict(each.partition("=")[::2] for each in setting or [])
    if not all(name.isidentifier() and "'" not in str(value) for name, value in settings.items()):
        raise LabError("--set takes NAME=VALUE, without quotes.")
    options = Options(
        kernel=kernel,
        flavour=flavour,
        machine=machine,
        memory_mib=memory,
        cpus=cpus,
        nodes=nodes,
        la57=not no_la57,
        kaslr=not no_kaslr,
        crashkernel=crashkernel,
        level=level,
        compression=compression,
        formats=tuple(dump_format or ["kdump"]),
        qemu_formats=tuple(qemu or []),
        vmcoreinfo_device=not no_vmcoreinfo,
        makedumpfile=str(makedumpfile.absolute()) if makedumpfile else None,
        settings=settings,
        cmdline=cmdline,
    )
    progress = Progress(None) if quiet else Progress()
    if dry_run:
        return _say_plan(scenario, options, cache, progress)
    kind = f"-{machine}" if machine != Options.machine else ""
    folder = out or Path(f"{scenario}-{kernel.replace('/', '-')}{kind}")
    capture = run_scenario(scenario, options, folder, cache=cache, progress=progress)
    sys.stdout.writelines(f"{dump}\n" for dump in capture.dumps)
    if not quiet:
        print(what_next(capture), file=sys.stderr)
    return 0


def what_next(capture: Capture) -> str:
    """What somebody who has a capture can do with it, in lines to copy."""
    from kernlab.lab.capture_options import SYMBOLS
    from kernlab.lab.dump_check import split_sets

    sets = split_sets(list(capture.dumps))
    pieces = [str(piece) for piece in sets.get("vmcore") or next(iter(sets.values()))]
    words = shlex.join(pieces)
    symbols = capture.folder / SYMBOLS
    if symbols.exists():
        words += f" --symbols {shlex.quote(str(symbols))}"
    lines = [f"kernlab info {words}    # what it died of"]
    if len(pieces) == 1:
        lines.append(f"kernlab table {words} tasks    # or any other table of it")
        lines.append(f"%load_ext kernlab, then %vmcore {words}    # in Jupyter")
    named = f", symbols={str(symbols)!r}" if symbols.exists() else ""
    lines.append(f"kernlab.open({pieces if len(pieces) > 1 else pieces[0]!r}{named})    # in Python")
    truth = shlex.quote(str(capture.folder / "truth.tar.xz"))
    lines.append(f"tar -tf {truth}    # what the guest said of itself before its end")
    return "\nWhat next:\n" + "\n".join(f"  {line}" for line in lines)


def _say_plan(scenario: str, options: Options, cache: Path | None, progress: Progress) -> int:
    from kernlab.lab.fetch_plan import fetch_plan
    from kernlab.lab.machine import machine_named
    from kernlab.lab.scenarios import scenario_named

    story = scenario_named(scenario)
    options.check()
    plan = fetch_plan(
        options.kernel,
        story,
        options.flavour or story.flavour,
        cache,
        progress,
        machine_named(options.machine),
    )
    for part in plan:
        print(f"{part.what:22} {part.packages:4} packages {part.size_bytes / 1e6:8,.1f} MB")
    print(
        f"{sum(part.size_bytes for part in plan) / 1e6:,.1f} MB would be fetched."
        if plan
        else "Nothing would be fetched."
    )
    return 0


@help_pages.verb(app, "list")
def list_scenarios() -> int:
    """List the stories that a guest can die of."""
    from kernlab.lab.scenarios import SCENARIOS

    for scenario in SCENARIOS.values():
        print(f"{scenario.name:8} {scenario.memory_mib:6} MiB  {scenario.description}")
    return 0


@help_pages.verb(app, "samples")
def make_samples(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="only these (default: all)")
    ] = None,
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="where")] = Path("samples"),
    makedumpfile: Annotated[
        Path | None,
        typer.Option(
            "--makedumpfile",
            metavar="FILE",
            help="for the sample of arm64, which Debian's cannot save (scripts/build_makedumpfile.py)",
        ),
    ] = None,
    cache: Cache = None,
    quiet: Quiet = False,
) -> int:
    """Make the sample dumps of samples/ that are not there; print the folders made."""
    signal.signal(signal.SIGTERM, _end_cleanly)
    from kernlab.lab.make_samples import SAMPLES, make_sample, needs_makedumpfile
    from kernlab.lab.steps import LabError, Progress

    unknown = [name for name in names or [] if name not in SAMPLES]
    if unknown:
        raise LabError(f"There is no sample {unknown[0]!r}: {', '.join(SAMPLES)}.")
    if not folder.is_dir():
        raise LabError(f"{folder} is not a folder. Samples belong in samples/ of a checkout.")
    progress = Progress(None) if quiet else Progress()
    for name in names or SAMPLES:
        if (folder / name).exists():
            progress(f"Sample {name} is there; remove {folder / name} to make it anew")
            continue
        if not names and makedumpfile is None and needs_makedumpfile(name):
            progress(f"Sample {name} is left out: it needs --makedumpfile (scripts/build_makedumpfile.py)")
            continue
        # A program of arm64: the others are saved by Debian's.
        own = str(makedumpfile) if makedumpfile and needs_makedumpfile(name) else None
        print(make_sample(name, folder, cache=cache, progress=progress, makedumpfile=own))
    return 0
