"""Who writes to a relay channel: the symbol of its callbacks and its module in, a known client out.

A channel says nothing of what its bytes mean; its callbacks are its client's own, so their symbol tells who that is.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Client:
    """A known user of relay.

    `decoder` names how `events` reads its bytes: "blktrace", "systemtap", or "" where they stay bytes. `overwrite`
    says what its subbuf_start does when all sub-buffers are full, None where that depends.
    """

    name: str
    decoder: str = ""
    overwrite: bool | None = None


#: (symbol of the callbacks, module or '' for the kernel and for any module) -> client.
CLIENTS: dict[tuple[str, str], Client] = {
    ("blk_relay_callbacks", ""): Client("blktrace", "blktrace", overwrite=False),
    ("relay_callbacks", "i915"): Client("i915 GuC log", overwrite=None),
    ("relay_callbacks", "iosm"): Client("iosm modem trace"),
    ("relay_callbacks", "mtk_t7xx"): Client("t7xx modem trace"),
    ("rfs_spec_scan_cb", ""): Client("ath spectral scan"),
    ("rfs_scan_cb", ""): Client("ath spectral scan"),
    ("rfs_cfr_capture_cb", ""): Client("ath11k channel frequency response"),
    ("relay_cb", "mt7915e"): Client("mt7915 firmware log"),
    ("relay_cb", "mt7996e"): Client("mt7996 firmware log"),
    ("__stp_relay_callbacks", ""): Client("SystemTap", "systemtap"),
}

NOBODY = Client("")


def register(
    callbacks: str, name: str, *, module: str = "", decoder: str = "", overwrite: bool | None = None
) -> None:
    """Make a client known by its callbacks' symbol (and module, where the symbol alone is not enough)."""
    CLIENTS[callbacks, module] = Client(name, decoder, overwrite)


def recognise(symbol: str, module: str) -> Client:
    """The client whose callbacks lie at `symbol` of `module`; one without a name where nobody knows it."""
    return CLIENTS.get((symbol, module)) or CLIENTS.get((symbol, "")) or NOBODY
