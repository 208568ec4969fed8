"""Rules -> rows left out and labels. A label that is not known is never invented: its row is left out and counted, or all is refused."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from metamedica.data import labels as texts_of_labels
from metamedica.data.declared.cells import Mask, blanked, check_columns, empty, keys, matches, numbers, passes, times
from metamedica.data.declared.language import Declaration, Exclusion, Label
from metamedica.data.measurements import Source
from metamedica.errors import InputError, TaskError

_SHOWN = 5


def excluded(cases: Source, rule: Exclusion, *, form: str | None) -> Mask:
    """Return which cases a declared exclusion leaves out.

    Raises:
        FileFormatError: there is no such column.
        InputError: a cell is not what the test compares with.
    """
    check_columns(cases.frame, [rule.column], of=cases.name)
    if rule.not_after_index:
        found: Mask = (times(cases, rule.column, form=form) <= cases.frame["index_time"]).to_numpy(dtype=bool)
        return found
    return passes(cases, rule.column, rule)


class Labels(NamedTuple):
    """Labels of a task.

    Args:
        value: `[cases]`: 0.0 and 1.0, or numbers of a regression, or texts of classes; NaN or None where not known.
        known: `[cases]`: whether there is a label.
        late: `[cases]`: whether the event came before the index time, so that there is nothing to predict.
    """

    value: "pd.Series[Any]"
    known: Mask
    late: Mask


def labelled(cases: Source, rule: Label, spec: Declaration) -> Labels:
    """Return the labels that a rule gives.

    Raises:
        FileFormatError: there is no such column.
        InputError: a cell is not what the rule compares with.
        TaskError: a column without a rule has more than two values for a binary task.
    """
    check_columns(cases.frame, rule.columns, of=cases.name)
    if rule.missing:
        columns = {name: blanked(cases.frame[name], rule.missing) for name in rule.columns}
        cases = Source(cases.frame.assign(**columns), cases.name)
    never = np.zeros(len(cases.frame), dtype=bool)
    if rule.event is not None:
        return _followed(cases, rule, never)
    assert rule.column is not None
    if rule.within is not None:
        return _within(cases, rule, form=spec.time_format)
    known = ~empty(cases.frame[rule.column])
    if spec.kind == "regression":
        return Labels(pd.Series(numbers(cases, rule.column), index=cases.frame.index), known, never)
    if spec.kind == "multiclass":
        return Labels(keys(cases.frame[rule.column]), known, never)
    if rule.positive is not None or all(getattr(rule, key) is None for key in rule.tests):
        hit = _one_of_two(cases, rule)
    else:
        hit = passes(cases, rule.column, rule)
    return Labels(_binary(cases, hit, known), known, never)


def _binary(cases: Source, hit: Mask, known: Mask) -> "pd.Series[Any]":
    return pd.Series(np.where(known, hit.astype(float), np.nan), index=cases.frame.index)


def _one_of_two(cases: Source, rule: Label) -> Mask:
    """Return which cells hold the positive one of a column's two values."""
    assert rule.column is not None
    cells = cases.frame[rule.column]
    found = sorted(keys(cells).dropna().unique())
    shown = ", ".join(map(repr, found[:_SHOWN])) + (", ..." if len(found) > _SHOWN else "")
    if len(found) > 2:
        raise TaskError(
            f"{cases.name}, column {rule.column!r} has {len(found):,} values ({shown}) and a binary label has two; say by in, "
            f"above, at_least, below or at_most which are positive, or declare some under missing"
        )
    if rule.positive is not None:
        hit = matches(cells, [rule.positive])
        if not hit.any() and len(found) > 1:
            raise TaskError(f"{cases.name}, column {rule.column!r} has no value {rule.positive!r}; it has {shown}")
        return hit
    lower = {text.lower() for text in found}
    for negative, positive in texts_of_labels.NEGATIVE_POSITIVE:
        if lower <= {negative, positive}:
            return np.asarray(keys(cells).str.lower() == positive, dtype=bool)
    raise TaskError(f"{cases.name}, column {rule.column!r} has the values {shown}; declare which one is positive")


def _within(cases: Source, rule: Label, *, form: str | None) -> Labels:
    assert rule.column is not None
    assert rule.within is not None
    event, index = times(cases, rule.column, form=form), cases.frame["index_time"]
    end = index + pd.Timedelta(hours=rule.within.span.total_hours)
    came = event.notna().to_numpy(dtype=bool)
    late = (event <= index).to_numpy(dtype=bool)
    hit = (event <= end).to_numpy(dtype=bool) & ~late
    known = came.copy()
    if rule.within.until is None:
        known[:] = True
    else:
        known |= (times(cases, rule.within.until, form=form) >= end).to_numpy(dtype=bool)
    return Labels(_binary(cases, hit, known), known, late)


def _followed(cases: Source, rule: Label, never: Mask) -> Labels:
    assert rule.event is not None
    duration = numbers(cases, rule.event.duration)
    status = ~empty(cases.frame[rule.event.column])
    came = passes(cases, rule.event.column, rule.event)
    hit = came & (duration <= rule.event.horizon)
    known = status & ~np.isnan(duration) & (hit | (duration >= rule.event.horizon))
    return Labels(_binary(cases, hit, known), known, never)


def refuse_unknown(cases: Source, rule: Label, known: Mask) -> None:
    """Refuse cases without a label.

    Raises:
        InputError: with the first such row, and how many there are.
    """
    first = int(np.flatnonzero(~known)[0])
    what = (
        f"column {rule.column!r}"
        if rule.event is None
        else f"columns {rule.event.column!r} and {rule.event.duration!r}"
    )
    raise InputError(
        f"{cases.name}, {cases.row(first)}, {what}: the label is not known ({(~known).sum():,} such cases); declare "
        f"absent: drop to leave them out, or mend the file"
    )
