"""The disk cache: made once, bounded, rebuilt when damaged, and never in anybody's way."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from kernlab.errors import CacheFullError
from kernlab.util import cache
from kernlab.util.cache import cached

MIB = 1 << 20


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """The folder of a cache that nothing lies in yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KERNLAB_CACHE_BYTES", raising=False)
    return tmp_path / "cache" / "kernlab"


class Maker:
    """Writes an entry, and counts how often."""

    def __init__(self, data: bytes = b"content " * 1000, facts: dict[str, object] | None = None):
        self.data, self.facts, self.calls = data, facts or {}, 0

    def __call__(self, writer: cache.Writer) -> dict[str, object]:
        self.calls += 1
        for start in range(0, len(self.data), 1000):
            writer.write(self.data[start : start + 1000])
        return self.facts


def get(key: str, make: Maker) -> bytes:
    file, facts = cached(key, make)
    with file:
        assert facts == make.facts
        return file.read()


def kinds(home: Path) -> list[str]:
    return sorted(path.suffix for path in home.iterdir())


class TestOnce:
    def test_made_once(self, home):
        make = Maker(facts={"problem": "cut", "n": [1, 2]})
        for _ in range(3):
            assert get("a", make) == make.data
        assert make.calls == 1
        assert kinds(home) == [".data", ".json", ".lock"]

    def test_keys_are_apart(self):
        one, other = Maker(b"1" * 10), Maker(b"2" * 10)
        for _ in range(2):
            assert get("one\udcff/..", one) == one.data
            assert get("other", other) == other.data
        assert (one.calls, other.calls) == (1, 1)

    def test_empty_entry(self):
        make = Maker(b"")
        for _ in range(2):
            assert get("a", make) == b""
        assert make.calls == 1

    def test_nobody_else_reads_it(self, home):
        get("a", Maker())
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}

    def test_relative_folder_is_ignored_as_the_specification_says(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert cache.folder() == tmp_path / "home" / ".cache" / "kernlab"


class TestFailure:
    def test_what_the_maker_raises_leaves_nothing(self, home):
        def broken(writer: cache.Writer) -> dict[str, object]:
            writer.write(b"half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cached("a", broken)
        assert kinds(home) == [".lock"]
        make = Maker()
        assert get("a", make) == make.data

    @pytest.mark.parametrize(
        "damage", ["shorter", "longer", "bytes", "note", "no note", "no data", "list", "folder", "deep"]
    )
    def test_damaged_entry_is_made_anew(self, home, damage):
        make = Maker()
        get("a", make)
        (data,), (note,) = home.glob("*.data"), home.glob("*.json")
        times = data.stat()
        if damage == "shorter":
            data.write_bytes(make.data[:-1])
        elif damage == "longer":
            data.write_bytes(make.data + b"x")
        elif damage == "bytes":
            # With the times that the note knows: only the content tells.
            data.write_bytes(b"CONTENT " * 1000)
            os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns))
        elif damage == "note":
            note.write_bytes(b"{")
        elif damage == "no note":
            note.unlink()
        elif damage == "no data":
            data.unlink()
        elif damage == "list":
            note.write_text("[1]")
        elif damage == "deep":
            note.write_bytes(b"[" * 60_000)
        else:
            data.unlink()
            data.mkdir()
            (data / "file").touch()
        assert get("a", make) == make.data
        assert make.calls == 2
        assert get("a", make) == make.data
        assert make.calls == 2

    def test_data_is_no_link(self, home, tmp_path):
        """Whoever exchanged the data for a link to something else is not followed."""
        make = Maker()
        get("a", make)
        (data,) = home.glob("*.data")
        data.rename(tmp_path / "elsewhere")
        data.symlink_to(tmp_path / "elsewhere")
        assert get("a", make) == make.data
        assert make.calls == 2


