"""What damage makes of a list: thousands of channels that are copies of one, read together, and told shortly."""

from __future__ import annotations

import pytest
from support.copies import Copies
from support.heap import Heap

from kernlab.errors import KernlabError
from kernlab.util.text import few

COPIES = 5000


@pytest.fixture(scope="module")
def copied(opened):
    below = opened("debian-6.1")
    channel = int(below.relay.channels["address"].iloc[0])
    size = below.kernel.find_type("struct rchan").size
    heap = Heap(below, -(-COPIES * (size + 64) // 4096) + 1)
    copies = Copies(heap, "struct rchan", channel, COPIES)
    head = below.symbol("relay_channels")
    own, _ = heap.overlay.where("struct rchan", channel, "list.next")
    first, last = copies.link("list", own, head)
    heap.overlay.word(own, first).word(head + 8, last)
    with heap.dump() as dump:
        yield dump


def test_they_are_read_together(copied, opened):
    before = copied.kernel.memory.gathers
    channels = copied.relay.channels
    # The list itself is one step after the other.
    assert copied.kernel.memory.gathers - before < COPIES + 400
    assert channels["address"].nunique() == COPIES + 1
    good = channels[channels["damage"] == ""].reset_index(drop=True)
    known = opened("debian-6.1").relay.channels
    assert good["unread_bytes"].tolist() == known["unread_bytes"].tolist()
    others = channels[channels["damage"] != ""]
    assert others["damage"].unique().tolist() == ["what its slot leads to is not a buffer of this channel"]


def test_an_error_names_a_few_of_them(copied):
    with pytest.raises(
        KernlabError, match=r"5,001 relay channels are named 'vda/trace'.* and 4,993 more$"
    ) as raised:
        copied.relay.read("vda/trace")
    assert len(str(raised.value)) < 400


def test_sentences_of_lists_are_short():
    assert few([]) == ""
    assert few(["a", "b"], between=" or ") == "a or b"
    assert few([str(number) for number in range(65536)], 3) == "0, 1, 2 and 65,533 more"
    assert len(few(["x" * 10_000] * 100)) < 1500
