"""Executes the notebooks and stores what they show, so that they can be read where no kernel runs.

Arguments: notebooks; without any, all of notebooks/. With --check nothing is executed: it says which of them show what
other code has made, or hold what must not be stored. Exit status 1 when something was found.

What is stored is the same on every machine: no times, no paths, no state of widgets. A forge draws tables without their
style sheets, and takes scripts, drawings and embedded pictures out of HTML: so pictures become outputs of their own.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
CELL_SECONDS = 300
MOST_BYTES = 1_000_000
#: Where a notebook's metadata say which code its outputs come from.
KEY = "kernlab"

PNG_START = b"\x89PNG\r\n\x1a\n"
#: What a picture consists of; the rest of a PNG says which program made it, and when.
PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")

IMAGE = re.compile(r'<img\b[^>]*\bsrc="data:image/png;base64,([A-Za-z0-9+/=]+)"[^>]*>')
#: The dark twin of a picture, which a style sheet puts in its place.
DARK_IMAGE = re.compile(r'<style>[^<]*url\("data:image/[^<]*</style>')
DRAWING = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
ALT = re.compile(r'\balt="([^"]*)"')
STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)
#: An object of Python without a text of its own: its address is another one each time.
OBJECT_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-f]{8,16}>")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument(
        "--check", action="store_true", help="execute nothing, say what is not as it should be"
    )
    given = parser.parse_args(arguments)
    found = []
    for path in given.notebooks or sorted(FOLDER.glob("*.ipynb")):
        if not given.check:
            store(path)
            print(f"{path.name}: {path.stat().st_size / 1e3:,.0f} kB", flush=True)
        found += [f"{path.name}: {fault}" for fault in faults(path)]
    print("\n".join(found) or "The notebooks show what their code gives.")
    return 1 if found else 0


def store(path: Path) -> None:
    """Execute the notebook at `path`, write it back with its outputs. Raises CellExecutionError where a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        # ipykernel warns that its sockets are not encrypted; they are on the loopback interface.
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        record_timing=False,
    ).execute()
    tidy(notebook)
    path.write_text(
        json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
    )


def tidy(notebook: Any) -> None:
    """Bring what was executed into the form that is stored, in place."""
    for count, cell in enumerate((c for c in notebook["cells"] if c["cell_type"] == "code"), 1):
        cell["execution_count"] = count
        cell["outputs"] = [kept for output in joined(cell["outputs"]) for kept in stored(output, count)]
        cell["metadata"].pop("execution", None)
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        KEY: {"outputs_of": digest(notebook)},
    }


def joined(outputs: list[Any]) -> Iterator[Any]:
    """Streams in one piece: where a kernel cuts them is a matter of its timing."""
    kept: list[Any] = []
    for output in outputs:
        if kept and output["output_type"] == "stream" and kept[-1].get("name") == output["name"]:
            kept[-1]["text"] += output["text"]
        else:
            kept.append(output)
    yield from kept


def stored(output: Any, count: int) -> Iterator[dict[str, Any]]:
    """An output as it is stored: its pictures, each an output of its own, then what is left of it, if anything."""
    if output["output_type"] not in ("display_data", "execute_result"):
        yield {**output, "text": lines(output["text"])} if "text" in output else dict(output)
        return
    data = {mime: value for mime, value in output["data"].items() if not mime.endswith("widget-view+json")}
    metadata = dict(output.get("metadata") or {})
    if "image/png" in data:
        # The HTML beside it is the same picture once more, for dark pages or to click.
        data["image/png"] = bare_png(data["image/png"])
        data.pop("text/html", None)
    elif "text/html" in data:
        rest, found = without_pictures("".join(data["text/html"]))
        for picture, alt in found:
            mime = "image/svg+xml" if picture.startswith("<svg") else "image/png"
            yield {
                "output_type": "display_data",
                "data": {mime: lines(picture) if mime.endswith("xml") else picture, "text/plain": [alt]},
                "metadata": {mime: {"alt": alt}},
            }
        if found and not has_text(rest):
            return
        data["text/html"] = rest
    kept = {
        "output_type": output["output_type"],
        "data": {mime: lines(value) if mime.startswith("text/") else value for mime, value in data.items()},
        "metadata": metadata,
    }
    if output["output_type"] == "execute_result":
        kept["execution_count"] = count
    yield kept


