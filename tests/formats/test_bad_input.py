"""What is no dump that kernlab reads is refused in words that a user understands, and never blocks."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from formats.make_dump import kdump
from formats.reading import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernlab.errors import DumpFileError, KernlabError
from kernlab.formats import open_dump_file

FOREIGN = {
    "flattened dump that is cut short": b"makedumpfile\0\0\0\0" + bytes(100),
    "diskdump": b"DISKDUMP" + bytes(100),
    "LKCD": bytes.fromhex("ed238f61730119a8") + bytes(100),
    "s390": bytes.fromhex("a8190173618f23fd") + bytes(100),
    "VMware.*vmss2core": bytes.fromhex("d0bed0be") + bytes(100),
    "damaged: a VMware state file of 0 groups": bytes.fromhex("d2bed2be") + bytes(100),
    "no section of a QEMU stream at byte 8": b"QEVM\0\0\0\3" + bytes(100),
    "version 0 at byte 92": b"LibvirtQemudSave" + bytes(200),
    "not saved to its end": b"LibvirtQemudPart" + bytes(100),
    "Hyper-V.*kdump": bytes.fromhex("14202801") + bytes(100),
    "sadump": b"sadump\0\0" + bytes(100),
    "Xen": bytes.fromhex("edeb0ff0") + bytes(100),
    "version 2 of LiME's format": b"EMiL\2\0\0\0" + bytes(100),
    "version 1 of AVML's format": b"AVML\1\0\0\0" + bytes(100),
    "ends at byte 20, inside the header of a range": b"EMiL\1\0\0\0" + bytes(12),
    "Windows": b"PAGEDU64" + bytes(100),
    "lz4.*does not unpack.*lz4 -d": b"\x04\x22\x4d\x18" + bytes(100),
    "lzop.*does not unpack": b"\x89LZO\0" + bytes(100),
    "zip archive.*unzip": b"PK\3\4" + bytes(100),
    "tar archive.*tar -xf": b"var/crash/vmcore".ljust(257, b"\0") + b"ustar\x0000" + bytes(250),
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100),
    "is text": b"[    0.000000] Linux version 6.1.0\n" * 5,
    "begins with zeros.*header of the dump is lost": bytes(9000),
    "not a dump that kernlab knows.*de ad be ef": b"\xde\xad\xbe\xef" * 30,
    "its first block is extra": b"\1" * 4096 + b"KDUMP   " + bytes(100),
    "cut short": b"KDUMP   ",
    "headers are damaged or cut": b"\x7fELF",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_refused_by_name(tmp_path, what):
    path = write(tmp_path, FOREIGN[what], "pretends-to-be-a.vmcore")
    with pytest.raises(KernlabError, match=what) as caught:
        open_dump_file(path)
    assert str(path) in str(caught.value)


def test_name_does_not_matter(tmp_path):
    pages = {1: bytes(4096)}
    with open_dump_file(write(tmp_path, kdump(pages).data, "holiday.jpg")) as dump:
        assert dump.format == "kdump-raw"


def test_empty(tmp_path):
    with pytest.raises(KernlabError, match="empty"):
        open_dump_file(write(tmp_path, b""))


def test_missing(tmp_path):
    with pytest.raises(DumpFileError, match="No such file") as caught:
        open_dump_file(tmp_path / "nothing")
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == 2
    assert caught.value.filename == str(tmp_path / "nothing")


def test_directory(tmp_path):
    with pytest.raises(DumpFileError, match="directory; name the dump file in it"):
        open_dump_file(tmp_path)


def test_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DumpFileError, match="a pipe"):
        open_dump_file(tmp_path / "pipe")


def test_socket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(DumpFileError, match="a socket"):
            open_dump_file("socket")


def test_device():
    with pytest.raises(DumpFileError, match="a device"):
        open_dump_file("/dev/zero")


def test_a_device_is_not_even_opened(monkeypatch):
    """To open a watchdog starts it, to open a tape winds it."""
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(DumpFileError):
        open_dump_file("/dev/null")


def test_no_permission(tmp_path):
    path = write(tmp_path, b"KDUMP   ")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything (root)")
    with pytest.raises(DumpFileError, match="Permission denied"):
        open_dump_file(path)


def test_permission_denied_by_the_system(tmp_path, monkeypatch):
    """What the test above cannot show to root."""

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, b"KDUMP   ")
    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(DumpFileError, match="Permission denied") as caught:
        open_dump_file(path)
    assert caught.value.errno == 13


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "", 5, None, b"no-such-file"])
def test_paths_that_cannot_be(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KernlabError):
        open_dump_file(path)


def test_loop_of_links(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DumpFileError):
        open_dump_file(tmp_path / "loop")


@pytest.mark.parametrize("pieces", [["a", "b"], ("a", "b", "c"), [], ["a"] * 1000, [["a", 5]], [None]])
def test_lists_of_what_is_not_there(pieces):
    with pytest.raises(DumpFileError):
        open_dump_file(pieces)


def test_text_is_quoted_without_its_control_characters(tmp_path):
    with pytest.raises(KernlabError) as caught:
        open_dump_file(write(tmp_path, b"\tred\nalert\r" * 20))
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from(
        [b"", b"KDUMP   ", b"\x7fELF", b"\x7fELF\2\1\1", b"KDUMP   \6\0\0\0", b"EMiL", b"AVML\2\0\0\0"]
    ),
    data=st.binary(max_size=9000),
)
def test_any_bytes(tmp_path, start, data):
    path = write(tmp_path, start + data)
    with pytest.raises(KernlabError) as caught:
        open_dump_file(path)
    assert str(path) in str(caught.value)


def test_nothing_stays_open(tmp_path):
    """Neither a refused file nor a closed one keeps a descriptor."""
    gc.collect()  # what other tests left open
    before = set(os.listdir("/proc/self/fd"))
    for data in FOREIGN.values():
        with pytest.raises(KernlabError):
            open_dump_file(write(tmp_path, data))
    with open_dump_file(write(tmp_path, kdump({1: bytes(4096)}).data)):
        pass
    gc.collect()  # the exceptions' tracebacks hold arrays over the files
    # Threads of other tests may close what was theirs meanwhile.
    assert set(os.listdir("/proc/self/fd")) <= before


def test_import_is_light():
    heavy = "{'elftools', 'concurrent.futures', 'deflate', 'lzallright', 'isal', 'pandas', 'ctypes.util'}"
    code = (
        "import numpy, sys; old = set(sys.modules); import kernlab.formats; "
        f"print(sorted({heavy} & (set(sys.modules) - old)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.strip() == "[]"
