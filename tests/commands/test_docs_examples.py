"""Every command of the documentation, and of the help pages, runs, or is parsed where it needs another machine."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from conftest import ROOT, SAMPLES

from kernlab.commands import main, verbs
from kernlab.commands.telling import as_told

pytestmark = pytest.mark.long

#: Commands that are parsed only, each with the reason: a pattern of what follows `kernlab`.
NOT_RUN = {
    r"lab (run|samples)\b": "boots a guest",
    r"recorder (start|stop|status|install|uninstall|read)\b": "changes, or asks, the machine that runs the tests",
    r"relay record\b": "reads the running kernel's debugfs",
    r"notebook .*--open": "starts JupyterLab; tests/commands/test_notebook.py tells what it becomes",
    r"kernel-check(?! vmcore)": "asks the machine that runs the tests, or needs types that are not bundled",
    r"demo\b": "tests/report has it run",
    r"report\b": "a report takes long; tests/report makes those of all samples",
    r"redact\b": "tests/redacted_dump writes and compares redacted dumps",
    r".*vmcore\.split\.": "no split dump is bundled; tests/formats opens them",
    r".*(--vmlinux|--types|--symbols|--dump-format raw)": "no debug file and no raw image is bundled",
    r".*(DUMP|VMCORE|FOLDER|SCENARIO|NAME|VERB)\b": "says what stands there, not what to type",
}
#: Pages with commands; design.md and CHANGELOG.md tell of them in passing only.
PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if p.name not in ("design.md", "changelog.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
    *sorted((ROOT / "samples").rglob("README.md")),
    ROOT / "notebooks" / "README.md",
]
#: What kdump saves as vmcore-dmesg.txt, in short.
LOG = "[   89.516] sysrq: Trigger a crash\n[   89.517] Kernel panic - not syncing: sysrq triggered crash\n"
_BLOCK = re.compile(r"^```(?:sh|console|shell|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(kernlab\s+[a-z][^`]*)`")
#: What ends a command.
_ENDS = {"|", "&&", ";", ">", "2>"}


def commands(text: str) -> Iterator[str]:
    """The commands of a page: lines of its shell blocks, and what stands in the text as `kernlab …`."""
    for block in _BLOCK.findall(text):
        for line in block.splitlines():
            # What a console printed below a command is no command, and may have a lone apostrophe.
            found = re.match(r'(?:\$ )?(?:eval "\$\((.*?)\)"|(kernlab\b.*))', line.strip())
            words = shlex.split(found[1] or found[2], comments=True) if found else []
            end = next((at for at, word in enumerate(words) if word in _ENDS), len(words))
            if words[:1] == ["kernlab"]:
                yield shlex.join(words[:end])
    for inline in _INLINE.findall(_BLOCK.sub("", text)):
        yield " ".join(inline.split())


def on_page(page: Path) -> list[str]:
    text = page.read_text("utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return list(dict.fromkeys(commands(text)))


def on_help_pages() -> Iterator[tuple[str, str]]:
    """Each verb, those within groups too, with the examples of its page."""

    def of(command: object, name: str) -> Iterator[tuple[str, str]]:
        for line in getattr(command, "examples", "").strip().splitlines():
            for example in commands(f"```sh\n{re.split('  +', line)[0]}\n```"):
                yield name, example
        for inner, one in getattr(command, "commands", {}).items():
            yield from of(one, f"{name} {inner}")

    top = verbs.everything()
    yield from of(top, "kernlab")
    for name in top.list_commands(None):
        yield from of(verbs.load(name), f"kernlab {name}")


def reason(command: str) -> str | None:
    words = command.removeprefix("kernlab ")
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, words)), None)


@as_told()
def parse(command: str) -> None:
    """Whether there are such a verb and such options; the values of arguments may stand for anything."""
    words = [word for word in shlex.split(command)[1:] if word not in ("…", "...")]
    group = verbs.everything()
    context = group.make_context("kernlab", [], resilient_parsing=True)
    while hasattr(group, "resolve_command") and words and not words[0].startswith("-"):
        name, group, words = group.resolve_command(context, words)
        if group is None:
            # A part of kernlab that is not there has no verb; what is no verb at all is a mistake.
            assert name in (None, *verbs.VERBS), command
            assert command.split()[1] in verbs.VERBS, f"{command}: there is no such verb"
            return
        context = group.make_context(name, list(words), parent=context, resilient_parsing=True)
    known = {option for param in group.get_params(context) for option in (*param.opts, *param.secondary_opts)}
    for word in words:
        if re.match(r"--[a-z]|-[a-z]$", word):
            assert word.partition("=")[0] in known, f"{command}: there is no option {word}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `vmcore` is a sample, `vmcore-dmesg.txt` a log, and `samples/` those of the checkout."""
    (tmp_path / "vmcore").symlink_to(SAMPLES / "debian-6.1" / "vmcore")
    (tmp_path / "samples").symlink_to(SAMPLES)
    (tmp_path / "vmcore-dmesg.txt").write_text(LOG, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    status = main.main(words)
    told = capsys.readouterr()
    # Whether this machine would leave a dump is for it to say.
    allowed = (0, 1) if words[:2] == ["capture", "status"] else (0,)
    assert status in allowed, f"{page}: {command}: {told.err}"
    wrote = {"-o", "--output"} & set(words)
    assert told.out or wrote, f"{page}: {command} printed nothing"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in on_page(page):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder / "traces")
        parse(command)
        if reason(command) is None and len(shlex.split(command)) > 1 and complete(command):
            run(command, page.name, capsys)


def complete(command: str) -> bool:
    """Is it one to type, and not the name of a verb in a sentence?"""
    words = shlex.split(command)[1:]
    needs_dump = words[0] in ("info", "verdict", "bt", "stack", "table", "trace", "notebook")
    alone = words in (["completion"], ["lab"], ["recorder"], ["relay"], ["capture"])
    return "…" not in command and (not needs_dump or len(words) > 1) and not alone


def test_every_example_of_the_help_pages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = list(on_help_pages())
    assert len(examples) > 20
    for name, command in examples:
        parse(command)
        if reason(command) is None:
            run(command, name, capsys)


def test_every_verb_is_on_the_page() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    found = on_page(ROOT / "docs" / "command-line.md")
    for name, verb in verbs.VERBS.items():
        assert f"`{name}`" in page or f"`kernlab {name}`" in page, name
        assert verb.hidden or any(command.split()[1] == name for command in found), name


def test_a_command_that_is_wrong_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = "```sh\n$ kernlab info vmcore --no-such   # x\nls\n```\nand `kernlab table vmcore tasks --csv` | `make`\n"
    assert list(commands(page)) == ["kernlab info vmcore --no-such", "kernlab table vmcore tasks --csv"]
    with pytest.raises(AssertionError, match="no option --no-such"):
        parse("kernlab info vmcore --no-such")
    with pytest.raises(typer.TyperException):
        parse_strictly("kernlab nonsense")
    with pytest.raises(AssertionError, match="there is no table"):
        run("kernlab table vmcore nonsense", "page", capsys)


def parse_strictly(command: str) -> None:
    with verbs.everything().make_context("kernlab", shlex.split(command)[1:]) as context:
        context.command.invoke(context)
