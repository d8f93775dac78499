"""dmi against the kernel's line about it in the log, and in captures that have them against the files of
/sys/class/dmi/id. Nothing of it can move."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import DumpFiles
from support import devices_truth
from support.absent import Absence
from support.captures import captures, dumps_in
from support.heap import Heap
from support.truth import Truth

import kernlab
from kernlab.redaction.columns import columns
from kernlab.redaction.edits import Edits
from kernlab.redaction.firmware import SERIAL, serial_numbers
from kernlab.redaction.found import Found
from kernlab.redaction.frames import Frames, kinds_of
from kernlab.redaction.literals import Literals
from kernlab.redaction.map_file import RedactionMap

TOLD = [
    folder for folder in captures() if "out/dmi/bios_vendor" in devices_truth.members(folder / "truth.tar.xz")
]


def test_the_log_says_the_same(dump: Any, whole_dump: DumpFiles) -> None:
    """drivers/firmware/dmi_scan.c, dmi_format_ids: "DMI: VENDOR PRODUCT/BOARD, BIOS VERSION DATE"."""
    line = next(r.text for r in whole_dump.log if r.text.startswith("DMI: ") and ", BIOS " in r.text)
    ours = dump.dmi
    assert ours.attrs["problems"] == []
    # One for all fields that can tell a machine from its brothers, and only those.
    assert set(columns("share")["dmi"]) == {
        name for name in ours.index if name.endswith(("_serial", "_uuid", "_asset_tag"))
    }
    board = "" if pd.isna(ours["board_name"]) else f"/{ours['board_name']}"
    expected = (
        f"DMI: {ours['sys_vendor']} {ours['product_name']}{board}, "
        f"BIOS {ours['bios_version']} {ours['bios_date']}"
    )
    assert line == expected
    assert re.fullmatch(r"\d\d/\d\d/\d{4}", ours["bios_date"])


@pytest.mark.parametrize("folder", TOLD or [None], ids=lambda folder: folder.name if folder else "none")
def test_sysfs(folder: Path | None) -> None:
    if folder is None:
        pytest.skip("no capture here tells of its firmware: KERNLAB_LAB_CAPTURES names folders of them")
    truth = Truth(folder / "truth.tar.xz")
    with kernlab.open(dumps_in(folder)[0]) as dump:
        ours = dump.dmi
        # A field that the firmware does not give has no file.
        theirs = {
            name.removeprefix("dmi/"): truth.text(name).removesuffix("\n")
            for name in truth.files
            if name.startswith("dmi/") and name not in ("dmi/modalias", "dmi/uevent")
        }
        assert ours.dropna().to_dict() == theirs


def test_serial_numbers_are_hidden(opened: Callable[[str], Any]) -> None:
    """The guests have none: what a dump was given is shown, and rewritten where it lies by redaction."""
    dump = opened("debian-6.1")
    fields = dump.kernel.types.get("enum dmi_field").enumerators
    heap, given = Heap(dump), {"product_serial": "HX-4711-0815-Q", "chassis_asset_tag": "ROW7-RACK12"}
    for name, words in given.items():
        text = heap.alloc(64)
        heap.put(text, words.encode() + b"\0")
        heap.overlay.word(dump.symbol("dmi_ident") + 8 * fields[f"DMI_{name.upper()}"], text)
    with heap.dump() as made:
        kernel = made.kernel
        assert made.dmi[list(given)].to_dict() == given
        frames = Frames.of(kernel.file)
        kinds, edits = kinds_of(kernel, frames), Edits(kernel, frames)
        found = Found(kernel, "share", RedactionMap(), frames, kinds, edits, Literals())
        serial_numbers(found)
        assert edits.counts[SERIAL] == len(given)
        assert set(given) <= set(columns("share")["dmi"])


def test_without_dmi(opened: Callable[[str], Any]) -> None:
    dump = Absence(symbols=("dmi_ident",)).of(opened("debian-6.1"))
    ours = dump.dmi
    assert ours.isna().all()
    assert list(ours.index) == list(opened("debian-6.1").dmi.index)
    assert "CONFIG_DMI" in ours.attrs["problems"][0]
