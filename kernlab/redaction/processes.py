"""What processes were told and told each other of: arguments and environments, where the dump has them.

They lie in users' pages, which are dropped; but what they name (passwords, users, homes) may be in the kernel's memory
as well, in logs and buffers, and is looked for there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kernlab.core.struct_array import StructArray
from kernlab.linux.tasks import find_tasks
from kernlab.redaction.found import Found

U64 = npt.NDArray[np.uint64]

_SECRET = re.compile(
    rb"(?:pass(?:w(?:or)?d|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|auth|psk|"
    rb"signature|session)[A-Za-z0-9_-]*\Z",
    re.I,
)
_OPTION = re.compile(rb"--?([A-Za-z0-9_-]+)(?:=(.*))?\Z", re.S)
_URL = re.compile(rb"[a-z][a-z0-9+.-]*://[^/\s:@]*:([^/\s@]+)@")
#: Words that programs are told of people and machines.
_USERS, _HOSTS = (
    frozenset((b"USER", b"LOGNAME", b"SUDO_USER", b"USERNAME")),
    frozenset((b"HOSTNAME", b"HOST")),
)
_HOME = re.compile(rb"(/[A-Za-z0-9._/-]+?)/*\Z")
#: Homes of nobody: what is below is not a person's.
_NOBODYS = re.compile(
    rb"/(?:root|nonexistent|dev|proc|sys|run|etc|usr|bin|sbin|var|lib|opt|tmp|srv)?(?:/.*)?\Z"
)
#: Shorter values are found by chance, and longer ones are no secrets but data.
_SHORTEST, _LONGEST = 6, 4096
#: Pages of arguments and environment that are read of a process.
_MOST_PAGES = 32

SECRET = "password or token"


def told_to_processes(found: Found) -> None:
    """Secrets, users, hosts and homes in what processes were started with."""
    for arguments, environment in _strings(found):
        _arguments(found, arguments)
        for text in environment:
            _variable(found, text)


def _arguments(found: Found, arguments: list[bytes]) -> None:
    previous = b""
    for text in arguments:
        option = _OPTION.match(text)
        if option is not None and option[2] and _SECRET.search(option[1]):
            _secret(found, option[2])
        elif option is None and (name := _OPTION.match(previous)) and not name[2] and _SECRET.search(name[1]):
            _secret(found, text)
        left, _, value = text.partition(b"=")
        if value and _SECRET.search(left):
            _secret(found, value)
        for match in _URL.finditer(text):
            _secret(found, match[1])
        previous = text


def _variable(found: Found, text: bytes) -> None:
    name, equals, value = text.partition(b"=")
    if not equals or not value:
        return
    if _SECRET.search(name) or name.startswith((b"AWS_SECRET", b"AWS_SESSION")):
        _secret(found, value)
    elif name in _USERS:
        found.name(value, "user name")
    elif name in _HOSTS:
        for part in value.split(b"."):
            found.name(part, "host name")
    elif name == b"HOME" and (home := _HOME.match(value)) and not _NOBODYS.match(home[1]):
        _home(found, home[1])
    for match in _URL.finditer(value):
        _secret(found, match[1])


def _home(found: Found, path: bytes) -> None:
    """The folder of a home elsewhere: all that is in it counts as below home."""
    if path.startswith(tuple(found.homes)):
        return
    found.homes = (*found.homes, path + b"/")


def _secret(found: Found, value: bytes) -> None:
    # A path to a secret is none, and numbers are everywhere.
    if _SHORTEST <= len(value) <= _LONGEST and not value.startswith(b"/") and not value.isdigit():
        new = b"x" * len(value)
        found.map.note(SECRET, value, new)
        found.literals.add(value, new, SECRET, word=False)
        wide = value.decode("utf-8", "replace").encode("utf-16-le")
        found.literals.add(wide, "x".encode("utf-16-le") * (len(wide) // 2), SECRET, word=False)


def _strings(found: Found) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """The arguments and the environment of each process, as far as the dump has them."""
    kernel = found.kernel
    task = find_tasks(kernel)
    mm = task["mm"]
    space = StructArray(kernel, "struct mm_struct", np.unique(mm.values[mm.true].astype(np.uint64)))
    members = ("arg_start", "arg_end", "env_start", "env_end")
    columns = [space[name].filled(0).astype(np.uint64) for name in members]
    tables = space["pgd"].filled(0).astype(np.uint64)
    for row in range(len(space)):
        if not tables[row]:
            continue
        table = int(tables[row]) - kernel.layout.direct_start
        first, middle, third, last = (int(column[row]) for column in columns)
        yield _read(found, table, first, middle), _read(found, table, third, last)


def _read(found: Found, table: int, start: int, end: int) -> list[bytes]:
    """The strings between two of a program's addresses, by its page tables; what the dump lacks parts them."""
    kernel, page = found.kernel, found.kernel.page_size
    if not 0 < start < end or table < 0:
        return []
    first = start // page
    count = min((end + page - 1) // page - first, _MOST_PAGES)
    virtual = (np.arange(first, first + count, dtype=np.uint64)) * np.uint64(page)
    physical, status = kernel.memory.walker.lookup(np.full(count, table, dtype=np.uint64), virtual, 4)
    rows = np.zeros((count, page), dtype=np.uint8)
    there = np.flatnonzero(status == 0)
    if not len(there):
        return []
    rows[there], _ = kernel.memory.gather(physical[there] & ~np.uint64(page - 1), page, physical=True)
    text = rows.tobytes()[start - first * page : end - first * page]
    return [part for part in text.split(b"\0") if part]
