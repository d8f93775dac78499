"""Fetches the vmlinux with DWARF of a Debian kernel through apt, into a cache outside the repository.

    python benchmarks/fetch_vmlinux.py 6.1.0-56-cloud-amd64
    python benchmarks/fetch_vmlinux.py samples/debian-6.1/vmcore

Debian keeps the -dbg packages of the current kernels only: that an older one is gone is said.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from oracle import NoOracleError, build_id_of, cache_folder, cached_vmlinux, identify


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernel", help="a release (uname -r), or a dump whose kernel is meant")
    argument = parser.parse_args().kernel
    try:
        kernel = identify(Path(argument)) if Path(argument).is_file() else None
        release = kernel.release if kernel else argument
        vmlinux = cached_vmlinux(release)
        if not vmlinux.is_file():
            fetch(release, vmlinux)
        found = build_id_of(vmlinux)
        if kernel and found != kernel.build_id:
            raise NoOracleError(
                f"{vmlinux} has build-id {found}, but {argument} was made by {kernel.build_id}: "
                "the archive holds another build of this release"
            )
    except NoOracleError as error:
        print(f"fetch_vmlinux: {error}", file=sys.stderr)
        return 1
    print(f"{vmlinux} (build-id {found})")
    return 0


def fetch(release: str, vmlinux: Path) -> None:
    """Download the package and keep its vmlinux; raises NoOracleError when the archive has it no more."""
    package = f"linux-image-{release}-dbg"
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        try:
            done = subprocess.run(
                ["apt-get", "download", package], cwd=folder, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise NoOracleError(
                "apt-get is not on this machine; it is how Debian's kernels are fetched"
            ) from None
        archives = list(Path(folder).glob("*.deb"))
        if done.returncode or not archives:
            raise NoOracleError(
                f"apt has no package {package}. Debian drops the debug packages of superseded kernels; "
                f"if the list is only old, run: apt-get update\napt-get said: {done.stderr.strip()}"
            )
        unpack(archives[0], vmlinux)


def unpack(archive: Path, vmlinux: Path) -> None:
    partial = vmlinux.with_suffix(".partial")
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as package,
    ):
        for member in package:
            if member.isfile() and Path(member.name).name == vmlinux.name:
                source = package.extractfile(member)
                assert source is not None
                with partial.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                partial.replace(vmlinux)
                # The rest of the package is not wanted.
                process.kill()
                return
    raise NoOracleError(f"{archive.name} holds no {vmlinux.name}")


if __name__ == "__main__":
    sys.exit(main())
