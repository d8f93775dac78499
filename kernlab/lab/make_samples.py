"""The sample dumps of samples/: captured by the lab, packed with xz, described in a README each."""

from __future__ import annotations

import lzma
import shutil
import string
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kernlab.lab.capture import run_scenario
from kernlab.lab.capture_options import ALL_LEFT_OUT, Capture, Options
from kernlab.lab.machine import AMD64, machine_named
from kernlab.lab.scenarios import scenario_named
from kernlab.lab.steps import LabError, Progress

#: What fits a repository. The image of a kernel alone takes 6 to 10 MB of it.
LARGEST_BYTES = 16 << 20


@dataclass(frozen=True)
class Sample:
    """What to capture for one sample, and what its README tells."""

    scenario: str
    kernel: str
    happened: str
    to_find: tuple[str, ...]
    la57: bool = True
    machine: str = AMD64.name


SAMPLES = {
    "oom": Sample(
        "oom",
        "6.1",
        "A machine that ran out of memory: a driver leaks slab objects, a program takes what is left.",
        (
            "the slab cache `story_session`: more than 80,000 objects of 384 bytes, none ever freed, each with the "
            "time at which it was opened, linked by `previous`",
            "the process `reporting`, whose anonymous memory grew until nothing was left",
            "the driver that allocates the sessions (module `kernlab_story`), its thread `sessiond`, and its types",
        ),
    ),
    "hung": Sample(
        "hung",
        "6.12",
        "A machine whose orders hang: six processes in D state wait for one lock, whose owner waits for ever.",
        (
            "the processes `order-1` to `order-6` in D state, their stacks in `order_place` and `__mutex_lock`",
            "the kernel thread `inventoryd`, which owns `inventory_lock` and waits for a completion that nobody gives",
        ),
    ),
    "deadlock": Sample(
        "deadlock",
        "6.12",
        "A shop in which nobody moves: two processes each hold the mutex that the other wants, two more do the same "
        "with a rwsem and a mutex, and the rest wait behind them.",
        (
            "`checkout`, which holds `stock_lock` and wants `ledger_lock`, and `refund`, which holds `ledger_lock` and "
            "wants `stock_lock` (mutexes of the module `kernlab_shop`); `invoice` waits behind them",
            "`import`, which holds the rwsem `catalog_sem` for writing and wants `price_lock`, and `reprice`, which "
            "holds `price_lock` and wants to read under `catalog_sem`; `search` waits behind them",
            "`cart`, which reads under the lock of a basket (a rwsem in an object of the slab cache `shop_basket`) and "
            "wants `stock_lock`; `sweep`, which wants the basket's lock for writing",
        ),
    ),
    "lockup": Sample(
        "lockup",
        "6.1",
        "A till that never closes: a CPU took a spinlock, switched interrupts off and spins for ever; two more wait "
        "for it. Page tables of four levels, as most machines have.",
        (
            "`till` on CPU 1, which holds `till_lock` of the module `kernlab_shop`; it was stopped by an NMI",
            "`receipt-1` on CPU 2, which came first, and `receipt-2` on CPU 3, which queues behind it: the CPUs do not "
            "say that they are virtual, so that they queue as those of real machines do",
            "the panic of the soft-lockup detector, in a timer's interrupt on one of those that wait",
        ),
        la57=False,
    ),
    "io": Sample(
        "io",
        "sid",
        "A slow disk with more requests than it can do; blktrace stopped reading, so the end lies in the dump only.",
        (
            "the relay channel `vda/trace`, read half-way: what blktrace had written by then is in truth.tar.xz (blk/; "
            "its files end in zeros, since blktrace maps them before it fills them)",
            "`database` (8 KiB at random), `backup` (128 KiB reads, one after the other), `import` (32 KiB writes)",
            "requests that were on their way to the disk when the kernel died",
        ),
    ),
    "flight": Sample(
        "flight",
        "6.12",
        "The last minute of a machine that ran out of memory, with the recorder on: a program leaks, the disk slows, "
        "the OOM killer takes the wrong one, the kernel panics. Page tables of four levels, as most machines have.",
        (
            "the recorder's trace instance `kernlab` (who ran, resident sizes, reclaim, block requests, the log) with "
            "its marks: where memory was, four times a second, and the largest processes",
            "the relay channel `vda/trace` of blktrace, and requests that were with the slow disk at the end",
            "`billing`, which leaked 10 MB/s (oom_score_adj -900: the OOM killer took `reports` instead), `catalog` "
            "(maps a file), `backup` (reads the disk), `basket` (shared memory), `archive` (partly in swap), `ledger` "
            "(writes and waits), and `batch-N`, which come and go; the slab cache `story_session` with 80,000 objects, "
            "leaked before",
            "`samples.jsonl` in truth.tar.xz: where memory was five times a second until the end, as the guest read it",
        ),
        la57=False,
    ),
    "oops": Sample(
        "oops",
        "sid",
        "A driver that followed a NULL pointer in the context of a process; page tables of four levels, as most "
        "machines have.",
        (
            "the process `billing`, and the oops in the log: `order_check` of the module `kernlab_story` read at NULL, "
            "called by `story_write`",
            "the slab cache `story_session` of the same module, with 50 objects",
        ),
        la57=False,
    ),
    "panic": Sample(
        "panic",
        "5.10",
        "A machine that somebody crashed on purpose by SysRq, with an old kernel: no BTF of modules, VMAs in a tree.",
        ("a quiet machine: four programs asleep, blktrace on `vda` with a few records that nobody had read",),
    ),
    "arm64": Sample(
        "io",
        "6.12",
        "An arm64 machine with a slow disk that has more requests than it can do; blktrace stopped reading, so the end "
        "lies in the dump only. Pages of 4 KiB, addresses of 52 bits, and a CPU that signs return addresses.",
        (
            "the relay channel `vda/trace`, read half-way: what blktrace had written by then is in truth.tar.xz (blk/; "
            "its files end in zeros, since blktrace maps them before it fills them)",
            "`database` (8 KiB at random), `backup` (128 KiB reads, one after the other), `import` (32 KiB writes), "
            "asleep in the block layer behind frames whose return addresses are signed",
            "requests that were on their way to the disk when the kernel died",
        ),
        machine="arm64",
    ),
}


