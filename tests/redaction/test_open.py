"""A dump opened redacted: the same tables, but for what names people, machines and their files."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

import kernlab
from kernlab.errors import KernlabError


def test_a_level_that_there_is_not_is_refused(dump_files: Any) -> None:
    with pytest.raises(KernlabError, match="none, share, strict"):
        kernlab.open(dump_files("debian-6.1").vmcore, redact="all")


def test_without_redaction_there_is_no_account(opened: Any) -> None:
    assert opened("debian-6.1").redaction is None


def test_the_map_gives_the_same_names_again(dump_files: Any, tmp_path: Path) -> None:
    vmcore = dump_files("debian-6.1").vmcore
    path = tmp_path / "map.json"
    text = "alice@example.org from 10.1.2.3 read {}/alice/thesis.pdf".format("/home")
    with kernlab.open(vmcore, redact="share") as dump:
        first = dump.redaction.text(text)
        dump.redaction.write_map(path)
        assert dump.redaction.level == "share"
        assert dump.redaction.counts["free page"] > 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(first) == len(text)
    for secret in ("alice", "example", "10.1.2.3", "thesis"):
        assert secret not in first
    assert first.endswith(".pdf")
    with kernlab.open(vmcore, redact="share", redaction_map=path) as dump:
        assert dump.redaction.text(text) == first
    # Without the map another dump's names are other ones.
    with kernlab.open(kernlab.sample("panic"), redact="share") as dump:
        assert dump.redaction.text(text) != first
    with kernlab.open(kernlab.sample("panic"), redact="share", redaction_map=path) as dump:
        assert dump.redaction.text(text) == first


def test_what_is_no_map_is_refused(dump_files: Any, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text("{}")
    with pytest.raises(KernlabError, match="no redaction map"):
        kernlab.open(dump_files("debian-6.1").vmcore, redact="share", redaction_map=path)
