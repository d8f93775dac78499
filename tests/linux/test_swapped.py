"""Pages that zswap kept, of the whole server: a dump saved with -d 31 has them, as they are the kernel's own pages."""

from __future__ import annotations

import numpy as np
import pytest
from support.user_pages import Core

from kernlab.linux.page_cache import PageState
from kernlab.linux.user_memory import Pages

MIB = 1 << 20


def fetched(process, area):
    """The swapped pages of an area: their bytes, and what became of them."""
    pages = process.memory.pages(area, area.start, area.end)
    away = np.flatnonzero(pages.state == PageState.SWAPPED)
    data, state = process.memory.fetch(Pages(pages.address[away], pages.state[away], pages.where[away]))
    here = (state == PageState.HERE) | (state == PageState.ZERO)
    # The others were read again and lie in the swap cache, which -d 31 leaves out.
    assert set(state[~here].tolist()) <= {PageState.EXCLUDED}
    assert here.sum() > 0.95 * len(away)
    return len(away), pages.address[away][here], data[here]


def swapped_areas(server, least, path):
    usage = server.map_usage
    for row in usage[(usage["swap_bytes"] > least) & (usage["path"] == path)].itertuples():
        process = server.process(row.pid)
        yield row, process, next(area for area in process.memory.areas if area.start == int(row.start))


def test_private_pages_have_what_was_written(server):
    """A process wrote its pid and a multiple of where the page lies to the beginning of each; another is its fork."""
    found = list(swapped_areas(server, 16 * MIB, ""))
    assert len(found) == 2
    writer = min(row.pid for row, _, _ in found)
    for row, process, area in found:
        count, addresses, data = fetched(process, area)
        assert count * 4096 == row.swap_bytes
        words = data.view("<u8")
        place, rest = np.divmod(words[:, 0] - np.uint64(writer), np.uint64(2654435761))
        assert not rest.any()
        assert len(np.unique(addresses - place)) == 1
        assert len(words) > 4000
        assert not words[:, 1:].any()
        assert not process.problems


def test_shared_pages_have_what_was_written(server):
    """A System V segment full of fives, from the page cache of its file and from swap."""
    found = list(swapped_areas(server, MIB, "/SYSV00005550 (deleted)"))
    assert len(found) == 2
    for _, process, area in found:
        count, _, data = fetched(process, area)
        assert count > 1500
        assert (data == 5).all()


def test_pages_of_the_swap_file_itself_are_said(server):
    """What zswap gave to the disk is not there, and why is told."""
    from kernlab.linux.swapped import Swapped, entry_of

    swapped = Swapped(server.kernel)
    known = swapped._zswap(0)._entries[0]
    # Of pages that zswap does not have, which are not in the swap cache either: on the disk, or free.
    other = np.setdiff1d(np.arange(1, 60_000, dtype=np.uint64), known)
    _, state = swapped.read(entry_of(np.zeros(len(other), dtype=np.uint64), other))
    assert (state == PageState.SWAPPED).sum() > 100
    assert any("no zram disk" in why for why in swapped.problems)
    rows, state = swapped.read(entry_of(np.array([31], dtype=np.uint64), np.array([5], dtype=np.uint64)))
    assert state.tolist() == [PageState.SWAPPED]
    assert not rows.any()
    assert any("no swap area 31" in why for why in swapped.problems)


def test_a_core_has_swapped_pages(server, tmp_path):
    row, process, area = next(swapped_areas(server, 16 * MIB, ""))
    saved = process.save_core(tmp_path / "core")
    assert saved.memory_bytes > row.swap_bytes
    core = Core.read(tmp_path / "core")
    pages = process.memory.pages(area, area.start, area.end)
    first = int(pages.address[pages.state == PageState.SWAPPED][0])
    assert core.at(first, 4096) == process.read(first, 4096) != bytes(4096)


def test_redaction_finds_the_frames_that_have_them(server):
    """Frames of the kind zsmalloc are left out of a redacted dump (kernlab/redaction/frames.py): all that were read."""
    from kernlab.linux import zsmalloc
    from kernlab.linux.swapped import Swapped

    seen = []
    with pytest.MonkeyPatch.context() as patch:
        real = zsmalloc.read_frames
        patch.setattr(
            zsmalloc, "read_frames", lambda kernel, pfns: (seen.append(pfns), real(kernel, pfns))[1]
        )
        zswap = Swapped(server.kernel)._zswap(0)
        zswap.read(zswap._entries[0][:500])
    pages = server.pages
    kinds = pages.loc[pages["pfn"].isin(np.unique(np.concatenate(seen))), "kind"]
    assert len(kinds) > 50
    assert set(kinds) == {"zsmalloc"}
