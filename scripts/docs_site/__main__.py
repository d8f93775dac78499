"""`python -m scripts.docs_site`: builds the site and packs it for a release. Exit status 1 on any warning."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import kernlab
from scripts.docs_site.build import build
from scripts.docs_site.pack import pack

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Build the site into a folder. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.docs_site", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="folder to build in")
    parser.add_argument("--no-pack", action="store_true", help="leave out the archive for the release")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    result = build(ROOT, options.out)
    for problem in result.problems:
        print(f"docs: {problem}", file=sys.stderr)
    if result.problems:
        return 1
    print(f"docs: {result.pages} pages in {time.monotonic() - begun:.0f} s: {result.html / 'index.html'}")
    if not options.no_pack:
        packed = pack(result.html, options.out / f"kernlab-docs-{kernlab.__version__}.tar.gz")
        print(f"docs: {packed} ({packed.stat().st_size / 2**20:.1f} MiB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
