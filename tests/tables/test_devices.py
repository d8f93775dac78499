"""devices against what the guests say of the same.

/sys/bus and /sys/class of captures that have them; elsewhere the ranges of /proc/iomem, /proc/partitions and
/proc/interrupts. All of it stands still: exact, but for the power of the serial port, which the guest talks to last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import DumpFiles
from support import devices_truth
from support.absent import Absence
from support.captures import captures, dumps_in
from support.heap import Heap
from support.overlay import Overlay
from support.truth import Truth

import kernlab

#: Windows of memory and ports that are named after what they are of.
_PCI = r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]"
TOLD = [
    folder for folder in captures() if "out/bus_devices" in devices_truth.members(folder / "truth.tar.xz")
]


def bars(devices: pd.DataFrame) -> list[tuple[str, int, str, int, int]]:
    """Every BAR of `devices`: (device, number, kind, start, end)."""
    found = []
    for name, text in zip(devices["name"], devices["bars"], strict=True):
        for part in filter(None, str(text).split(", ")) if isinstance(text, str) else ():
            number, kind, place, *_ = part.split(" ")
            start, end = (int(word, 16) for word in place.split("-"))
            found.append((name, int(number.rstrip(":")), kind, start, end))
    return found


def test_dumps(dump: Any, whole_dump: DumpFiles) -> None:
    ours, truth = dump.devices, whole_dump.truth
    assert ours.attrs["problems"] == []
    # In the order of the list: kobject by kobject.
    entries = dump.structs("device", ours["address"])["kobj.entry.next"].values
    offset = dump.kernel.find_type("struct kobject").member("entry").bit_offset // 8
    assert entries[:-1].tolist() == (ours["address"].astype("uint64") + offset).tolist()[1:]
    assert ours["path"].notna().all()
    assert (ours["path"].str.rsplit("/", n=1).str[1] == ours["name"]).all()
    # Every disk and partition has its number, none has another's.
    block = ours[ours["class"] == "block"]
    parts = {words[3]: f"{words[0]}:{words[1]}" for words in map(str.split, truth.lines("partitions")[2:])}
    assert parts
    assert parts.items() <= dict(zip(block["name"], block["dev"], strict=True)).items()
    # What is claimed of ports and memory in a device's name is one of its BARs.
    pci = ours[ours["bus"] == "pci"]
    assert not pci.empty
    claimed = {
        (name, int(start, 16), int(end, 16))
        for line in truth.lines("iomem")
        for place, _, name in [line.partition(" : ")]
        for start, end in [place.split("-")]
        if pd.Series([name]).str.fullmatch(_PCI).all()
    }
    mine = {(name, start, end) for name, _, kind, start, end in bars(pci) if kind == "mem"}
    # The ROM of a VGA card is claimed as its shadow in low memory, by another name (IORESOURCE_ROM_SHADOW).
    assert claimed == {bar for bar in mine if bar[1:] != (0xC0000, 0xDFFFF)}
    ports = dump.ioports
    taken = set(
        zip(ports["name"], ports["start"].astype("uint64"), ports["end"].astype("uint64"), strict=True)
    )
    assert {(name, start, end) for name, _, kind, start, end in bars(pci) if kind == "io"} <= taken
    assert {kind for _, _, kind, _, _ in bars(pci)} == {"mem", "io"}
    # Messages: each interrupt of a virtio disk is of its PCI device.
    irqs = dump.irqs
    chips = set(irqs.loc[irqs["chip"].str.contains("PCI-MSI", na=False), "irq"])
    assert chips == {irq for text in ours["msi_irqs"] for irq in numbers(text)}
    virtio = ours[ours["bus"] == "virtio"]
    assert virtio["id"].tolist() == ["1af4:0002"] * len(virtio)
    assert len(virtio) >= 2
    parents = pci.set_index("address")
    assert set(parents.loc[virtio["parent"], "driver"]) == {"virtio-pci"}
    assert set(parents.loc[virtio["parent"], "module"].dropna()) <= {"virtio_pci"}


def numbers(text: str) -> list[int]:
    """The numbers in a list such as "24-26,30"."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@pytest.fixture(scope="module", params=TOLD or [None], ids=lambda folder: folder.name if folder else "none")
def told(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Truth]]:
    if request.param is None:
        pytest.skip("no capture here tells of its devices: KERNLAB_LAB_CAPTURES names folders of them")
    folder: Path = request.param
    with kernlab.open(dumps_in(folder)[0]) as dump:
        yield dump, Truth(folder / "truth.tar.xz")


