"""`kernlab verdict`: of dumps and of logs, as text, as a story, as JSON."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import SAMPLES

import kernlab
from kernlab.commands import main
from kernlab.util import losses
from kernlab.verdict.log_file import is_text, log_text, text_of

OOPS = """\
[   12.300001] BUG: kernel NULL pointer dereference, address: 0000000000000010
[   12.300002] Oops: Oops: 0002 [#1] SMP
[   12.300003] CPU: 1 UID: 0 PID: 77 Comm: billing Tainted: G  OE  6.12.1 #1
[   12.300004] RIP: 0010:shop_check+0x1c/0x30 [shop]
[   12.300005] Call Trace:
[   12.300006]  shop_write+0x5e/0xe0 [shop]
[   12.300007]  vfs_write+0xf8/0x390
[   12.300008] Kernel panic - not syncing: Fatal exception
"""


def shifted(stamp: Callable[[int], str]) -> str:
    """The same log with other prefixes."""
    lines = [re.sub(r"^\[[ \d.]+\] ", "", line) for line in OOPS.splitlines()]
    return "".join(f"{stamp(number)}{line}\n" for number, line in enumerate(lines))


#: The same log as several programs write it.
WRITTEN = {
    "dmesg": OOPS,
    "dmesg -T": shifted(lambda n: f"[Mon Nov 30 15:51:{n:02d} 2026] "),
    "journalctl -k": shifted(lambda n: f"Nov 30 15:51:{n:02d} till kernel: "),
    "dmesg --json": json.dumps(
        {
            "dmesg": [
                {"pri": 4, "time": float(line[1:13]), "caller": "T77", "msg": line[15:]}
                for line in OOPS.splitlines()
            ]
        },
        indent=3,
    ),
    "journalctl -o json": "".join(
        f"{json.dumps({'_TRANSPORT': transport, '_SOURCE_MONOTONIC_TIMESTAMP': '12300001', 'MESSAGE': line})}\n"
        for transport, line in [
            ("kernel", [ord(each) for each in OOPS.splitlines()[0][15:]]),
            ("syslog", "Kernel panic - not syncing: said by a program"),
            *(("kernel", line[15:]) for line in OOPS.splitlines()[1:]),
        ]
    ),
    "a serial console": "\0\x1b[0mBooting\r\n" * 9 + OOPS.replace("\n", "\r\n"),
    "nothing": shifted(lambda n: ""),
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "UTF-16": lambda text: text.decode().replace("\n", "\r\n").encode("utf-16"),
    "UTF-8 with a mark": lambda text: b"\xef\xbb\xbf" + text,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


def told(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> tuple[str, str]:
    """What a command prints, on both streams."""
    assert main.main(["verdict", *words]) == status
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    def save(data: bytes | str, name: str = "vmcore-dmesg.txt") -> str:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path)

    return save


@pytest.mark.parametrize("written", WRITTEN)
def test_a_log_alone_by_its_content(capsys: Any, saved: Any, written: str) -> None:
    # Nothing of the name says what it is.
    path = saved(WRITTEN[written], "vmcore")
    out, err = told(capsys, path, "--json")
    assert (out, err) == told(capsys, path, "--format", "json")
    found = json.loads(out)
    assert found["log_alone"] is True
    first = found["findings"][0]
    assert (first["finding"], first["function"], first["module"]) == (
        "null dereference",
        "shop_check",
        "shop",
    )
    assert first["pid"] == 77
    assert found["signature"] == "v1:null-dereference:shop:shop_check<shop_write<vfs_write"


@pytest.mark.parametrize("packer", PACKERS)
def test_a_log_that_is_packed(capsys: Any, saved: Any, packer: str) -> None:
    out, err = told(capsys, saved(PACKERS[packer](OOPS.encode()), "log.bin"))
    assert out.startswith("A NULL pointer in shop_check of the module shop\n")
    assert "lines 1 to 8 of the log\n" in out
    assert "cut short" not in err


def test_a_packed_log_that_is_cut_short_says_so(capsys: Any, saved: Any) -> None:
    long = "".join(f"[    1.{n:06d}] usb 1-{n * n % 9973}: new device\n" for n in range(20_000)) + OOPS
    whole = gzip.compress(long.encode(), mtime=0)
    out, err = told(capsys, saved(whole[: len(whole) // 2]), "--json")
    assert json.loads(out)["findings"] == []
    assert any("cut short or damaged" in problem for problem in json.loads(out)["problems"])
    out, err = told(capsys, saved(whole[: len(whole) // 2]))
    assert "cut short or damaged" in err


def test_standard_input(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(OOPS.encode())))
    out, _ = told(capsys, "-")
    assert "billing (77)" in out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(5000))))
    _, err = told(capsys, "-", status=2)
    assert "has no text of a kernel log" in err


def test_what_is_neither(capsys: Any, saved: Any, tmp_path: Path) -> None:
    for path, why in (
        (saved(bytes(70_000)), "dump"),
        (saved(b""), "empty"),
        (str(tmp_path), "directory"),
        (str(tmp_path / "none"), "No such file"),
    ):
        out, err = told(capsys, path, status=2)
        assert not out
        assert why in err


def test_a_log_is_no_raw_image(capsys: Any, saved: Any) -> None:
    told(capsys, saved(OOPS), "--dump-format", "raw", status=2)


def test_a_log_cannot_be_redacted(capsys: Any, saved: Any) -> None:
    _, err = told(capsys, saved(OOPS), "--redact", "share", status=2)
    assert "--redact needs a dump" in err


def test_two_forms(capsys: Any, saved: Any) -> None:
    _, err = told(capsys, saved(OOPS), "--json", "--format", "text", status=2)
    assert "choose one" in err


def test_a_log_of_a_healthy_machine(capsys: Any, saved: Any) -> None:
    out, err = told(capsys, saved("[    0.000000] Linux version 6.1.0\n[    1.000000] systemd[1]: Hello\n"))
    assert out == "Nothing that ended this machine was found\n"
    assert "of a log alone" in err


def test_a_dump_as_text(capsys: Any) -> None:
    """The cause first, then the end, each with what shows it; all of it in 80 columns."""
    out, err = told(capsys, str(SAMPLES / "deadlock" / "vmcore.xz"))
    assert err == ""
    first, _, rest = out.partition("\nSo it ended\n")
    assert "checkout" in first.splitlines()[0]
    assert "dump.waits[dump.waits.pid.isin([174, 177])]" in first
    assert "hung task" in rest
    code = re.compile(r" *(?:look +)?dump\.")
    assert [line for line in out.splitlines() if len(line) > 80 and not code.match(line)] == []
    assert "\x1b" not in out


def test_a_dump_as_json(capsys: Any, opened: Any) -> None:
    path = str(SAMPLES / "deadlock" / "vmcore.xz")
    out, _ = told(capsys, path, "--json")
    found = json.loads(out)
    table = opened("deadlock").verdict
    assert found["log_alone"] is False
    assert found["signature"] == table.attrs["signature"]
    assert found["problems"] == table.attrs["problems"]
    assert [list(each) for each in found["findings"]] == [list(table.columns)] * len(table)
    for each, row in zip(found["findings"], table.itertuples(), strict=True):
        assert each["evidence"] == row.evidence
        assert isinstance(each["confidence"], float)
        assert each["pid"] == (None if pd.isna(row.pid) else row.pid)
        assert each["since"] == pytest.approx(row.since.total_seconds())
        assert each["device"] is None
    assert isinstance(found["findings"][0]["pid"], int)


def test_a_story(capsys: Any) -> None:
    out, _ = told(capsys, str(SAMPLES / "oops" / "vmcore.xz"), "--format", "story")
    assert "What to do next:" in out
    assert max(map(len, out.splitlines())) <= 80


def test_strings_of_a_log_do_not_act(capsys: Any, saved: Any) -> None:
    evil = OOPS.replace("billing", "\x1b]0;x\x07\u202eil")
    for form in ("text", "story"):
        out, err = told(capsys, saved(evil), "--format", form)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", out + err)


def test_what_is_text() -> None:
    assert is_text(OOPS.encode())
    assert is_text("Gerät für Öl: größer als möglich\n".encode())
    assert not is_text(b"")
    assert not is_text(bytes(100))
    assert is_text("ядро: ошибка\n".encode())
    assert not is_text(bytes(range(256)) * 20)
    assert not is_text(bytes(range(0x80, 0x100)) * 20)
    assert not is_text((SAMPLES / "debian-6.1" / "vmcore").read_bytes()[:70_000])


def test_of_a_long_log_the_end_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernlab.verdict.log_file._MOST", 1000)
    lines = [f"line {number}\n".encode() for number in range(20_000)]
    text = text_of(iter(lines))
    assert text is not None
    assert 900 < len(text) <= 1000
    assert text.startswith("line ")
    assert text.endswith("line 19999\n")


def test_a_log_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert log_text(tmp_path / "none") is None
    assert log_text(tmp_path) is None


def test_of_log_takes_text_only() -> None:
    with pytest.raises(kernlab.KernlabError, match=r"not bytes\. Of bytes it takes"):
        kernlab.verdict.of_log(OOPS.encode())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (b"", "there is nothing in it"),
        (bytes(5000), "it has no text of a kernel log; name a dump by its file"),
        (gzip.compress(OOPS.encode()), "it is compressed (gzip); name it as a file, or unpack it first"),
    ],
    ids=["empty", "binary", "packed"],
)
def test_what_is_no_log_on_standard_input_is_refused_with_why(
    given: bytes, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert told(capsys, "-", status=2)[1] == f"kernlab: standard input is no log: {why}\n"


def test_of_json_that_was_cut_the_whole_records_are_read() -> None:
    whole = WRITTEN["dmesg --json"].replace("\n         ", " ").replace("\n      }", " }")
    with losses.scope("log") as lost:
        text = text_of([whole[: whole.rindex("Kernel panic")].encode()])
    assert text is not None
    assert text.splitlines()[-1].endswith(" vfs_write+0xf8/0x390")
    assert lost.losses == ["1 line of the log cut within JSON"]


def test_lines_of_a_log_that_is_longer_are_counted_from_where_it_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kernlab.verdict.log_file._MOST", 1000)
    with losses.scope("log") as lost:
        text = text_of(f"line {number}\n".encode() for number in range(20_000))
    assert text is not None
    above = 20_000 - text.count("\n")
    assert text.startswith(f"line {above}\n")
    assert f"its first {above:,} lines were not read" in lost.losses[0]


def test_where_there_is_no_dump_nobody_is_told_to_look_at_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[    1.000000] all is well\n")))
    out, _ = told(capsys, "-", "--format", "story")
    assert "dump." not in out
    assert "Look at the last lines of the log" in out
