"""Builds JupyterLab's front end of kernlab (extensions/vmcore-explorer) into the bundle that is committed and shipped.

Needs node; kernlab itself, `make demo` and `make test` do not, as the bundle lies in git. With --check nothing is
built: it says whether the bundle was made of the sources as they are, by the hash that the build recorded in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "extensions" / "vmcore-explorer"
BUNDLE = FOLDER / "labextension"
RECORD = BUNDLE / "sources.json"
SOURCES = ("package.json", "yarn.lock", "tsconfig.json", "src/*", "style/*", "schema/*")


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        if recorded() == sources():
            print("build_extension: the bundle is of these sources")
            return 0
        print("build_extension: the bundle is older than its sources: run `make extension`", file=sys.stderr)
        return 1
    if shutil.which("node") is None:
        print("build_extension: there is no node here; the committed bundle stays as it is", file=sys.stderr)
        return 1
    # jlpm (yarn) and jupyter-builder come with JupyterLab.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shutil.rmtree(BUNDLE, ignore_errors=True)
    shutil.rmtree(FOLDER / "lib", ignore_errors=True)
    for command in (["jlpm", "install", "--immutable"], ["jlpm", "build:prod"]):
        subprocess.run(command, cwd=FOLDER, env=os.environ | {"PATH": path}, check=True)
    RECORD.write_text(json.dumps({"sha256": sources()}) + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in BUNDLE.rglob("*") if file.is_file())
    print(f"build_extension: {BUNDLE.relative_to(ROOT)}, {size:,} bytes")
    return 0


def sources() -> str:
    """A hash of everything that the bundle is made of."""
    digest = hashlib.sha256()
    files = sorted(file for pattern in SOURCES for file in FOLDER.glob(pattern) if file.is_file())
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(FOLDER).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def recorded() -> str | None:
    """The hash that the bundle says it was made of; None where there is no bundle."""
    try:
        return str(json.loads(RECORD.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError):
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
