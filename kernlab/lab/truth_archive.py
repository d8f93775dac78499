"""truth.tar.xz, the ground truth beside a dump: what the guest said of itself, and what was done to it.

out/truth.json      schema (1), scenario, kernel package, makedumpfile, QEMU, machine, every option
out/story.txt       what the scenario did, one line each, behind the seconds since boot
out/verdict.json    what a right verdict on the capture says: finding, task, function, subject; who is innocent
out/samples.jsonl   what memory held and whose it was, five times a second until the end (programs/sampler.c)
out/NAME.read       what the scenario read from a trace before the truth was taken (it is gone from the trace)
out/blk/            what blktrace had written by then
out/after/          what the guest read after QEMU had dumped it: the byte truth of its trace buffers
out/p/PID/FILE      /proc/PID of every process: status, stat, maps, smaps, fd, fdinfo, ns, task, cgroup, stack …
out/t/TID/FILE      the same of the threads of a process that has several
out/nodeN/FILE      /sys/devices/system/node/nodeN
out/cgroup/         /sys/fs/cgroup: memory.stat, memory.events … of every cgroup
out/FILE            slabinfo, meminfo, zoneinfo, buddyinfo, iomem, modules, kallsyms … as in /proc; sysfs_slab
                    and inflight gather a folder of /sys, a line each
"""

from __future__ import annotations

import io
import json
import lzma
import tarfile
from pathlib import Path
from typing import Any

TRUTH_SCHEMA = 1


def write_truth(truth: Path, out: Path, description: dict[str, Any], path: Path) -> None:
    """truth.tar.xz: the guest's tar, truth.json (schema, options), story.txt, verdict.json, blk/ and NAME.read."""
    with lzma.open(path, "wb", preset=6) as packed, tarfile.open(fileobj=packed, mode="w") as archive:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(f"out/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        add("truth.json", json.dumps(description, indent=2).encode())
        if (out / "story").exists():
            add("story.txt", (out / "story").read_bytes())
        extra = [
            *out.glob("*.read"),
            *out.glob("*.jsonl"),
            *out.glob("verdict.json"),
            *out.glob("blk/*"),
            *out.glob("after/*"),
        ]
        for file in sorted(extra):
            add(str(file.relative_to(out)), file.read_bytes())
        with tarfile.open(truth) as source:
            for member in source:
                content = source.extractfile(member)
                if content is not None:
                    archive.addfile(member, content)
