"""Kernels without trace buffers, and those whose symbols do not say where they are."""

from __future__ import annotations

import pytest
from support.absent import Absence

from kernlab.errors import SymbolNotFoundError

_RELAY = Absence(symbols=("relay_channels",), types=("struct rchan", "struct rchan_buf"))
_TRACING = Absence(
    symbols=("ftrace_trace_arrays", "global_trace", "ftrace_events", "trace_clocks"),
    types=("struct trace_array", "struct ring_buffer_per_cpu"),
)


@pytest.fixture(params=["debian-5.10", "debian-6.1", "debian-7.2"])
def below(request, opened):
    return opened(request.param)


def test_without_relay_there_are_no_channels(below):
    """CONFIG_RELAY=n."""
    dump = _RELAY.of(below)
    assert len(dump.relay.channels) == 0
    assert dump.relay.channels.attrs["problems"] == []
    assert list(dump.relay.channels.columns) == list(below.relay.channels.columns)
    assert len(dump.ftrace.instances) == len(below.ftrace.instances) > 0


def test_without_tracing_there_are_no_instances(below):
    """CONFIG_TRACING=n."""
    dump = _TRACING.of(below)
    assert len(dump.ftrace.instances) == 0
    assert any("CONFIG_TRACING is off" in problem for problem in dump.ftrace.instances.attrs["problems"])
    assert len(dump.relay.channels) == len(below.relay.channels) > 0


def test_a_replay_without_either_is_the_end_alone(below):
    dump = Absence(symbols=_RELAY.symbols + _TRACING.symbols, types=_RELAY.types + _TRACING.types).of(below)
    replay = dump.replay()
    assert replay.memory["source"].tolist() == ["dump"]
    assert replay.memory["anon_bytes"].iloc[-1] == below.replay().memory["anon_bytes"].iloc[-1]
    assert not len(replay.running)
    assert not len(replay.requests)
    assert "nothing tells" in replay.trusted_reason


@pytest.mark.parametrize("view", ["ftrace", "relay"])
def test_what_symbols_do_not_say_is_not_none(below, view):
    """CONFIG_KALLSYMS_ALL=n: the variables have no symbols."""
    with pytest.raises(SymbolNotFoundError, match="CONFIG_KALLSYMS_ALL is off"):
        repr(getattr(Absence(functions_only=True).of(below), view))
