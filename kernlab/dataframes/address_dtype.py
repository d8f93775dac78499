"""The address dtype: what pandas asks of it, and what a column of addresses knows of itself.

A column carries in its dtype a token of the dump that it came from, the type that it points to, and whether the
table's rows stand for what lies there. These survive what pandas does with the column, and take no part in comparing
dtypes.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.extensions import ExtensionDtype, register_extension_dtype

from kernlab.dataframes import origin
from kernlab.util.text import Address

if TYPE_CHECKING:
    import pyarrow as pa

    from kernlab.dataframes.address import AddressArray


@register_extension_dtype
class AddressDtype(ExtensionDtype):
    """dtype "address": kernel or physical addresses of 64 bits, NA where missing.

    `origin` is the token of the dump (frames/origin.py), `target` the C type that lies there ("struct
    task_struct"), `of_rows` says that the rows of the table stand for these structs. All address dtypes are equal,
    whatever they carry, so columns of two dumps can be merged.
    """

    name = "address"
    type = Address
    na_value = pd.NA
    _metadata = ()

    def __init__(self, origin: str = "", target: str = "", of_rows: bool = False):
        self.origin = origin
        self.target = target
        self.of_rows = of_rows

    def __repr__(self) -> str:
        return f"AddressDtype({self.target!r})" if self.target else "AddressDtype()"

    @classmethod
    def construct_array_type(cls) -> builtins.type[AddressArray]:
        """AddressArray."""
        from kernlab.dataframes.address import AddressArray

        return AddressArray

    def combine(self, other: AddressDtype) -> AddressDtype:
        """The dtype of a column made of two: what they agree on, or what just one of them knows."""
        if vars(self) == vars(other):
            return self
        target = self.target or other.target
        if other.target and target != other.target:
            target = origin.MIXED
        # Addresses of nowhere in particular (a fill value, what was typed) change nothing.
        plain = not (self.origin and other.origin)
        of_rows = self.of_rows or other.of_rows if plain else self.of_rows and other.of_rows
        return AddressDtype(origin.combine(self.origin, other.origin), target, of_rows)

    def standing_for_rows(self) -> AddressDtype:
        """The same, of the column that a table's rows stand for."""
        return AddressDtype(self.origin, self.target, True)

    def _get_common_dtype(self, dtypes: list[Any]) -> Any:
        result = self
        for dtype in dtypes:
            if isinstance(dtype, AddressDtype):
                result = result.combine(dtype)
            elif dtype.kind not in "iu":
                return None
        return result

    def __from_arrow__(self, array: pa.Array | pa.ChunkedArray) -> AddressArray:
        from kernlab.dataframes.address import AddressArray
        from kernlab.dataframes.arrow import from_arrow

        return AddressArray(*from_arrow(array), self)
