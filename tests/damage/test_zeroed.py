"""Memory that was damaged to zeros: what cannot be empty or 0 is not known, and is never shown as such."""

from __future__ import annotations

import numpy as np
import pytest
from support.overlay import Overlay

from kernlab.core.struct_array import StructArray
from kernlab.linux.paths import paths, root_of_init


def files_of(dump, kind: str):
    """struct file of every open descriptor whose path begins so: (addresses, paths)."""
    kernel = dump.kernel
    table = dump.tasks.kern.field("files->fdt->fd", "files->fdt->max_fds")
    seen: set[int] = set()
    for array, count in table.dropna().itertuples(index=False):
        slots = np.arange(min(int(count), 256), dtype=np.uint64)
        words, read = kernel.words(np.uint64(int(array)) + slots * np.uint64(8))
        seen |= set(words[read & (words != 0)].tolist())
    file = StructArray(kernel, "struct file", sorted(seen))
    found = paths(kernel, file.follow("f_path"), root_of_init(kernel))
    rows = [i for i, text in enumerate(found.values.tolist()) if found.valid[i] and text.startswith(kind)]
    return file[np.array(rows, dtype=np.int64)], [found.values[i] for i in rows]


def path_of(dump, address: int):
    kernel = dump.kernel
    file = StructArray(kernel, "struct file", [address])
    found = paths(kernel, file.follow("f_path"), root_of_init(kernel))
    return found.values[0] if found.valid[0] else None


@pytest.mark.parametrize("name", ["debian-6.12", "debian-7.2", "server"])
@pytest.mark.parametrize("kind", ["socket:[", "pipe:["])
@pytest.mark.parametrize("how", ["zeroed", "lost"])
def test_no_inode_has_the_number_0(opened, name, kind, how):
    dump = opened(name)
    file, known = files_of(dump, kind)
    if not known:
        pytest.skip(f"no {kind} is open in {name}")
    assert not any(text == f"{kind}0]" for text in known)
    address = int(file.addresses[0])
    overlay = Overlay(dump)
    if how == "zeroed":
        overlay.set("struct file", address, "f_path.dentry->d_inode->i_ino", 0)
    else:
        overlay.lose(*overlay.where("struct file", address, "f_path.dentry->d_inode->i_ino")[:1])
    broken = path_of(overlay.dump(), address)
    # With the inode's page the dentry may be lost as well; what is left is right, or not known.
    assert broken is None or (how == "lost" and broken == known[0])


def test_a_name_that_was_zeroed_is_no_empty_component(opened):
    dump = opened("debian-6.12")
    file, known = files_of(dump, "/")
    long = [i for i, text in enumerate(known) if text.count("/") > 1 and "(deleted)" not in text]
    assert long
    address = int(file.addresses[long[0]])
    broken = Overlay(dump).set("struct file", address, "f_path.dentry->d_name.len", 0).dump()
    assert path_of(dump, address) == known[long[0]]
    assert path_of(broken, address) is None


def test_a_slab_cache_without_a_name_has_none(opened):
    dump = opened("debian-6.12")
    address = int(dump.slabs.address[3])
    text = int(dump.slabs.kern.structs[3:4]["name"].values[0])
    broken = Overlay(dump).write(text, bytes(8)).dump()
    assert broken.slabs.name[broken.slabs.address == address].isna().all()
    assert broken.slabs.name.isna().sum() == 1
    assert not broken.slab_objects().cache.isin([""]).any()


def test_a_module_without_a_name_has_none(opened):
    dump = opened("debian-6.12")
    address = int(dump.modules.address[0])
    overlay = Overlay(dump)
    where, size = overlay.where("struct module", address, "name")
    broken = overlay.write(where, bytes(size)).dump()
    assert broken.modules.name[broken.modules.address == address].isna().all()
    assert not broken.modules.name.isin([""]).any()
