"""Cells of a table -> texts and numbers, a whole column at a time. Ground floor: what reads labels and what reads cases share it."""

import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

MISSING = frozenset({"", "nan", "<na>", "na", "n/a", "#n/a", "null"})
"""Texts, in lower case, that say that nothing was measured. "none" is not among them: it can be a label."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A number as a text: a decimal point, no thousands separator."""


class Texts(NamedTuple):
    """A column as texts.

    Args:
        codes: int64 `[rows]`, the position of each row's text in `texts`; -1 where the cell is missing.
        texts: the distinct texts, stripped, in order of appearance.
    """

    codes: IntArray
    texts: list[str]

    def of(self, row: int | np.int64) -> str:
        """Return the text of a row; "" where it is missing."""
        return self.texts[self.codes[row]] if self.codes[row] >= 0 else ""


def untold(text: str) -> str:
    """Return what an error may say of a cell that is a patient's."""
    return "a number" if NUMBER.fullmatch(text) else "a text"


def as_text(value: Any) -> str:
    """Return a cell as stripped text; 1, 1.0 and True are all "1"."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def texts(column: "pd.Series[Any]", *, missing: frozenset[str] = MISSING) -> Texts:
    """Return a column as texts.

    Args:
        column: cells of any type.
        missing: texts, in lower case, that count as a missing cell, besides None and NaN.
    """
    codes, uniques = pd.factorize(column, use_na_sentinel=True)
    found = [as_text(value) for value in uniques]
    place: dict[str, int] = {}
    again = [-1 if text.lower() in missing else place.setdefault(text, len(place)) for text in found]
    remap = np.array([*again, -1], dtype=np.int64)  # code -1 takes the last entry
    return Texts(remap[codes], list(place))


def typed_numbers(column: "pd.Series[Any]") -> NDArray[np.float64] | None:
    """Return a column whose type is numeric as numbers, NaN where missing, at once; None for any other type, whose cells are read as texts."""
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return None
    return column.to_numpy(np.float64, na_value=np.nan)


def numbers(column: Texts) -> NDArray[np.float64]:
    """Return a column as numbers `[rows]`: NaN where the cell is missing, infinity where it holds no finite number."""
    values = [float(text) if NUMBER.fullmatch(text) else np.inf for text in column.texts]
    return np.array([*values, np.nan], dtype=np.float64)[column.codes]
