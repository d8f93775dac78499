"""What only the strict level hides: names of programs, of control groups, and what the kernel was started with."""

from __future__ import annotations

import re

import numpy as np

from kernlab.core.struct_array import StructArray
from kernlab.debuginfo.member_path import resolve
from kernlab.linux.allocations import page_owner
from kernlab.linux.containers.cgroups import has_cgroups, hierarchies
from kernlab.linux.tasks import find_tasks
from kernlab.redaction.found import Found
from kernlab.redaction.reading import text_at

PROGRAM, GROUP, COMMAND_LINE = "name of a program", "name of a control group", "command line"
_VALUE = re.compile(rb"(?<==)[^\s\"]+")
_LONGEST = 4096


def programs(found: Found) -> None:
    """The names of processes, and of their threads; kernel threads keep theirs."""
    if not found.strict:
        return
    task = find_tasks(found.kernel)
    user = task["mm"].true
    at = resolve(task.type, "comm")
    rows, status = found.kernel.gather(task.addresses[user] + np.uint64(at.hops[-1]), at.type.size, "")
    for address, row, lost in zip(task.addresses[user].tolist(), rows, status.tolist(), strict=True):
        name = row.tobytes().split(b"\0")[0]
        if lost or not name:
            continue
        new = found.name(name, PROGRAM)
        found.edits.write(address + at.hops[-1], new.ljust(at.type.size, b"\0"), PROGRAM)
    _makers_of_pages(found)


def _makers_of_pages(found: Found) -> None:
    """Who allocated each page is noted by name, too (page_owner=on), also of programs that ended long ago."""
    kernel = found.kernel
    if page_owner.why_none(kernel):
        return
    at = resolve(kernel.find_type("struct page_owner"), "comm")
    for _, _, note in page_owner.notes(kernel):
        found.edits.zero(note.addresses + np.uint64(at.hops[-1]), at.type.size, PROGRAM)


def control_groups(found: Found) -> None:
    """The names of kernfs files whose folders are control groups, and of hierarchies of them."""
    if not found.strict:
        return
    kernel = found.kernel
    node = StructArray(kernel, "struct kernfs_node", found.objects("kernfs_node_cache"))
    folder, name, kinds = node["priv"], node["name"], node["flags"]
    # kernfs_type: KERNFS_DIR is 1; the folders of control groups have them as their private data.
    is_folder = (kinds & 0xF == 1).true & folder.true
    back = StructArray(kernel, "struct cgroup", folder.filled(0).astype(np.uint64), is_folder)
    with kernel.quiet():
        mine = back["kn"]
    rows = np.flatnonzero(is_folder & (mine.values == node.addresses) & mine.valid)
    where = name.values[rows].astype(np.uint64)
    # A name could be guessed, and its hash compared.
    hash_at = resolve(node.type, "hash")
    found.edits.zero(node.addresses[rows] + np.uint64(hash_at.hops[-1]), hash_at.type.size)
    for address, text in zip(where.tolist(), text_at(kernel, where, _LONGEST), strict=True):
        if text:
            found.edits.write(address, found.map.names.of(text, extension=True), GROUP)
    if not has_cgroups(kernel):
        return
    root = hierarchies(kernel)
    at = resolve(root.type, "name")
    places = root.addresses + np.uint64(at.hops[-1])
    for address, text in zip(places.tolist(), text_at(kernel, places, at.type.size), strict=True):
        if text:
            found.edits.write(address, found.map.names.of(text).ljust(len(text), b"\0"), GROUP)


def command_line(found: Found) -> None:
    """The values of the kernel's parameters, in every copy of its command line."""
    if not found.strict:
        return
    kernel = found.kernel
    lines = set()
    for symbol in (
        "saved_command_line",
        "static_command_line",
        "extra_command_line",
        "initcall_command_line",
    ):
        pointer = kernel.symbols.get(symbol)
        if pointer is None:
            continue
        stored, read = kernel.words([pointer], what="")
        if read[0] and stored[0]:
            lines.add(int(stored[0]))
    if (first := kernel.symbols.get("boot_command_line")) is not None:
        lines.add(first)
    for address in sorted(lines):
        text = text_at(kernel, np.array([address], dtype=np.uint64), _LONGEST)[0]
        for match in _VALUE.finditer(text):
            new = found.map.names.of(match[0])
            found.map.note(COMMAND_LINE, match[0], new)
            found.edits.write(address + match.start(), new, COMMAND_LINE)
            # The log has it, too: a parameter as a whole is no word of anything else.
            first = text.rfind(b" ", 0, match.start()) + 1
            whole = text[first : match.end()]
            found.literals.add(whole, text[first : match.start()] + new, COMMAND_LINE)
