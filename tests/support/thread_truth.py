"""What /proc/PID/status and its kin say of each thread, beside a dump; shares no code with kernlab."""

from __future__ import annotations

from typing import Any


def statuses(truth: Any) -> dict[int, dict[str, str]]:
    """/proc/TID/status of every thread that was there, by tid; a single thread's is its process's."""
    found = {}
    for name, data in truth.files.items():
        folder, _, rest = name.partition("/")
        number, _, file = rest.partition("/")
        if folder in "pt" and file == "status" and data:
            pairs = (line.partition(":") for line in data.decode(errors="backslashreplace").split("\n"))
            fields = {key: value.strip() for key, _, value in pairs if key}
            if fields.get("Pid", number) == number:
                found[int(number)] = fields
    return found


def words_of(truth: Any, file: str) -> dict[int, list[str]]:
    """A file of one line ("schedstat", "loginuid"), split, by tid: of threads where they have it, of processes else."""
    found = {}
    for name, data in truth.files.items():
        folder, _, rest = name.partition("/")
        number, _, last = rest.partition("/")
        if folder in "pt" and last == file and data:
            found[int(number)] = data.decode().split()
    return found
