"""Names that a redaction gives are the same each time here, and others elsewhere and of other dumps."""

from __future__ import annotations

import stat

import pytest

import kernlab
from kernlab.redaction.house_key import KEY_BYTES, dump_key


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "kernlab"


def nodename(**redaction):
    with kernlab.open(kernlab.sample("panic"), **redaction) as dump:
        return dump.info["nodename"]


def test_a_dump_redacted_twice_has_the_same_names(tmp_path, monkeypatch):
    first = nodename(redact="share")
    assert first != nodename()
    assert nodename(redact="share") == first
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another house"))
    assert nodename(redact="share") != first


def test_keys_of_dumps_and_houses_differ(state, tmp_path, monkeypatch):
    key = dump_key(b"one dump")
    assert len(key) == KEY_BYTES
    assert dump_key(b"one dump") == key
    assert dump_key(b"another") != key
    # Who has a key of one dump has not the secret.
    assert (state / "redaction.key").read_bytes() != key
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another house"))
    assert dump_key(b"one dump") != key


def test_the_secret_is_its_owners(state):
    dump_key(b"one dump")
    assert stat.S_IMODE((state / "redaction.key").stat().st_mode) == 0o600
    assert [path.name for path in state.iterdir()] == ["redaction.key"]


@pytest.mark.parametrize("held", [b"", b"short"])
def test_a_damaged_secret_is_not_used(state, held):
    state.mkdir(parents=True)
    (state / "redaction.key").write_bytes(held)
    # Nothing that others could guess, then: a new one each time.
    assert dump_key(b"one dump") != dump_key(b"one dump")


def test_a_folder_that_cannot_be_written_is_no_hindrance(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert dump_key(b"one dump") != dump_key(b"one dump")
