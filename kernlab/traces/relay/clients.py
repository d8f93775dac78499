"""Who writes to a relay channel: the symbol of its callbacks and its module in, a known client out.

A channel says nothing of what its bytes mean; its callbacks are its client's own, so their symbol tells who that is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernlab.errors import KernlabError

#: How a client's bytes are read: "blktrace", "systemtap", "" (they stay bytes), the C type of records of one size
#: ("struct my_event"), their NumPy dtype, or a function of each CPU's bytes that gives a DataFrame or its columns.
Decoder = str | np.dtype[Any] | Callable[[dict[int, bytes]], Any]

_BY_NAME = ("", "blktrace", "systemtap")


@dataclass(frozen=True, slots=True)
class Client:
    """A known user of relay.

    `decoder` is how `events` reads its bytes. `overwrite` says what its subbuf_start does when all sub-buffers are
    full, None where that depends.
    """

    name: str
    decoder: Decoder = ""
    overwrite: bool | None = None

    @property
    def is_blktrace(self) -> bool:
        """Are its bytes records of blktrace?"""
        return isinstance(self.decoder, str) and self.decoder == "blktrace"


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
    callbacks: str, name: str, *, module: str = "", decoder: Any = "", overwrite: bool | None = None
) -> None:
    """Make a client known by its callbacks' symbol (and module, where the symbol alone is not enough).

    decoder: how `dump.relay.events` reads its bytes: "blktrace", "systemtap", "" (they stay bytes), the C type of
    records of one size ("struct my_event"), what NumPy takes as their dtype, or a function that is given {cpu: bytes},
    each CPU's from its first record on, and gives a DataFrame or its columns. Raises KernlabError for anything else.

        kernlab.relay.register("my_callbacks", "my driver", decoder="struct my_event")
    """
    CLIENTS[callbacks, module] = Client(name, _decoder(decoder), overwrite)


def _decoder(given: Any) -> Decoder:
    by_type = isinstance(given, str) and given.startswith(("struct ", "union "))
    if by_type or (isinstance(given, str) and given in _BY_NAME):
        return str(given)
    if callable(given) and not isinstance(given, type):
        found: Decoder = given
        return found
    try:
        dtype: np.dtype[Any] = np.dtype(given)
        return dtype
    except (TypeError, ValueError) as error:
        raise KernlabError(
            f"{given!r} is not a decoder: that is 'blktrace', 'systemtap', '' (bytes), a C type (struct …), a NumPy "
            "dtype, or a function of {cpu: bytes}"
        ) from error


def recognise(symbol: str, module: str) -> Client:
    """The client whose callbacks lie at `symbol` of `module`; one without a name where nobody knows it."""
    return CLIENTS.get((symbol, module)) or CLIENTS.get((symbol, "")) or NOBODY
