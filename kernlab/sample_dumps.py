"""The sample dumps of a source checkout: by name the path of a dump to open, and a list of all of them.

They lie in samples/ of the checkout, or in the folder that KERNLAB_SAMPLES names; the installed package carries none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernlab.errors import KernlabError

if TYPE_CHECKING:
    import pandas as pd

#: The names of a dump in a sample's folder, the first that is there.
_DUMP_NAMES = ("vmcore", "vmcore.xz", "vmcore.zst", "vmcore.gz", "vmcore.bz2")


def sample(name: str) -> Path:
    """The path of a sample's dump: `kernlab.open(kernlab.sample("oom"))`.

    What the guest said of itself lies beside it (truth.tar.xz), and what is inside stands in its README.md.

    >>> kernlab.sample("oom").name
    'vmcore.xz'
    """
    folder = _samples_folder()
    found = _dump_in(folder / name) if Path(name).name == name else None
    if found is None:
        known = ", ".join(each.name for each in _sample_folders(folder)) or "none"
        raise KernlabError(
            f"There is no sample {name!r} in {folder} (there: {known}). `make samples` makes them all anew."
        )
    return found


def samples() -> pd.DataFrame:
    """The samples: name, description (what happened to the machine), file_bytes, path.

    >>> kernlab.samples()[["name", "file_bytes"]]
             name  file_bytes
    0       arm64    10301336
    1    deadlock    10354728
    2  debian-6.1    18570819
    3      flight    11713464
    4        hung    10482364
    5          io    15554516
    6      lockup     9331960
    7         oom     9830288
    8        oops    15231732
    9       panic     7808804
    """
    import pandas as pd

    rows = []
    for folder in _sample_folders(_samples_folder()):
        dump = _dump_in(folder)
        if dump is not None:
            rows.append((folder.name, _description(folder), dump.stat().st_size, str(dump)))
    return pd.DataFrame(rows, columns=["name", "description", "file_bytes", "path"])


def _samples_folder() -> Path:
    """Where the samples are; a KernlabError that says where they can be had."""
    named = os.environ.get("KERNLAB_SAMPLES")
    if named:
        folder = Path(named)
        if not folder.is_dir():
            raise KernlabError(f"KERNLAB_SAMPLES names {folder}, which is not a folder.")
        return folder
    # Beside the package in a checkout; notebooks run in folders below one, too.
    for root in (Path(__file__).resolve().parent.parent, Path.cwd(), *Path.cwd().parents):
        if (root / "samples" / "README.md").is_file() and (root / "kernlab" / "sample_dumps.py").is_file():
            return root / "samples"
    raise KernlabError(
        "The sample dumps are part of kernlab's source, not of the installed package, and this is not a checkout. "
        "Clone the repository, or let KERNLAB_SAMPLES name a folder that holds its samples/."
    )


def _sample_folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.name[0] != "." and _dump_in(each) is not None)


def _dump_in(folder: Path) -> Path | None:
    return next((folder / name for name in _DUMP_NAMES if (folder / name).is_file()), None)


def _description(folder: Path) -> str | None:
    """The first paragraph of a sample's README, below its heading."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except OSError:
        return None
    paragraphs = [part.strip() for part in text.split("\n\n")]
    return next((" ".join(part.split()) for part in paragraphs if part and not part.startswith("#")), None)
