"""`kernlab lab`: a throw-away guest that dies of a chosen story, and the dump and the ground truth that it leaves."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernlab.lab.capture_options import Capture, Options
    from kernlab.lab.steps import Progress


def add_parser(commands: Any) -> None:
    """Add `lab run`, `lab list` and `lab samples` to the subparsers of `kernlab`."""
    about = "crash a throw-away Debian guest and keep its dump with ground truth"
    group = commands.add_parser("lab", help=about, description=about)
    members = group.add_subparsers(title="subcommands", metavar="COMMAND", required=True)
    _add_run(members)
    listed = members.add_parser("list", help="the stories that a guest can die of")
    listed.set_defaults(run=list_scenarios)
    samples = members.add_parser("samples", help="make the sample dumps of samples/ that are not there")
    samples.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    samples.add_argument("--folder", default="samples", type=Path, help="where (default: samples)")
    _add_common(samples)
    samples.set_defaults(run=make_samples)


def _add_run(members: Any) -> None:
    parser = members.add_parser(
        "run",
        help="capture one story",
        description="Boots a Debian guest in QEMU, arms kdump, tells the story, takes the truth, lets the guest die "
        "and saves the dump. Packages come from this machine's own Debian mirror into a cache; nothing is installed.",
    )
    parser.add_argument("scenario", metavar="SCENARIO", help="see `kernlab lab list`")
    parser.add_argument("-o", "--out", type=Path, help="the folder to make (default: SCENARIO-KERNEL)")
    parser.add_argument(
        "--kernel",
        default="6.1",
        help="5.10, 6.1 (default), 6.12, sid or backports (the newest of each), or the name of a package: "
        "linux-image-NAME, or linux-image-NAME/RELEASE where several releases have it; or the folder, with a / in it, "
        "in which you built a kernel (scripts/build_guest_kernel.sh)",
    )
    parser.add_argument("--flavour", help="cloud, generic or rt (default: as the story needs it)")
    parser.add_argument("--memory", type=int, metavar="MIB", help="memory of the guest")
    parser.add_argument("--cpus", type=int, help="CPUs of the guest")
    parser.add_argument("--nodes", type=int, default=1, help="NUMA nodes (default: 1)")
    parser.add_argument("--no-la57", action="store_true", help="page tables of four levels, not five")
    parser.add_argument("--no-kaslr", action="store_true", help="the kernel where it was linked to be")
    parser.add_argument(
        "--crashkernel", metavar="SIZE", help="memory reserved for the crash kernel, such as 256M"
    )
    parser.add_argument(
        "--level", type=int, help="makedumpfile's -d (default: the highest that loses no kernel page)"
    )
    parser.add_argument(
        "--compression", default="zlib", help="zlib, lzo, snappy, zstd or none (default: zlib)"
    )
    parser.add_argument(
        "--format",
        action="append",
        metavar="FORMAT",
        help="kdump (default), flattened, split, elf, elf-flattened, vmcore (a plain copy), or kdump packed otherwise "
        "than --compression says: zlib, lzo, snappy, zstd; several: one crash gives them all",
    )
    parser.add_argument(
        "--qemu",
        action="append",
        metavar="FORMAT",
        help="instead of a crash, QEMU dumps the stopped guest: elf, kdump-zlib, kdump-raw-zlib, "
        "and -lzo and -snappy where it was built with them; "
        "then it goes on and reads what is left in its traces",
    )
    parser.add_argument("--no-vmcoreinfo", action="store_true", help="QEMU without its vmcoreinfo device")
    parser.add_argument("--cmdline", default="", help="more words for the kernel's command line")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the story"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say which packages would be fetched, and how large they are, and end",
    )
    _add_common(parser)
    parser.set_defaults(run=run)


def _add_common(parser: Any) -> None:
    parser.add_argument(
        "--cache", type=Path, help="where packages are kept (default: XDG_CACHE_HOME/kernlab/lab)"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")


def _end_cleanly(number: int, frame: object) -> None:
    """As Ctrl-C does: QEMU is ended, and what is half made goes away."""
    raise KeyboardInterrupt


def run(arguments: argparse.Namespace) -> int:
    """Capture; print the paths of the dumps, one a line."""
    signal.signal(signal.SIGTERM, _end_cleanly)
    from kernlab.lab.capture import run_scenario
    from kernlab.lab.capture_options import Options
    from kernlab.lab.steps import LabError, Progress

    settings = dict(each.partition("=")[::2] for each in arguments.set)
    if not all(name.isidentifier() and "'" not in value for name, value in settings.items()):
        raise LabError("--set takes NAME=VALUE, without quotes.")
    options = Options(
        kernel=arguments.kernel,
        flavour=arguments.flavour,
        memory_mib=arguments.memory,
        cpus=arguments.cpus,
        nodes=arguments.nodes,
        la57=not arguments.no_la57,
        kaslr=not arguments.no_kaslr,
        crashkernel=arguments.crashkernel,
        level=arguments.level,
        compression=arguments.compression,
        formats=tuple(arguments.format or ["kdump"]),
        qemu_formats=tuple(arguments.qemu or []),
        vmcoreinfo_device=not arguments.no_vmcoreinfo,
        settings=settings,
        cmdline=arguments.cmdline,
    )
    folder = arguments.out or Path(f"{arguments.scenario}-{arguments.kernel.replace('/', '-')}")
    progress = Progress(None) if arguments.quiet else Progress()
    if arguments.dry_run:
        return _say_plan(arguments.scenario, options, arguments.cache, progress)
    capture = run_scenario(arguments.scenario, options, folder, cache=arguments.cache, progress=progress)
    for dump in capture.dumps:
        print(dump)
    if not arguments.quiet:
        print(what_next(capture), file=sys.stderr)
    return 0


def what_next(capture: Capture) -> str:
    """What somebody who has a capture can do with it, in lines to copy."""
    from kernlab.lab.dump_check import split_sets

    sets = split_sets(list(capture.dumps))
    pieces = [str(piece) for piece in sets.get("vmcore") or next(iter(sets.values()))]
    words = shlex.join(pieces)
    lines = [f"kernlab info {words}    # what it died of"]
    if len(pieces) == 1:
        lines.append(f"kernlab table {words} tasks    # or any other table of it")
        lines.append(f"%load_ext kernlab, then %vmcore {words}    # in Jupyter")
    lines.append(f"kernlab.open({pieces if len(pieces) > 1 else pieces[0]!r})    # in Python")
    truth = shlex.quote(str(capture.folder / "truth.tar.xz"))
    lines.append(f"tar -tf {truth}    # what the guest said of itself before its end")
    return "\nWhat next:\n" + "\n".join(f"  {line}" for line in lines)


def _say_plan(scenario: str, options: Options, cache: Path | None, progress: Progress) -> int:
    from kernlab.lab.fetch_plan import fetch_plan
    from kernlab.lab.scenarios import scenario_named

    story = scenario_named(scenario)
    plan = fetch_plan(options.kernel, story, options.flavour or story.flavour, cache, progress)
    for part in plan:
        print(f"{part.what:22} {part.packages:4} packages {part.size_bytes / 1e6:8,.1f} MB")
    print(
        f"{sum(part.size_bytes for part in plan) / 1e6:,.1f} MB would be fetched."
        if plan
        else "Nothing would be fetched."
    )
    return 0


def list_scenarios(arguments: argparse.Namespace) -> int:
    """Print the stories."""
    from kernlab.lab.scenarios import SCENARIOS

    for scenario in SCENARIOS.values():
        print(f"{scenario.name:8} {scenario.memory_mib:6} MiB  {scenario.description}")
    return 0


def make_samples(arguments: argparse.Namespace) -> int:
    """Make the samples that are not there; print the folders made."""
    signal.signal(signal.SIGTERM, _end_cleanly)
    from kernlab.lab.make_samples import SAMPLES, make_sample
    from kernlab.lab.steps import LabError, Progress

    unknown = [name for name in arguments.names if name not in SAMPLES]
    if unknown:
        raise LabError(f"There is no sample {unknown[0]!r}: {', '.join(SAMPLES)}.")
    if not arguments.folder.is_dir():
        raise LabError(f"{arguments.folder} is not a folder. Samples belong in samples/ of a checkout.")
    progress = Progress(None) if arguments.quiet else Progress()
    for name in arguments.names or SAMPLES:
        if (arguments.folder / name).exists():
            progress(f"Sample {name} is there; remove {arguments.folder / name} to make it anew")
            continue
        print(make_sample(name, arguments.folder, cache=arguments.cache, progress=progress))
    return 0
