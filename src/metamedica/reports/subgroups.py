"""Which subgroup of the declared sensitive columns each case is of: levels as they stand, numbers cut at bounds that are said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metamedica import cells
from metamedica.errors import InputError
from metamedica.modalities.tables.schema import Schema
from metamedica.types import Modality

MISSING = "not recorded"
MOST_GROUPS = 12
DECLARE = "mark the column with sensitive: true in the schema or the declaration, or name it (--sensitive sex,age on the command line)"


@dataclass(frozen=True)
class Division:
    """One sensitive column, divided.

    Args:
        column: its name.
        names: of the subgroups, in order.
        place: of each case among them, `[cases]`.
        how: how numbers were cut, in words; empty for levels.
    """

    column: str
    names: tuple[str, ...]
    place: NDArray[np.int64]
    how: str = ""


def sensitive_columns(modality: Modality, named: Sequence[str] | None = None) -> list[str]:
    """Return the columns by which results are told apart: those that are named, else those that the schema declares.

    Raises:
        InputError: none is named and none declared.
    """
    if named:
        return list(named)
    declared = declared_sensitive(modality)
    if not declared:
        raise InputError(f"no sensitive column is declared, so fairness cannot be audited; {DECLARE}")
    return declared


def declared_sensitive(modality: Modality) -> list[str]:
    """Return the columns that the modality's schema declares sensitive; none where it has no schema."""
    told = modality.settings().get("schema")
    return Schema.of(told).sensitive if told else []


def divided(
    cases: pd.DataFrame, columns: Sequence[str], *, cuts: Mapping[str, Sequence[float | int]] | None = None
) -> list[Division]:
    """Return each sensitive column with its subgroups.

    Args:
        cases: a row a case.
        columns: the sensitive ones.
        cuts: column -> the bounds of its subgroups, rising; a case at a bound is of the upper one. A numeric column without bounds is cut at
            its tertiles.

    Raises:
        InputError: the cases lack a column; bounds for another column, for texts, or not rising; too many levels.
    """
    cuts = dict(cuts or {})
    odd = [name for name in cuts if name not in columns]
    if odd:
        raise InputError(f"bounds came for {odd[0]!r}, which is not among the sensitive columns {', '.join(columns)}")
    absent = [name for name in columns if name not in cases.columns]
    if absent:
        raise InputError(
            f"the cases have no sensitive column {absent[0]!r}; they have: {', '.join(map(str, cases.columns[:20]))}"
        )
    return [_divided(name, cases[name], cuts.get(name)) for name in columns]


def _divided(name: str, column: "pd.Series[Any]", bounds: Sequence[float | int] | None) -> Division:
    read = cells.texts(column, missing=cells.MISSING)
    values = cells.numbers(read)
    there = read.codes >= 0
    numeric = bool(there.any()) and not np.isinf(values[there]).any()
    if bounds is not None and not numeric:
        raise InputError(f"bounds came for the sensitive column {name!r}, which does not hold numbers; leave them out")
    if numeric and (bounds is not None or len(np.unique(values[there])) > 3):
        return _cut(name, values, there, bounds)
    levels = sorted({read.texts[code] for code in read.codes[there]})
    if len(levels) > MOST_GROUPS:
        raise InputError(
            f"the sensitive column {name!r} has {len(levels)} levels, more than the {MOST_GROUPS} that can be told apart; join some in the table"
        )
    codes = [levels.index(read.texts[code]) if code >= 0 else len(levels) for code in read.codes]
    return Division(name, (*levels, *(() if there.all() else (MISSING,))), np.array(codes, dtype=np.int64))


def _cut(
    name: str, values: NDArray[np.float64], there: NDArray[np.bool_], bounds: Sequence[float | int] | None
) -> Division:
    at = np.quantile(values[there], [1 / 3, 2 / 3]) if bounds is None else np.asarray(bounds, dtype=np.float64)
    if bounds is not None and (len(at) == 0 or not np.isfinite(at).all() or (np.diff(at) <= 0).any()):
        raise InputError(f"the bounds of {name!r} are {list(bounds)}; give rising numbers, such as 50,65")
    at = np.unique(at)
    shown = [f"{value:.4g}" for value in at]
    names = (
        f"below {shown[0]}",
        *(f"{low} to below {high}" for low, high in pairwise(shown)),
        f"{shown[-1]} and above",
    )
    place = np.searchsorted(at, np.nan_to_num(values), side="right")
    place[~there] = len(names)
    how = f"cut at {' and '.join(shown)}, " + (
        "as declared" if bounds is not None else "the tertiles of the judged cases"
    )
    return Division(name, (*names, *(() if there.all() else (MISSING,))), place.astype(np.int64), how)
