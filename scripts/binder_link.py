"""Prints the link to Binder and the badge for the README, of the repository that `git remote` names, or of one given.

Arguments: the repository's address (https://… or git@…; else that of `origin`), and --ref: a branch, tag or commit
(else the tag of this version: Binder makes an image for each commit of a branch, and one only for a tag).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
#: What Binder opens, as JupyterLab's own addresses name it.
START = "lab/tree/notebooks/README.md"
BINDER = "https://mybinder.org"
#: How Binder names the forges that it knows.
FORGES = {"github.com": "gh", "gitlab.com": "gl"}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("repository", nargs="?")
    parser.add_argument("--ref")
    given = parser.parse_args(arguments)
    repository = given.repository or origin()
    if not repository:
        print("This checkout has no remote `origin`: name the repository's address", file=sys.stderr)
        return 2
    address = link(repository, given.ref or f"v{version()}")
    print(f"[![Try it on Binder]({BINDER}/badge_logo.svg)]({address})")
    return 0


def link(repository: str, ref: str) -> str:
    """The address at which Binder starts a repository's environment, on the start page."""
    found = re.fullmatch(r"(?:\w+://)?(?:[^@/]*@)?([^:/]+)(?::\d+(?=/))?[:/]+(.+?)(?:\.git)?/?", repository)
    if found is None:
        raise SystemExit(
            f"{repository!r} is no address of a repository, such as https://example.org/owner/name"
        )
    host, path = found.groups()
    if forge := FORGES.get(host):
        # GitLab's groups may be nested, which Binder wants as one word.
        where = f"{forge}/{path if forge == 'gh' else quote(path, safe='')}"
    else:
        where = f"git/{quote(f'https://{host}/{path}', safe='')}"
    return f"{BINDER}/v2/{where}/{quote(ref, safe='')}?urlpath={quote(START, safe='')}"


def origin() -> str:
    done = subprocess.run(
        ["git", "remote", "get-url", "origin"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def version() -> str:
    found = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found.group(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