def without_pictures(page: str) -> tuple[str, list[tuple[str, str]]]:
    """A piece of HTML less its pictures, and these: an SVG or a PNG in base64, each with its alternative text."""
    found: list[tuple[str, str]] = []

    def image(match: re.Match[str]) -> str:
        alt = ALT.search(match.group())
        found.append((bare_png(match.group(1)), html.unescape(alt.group(1)) if alt else ""))
        return ""

    def drawing(match: re.Match[str]) -> str:
        label = re.search(r'\baria-label="([^"]*)"', match.group())
        found.append((match.group(), html.unescape(label.group(1)) if label else ""))
        return ""

    rest = DRAWING.sub(drawing, IMAGE.sub(image, DARK_IMAGE.sub("", page)))
    return rest, found


def has_text(page: str) -> bool:
    return bool(re.sub(r"<[^>]*>|\s", "", STYLE.sub("", page)))


def lines(text: str | list[str]) -> list[str]:
    return "".join(text).splitlines(keepends=True)


def bare_png(encoded: str) -> str:
    """A PNG in base64 less all that is no picture. Raises ValueError for what is not a PNG."""
    data = base64.b64decode(encoded)
    kept = [PNG_START]
    for name, chunk in png_chunks(data):
        if name in PNG_CHUNKS:
            kept.append(chunk)
    return base64.b64encode(b"".join(kept)).decode()


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG, each as its name and all of its bytes."""
    if not data.startswith(PNG_START):
        raise ValueError("not a PNG")
    at = len(PNG_START)
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big") + 12
        yield data[at + 4 : at + 8], data[at : at + size]
        at += size


def digest(notebook: Any) -> str:
    """What stands for a notebook's code: editing its text leaves its outputs as they are."""
    code = ["".join(cell["source"]).rstrip() for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def faults(path: Path) -> Iterator[str]:
    """What is wrong with a notebook as it is stored, one sentence each."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    if notebook["metadata"].get(KEY, {}).get("outputs_of") != digest(notebook):
        yield "its code is not what its outputs were made by: make notebooks"
    if path.stat().st_size > MOST_BYTES:
        yield f"{path.stat().st_size:,} bytes, more than {MOST_BYTES:,}: forges show large notebooks late or not at all"
    if "widgets" in notebook["metadata"]:
        yield "holds the state of widgets, which no forge shows"
    for cell in notebook["cells"]:
        if "execution" in cell["metadata"]:
            yield f"cell {cell.get('id')}: says when it was executed"
        for output in cell.get("outputs", ()):
            yield from (f"cell {cell.get('id')}: {fault}" for fault in output_faults(output))


def output_faults(output: Any) -> Iterator[str]:
    if output["output_type"] == "error":
        yield f"failed: {output['ename']}: {output['evalue']}"
    data = output.get("data", {})
    for mime, value in data.items():
        if mime.endswith("widget-view+json"):
            yield "shows a widget, which is nothing where no kernel runs"
        if mime == "image/png":
            try:
                names = {name for name, _ in png_chunks(base64.b64decode(value))}
            except (ValueError, binascii.Error) as error:
                yield f"a picture that is none: {error}"
            else:
                if more := sorted(name.decode("latin-1") for name in names.difference(PNG_CHUNKS)):
                    yield f"a picture that says who made it ({', '.join(more)})"
    if data and "image/png" not in data and not ("".join(data.get("text/html", ())) or "text/plain" in data):
        yield f"nothing that a forge can show, only {', '.join(data)}"
    page = "".join(data.get("text/html", ()))
    for what in ("<script", "<svg", "data:image/"):
        if what in page:
            yield f"HTML with {what}, which forges take out"
    text = "".join(output.get("text", ())) + "".join(data.get("text/plain", ())) + page
    if match := OBJECT_ADDRESS.search(html.unescape(text)):
        yield f"{match.group()}: an address that is another one each time"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
