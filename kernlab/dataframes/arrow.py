"""Addresses to and from Arrow (parquet): uint64 for everybody, the address dtype for those who have kernlab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import pandas_compat

NAME = "kernlab.address"


class AddressType(pa.ExtensionType):  # type: ignore[misc]
    """The Arrow extension type "kernlab.address", stored as uint64."""

    def __init__(self) -> None:
        super().__init__(pa.uint64(), NAME)

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> AddressType:
        return cls()

    def to_pandas_dtype(self) -> Any:
        """The address dtype."""
        from kernlab.dataframes.address import AddressDtype

        return AddressDtype()


def _name_plainly(describe: Callable[[Any], tuple[str, Any]]) -> Callable[[Any], tuple[str, Any]]:
    def describe_column(column: Any) -> tuple[str, Any]:
        if str(column.dtype) == "address":
            return "UInt64" if column.isna().any() else "uint64", None
        return describe(column)

    return describe_column


pa.register_extension_type(AddressType())
# pyarrow writes each column's dtype by name into the file, and pandas refuses the whole file where it does
# not know one ("data type 'address' not understood"). So files name a dtype that every pandas knows; the
# extension type alone brings the address dtype back.
pandas_compat.get_extension_dtype_info = _name_plainly(pandas_compat.get_extension_dtype_info)


def to_arrow(values: npt.NDArray[np.uint64], mask: npt.NDArray[np.bool_], type: Any = None) -> Any:  # noqa: A002
    """Values and mask as an Arrow array of AddressType, or of `type` where one is asked for."""
    storage = pa.array(values, mask=mask, type=pa.uint64())
    if type is None or isinstance(type, AddressType):
        return pa.ExtensionArray.from_storage(AddressType(), storage)
    return storage if type == pa.uint64() else storage.cast(type)


def from_arrow(array: Any) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """An Arrow array (or chunked array) as uint64 values and a mask of what is missing."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps chunks that together are too large
        parts = [from_arrow(chunk) for chunk in array.chunks]
        return np.concatenate([v for v, _ in parts]), np.concatenate([m for _, m in parts])
    storage = array.storage if isinstance(array, pa.ExtensionArray) else array
    storage = storage.cast(pa.uint64())
    mask = np.asarray(storage.is_null())
    return storage.fill_null(0).to_numpy(zero_copy_only=False).astype(np.uint64), mask
