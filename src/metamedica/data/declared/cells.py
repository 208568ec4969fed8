"""Columns of text -> numbers, times and comparisons, a distinct text at a time. An empty cell is missing, and no other is unless declared."""

import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metamedica.cells import NUMBER
from metamedica.data.declared.language import LIMITS, Scalar
from metamedica.data.labels import class_label
from metamedica.data.measurements import Source, in_all
from metamedica.errors import FileFormatError, InputError

Mask = NDArray[np.bool_]

_CODE = re.compile(r"[+-]?0\d.*", re.ASCII)  # 007 is a code: as a number it would lose its zeros
_COMPARE = dict(zip(LIMITS, (operator.gt, operator.ge, operator.lt, operator.le), strict=True))


def check_columns(frame: pd.DataFrame, columns: Sequence[str], *, of: str) -> None:
    """Refuse a column that a table does not have.

    Raises:
        FileFormatError: with the name of the first such column, and those that there are.
    """
    for column in columns:
        if column not in frame.columns:
            raise FileFormatError(f"{of} has no column {column!r}; name one of: {', '.join(list(frame.columns)[:20])}")


def empty(cells: "pd.Series[Any]") -> Mask:
    """Return which cells are missing."""
    gone = cells.isna().to_numpy(dtype=bool)
    return gone if cells.dtype != object else gone | (cells == "").to_numpy(dtype=bool)


def _per_text(cells: "pd.Series[Any]") -> tuple[NDArray[np.int64], list[str]]:
    """Return the code of each cell's text (-1 where missing) and the distinct texts, stripped."""
    codes, uniques = pd.factorize(cells, use_na_sentinel=True)
    found = [value.strip() if isinstance(value, str) else _text(value) for value in uniques]
    again = np.array([*(number if text else -1 for number, text in enumerate(found)), -1], dtype=np.int64)
    return again[codes], found


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def keys(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return cells as keys: stripped texts, 12.0 and 12 the same, None where missing."""
    codes, found = _per_text(cells)
    whole = [class_label(text) if "." in text else text for text in found]
    return pd.Series(np.array([*whole, None], dtype=object)[codes], index=cells.index, dtype=object)


def matches(cells: "pd.Series[Any]", values: Sequence[Scalar]) -> Mask:
    """Return which cells are one of some declared values; a missing one never is."""
    texts = {value for value in values if isinstance(value, str)}
    words = {str(value).lower() for value in values if isinstance(value, bool)}
    wanted = {float(value) for value in values if not isinstance(value, bool | str)}
    codes, found = _per_text(cells)
    hits = [
        text in texts
        or (bool(words) and text.lower() in words)
        or (bool(wanted) and NUMBER.fullmatch(text) is not None and float(text) in wanted)
        for text in found
    ]
    return np.array([*hits, False], dtype=bool)[codes]


def blanked(cells: "pd.Series[Any]", missing: Sequence[Scalar]) -> "pd.Series[Any]":
    """Return the cells with declared codes for missing ones made empty."""
    if not missing:
        return cells
    gone = matches(cells, missing)
    return cells.mask(gone, np.nan if cells.dtype != object else "") if gone.any() else cells


def replaced(cells: "pd.Series[Any]", values: Mapping[Scalar, Scalar]) -> "pd.Series[Any]":
    """Return the cells with declared values replaced, each by the first key that it matches."""
    if not values:
        return cells
    whole, done = cells.astype(object).copy(), np.zeros(len(cells), dtype=bool)
    for old, new in values.items():
        here = matches(cells, [old]) & ~done
        whole[here], done = str(new), done | here
    return whole


def numbers(source: Source, column: str) -> NDArray[np.float64]:
    """Return a column as numbers `[rows]`, NaN where missing.

    Raises:
        InputError: a cell holds no finite number, with its row, text, and how many there are.
    """
    cells = source.frame[column]
    if cells.dtype != object:
        return cells.to_numpy(dtype=np.float64, na_value=np.nan)
    codes, found = _per_text(cells)
    values = [float(text) if NUMBER.fullmatch(text) else np.inf for text in found]
    result = np.array([*values, np.nan], dtype=np.float64)[codes]
    wrong = np.flatnonzero(np.isinf(result))
    if len(wrong):
        raise InputError(
            f"{source.name}, {source.row(wrong[0])}, column {column!r}: {found[codes[wrong[0]]][:40]!r} came and a number was "
            f"wanted{in_all(len(wrong), 'cell')}; declare it under missing or replace, or mend the file"
        )
    return result


def times(source: Source, column: str, *, form: str | None) -> "pd.Series[Any]":
    """Return a column as times without a zone (those with one, in UTC), NaT where missing.

    Args:
        source: the table.
        column: of it.
        form: how the times are written, as `strptime` has it; ISO 8601 for None.

    Raises:
        InputError: a cell is no such time, with its row, text, and how many there are.
    """
    cells = source.frame[column]
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return cells
    codes, found = _per_text(cells)
    parsed = pd.to_datetime(pd.Series(found, dtype=object), format=form or "ISO8601", errors="coerce", utc=True)
    result = parsed.dt.tz_localize(None).reindex(codes).set_axis(cells.index)  # code -1 is no row: NaT
    wrong = np.flatnonzero(result.isna().to_numpy() & (codes >= 0))
    if len(wrong):
        wanted = f"a time written as {form}" if form else "a time such as 2031-05-20 or 2031-05-20 14:30"
        raise InputError(
            f"{source.name}, {source.row(wrong[0])}, column {column!r}: {found[codes[wrong[0]]][:40]!r} came and {wanted} was "
            f"wanted{in_all(len(wrong), 'cell')}; declare time_format, or mend the file"
        )
    return result


def passes(source: Source, column: str, rule: Any) -> Mask:
    """Return which cells pass the one test of a condition or label; a missing cell never does.

    Raises:
        InputError: the test compares with a number, and a cell holds none.
    """
    cells = source.frame[column]
    if rule.in_ is not None:
        return matches(cells, rule.in_)
    if getattr(rule, "not_in", None) is not None:
        return ~matches(cells, rule.not_in) & ~empty(cells)
    for key, compare in _COMPARE.items():
        limit = getattr(rule, key)
        if limit is not None:
            result: Mask = compare(numbers(source, column), limit)  # NaN is on no side
            return result
    raise AssertionError("the language asks for one test")


def typed(source: Source, column: str, *, kind: str | None) -> "pd.Series[Any]":
    """Return a column as its values: float64 where it is numeric, otherwise texts with None where missing.

    Args:
        source: the table.
        column: of it.
        kind: the declared type. Without one, a column is numeric where every cell that is not missing is a number
            without a leading zero; one without any cell is numeric too.

    Raises:
        InputError: a column is declared as numeric and a cell holds no number.
    """
    cells = source.frame[column]
    if cells.dtype != object:
        return cells
    codes, found = _per_text(cells)
    plain = all(not text or (NUMBER.fullmatch(text) and not _CODE.fullmatch(text)) for text in found)
    if kind == "numeric" or (kind is None and plain):
        return pd.Series(numbers(source, column), index=cells.index)
    return pd.Series(np.array([*found, None], dtype=object)[codes], index=cells.index, dtype=object)
