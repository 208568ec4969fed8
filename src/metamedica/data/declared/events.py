"""Many events a case -> one column a question: the last value, the highest, how many, ... in a window that ends when the prediction is made."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metamedica.data.declared.cells import blanked, check_columns, keys, numbers, times, typed
from metamedica.data.declared.joins import read
from metamedica.data.declared.language import Events, Span, Take
from metamedica.data.measurements import Source
from metamedica.errors import InputError

_YEAR = pd.Timedelta(days=365.25)
_MOST_PAIRS = 50_000_000
_VALUED = {"last", "first", "min", "max", "mean"}
_ORDERED = {"last", "first", "code", "time", "years_since"}


def read_events(spec: Events, *, folder: Path, where: str, form: str | None, limit_bytes: int) -> tuple[Source, int]:
    """Return a declared table of events with the columns `key`, `time`, `code` and `value`, and how many had no time.

    Events without a time are left out where the table has times.

    Raises:
        InputError: a time cannot be read, a code is in no event, a key for a column is lacking, or the path leaves the folder.
        FileFormatError: the file cannot be read or lacks a column.
    """
    assert spec.table is not None
    source = read(folder, spec.table, where=where, missing=spec.missing, only=spec.where, limit_bytes=limit_bytes)
    named = {"time": spec.time, "code": spec.code, "value": spec.value}
    check_columns(source.frame, [spec.keys[1], *(name for name in named.values() if name)], of=spec.table)
    for name, take in spec.take.items():
        for column, needed in (
            ("time", take.how in _ORDERED or take.window or take.future),
            ("code", take.codes or take.how == "code"),
            ("value", take.how in _VALUED),
        ):
            if needed and named[column] is None:
                raise InputError(f"{where}, events of {spec.table}: {name!r} needs the key {column}; name its column")
    frame = pd.DataFrame({"key": keys(source.frame[spec.keys[1]])})
    frame["time"] = pd.NaT if spec.time is None else times(source, spec.time, form=form)
    frame["code"] = "" if spec.code is None else keys(source.frame[spec.code])
    frame["value"] = "" if spec.value is None else source.frame[spec.value]
    for name, take in spec.take.items():
        if take.codes and not of_codes(frame["code"], take.codes).notna().any():
            codes = " or ".join(map(repr, take.codes))
            raise InputError(f"{where} takes {name!r} of {codes}, which no event of {spec.table} has; check the codes")
    timeless = frame["time"].isna() & (spec.time is not None)
    return Source(frame[~timeless], spec.table), int(timeless.sum())


def add_columns(cases: Source, spec: Events, events: Source, *, where: str) -> Source:
    """Return the cases with one column for each `take`.

    Args:
        cases: a row a case; its column `index_time`, where there is one, ends every window.
        spec: what to take.
        events: columns `key`, `time` (NaT: known all along), `code` and `value`.
        where: what the messages call the declaration.

    Raises:
        InputError: a column is there already, a value is no number where one is needed, or there are too many events.
    """
    check_columns(cases.frame, [spec.keys[0]], of=cases.name)
    case_keys = pd.DataFrame({"key": keys(cases.frame[spec.keys[0]]), "case": np.arange(len(cases.frame))})
    if "index_time" in cases.frame:
        case_keys["index_time"] = cases.frame["index_time"].to_numpy()
    made: dict[str, Any] = {}
    for name, take in spec.take.items():
        if name in cases.frame.columns:
            raise InputError(f"{where} takes a column {name!r} of events that is there already; give it another name")
        made[name] = _column(take, events, case_keys)
    columns = pd.DataFrame(made).set_axis(cases.frame.index)
    return Source(pd.concat([cases.frame, columns], axis=1), cases.name)


def of_codes(code: "pd.Series[Any]", patterns: tuple[str, ...]) -> "pd.Series[Any]":
    """Return for each event the beginning that its code shares with a pattern, None where none fits.

    A pattern that ends in `*` fits every code that begins so; any other fits the same code only.
    """
    codes, found = pd.factorize(code, use_na_sentinel=True)
    stems = [_stem(str(text), patterns) for text in found]
    return pd.Series(np.array([*stems, None], dtype=object)[codes], index=code.index, dtype=object)


def _stem(code: str, patterns: tuple[str, ...]) -> str | None:
    for pattern in patterns:
        if pattern == code or (pattern.endswith("*") and code.startswith(pattern[:-1])):
            return pattern.removesuffix("*")
    return None


def _column(take: Take, events: Source, case_keys: pd.DataFrame) -> Any:
    frame = events.frame
    stem = of_codes(frame["code"], take.codes) if take.codes else pd.Series("", index=frame.index)
    frame = frame.assign(stem=stem)[stem.notna().to_numpy()]
    if take.how in _VALUED:
        frame = frame.assign(value=blanked(frame["value"], take.missing))
        frame = frame[frame["value"].notna() & (frame["value"] != "")]
        if take.how in ("min", "max", "mean"):
            frame = frame.assign(value=numbers(Source(frame, events.name), "value"))
        else:
            frame = frame.assign(value=typed(Source(frame, events.name), "value", kind=take.schema_.get("type")))
    pairs = int(case_keys["key"].map(frame["key"].value_counts()).sum())
    if pairs > _MOST_PAIRS:
        raise InputError(
            f"{events.name} would be compared with the cases in {pairs:,} pairs and {_MOST_PAIRS:,} are the most; name fewer codes"
        )
    joined = case_keys.merge(frame.dropna(subset=["key"]), on="key")
    joined = joined[_in_window(joined, take)].sort_values("time", kind="stable", na_position="first")
    return _answer(take, joined.groupby("case", sort=False), joined, len(case_keys))


def _in_window(joined: pd.DataFrame, take: Take) -> "pd.Series[bool]":
    """Return which events count: those up to the index time, or in `future` those after it."""
    if "index_time" not in joined:
        return pd.Series(True, index=joined.index)
    index, time = joined["index_time"], joined["time"]
    if take.future is not None:
        after = time > index
        return after if take.future == "any" else after & (time <= index + _delta(take.future))
    if take.window is not None:
        return (time <= index) & (time >= index - _delta(take.window))
    return (time <= index) | time.isna()


def _delta(span: Span | str) -> pd.Timedelta:
    assert isinstance(span, Span)
    return pd.Timedelta(hours=span.total_hours)


def _answer(take: Take, grouped: Any, joined: pd.DataFrame, n: int) -> Any:
    every = np.arange(n)
    if take.how in ("count", "any"):
        count = grouped.size().reindex(every, fill_value=0).astype(float)
        return count if take.how == "count" else (count > 0).astype(float)
    if take.how in ("min", "max", "mean"):
        return grouped["value"].agg(take.how).reindex(every)
    row = grouped.head(1) if take.how in ("first", "time") else grouped.tail(1)
    row = row.set_index("case")
    if take.how == "code":
        cut = [code[len(stem) :] for code, stem in zip(row["code"], row["stem"], strict=True)]
        found = pd.Series(cut, index=row.index, dtype=object)
        return found.reindex(every, fill_value="")
    if take.how == "time":
        return row["time"].reindex(every)
    if take.how == "years_since":
        return ((row["index_time"] - row["time"]) / _YEAR).reindex(every)
    found = row["value"].reindex(every)
    return found.astype(object).where(found.notna(), "") if found.dtype == object else found
