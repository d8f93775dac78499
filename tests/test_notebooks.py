"""The notebooks as they are stored: with what their code shows, fresh, and in a form that a forge can draw."""

from __future__ import annotations

import ast
import base64
import json
import shutil
import subprocess
import sys
import zlib
from importlib import util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "store_outputs.py"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def store():
    """The script as a module."""
    spec = util.spec_from_file_location("store_outputs", SCRIPT)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def png(*chunks):
    """A PNG of one grey pixel, with more chunks behind its head."""

    def chunk(name, data):
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    head = chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0")
    more = b"".join(chunk(*each) for each in chunks)
    data = b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    return base64.b64encode(data).decode()


def shown(data, kind="execute_result", **more):
    return {"output_type": kind, "data": data, "metadata": {}, **more}


def check(*paths):
    command = (sys.executable, str(SCRIPT), "--check", *map(str, paths))
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_all_notebooks_show_what_their_code_gives():
    done = check()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_that_ends_in_an_expression_shows_something(path):
    ends = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(line for line in cell["source"] if not line.startswith("%"))
        if cell["cell_type"] == "code" and source and isinstance(ast.parse(source).body[-1], ast.Expr):
            ends.append(cell)
    assert len(ends) > 5
    assert [cell["id"] for cell in ends if not cell["outputs"]] == []


def test_other_code_is_noticed_and_other_text_is_not(tmp_path):
    path = tmp_path / "edited.ipynb"
    shutil.copy(NOTEBOOKS[0], path)
    notebook = json.loads(path.read_text())
    notebook["cells"][0]["source"] = ["# Another heading"]
    path.write_text(json.dumps(notebook))
    assert check(path).returncode == 0
    next(c for c in notebook["cells"] if c["cell_type"] == "code")["source"].append("\ndump.maps")
    path.write_text(json.dumps(notebook))
    done = check(path)
    assert done.returncode == 1
    assert "make notebooks" in done.stdout


def test_a_picture_keeps_its_pixels_and_loses_its_maker(store):
    signed = png((b"tEXt", b"Software\0matplotlib"), (b"pHYs", b"\0" * 9))
    (kept,) = store.stored(
        shown({"image/png": signed, "text/html": "<b>twice</b>", "text/plain": "<Figure>"}), 1
    )
    assert kept["data"] == {"image/png": png(), "text/plain": ["<Figure>"]}


def test_pictures_in_html_become_outputs_of_their_own(store):
    page = (
        '<div><style>[data-jp-theme-light="false"] #p{content:url("data:image/png;base64,AAAA")}</style>'
        f'<img id="p" alt="up &amp; down" src="data:image/png;base64,{png((b"tIME", bytes(7)))}">'
        "<table><tr><td>3</td></tr></table></div>"
    )
    picture, rest = store.stored(shown({"text/html": page, "text/plain": "replay"}), 7)
    assert picture["data"]["image/png"] == png()
    assert picture["metadata"] == {"image/png": {"alt": "up & down"}}
    assert rest["data"] == {
        "text/html": ["<div><table><tr><td>3</td></tr></table></div>"],
        "text/plain": ["replay"],
    }
    assert rest["execution_count"] == 7


def test_html_that_is_nothing_but_a_drawing_is_the_drawing(store):
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" aria-label="who waits"><text>a</text></svg>'
    (kept,) = store.stored(shown({"text/html": f"<div>{drawing}</div>", "text/plain": "<Graph>"}), 1)
    assert kept["data"]["image/svg+xml"] == [drawing]
    assert kept["metadata"] == {"image/svg+xml": {"alt": "who waits"}}


def test_what_was_printed_in_pieces_is_one_piece(store):
    pieces = [{"output_type": "stream", "name": "stdout", "text": text} for text in ("a\nb", "c\n")]
    (kept,) = store.joined(pieces)
    assert list(store.stored(kept, 1)) == [
        {"output_type": "stream", "name": "stdout", "text": ["a\n", "bc\n"]}
    ]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (shown({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "w"}), "a widget"),
        (shown({"text/html": "<p>x</p><script>1</script>"}), "<script"),
        (shown({"text/plain": "<Thing object at 0x7f00aa00bb00>"}), "another one each time"),
        (shown({"text/html": "&lt;Thing at 0x7f00aa00bb00&gt;"}), "another one each time"),
        (shown({"image/png": png((b"tEXt", b"Software\0x"))}), "who made it (tEXt)"),
        (shown({"image/png": "AAAA"}), "a picture that is none"),
        (shown({"application/json": {}}), "nothing that a forge can show"),
        ({"output_type": "error", "ename": "KeyError", "evalue": "'x'"}, "failed: KeyError"),
    ],
)
def test_what_must_not_be_stored_is_named(store, output, said):
    assert any(said in fault for fault in store.output_faults(output))


def test_addresses_of_the_dump_may_be_stored(store):
    kept = shown(
        {"text/html": "<td>0xff4719e3811f4180</td>", "text/plain": "struct mm_struct at 0xff4719e3811f4180"}
    )
    assert not list(store.output_faults(kept))
