"""A first schema from a table itself: types, levels, typical numbers; what looks like an identifier, a date or free text is refused by name."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metamedica import cells
from metamedica.errors import InputError
from metamedica.modalities.tables.columns import measured_numbers, without_codes
from metamedica.modalities.tables.schema import BOOLEANS, Column, Schema, boolean_levels, plain

MOST_LEVELS = 60
FEWEST_OF_A_LEVEL = 3
"""A level with fewer cases is read as one that was never seen, unless the column has no more than ten levels."""
_FEW_LEVELS = 10
_DISTINCT = 0.5
"""A column of texts with a different one in more than this share of its rows is no category."""
_TYPICAL = (0.05, 0.95)
_SKEWED = 2.0


def inferred(
    frame: pd.DataFrame, *, given: Schema | None = None, own: bool = False, source: str = "the table"
) -> Schema:
    """Return a schema of every column of a frame.

    Two levels are a boolean where they say so (no/yes, 0/1, ...), else a category; numbers are numbers, on a log scale where they are all above 0 and
    strongly skewed. Missing codes, units and ranges are not guessed. A column without any value is a number that is always missing.

    Args:
        frame: cells of any type.
        given: columns that are declared already, taken as they are (where `typical` is left out it is filled in).
        own: whether the columns that are not given belong to the task at hand only.
        source: named in errors.

    Raises:
        InputError: a column that is neither numbers nor levels; its name and what it looks like are said.
    """
    told = given.columns if given is not None else {}
    columns = {
        name: told.get(name) or _column(frame[name], name, own=own, source=source) for name in map(str, frame.columns)
    }
    columns = {**columns, **{name: column for name, column in told.items() if name not in columns}}
    return Schema({name: _completed(column, frame, name, source=source) for name, column in columns.items()})


def _column(cells_: "pd.Series[Any]", name: str, *, own: bool, source: str) -> Column:
    values = cells.typed_numbers(cells_)
    if values is not None and len(np.unique(values[~np.isnan(values)])) != 2:
        return Column(type="numeric", own=own)
    texts = cells.texts(cells_)
    measured = int((texts.codes >= 0).sum())
    levels = boolean_levels(texts.texts)
    if levels is not None:
        return Column(type="boolean", levels=levels, own=own)
    numeric = np.array([cells.NUMBER.fullmatch(text) is not None for text in texts.texts], dtype=bool)
    if numeric.all():
        return Column(type="numeric", own=own)
    counts = np.bincount(texts.codes[texts.codes >= 0], minlength=len(texts.texts))
    if counts[numeric].sum() > 0.9 * measured:
        strange = int(np.flatnonzero(np.isin(texts.codes, np.flatnonzero(~numeric)))[0])
        raise InputError(
            f"{source}, column {name!r}: {int(counts[numeric].sum()):,} of {measured:,} cells are numbers and the others are not, "
            f"the first of them in {_place(cells_, strange)}; "
            "mend them, or name the text that stands for a missing value in a schema (missing)"
        )
    if len(texts.texts) > max(_FEW_LEVELS, _DISTINCT * measured):
        looks = "dates" if _dates(texts.texts) else "identifiers or free text"
        do = "give the time since some event as a number" if looks == "dates" else "leave the column out"
        raise InputError(
            f"{source}, column {name!r}: {len(texts.texts):,} different texts in {measured:,} cells look like {looks}; "
            f"{do}, or declare its levels in a schema"
        )
    if _dates(texts.texts):
        raise InputError(
            f"{source}, column {name!r} holds dates; give the time since some event as a number, or leave the column out"
        )
    return Column(type="categorical", levels=_usual(texts), own=own)


def _place(column: "pd.Series[Any]", position: int) -> str:
    """Return where a cell stands: its row in the file where the frame knows it, the number of the case otherwise."""
    plain = isinstance(column.index, pd.RangeIndex) and column.index.start == 0
    return f"case {position + 1}" if plain else f"row {column.index[position]}"


def _usual(texts: cells.Texts) -> tuple[str, ...]:
    """Return the levels of a category: all of few, of many those with three cases or more, at most sixty."""
    counts = np.bincount(texts.codes[texts.codes >= 0], minlength=len(texts.texts))
    few = len(counts) <= _FEW_LEVELS
    kept = [
        (-int(count), text)
        for text, count in zip(texts.texts, counts, strict=True)
        if few or count >= FEWEST_OF_A_LEVEL
    ]
    return tuple(sorted(text for _, text in sorted(kept)[:MOST_LEVELS]))


def _dates(texts: list[str]) -> bool:
    some = texts[:50]
    if not all(any(sign in text for sign in "-/.:") and sum(char.isdigit() for char in text) >= 4 for text in some):
        return False
    return bool(pd.to_datetime(pd.Series(some), errors="coerce", format="mixed").notna().all())


def _completed(column: Column, frame: pd.DataFrame, name: str, *, source: str) -> Column:
    """Return a column with the levels or the typical numbers that its declaration left out.

    Raises:
        InputError: a boolean whose cells are not two levels of which one says yes.
    """
    if name in frame.columns and not column.levels and column.type in ("categorical", "boolean"):
        texts = without_codes(cells.texts(frame[name]), column.missing)
        if column.type == "categorical":
            return column.model_copy(update={"levels": _usual(texts)})
        levels = boolean_levels(texts.texts) or _one_sided(texts.texts)
        if levels is None:
            raise InputError(
                f"{source}, column {name!r} is declared boolean and it is not clear which of its {len(texts.texts)} levels means yes; "
                "name both, yes last"
            )
        return column.model_copy(update={"levels": levels})
    return _with_typical(column, frame, name)


def _one_sided(texts: list[str]) -> tuple[str, str] | None:
    """Return the levels of a boolean that shows one of them, or none."""
    for pair in BOOLEANS:
        if {plain(text) for text in texts} <= set(pair):
            return pair
    return None


def _with_typical(column: Column, frame: pd.DataFrame, name: str) -> Column:
    if column.type != "numeric" or column.typical is not None or name not in frame.columns:
        return column
    values, _ = measured_numbers(frame[name], column)
    values = values[np.isfinite(values)]
    if column.range is not None:
        values = values[(values >= column.range[0]) & (values <= column.range[1])]
    if len(values) == 0:
        return column
    low, high = (float(v) for v in np.quantile(values, _TYPICAL))
    if not low < high:
        low, high = float(values.min()), float(values.max())
    if not low < high:
        low, high = low - 1.0, low + 1.0
    log = low > 0 and values.min() > 0 and _skewed(values)
    return column.model_copy(update={"typical": (_short(low), _short(high)), "scale": "log" if log else column.scale})


def _skewed(values: NDArray[np.float64]) -> bool:
    """Whether the numbers are strongly skewed to the right, and much less so after the logarithm."""
    plain, logged = (pd.Series(each).skew() for each in (values, np.log(values)))
    return bool(plain > _SKEWED and abs(logged) < plain / 2)  # type: ignore[operator,arg-type]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
