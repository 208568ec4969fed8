"""Cells of a table -> numbers by its schema, with a remark on every cell that is not as declared. A column at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metamedica import cells
from metamedica.modalities.tables.schema import Column, Schema, plain
from metamedica.modalities.tables.units import other_unit

_MOST_TOLD = 20
"""Cells of one column that are remarked one by one; what is more is counted."""


@dataclass(frozen=True)
class Remark:
    """A cell (or, without a row, a column) that is not as the schema declares. What stands in the cell is not told: it is a patient's.

    Args:
        row: position of the case; None for the column as a whole.
        column: its name.
        reason: what is wrong with it and how it was read.
        unusable: whether the case cannot be used because of it.
        cells: that came and were read as missing, or as a level that was never seen.
    """

    row: int | None
    column: str
    reason: str
    unusable: bool = False
    cells: int = 0


@dataclass
class Read:
    """Columns as numbers.

    Args:
        values: name -> float64 `[cases]`: the number; of an ordinal or a boolean, the position of its level; of a category, the position of its
            level, -1 for a level that is not declared; NaN where missing.
        remarks: in the order of the columns.
    """

    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)


def read_columns(frame: pd.DataFrame, schema: Schema) -> Read:
    """Return the schema's columns of a frame as numbers; a column that the frame lacks is missing throughout, and remarked.

    Args:
        frame: cells of any type, one row a case.
        schema: of the columns.
    """
    read = Read()
    for name, column in schema.columns.items():
        if name not in frame.columns:
            read.values[name] = np.full(len(frame), np.nan)
            read.remarks.append(Remark(None, name, "the column is not there, and is read as missing throughout"))
            continue
        if column.type == "numeric":
            read.values[name] = _numbers(name, column, frame[name], read.remarks)
        else:
            texts = without_codes(cells.texts(frame[name]), column.missing)
            read.values[name] = _levels(name, column, texts, read.remarks)
        if len(frame) and np.isnan(read.values[name]).all() and not any(r.column == name for r in read.remarks):
            read.remarks.append(Remark(None, name, "the column is empty, and is read as missing throughout"))
    return read


def without_codes(texts: cells.Texts, missing: Sequence[str]) -> cells.Texts:
    """Return the texts with declared codes read as missing."""
    if not missing:
        return texts
    words = {code.lower() for code in missing}
    numbers = {float(code) for code in missing if cells.NUMBER.fullmatch(code)}
    gone = [
        text.lower() in words or (bool(numbers) and cells.NUMBER.fullmatch(text) is not None and float(text) in numbers)
        for text in texts.texts
    ]
    place: dict[str, int] = {}
    kept = [-1 if out else place.setdefault(text, len(place)) for text, out in zip(texts.texts, gone, strict=True)]
    return cells.Texts(np.array([*kept, -1], dtype=np.int64)[texts.codes], list(place))


def measured_numbers(cells_of: "pd.Series[Any]", column: Column) -> tuple[NDArray[np.float64], cells.Texts | None]:
    """Return a column's numbers, NaN where missing or a declared code, infinity where no number; and its texts, where its type is not numeric."""
    values = cells.typed_numbers(cells_of)
    if values is None:
        texts = without_codes(cells.texts(cells_of), column.missing)
        return cells.numbers(texts), texts
    codes = [float(code) for code in column.missing if cells.NUMBER.fullmatch(code)]
    return (np.where(np.isin(values, codes), np.nan, values) if codes else values.copy()), None


def _numbers(name: str, column: Column, cells_of: "pd.Series[Any]", remarks: list[Remark]) -> NDArray[np.float64]:
    values, texts = measured_numbers(cells_of, column)
    for row in np.flatnonzero(np.isinf(values)):
        reason = f"a text came and a number was wanted{f' in {column.unit}' if column.unit else ''}{_hint(texts.of(row)) if texts else ''}"
        remarks.append(Remark(int(row), name, reason, unusable=True))
    values[np.isinf(values)] = np.nan
    if column.range is not None:
        low, high = column.range
        with np.errstate(invalid="ignore"):
            beyond = np.flatnonzero((values < low) | (values > high))
        suspect = other_unit(name, values, column)
        if suspect is not None:
            remarks.append(Remark(None, name, suspect))
        reason = f"outside {low:g} to {high:g}{f' {column.unit}' if column.unit else ''}, and read as missing"
        remarks += _remarks(beyond, name, reason, most=_MOST_TOLD if suspect is None else 1)
        values[beyond] = np.nan
    if column.scale == "log":
        with np.errstate(invalid="ignore"):
            low_rows = np.flatnonzero(values <= 0)
        remarks += _remarks(low_rows, name, "not above 0 on a log scale, and read as missing")
        values[low_rows] = np.nan
    return values


def _levels(name: str, column: Column, texts: cells.Texts, remarks: list[Remark]) -> NDArray[np.float64]:
    place = {plain(level): float(at) for at, level in enumerate(column.levels)}
    found = [place.get(plain(text)) for text in texts.texts]
    strange = -1.0 if column.type == "categorical" else np.nan
    values = np.array([*(strange if each is None else each for each in found), np.nan])[texts.codes]
    unseen = [code for code, each in enumerate(found) if each is None]
    if unseen:
        how = "as a level that was never seen" if column.type == "categorical" else "as missing"
        declared = ", ".join(column.levels[:6]) + (", ..." if len(column.levels) > 6 else "")
        rows = np.flatnonzero(np.isin(texts.codes, unseen))
        remarks += _remarks(rows, name, f"not one of the levels {declared}, and read {how}")
    return values


def _remarks(rows: NDArray[np.int64], name: str, reason: str, *, most: int = _MOST_TOLD) -> list[Remark]:
    """Return a remark a row, and one for the rest where they are more than `most`."""
    told = [Remark(int(row), name, reason, cells=1) for row in rows[:most]]
    rest = len(rows) - len(told)
    more = f"{rest:,} more cell{'' if rest == 1 else 's'} {reason}"
    return [*told, Remark(None, name, more, cells=rest)] if rest else told


def _hint(text: str) -> str:
    if "," in text:
        return " (a decimal point and no thousands separator)"
    return " (a bound is no value: leave it out)" if text[:1] in "<>=~" else ""


def scaled(values: NDArray[np.float64], column: Column) -> NDArray[np.float64]:
    """Return a column's numbers on its scale: nine of ten typical ones lie within about +-1.6; ordinals by level, booleans -1 and 1.

    Numbers are held within +-8, so that one odd cell cannot decide a prediction.
    """
    if column.type == "boolean":
        return 2 * values - 1
    if column.type == "ordinal":
        last = max(len(column.levels) - 1, 1)
        return 3 * (values / last - 0.5)
    low, high = column.typical or column.range or (-1.645, 1.645)
    if column.scale == "log":
        values, low, high = np.log(values), float(np.log(low)), float(np.log(high))
    return np.clip((values - (low + high) / 2) / ((high - low) / 3.29), -8, 8)


def plain_values(read: Read, schema: Schema) -> pd.DataFrame:
    """Return the columns as a person would write them: numbers, and levels by name; None where missing."""
    told: dict[str, NDArray[np.object_]] = {}
    for name, column in schema.columns.items():
        values = read.values[name]
        if column.type == "numeric":
            told[name] = values.astype(object)
            told[name][np.isnan(values)] = None
        else:
            names = np.array([*column.levels, "(other)", None], dtype=object)
            told[name] = names[
                np.where(np.isnan(values), len(names) - 1, np.where(values < 0, len(names) - 2, values)).astype(int)
            ]
    return pd.DataFrame(told)
