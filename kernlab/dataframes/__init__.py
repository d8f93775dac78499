"""Columns in, pandas out: the address dtype, the frame builder, the table registry and the `.kern` accessor.

Importing this package imports no pandas; the first use of a name that needs it does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kernlab.dataframes.registry import Registry, Table, table

if TYPE_CHECKING:
    from kernlab.dataframes.address import AddressArray, AddressDtype
    from kernlab.dataframes.builder import (
        addresses,
        describe,
        element_addresses,
        empty,
        frame,
        lookup,
        nullable,
        objects,
        series,
        spread,
        widen,
    )

__all__ = [
    "AddressArray",
    "AddressDtype",
    "Registry",
    "Table",
    "addresses",
    "describe",
    "element_addresses",
    "empty",
    "frame",
    "lookup",
    "nullable",
    "objects",
    "series",
    "spread",
    "table",
    "widen",
]

_MODULES = {
    "AddressArray": "address",
    "AddressDtype": "address",
    "addresses": "builder",
    "describe": "builder",
    "element_addresses": "builder",
    "empty": "builder",
    "frame": "builder",
    "lookup": "builder",
    "nullable": "builder",
    "objects": "builder",
    "series": "builder",
    "spread": "builder",
    "widen": "builder",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