class TestNoFolder:
    def check(self) -> None:
        make = Maker()
        assert get("a", make) == make.data
        assert get("a", make) == make.data
        assert make.calls == 2, "nothing was kept"

    def test_a_file_is_there(self, tmp_path):
        (tmp_path / "cache").write_text("no folder")
        self.check()

    def test_read_only_home(self, monkeypatch, home):
        """Root may write anywhere but where the file system is read-only: refused by the system, as there."""

        def refused(self: Path, *_: object, **__: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(Path, "mkdir", refused)
        self.check()
        assert not home.exists()

    def test_folder_that_cannot_be_written(self, monkeypatch, home):
        home.mkdir(parents=True, mode=0o700)
        real = tempfile.TemporaryFile

        def refused(*args: object, dir: object = None, **how: object):  # noqa: A002
            if dir is not None:
                raise OSError(errno.EROFS, "Read-only file system")
            return real(*args, **how)

        monkeypatch.setattr(tempfile, "TemporaryFile", refused)
        self.check()
        assert kinds(home) == []

    @pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
    def test_folder_that_others_write(self, home, mode):
        home.mkdir(parents=True)
        home.chmod(mode)
        self.check()
        assert kinds(home) == []

    def test_no_home(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        monkeypatch.chdir(tmp_path)
        self.check()
        assert list(tmp_path.iterdir()) == []

    def test_nothing_can_be_written(self, monkeypatch, tmp_path):
        (tmp_path / "cache").write_text("no folder")

        def refused(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(tempfile, "TemporaryFile", refused)
        with pytest.raises(CacheFullError, match="XDG_CACHE_HOME=FOLDER, or TMPDIR=FOLDER"):
            cached("a", Maker())

    def test_folder_that_goes_away_meanwhile(self, home):
        """The file that was made is good, whatever became of the folder."""

        def vanish(writer: cache.Writer) -> dict[str, object]:
            writer.write(b"data")
            for path in home.iterdir():
                path.unlink()
            home.rmdir()
            return {}

        file, _ = cached("a", vanish)
        with file:
            assert file.read() == b"data"


class TestBound:
    def test_the_one_used_longest_ago_goes_first(self, home, monkeypatch):
        monkeypatch.setenv("KERNLAB_CACHE_BYTES", str(8 * MIB))
        makers = {name: Maker(bytes([i]) * (3 * MIB)) for i, name in enumerate("abc")}
        for name in "ab":
            get(name, makers[name])
        for path in home.glob("*.json"):
            # As if both had been used an hour ago.
            os.utime(path, (time.time() - 3600,) * 2)
        get("a", makers["a"])
        get("c", makers["c"])
        get("a", makers["a"])
        get("c", makers["c"])
        assert [makers[name].calls for name in "abc"] == [1, 1, 1]
        get("b", makers["b"])
        assert makers["b"].calls == 2
        assert sum(path.stat().st_size for path in home.iterdir()) <= 8 * MIB

    def test_an_entry_in_use_stays_readable(self, monkeypatch):
        monkeypatch.setenv("KERNLAB_CACHE_BYTES", str(4 * MIB))
        first = Maker(b"a" * (3 * MIB))
        file, _ = cached("a", first)
        get("b", Maker(b"b" * (3 * MIB)))
        with file:
            assert file.read() == first.data

    def test_larger_than_the_bound(self, home, monkeypatch):
        monkeypatch.setenv("KERNLAB_CACHE_BYTES", str(2 * MIB))
        with pytest.raises(CacheFullError, match=r"limited to 2,097,152 bytes.*KERNLAB_CACHE_BYTES=NUMBER"):
            cached("a", Maker(bytes(3 * MIB)))
        assert kinds(home) == [".lock"]

    @pytest.mark.parametrize("value", ["", "lots", "-1", "1e9", "9" * 30])
    def test_senseless_bounds_are_ignored(self, monkeypatch, value):
        monkeypatch.setenv("KERNLAB_CACHE_BYTES", value)
        assert cache.bound() == cache.DEFAULT_BOUND

    def test_the_disk_is_not_filled(self, home, monkeypatch):
        monkeypatch.setattr(cache, "_free", lambda _: (5 * MIB, 4 * MIB))
        with pytest.raises(CacheFullError, match="5,242,880 bytes left, of which 4,194,304 stay free"):
            cached("a", Maker(bytes(3 * MIB)))
        assert kinds(home) == [".lock"]

    def test_other_entries_make_room_on_a_full_disk(self, home, monkeypatch):
        old = Maker(bytes(3 * MIB))
        get("old", old)
        monkeypatch.setattr(
            cache, "_free", lambda _: (100 * MIB if len(list(home.glob("*.data"))) == 0 else 0, MIB)
        )
        get("new", Maker(bytes(MIB)))
        assert len(list(home.glob("*.json"))) == 1
        get("old", old)
        assert old.calls == 2

    def test_full_disk_while_writing(self, home, monkeypatch):
        class Full:
            def __init__(self, file):
                self.file = file

            def write(self, _: bytes) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            def fileno(self) -> int:
                return self.file.fileno()

        real = cache._BoundedWriter
        monkeypatch.setattr(cache, "_BoundedWriter", lambda file, place: real(Full(file), place))
        with pytest.raises(CacheFullError, match="No space left"):
            cached("a", Maker())
        assert kinds(home) == [".lock"]

    def test_what_a_killed_process_left_goes(self, home):
        home.mkdir(parents=True, mode=0o700)
        (home / "dead.abc.part").write_bytes(bytes(100))
        (home / "dead.lock").touch()
        get("a", Maker())
        assert kinds(home) == [".data", ".json", ".lock"]


class TestTogether:
    def test_two_threads_make_it_once(self):
        make, begun = Maker(), threading.Barrier(4)
        slow = lambda writer: (time.sleep(0.2), make(writer))[1]  # noqa: E731
        read: list[bytes] = []

        def work() -> None:
            begun.wait()
            file, _ = cached("a", slow)
            with file:
                read.append(file.read())

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert read == [make.data] * 4
        assert make.calls == 1

    def test_two_processes_make_it_once(self, tmp_path):
        script = """if True:
            import os, sys, time
            from kernlab.util.cache import cached
            def make(writer):
                with open(sys.argv[1], "a") as log:
                    log.write("made\\n")
                for _ in range(20):
                    writer.write(b"x" * 1000)
                    time.sleep(0.01)
                return {"who": os.getpid()}
            file, facts = cached("a", make)
            print(len(file.read()), facts["who"])
        """
        running = [
            subprocess.Popen(
                [sys.executable, "-c", script, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        told = {process.communicate(timeout=60)[0] for process in running}
        assert len(told) == 1
        assert told.pop().startswith("20000 ")
        assert (tmp_path / "log").read_text() == "made\n"

    def test_who_waits_for_one_that_fails_makes_it(self):
        begun = threading.Event()

        def fails(_: cache.Writer) -> dict[str, object]:
            begun.set()
            time.sleep(0.2)
            raise ValueError("no luck")

        def work() -> None:
            with pytest.raises(ValueError, match="no luck"):
                cached("a", fails)

        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        make = Maker()
        assert get("a", make) == make.data
        thread.join()

    def test_a_file_system_without_locks(self, monkeypatch):
        def none(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(cache.fcntl, "flock", none)
        make = Maker()
        for _ in range(2):
            assert get("a", make) == make.data
        assert make.calls == 1


def test_note_is_plain_json(home):
    get("a", Maker(facts={"problem": "\N{SNOWMAN}\udcff"}))
    (note,) = home.glob("*.json")
    assert json.loads(note.read_bytes())["facts"] == {"problem": "\N{SNOWMAN}\udcff"}
