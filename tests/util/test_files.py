"""Files that kernlab writes for the user: whole or not at all, whatever the disk does."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernlab.util.files import naming, whole_file, whole_folder, write_whole

#: As a full disk does, but of the test's own making: no file grows beyond so many bytes.
LIMITED = """
import resource, signal, sys
import kernlab
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
dump, where = kernlab.open(kernlab.sample("debian-6.1")), Path(sys.argv[2])
try:
    {call}
except OSError as error:
    print(error.filename)
"""


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("dump.relay.save('vda/trace', where, mode='all')", "vda.blktrace.0"),
        ("dump.relay.blktrace('vda/trace', mode='all').export(where, 'x')", "x.blktrace.0"),
        ("dump.ftrace.save(where / 'trace.dat')", "trace.dat"),
    ],
)
def test_a_disk_that_fills_leaves_no_half_of_a_file_and_is_named(tmp_path, call, name):
    (tmp_path / name).write_bytes(b"an earlier one")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(call=call), "-", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        # The disk cache may not be what fills.
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.stdout.strip() == str(tmp_path / name), done.stderr
    assert (tmp_path / name).read_bytes() == b"an earlier one"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_recording_onto_a_full_disk_says_which_file(tmp_path):
    source = tmp_path / "trace0"
    source.write_bytes(bytes(100_000))
    script = (
        "import resource, signal, sys; from kernlab.commands import main as cli\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"sys.exit(cli.main(['relay', 'record', {str(source)!r}, '-o', {str(tmp_path / 'out')!r}, '-t', '0.1']))"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    (file,) = (tmp_path / "out").iterdir()
    assert done.stderr.splitlines()[-1] == f"kernlab: {file}: File too large"
    # What was recorded stays: the kernel has it no more.
    assert file.stat().st_size == 4096


def test_a_link_is_followed_and_a_device_is_not_replaced(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    if os.path.exists("/dev/full"):
        with pytest.raises(OSError, match="/dev/full"):
            write_whole(Path("/dev/full"), b"x" * 100_000)


def test_errors_that_name_a_file_keep_it(tmp_path):
    with pytest.raises(OSError, match="other") as found, naming(tmp_path / "mine"):
        raise OSError(errno.ENOENT, "No such file or directory", "other")
    assert found.value.filename == "other"


def test_what_goes_wrong_meanwhile_leaves_nothing(tmp_path):
    def half() -> None:
        with whole_file(tmp_path / "mine") as temporary:
            temporary.write_bytes(b"half")
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        half()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_when_all_is_in_it(tmp_path):
    made = tmp_path / "cache" / "made"
    with whole_folder(made) as partial:
        (partial / "file").write_text("1")
        assert not made.exists()
    assert [path.name for path in made.iterdir()] == ["file"]
    assert [path.name for path in made.parent.iterdir()] == ["made"]


def test_nothing_stays_of_a_folder_that_failed(tmp_path):
    def fail():
        with whole_folder(tmp_path / "made") as partial:
            (partial / "file").write_text("1")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_who_was_quicker_keeps_the_folder(tmp_path):
    made = tmp_path / "made"
    with whole_folder(made) as partial:
        (partial / "file").write_text("mine")
        made.mkdir()
        (made / "file").write_text("theirs")
    assert (made / "file").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
