"""What type checkers know of tables with addresses beyond pandas: `.kern`. At run time a `Frame` is a DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from kernlab.dataframes.accessor import KernAccessor

    class Frame(pd.DataFrame):
        """A DataFrame with a column of addresses."""

        @property
        def kern(self) -> KernAccessor:
            """The structs behind the rows."""


def __getattr__(name: str) -> Any:
    if name == "Frame":
        import pandas as pd

        return pd.DataFrame
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
