"""Are two results of pandas the same, whatever they are?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def assert_same(got: Any, expected: Any) -> None:
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(got, expected)
    elif isinstance(expected, pd.Series):
        pd.testing.assert_series_equal(got, expected)
    elif isinstance(expected, pd.api.extensions.ExtensionArray):
        pd.testing.assert_extension_array_equal(got, expected)
    elif isinstance(expected, np.ndarray):
        assert got.tolist() == expected.tolist()
    else:
        assert got == expected
