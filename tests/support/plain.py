"""Tables of two dumps are compared without what names the dump that they came from."""

from __future__ import annotations

import pandas as pd


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """Addresses and other extension arrays as text, and no attrs."""
    values = {
        name: column.astype("string") if column.dtype.kind not in "iufbmMO" else column
        for name, column in table.items()
    }
    return pd.DataFrame(values)