def make_sample(
    name: str,
    folder: Path,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    makedumpfile: str | None = None,
) -> Path:
    """Capture sample `name` into `folder`/`name`, which must not exist; it appears only when whole.

    `makedumpfile`: the path of one built for the sample's machine (scripts/build_makedumpfile.py), not Debian's.
    """
    if name not in SAMPLES:
        raise LabError(f"There is no sample {name!r}: {', '.join(SAMPLES)}.")
    place = folder / name
    if place.exists():
        raise LabError(f"{place} is already there; remove it to make it anew.")
    progress = progress or Progress()
    sample = SAMPLES[name]
    if makedumpfile is None and needs_makedumpfile(name):
        raise LabError(
            f"Sample {name} is of {sample.machine}, whose dump Debian's makedumpfile cannot make small: name a newer "
            "one (--makedumpfile; scripts/build_makedumpfile.py builds it)."
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as scratch:
        options = Options(
            kernel=sample.kernel,
            compression="none",
            la57=sample.la57,
            machine=sample.machine,
            makedumpfile=makedumpfile,
        )
        capture = run_scenario(
            sample.scenario, options, Path(scratch) / "capture", cache=cache, progress=progress
        )
        made = Path(scratch) / name
        made.mkdir()
        for file in ("truth.tar.xz", "vmcore-dmesg.txt"):
            shutil.copyfile(capture.folder / file, made / file)
        progress("Packing the dump with xz; this takes a minute or two")
        packed = _pack(capture.dumps[0], made / "vmcore.xz")
        if packed > LARGEST_BYTES:
            raise LabError(
                f"Sample {name} came out at {packed:,} bytes; {LARGEST_BYTES:,} is the most for the repository."
            )
        (made / "README.md").write_text(_readme(name, sample, capture), encoding="utf-8")
        made.rename(place)
    progress(f"Sample {name}: {packed:,} bytes")
    return place


def needs_makedumpfile(name: str) -> bool:
    """Is there no package with a makedumpfile that can save this sample?"""
    return not machine_named(SAMPLES[name].machine).native


def _pack(dump: Path, place: Path) -> int:
    with open(dump, "rb") as source, lzma.open(place, "wb", preset=9 | lzma.PRESET_EXTREME) as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
    return place.stat().st_size


#: The names that kernlab gives the lab's machines.
_MACHINES = {"amd64": "x86-64", "arm64": "arm64"}


_ANEW = "`kernlab lab samples {name} --makedumpfile makedumpfile.arm64`, as docs/lab.md has it"


def _options(sample: Sample) -> str:
    machine = ""
    if not machine_named(sample.machine).native:
        machine = f" --machine {sample.machine} --makedumpfile makedumpfile.{sample.machine}"
    return machine + ("" if sample.la57 else " --no-la57")


def _readme(name: str, sample: Sample, capture: Capture) -> str:
    told = capture.description
    level = told["dump_level"]
    why = (
        ""
        if level == ALL_LEFT_OUT
        else f"\nLevel {level}, not {ALL_LEFT_OUT}: this makedumpfile takes slab pages of this kernel for user data, "
        "and would drop them.\n"
    )
    template = string.Template((Path(__file__).parent / "sample_readme.md").read_text(encoding="utf-8"))
    return template.substitute(
        name=name,
        happened=sample.happened,
        scenario=sample.scenario,
        driver=scenario_named(sample.scenario).driver,
        kernel=sample.kernel,
        options=_options(sample),
        again="`make samples`" if machine_named(sample.machine).native else _ANEW.format(name=name),
        machine=_MACHINES[sample.machine],
        finds="\n".join(f"- {find}" for find in sample.to_find),
        release=told["kernel"]["release"],
        version=told["kernel"]["version"],
        package=told["kernel"]["package"],
        qemu=told["qemu"]["version"],
        cpus=told["cpus"],
        memory_mib=told["memory_mib"],
        crashkernel=told["crashkernel"],
        makedumpfile=told["makedumpfile"],
        level=level,
        left_out="zero, cache, user and free pages"
        if level == ALL_LEFT_OUT
        else "zero, cache and free pages",
        why=why,
        unpacked_mib=capture.dumps[0].stat().st_size >> 20,
    )
