"""Write what `kernel_check` says of kernels whose types are at hand, and of which no dump was tried.

    python -m scripts.layouts_checked docs/compatibility.md [FOLDER …]

FOLDER has BTF files (*.btf, *.btf.gz, *.btf.tar.xz, as btfhub keeps them); without one ../shared/data/btf. Only the
part of the page between its two marks is written. tests/compatibility/test_matrix.py holds the page against the code: a
table that cannot be made, or of which it is not known, is named there or fails the test.
"""

from __future__ import annotations

import gzip
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from kernlab.compatibility.judge import Judged, judged
from kernlab.compatibility.subjects import of_types
from kernlab.debuginfo.btf import Btf

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT.parent / "shared" / "data" / "btf"
BEGIN, END = "<!-- layouts checked: begin -->", "<!-- layouts checked: end -->"
_ENDINGS = (".btf.tar.xz", ".btf.gz", ".btf")


def blobs(folder: Path = FOLDER) -> dict[str, Path]:
    """The BTF files of a folder by what each is called, in that order."""
    found = {}
    for path in sorted(folder.glob("*.btf*")):
        found[next(path.name.removesuffix(end) for end in _ENDINGS if path.name.endswith(end))] = path
    return found


def unpacked(path: Path) -> bytes:
    """The bytes of one of them."""
    if not path.name.endswith(".tar.xz"):
        return gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    with tarfile.open(path) as archive:
        stream = archive.extractfile(next(one for one in archive.getmembers() if one.isfile()))
        assert stream is not None
        return stream.read()


def lines(name: str, like: str, machine: str, rows: list[Judged]) -> Iterator[str]:
    """The part of one kernel."""
    cannot = [row for row in rows if row.state == "cannot"]
    untried = [row for row in rows if row.untried and row.state != "cannot"]
    yield f"### {name}"
    yield ""
    read = len(rows) - len(cannot)
    yield f"{machine}; {read} of {len(rows)} tables read. Symbols are assumed to be those of Linux {like}."
    if cannot:
        yield from ("", "| cannot be made | for |", "|---|---|")
        reasons: dict[str, list[str]] = {}
        for row in cannot:
            reasons.setdefault(_told(row), []).append(row.table)
        yield from (f"| {', '.join(tables)} | {reason} |" for reason, tables in reasons.items())
    if untried:
        yield from ("", "| not tried without | by |", "|---|---|")
        named: dict[str, list[str]] = {}
        for row in untried:
            for one in row.untried:
                named.setdefault(one, []).append(row.table)
        yield from (f"| {name} | {', '.join(tables)} |" for name, tables in sorted(named.items()))
    yield ""


def _told(row: Judged) -> str:
    """A reason without what differs from table to table, and without guesses at what else was meant."""
    reason = row.reason.removeprefix(f"the table {row.table} cannot be made: ").partition("; did you mean")[0]
    return reason.replace("|", "\\|").replace("\n", " ")


def section(folder: Path = FOLDER) -> str:
    """All kernels of a folder."""
    parts = [
        "## Layouts checked, no dump tried",
        "",
        "What `kernlab kernel-check` says of kernels of which only the types were at hand: every table was tried on",
        "their layouts, by their own members, without any memory. No dump of theirs was opened.",
        "",
    ]
    for name, path in blobs(folder).items():
        one = of_types(name, Btf(unpacked(path)))
        parts += lines(name, one.like, one.machine, judged(one))
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write the part between the marks; they are put at the page's end where it has none."""
    page = Path(arguments[0])
    text = page.read_text()
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    made = section(Path(arguments[1]) if len(arguments) > 1 else FOLDER)
    page.write_text(f"{before}{BEGIN}\n{made.rstrip()}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