def test_sysfs(told: tuple[Any, Truth]) -> None:
    """Each device with its bus or class, driver, power, node, number and ids: 230 of a small guest."""
    dump, truth = told
    ours = dump.devices
    assert ours.attrs["problems"] == []
    rows = ours.set_index("path")
    for column, theirs in (
        ("bus", devices_truth.bus_devices(truth)),
        ("class", devices_truth.class_devices(truth)),
    ):
        mine = ours[ours[column].notna()]
        assert sorted(zip(mine[column], mine["path"], strict=True)) == sorted(
            (d.subsystem, d.path) for d in theirs
        )
        for device in theirs:
            row, files = rows.loc[device.path], device.files
            assert (row["driver"] if isinstance(row["driver"], str) else "") == device.driver, device.path
            if "power/runtime_status" in files and "serial" not in device.path and "/00:0" not in device.path:
                assert row["power"] == files["power/runtime_status"], device.path
            if "numa_node" in files:
                assert (-1 if row["node"] is pd.NA else row["node"]) == int(files["numa_node"])
            assert (row["dev"] if isinstance(row["dev"], str) else None) == files.get("dev")
            if device.subsystem == "pci" and column == "bus":
                words = {name: int(files[name], 16) for name in ("vendor", "device", "class")}
                assert row["id"] == f"{words['vendor']:04x}:{words['device']:04x}"
                assert int(row["pci_class"], 16) == words["class"]
                assert row["subsystem_id"].replace(":", "") == (
                    files["subsystem_vendor"][2:] + files["subsystem_device"][2:]
                )
                assert (0 if row["irq"] is pd.NA else row["irq"]) == int(files["irq"])
    windows = {
        (name, number, int(start, 16), int(end, 16))
        for (name, _), lines in devices_truth.texts(truth, "pci_resource").items()
        for number, (start, end, flags) in enumerate(line.split() for line in lines)
        if number < 7 and int(flags, 16)
    }
    assert {(name, number, low, high) for name, number, _, low, high in bars(ours)} == windows


def test_sysfs_irqs(told: tuple[Any, Truth]) -> None:
    """The same guests' /sys/kernel/irq and /proc/irq: actions, chip, hwirq, type, affinity of all descriptors."""
    dump, truth = told
    ours = dump.irqs.dropna(subset="irq").set_index("name")
    sysfs, proc = (devices_truth.texts(truth, name) for name in ("sys_irq", "proc_irq"))
    assert {name for name, _ in sysfs} == set(ours.index)
    for name, row in ours.iterrows():
        theirs = {
            file: (sysfs.get((str(name), file)) or [""])[0]
            for file in ("actions", "chip_name", "hwirq", "type")
        }
        assert row["actions"].replace(", ", ",") == theirs["actions"].removesuffix(",")
        assert (row["chip"] if isinstance(row["chip"], str) else "") == theirs["chip_name"]
        assert ("" if row["hwirq"] is pd.NA else str(row["hwirq"])) == theirs["hwirq"]
        assert row["type"] == theirs["type"]
        for column, file in (
            ("affinity", "smp_affinity_list"),
            ("effective_affinity", "effective_affinity_list"),
        ):
            if (str(name), file) in proc:
                assert row[column] == proc[str(name), file][0], (name, column)


def test_usb(opened: Callable[[str], Any]) -> None:
    """No guest has any: a platform device of a real dump made into one of USB."""
    dump = opened("debian-7.2")
    device = int(dump.devices.query("name == 'pcspkr'")["address"].iloc[0])
    whole = dump.kernel.find_type("struct usb_device")
    start = device - whole.member("dev").bit_offset // 8
    heap = Heap(dump)

    def text(words: str) -> int:
        where = heap.alloc(64)
        heap.put(where, words.encode() + b"\0")
        return where

    for member, kind, name in (("bus", "bus_type", "usb"), ("type", "device_type", "usb_device")):
        struct = heap.alloc(dump.kernel.find_type(f"struct {kind}").size)
        heap.member(f"struct {kind}", struct, "name", text(name))
        heap.overlay.set("struct device", device, member, struct)
    heap.overlay.set("struct usb_device", start, "descriptor.idVendor", 0x1D6B)
    heap.overlay.set("struct usb_device", start, "descriptor.idProduct", 2)
    with heap.dump() as made:
        row = made.devices.set_index("address").loc[device]
        assert (row["bus"], row["type"], row["id"]) == ("usb", "usb_device", "1d6b:0002")
        assert pd.isna(row["pci_class"])


def test_damaged_list(opened: Callable[[str], Any]) -> None:
    """Where the list of all breaks, it is followed from the other side, and from what buses and classes have."""
    dump = opened("debian-6.1")
    whole = dump.devices
    overlay = Overlay(dump)
    overlay.set("struct device", int(whole["address"].iloc[20]), "kobj.entry.next", 0xDEAD)
    with overlay.dump() as broken:
        ours = broken.devices
        assert any("the list of devices" in problem for problem in ours.attrs["problems"])
        assert sorted(ours["address"]) == sorted(whole["address"])
        rows = whole.set_index("address").loc[ours["address"], ["name", "bus", "path"]]
        assert ours[["name", "bus", "path"]].equals(rows.reset_index(drop=True))


def test_without_power_management(opened: Callable[[str], Any]) -> None:
    dump = Absence(members=("struct dev_pm_info.runtime_status",)).of(opened("debian-6.1"))
    ours = dump.devices
    assert ours["power"].isna().all()
    assert ours.attrs["problems"] == ["runtime power management is off in this kernel (CONFIG_PM)"]
    assert len(ours) == len(opened("debian-6.1").devices)
