"""Build makedumpfile for guests of arm64 from its own source, newer than Debian's and with what that still lacks.

    git clone https://github.com/makedumpfile/makedumpfile
    python scripts/build_makedumpfile.py makedumpfile makedumpfile.arm64
    kernlab lab run panic --kernel 6.12 --machine arm64 --makedumpfile makedumpfile.arm64

makedumpfile to 1.7.8 refuses kernels of arm64 that were built for addresses of 52 bits, as Debian's are since 6.12.
Its source does so no more (May 2026), but takes bits of page table entries for others where pages have 4 or 16 KiB:
scripts/makedumpfile_lpa2.patch, applied to a copy, mends that. The compiler and the libraries are Debian's, fetched
into the lab's cache as for everything else that the lab builds; nothing is installed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kernlab.lab.apt_root import AptRoot  # noqa: E402
from kernlab.lab.guest_kernel import TOOLS_RELEASE  # noqa: E402
from kernlab.lab.machine import ARM64  # noqa: E402
from kernlab.lab.private_root import environment, private_root  # noqa: E402
from kernlab.lab.steps import Progress, run  # noqa: E402

PATCH = ROOT / "scripts/makedumpfile_lpa2.patch"
LIBRARIES = ("libc6-dev", "libelf-dev", "libdw-dev", "libbz2-dev", "zlib1g-dev", "liblzo2-dev", "libzstd-dev")


def build(source: Path, place: Path, progress: Progress) -> None:
    """The program of a source tree, which stays as it is, at `place`. LabError: a step failed."""
    compiler = private_root(AptRoot(TOOLS_RELEASE, progress=progress), f"gcc-{ARM64.triplet}", "make")
    libraries = private_root(AptRoot(TOOLS_RELEASE, None, progress, ARM64.name), *LIBRARIES)
    env = environment(compiler)
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "makedumpfile"
        shutil.copytree(source, tree, ignore=shutil.ignore_patterns(".git", "*.o"))
        run(["patch", "-p1", "-i", PATCH], what="Applying the patch", limit_seconds=30, cwd=tree)
        own = libraries / "usr/lib" / ARM64.triplet
        # The compiler's own C library stands in scripts of its linker by absolute paths.
        cc = f"{ARM64.triplet}-gcc --sysroot={libraries} -L{own} -Wl,-rpath-link,{own}"
        words = ["LINKTYPE=dynamic", "TARGET=aarch64", "USELZO=on", "USEZSTD=on", f"CC={cc}", "makedumpfile"]
        progress("Building makedumpfile")
        make = compiler / "usr/bin/make"
        run([make, "-C", tree, *words], what="Building makedumpfile", limit_seconds=600, env=env)
        shutil.copy(tree / "makedumpfile", place)
    progress(f"Done: {place}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("source", type=Path, help="a checkout of makedumpfile")
    parser.add_argument("program", type=Path, help="the file to make")
    arguments = parser.parse_args()
    build(arguments.source.absolute(), arguments.program.absolute(), Progress())
    return 0


if __name__ == "__main__":
    sys.exit(main())
