"""Who writes to a relay channel: the symbol of its callbacks and its module in, a known client out.

A channel says nothing of what its bytes mean; its callbacks are its client's own, so their symbol tells who that is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from kernlab.traces.relay.decoders import Decoder, Streams, as_bytes, blktrace, decoder_of, systemtap
from kernlab.util.plugins import Plugin, plugins

#: Where other distributions name decoders of theirs (pyproject.toml: [project.entry-points."kernlab.decoders"]): by the
#: symbol of the callbacks, with the module and a dot before it where the symbol alone is not enough.
PLUGIN_GROUP = "kernlab.decoders"


@dataclass(frozen=True, slots=True)
class Client:
    """A known user of relay.

    `decoder` is how `events` reads its bytes. `overwrite` says what its subbuf_start does when all sub-buffers are
    full, None where that depends.
    """

    name: str
    decoder: Decoder = as_bytes
    overwrite: bool | None = None

    @property
    def is_blktrace(self) -> bool:
        """Are its bytes records of blktrace?"""
        return self.decoder is blktrace


#: (symbol of the callbacks, module or '' for the kernel and for any module) -> client.
CLIENTS: dict[tuple[str, str], Client] = {
    ("blk_relay_callbacks", ""): Client("blktrace", blktrace, overwrite=False),
    ("relay_callbacks", "i915"): Client("i915 GuC log", overwrite=None),
    ("relay_callbacks", "iosm"): Client("iosm modem trace"),
    ("relay_callbacks", "mtk_t7xx"): Client("t7xx modem trace"),
    ("rfs_spec_scan_cb", ""): Client("ath spectral scan"),
    ("rfs_scan_cb", ""): Client("ath spectral scan"),
    ("rfs_cfr_capture_cb", ""): Client("ath11k channel frequency response"),
    ("relay_cb", "mt7915e"): Client("mt7915 firmware log"),
    ("relay_cb", "mt7996e"): Client("mt7996 firmware log"),
    ("__stp_relay_callbacks", ""): Client("SystemTap", systemtap),
}

NOBODY = Client("")

_BUILT_IN = frozenset(CLIENTS)


def register(
    callbacks: str, name: str, *, module: str = "", decoder: Any = "", overwrite: bool | None = None
) -> None:
    """Make a client known by its callbacks' symbol (and module, where the symbol alone is not enough).

    decoder: how `dump.relay.events` reads its bytes: "blktrace", "systemtap", "" (they stay bytes), the C type of
    records of one size ("struct my_event"), what NumPy takes as their dtype, or a function that is given {cpu: bytes},
    each CPU's from its first record on (a `kernlab.traces.relay.decoders.Streams`), and gives a DataFrame or its
    columns. Raises KernlabError for anything else.

        kernlab.relay.register("my_callbacks", "my driver", decoder="struct my_event")
    """
    CLIENTS[callbacks, module] = Client(name, decoder_of(decoder), overwrite)


def recognise(symbol: str, module: str) -> Client:
    """The client whose callbacks lie at `symbol` of `module`; one without a name where nobody knows it.

    What was registered comes first, what plug-ins bring next.
    """
    for known in (CLIENTS, _of_plugins()):
        for key in ((symbol, module), (symbol, "")):
            if key in known:
                return known[key]
    return NOBODY


@functools.cache
def _of_plugins() -> dict[tuple[str, str], Client]:
    found, _ = plugins(PLUGIN_GROUP, _refused)
    return {
        _key(name): Client(plugin.distribution, functools.partial(_by_plugin, plugin))
        for name, plugin in found.items()
    }


def _key(name: str) -> tuple[str, str]:
    module, _, symbol = name.rpartition(".")
    return symbol, module


def _refused(name: str) -> str:
    return "kernlab decodes what has these callbacks itself" if _key(name) in _BUILT_IN else ""


def _by_plugin(plugin: Plugin, streams: Streams, /) -> Any:
    """What the decoder of a plug-in makes of it; imported for the first channel that it is for."""
    return decoder_of(plugin.load())(streams)
