"""What a shell offers behind `kernlab`: asked as its script asks, and in real shells at a terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SAMPLES
from support.shells import Shell

from kernlab.commands import completing, main, verbs

DUMP = str(SAMPLES / "debian-6.1" / "vmcore")


def offered(line: str) -> list[str]:
    return [word for word, _ in completing.offers(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("kernlab ta", ["tables", "table"]),
        ("kernlab table x memory_by_f", ["memory_by_file"]),
        ("kernlab table x relay.ch", ["relay.channels"]),
        ("kernlab table x tasks --columns sta", ["state", "start_time"]),
        ("kernlab table x tasks --columns pid,sta", ["pid,state", "pid,start_time"]),
        ("kernlab table x tasks --columns=pid,sta", ["--columns=pid,state", "--columns=pid,start_time"]),
        ("kernlab table x tasks --columns pid,state,sta", ["pid,state,start_time"]),
        ("kernlab table x tasks --sort rss", ["rss_bytes"]),
        ("kernlab table x tasks --descending --sort rss", ["rss_bytes"]),
        ("kernlab table x nonsense --sort rss", []),
        ("kernlab table x tasks --format js", ["json", "jsonl"]),
        ("kernlab table x tasks --desc", ["--descending"]),
        ("kernlab trace x timeline --format per", ["perfetto"]),
        ("kernlab trace x --mode sal", ["salvage"]),
        ("kernlab info --dump-format ra", ["raw"]),
        ("kernlab info --redact str", ["strict"]),
        ("kernlab capture st", ["status"]),
        ("kernlab lab run dead", ["deadlock"]),
        ("kernlab completion z", ["zsh"]),
        ("kernlab --ver", ["--version"]),
        # Files are the shell's own business.
        ("kernlab info vmc", []),
        ("kernlab table 'unfinished", []),
    ],
)
def test_what_is_offered(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"kernlab table {DUMP} slab_objects dentr", "dentry"),
        (f"kernlab table {DUMP} owner init_tas", "init_task"),
        (f"kernlab trace {DUMP} relay vd", "vda/trace"),
        (f"kernlab trace {DUMP} ftrace sched_", "sched_switch"),
        (f"kernlab trace {DUMP} timeline --source blktrace:", "blktrace:vda/trace"),
        (f"kernlab bt {DUMP} kcomp", "kcompactd0"),
    ],
)
def test_what_lies_in_the_dump_is_offered(line: str, expected: str) -> None:
    assert expected in offered(line)


def test_only_what_a_shell_takes_as_it_stands_is_offered_of_a_dump() -> None:
    hostile = [
        "$(touch x)",
        "`x`",
        "a b",
        "a;b",
        "x\x1b[2J",
        "\\$(x)",
        "-rf",
        "~root",
        "*",
        "'",
        '"',
        "a\nb",
        "ü",
    ]
    assert completing.plain([*hostile, "kworker/0:1", "dma-buf", "ext4_inode"]) == [
        "kworker/0:1",
        "dma-buf",
        "ext4_inode",
    ]


def test_what_goes_wrong_while_a_shell_asks_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    for line in (
        "kernlab table /nowhere slab_objects x",
        f"kernlab trace {__file__} relay x",
    ):
        assert completing.answer(line) in (0, 1)
        told = capsys.readouterr()
        assert not told.out
        assert not told.err


def test_every_offer_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert completing.answer("kernlab table x tasks -") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("-") for line in lines)
    assert len(lines) == len({line.partition("\t")[0] for line in lines}) > 8
    assert max(map(len, lines)) < 100


def test_offering_verbs_imports_none_of_them() -> None:
    script = (
        "import sys; from kernlab.commands import completing\n"
        "print(len(completing.offers('kernlab ')))\n"
        "print(*[name for name in sys.modules if name in ('numpy', 'pandas', 'rich')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    count, heavy = done.stdout.split("\n")[:2]
    # Two options beside the verbs are offered only behind a dash.
    assert int(count) == len([verb for verb in verbs.VERBS.values() if not verb.hidden]) - absent()
    assert heavy == ""


def absent() -> int:
    """Verbs whose modules are not there."""
    there = Path(verbs.__file__).parent
    return sum(not (there / f"{verb.module or name}.py").exists() for name, verb in verbs.VERBS.items())


@pytest.mark.parametrize("shell", completing.SHELLS)
def test_the_lines_for_a_shell(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "eval" not in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=60)


def test_a_shell_that_is_not_known_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["completion", "tcsh"]) == 2
    assert "bash, zsh, fish" in capsys.readouterr().err


_SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ['eval "$(kernlab completion bash)"']),
    "zsh": (["zsh", "-f"], ["autoload -U compinit; compinit -u -D", 'eval "$(kernlab completion zsh)"']),
    "fish": (["fish", "--no-config"], ["kernlab completion fish | source"]),
}


@pytest.mark.parametrize("shell", completing.SHELLS)
def test_in_a_real_shell(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "kernlab"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m kernlab "$@"\n')
    command.chmod(0o755)
    # "dump" with the tests' sample, and a name that only the shell itself can complete.
    (tmp_path / "vmcore").symlink_to(DUMP)
    argv, setup = _SHELLS[shell]
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    root = str(Path(verbs.__file__).parents[2])
    with Shell(
        argv,
        {**os.environ, "PATH": path, "PYTHONPATH": root, "TERM": "dumb", "HOME": str(tmp_path), "PS1": "> "},
    ) as session:
        for line in [f"cd {tmp_path}", *setup, "echo rea''dy"]:
            session.typed(f"{line}\r")
        assert session.until("ready")
        for typed, completed in (
            ("kernlab comple", "completion"),
            ("kernlab table vmcore slab_objects dentr", "dentry"),
            ("kernlab table vmcore tasks --columns pid,stat", "pid,state"),
            ("kernlab table vmcore tasks --columns=pid,stat", "pid,state"),
            ("kernlab trace vmcore timeline --source blktrace:vd", "blktrace:vda/trace"),
            ("kernlab info vmc", "info vmcore"),
        ):
            # What is typed is shown, too: only what follows it was completed.
            session.typed(f"{typed}\t")
            assert session.until(typed), (shell, typed, session.shown)
            rest = completed[len(typed) - typed.rindex(completed[:3]) :]
            assert session.until(rest), (shell, typed, session.shown)
            session.typed("\x15")
