"""Tables of measurements -> tasks over distinct, featurised cases. A row a measurement, or a column a task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metamedica import registry
from metamedica.cells import MISSING, numbers, untold
from metamedica.data import labels, measurements, rows
from metamedica.data.cache import featurised
from metamedica.data.measurements import Duplicates, Source, Values, in_all
from metamedica.data.roles import Columns
from metamedica.data.tables import read_table
from metamedica.data.task import IntArray, Task
from metamedica.errors import CaseError, FileFormatError, InputError, TaskError
from metamedica.types import Features, MetaSplit, Modality, PreparedCases, Progress, TaskKind

_SHOWN = 3


@dataclass(frozen=True)
class ReadTasks:
    """The tasks of a table, the distinct cases they name, and what was left out."""

    canonical: list[str]
    features: Features
    tasks: list[Task]
    split: dict[str, MetaSplit] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def read_tasks(
    table: str | Path | pd.DataFrame,
    columns: Columns,
    *,
    modality: str,
    kind: TaskKind,
    unit: str | None = None,
    positive: str | None = None,
    schema: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    name: str | None = None,
    skip_invalid: bool = False,
    duplicates: Duplicates = "error",
    n_jobs: int | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> ReadTasks:
    """Return the tasks of a table; see `TaskCollection.from_table`."""
    if duplicates not in ("error", "mean", "median"):
        raise InputError(f"got duplicates={duplicates!r}; choose error, mean or median")
    if kind not in ("binary", "multiclass", "regression"):
        raise InputError(f"got kind={kind!r}; choose binary, multiclass or regression")
    frame = table if isinstance(table, pd.DataFrame) else read_table(table)
    name_of_table = str(frame.attrs.get("source", "the table"))
    source = Source(frame.set_axis([str(column) for column in frame.columns], axis=1), name_of_table)
    _check(source, columns)
    left_out: dict[str, int] = {}
    reader = registry.modality(modality, {**(settings or {}), **({} if schema is None else {"schema": schema})})
    values = _measured(
        source, columns, kind, name or columns.target or "", left_out, shown=repr if reader.distinct else untold
    )
    remarks: list[str] = []
    if reader.distinct:
        values, row, prepared = _cases(
            source, columns.case, values, reader, skip_invalid, left_out, n_jobs=n_jobs, cache=cache, progress=progress
        )
    else:
        reader = rows.described(source, columns, values, reader)
        values, row, prepared, remarks = rows.cases(
            source, columns, values, reader, skip_invalid, left_out, progress=progress
        )
    classes: list[tuple[str, ...]] | None = None
    if kind != "regression":
        classes, values = measurements.classes_of_tasks(source, values, kind, positive)
    if kind == "binary" and not reader.distinct:
        rows.check_leaks(source, columns, values, reader)
    groups = None if columns.group is None else measurements.groups(source, columns.group, values, row)
    values, row = measurements.merged(source, ", ".join(columns.of_case), values, row, duplicates, classes, left_out)
    family = None if columns.family is None else measurements.per_task(source, columns.family, values)
    about = None if columns.about is None else measurements.per_task(source, columns.about, values)
    split = {} if columns.split is None else measurements.split(source, columns.split, values)
    least = 2 if reader.distinct else 1  # a hospital where nobody died says how rare deaths are
    tasks = measurements.tasks(
        values, row, kind, unit, classes, groups, family, left_out, about=about, least_classes=least
    )
    single = [] if kind == "regression" else [task.name for task in tasks if (task.targets == task.targets[0]).all()]
    if len(single) == len(tasks):
        raise TaskError(f"{source.name} has no task with cases of two classes; give cases of both")
    if single:
        count = f"{len(single):,} tasks show" if len(single) > 1 else "1 task shows"
        remarks.append(
            f"{count} one class only ({', '.join(map(repr, single[:_SHOWN]))}{', ...' if len(single) > _SHOWN else ''}), which tells no "
            "more than how rare the other is"
        )
    kept = {task.name for task in tasks}
    split = {name: side for name, side in split.items() if name in kept}
    return ReadTasks(prepared.canonical, prepared.features, tasks, split, left_out, reader.settings(), remarks)


def _check(source: Source, columns: Columns) -> None:
    held = source.frame.columns.tolist()
    for name in columns.named():
        count = held.count(name)
        if count != 1:
            what = "no column" if count == 0 else f"{count} columns called"
            raise FileFormatError(f"{source.name} has {what} {name!r}; name one of: {', '.join(held[:20])}")
    if not len(source.frame):
        raise FileFormatError(f"{source.name} has no row; give at least one")


def _measured(
    source: Source,
    columns: Columns,
    kind: TaskKind,
    name: str,
    left_out: dict[str, int],
    *,
    shown: Callable[[str], str],
) -> Values:
    """Return the measured values; missing ones are counted. Errors show a cell as `shown` gives it."""
    if columns.targets is None:
        assert columns.target is not None
        value, texts = _column(source, columns.target, kind, {}, shown=shown)
        task, names = np.zeros(len(value), np.int64), [name]
        if columns.task is not None:
            task, names = source.texts(columns.task)
        here = ~np.isnan(value)
        left_out["missing targets"] = int((~here).sum())
        left_out["missing task names"] = int((here & (task < 0)).sum())
        at = np.flatnonzero(here & (task >= 0))
        values = Values(at, task[at], value[at], names, texts)
    else:
        known: dict[str, int] = {}
        parts = []
        for number, column in enumerate(columns.targets):
            value, texts = _column(source, column, kind, known, shown=shown)
            at = np.flatnonzero(~np.isnan(value))
            parts.append((at, np.full(len(at), number, np.int64), value[at]))
        at, task, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        values = Values(at, task, value, list(columns.targets), list(known))
        left_out["not measured"] = len(source.frame) * len(columns.targets) - len(at)
        left_out["tasks without a value"] = len(columns.targets) - len(np.unique(task))
    if not len(values.at):
        raise TaskError(f"{source.name} has no measured target; fill the target cells, or name another column")
    return values


def _column(
    source: Source, column: str, kind: TaskKind, known: dict[str, int], *, shown: Callable[[str], str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Return a column of targets as numbers (NaN where missing), or as codes of labels, and the labels so far."""
    cells = source.frame[column]
    if kind == "regression":
        plain = pd.api.types.is_numeric_dtype(cells.dtype) and not pd.api.types.is_bool_dtype(cells.dtype)
        texts = None if plain else source.texts(column, missing=MISSING)
        value = cells.to_numpy(np.float64, na_value=np.nan) if texts is None else numbers(texts)
        wrong = np.flatnonzero(np.isinf(value))
        if len(wrong):
            at = int(wrong[0])
            came = str(value[at]) if texts is None else texts.of(at)
            raise TaskError(
                f"{source.name}, {source.row(at)}, column {column!r}: {shown(came[:40])} came and a finite number was wanted"
                f"{in_all(len(wrong), 'cell')}; mend it, or leave it empty where nothing was measured{_hint(came)}"
            )
        return value, []
    texts = source.texts(column, missing=MISSING)
    codes = [known.setdefault(labels.class_label(text), len(known)) for text in texts.texts]
    return np.array([*codes, np.nan], np.float64)[texts.codes], list(known)


def _hint(came: str) -> str:
    if came[:1] in "<>=~" and came:
        return " (a bound is no value: leave it out)"
    if "," in came:
        return " (numbers have a decimal point and no thousands separator)"
    return ""


def _cases(
    source: Source,
    column: str | tuple[str, ...],
    values: Values,
    reader: Modality,
    skip_invalid: bool,
    left_out: dict[str, int],
    *,
    n_jobs: int | None,
    cache: bool,
    progress: Progress | None,
) -> tuple[Values, IntArray, PreparedCases]:
    """Return the values whose case can be read, the row of each in the prepared cases, and these."""
    if not isinstance(column, str):
        raise InputError(f"a case of {reader.name} stands in one column and {len(column)} were named; name the one")
    cells = source.texts(column)
    used = cells.codes[values.at]  # the empty text, code -1, is a case that the modality refuses
    texts = sorted({cells.texts[code] if code >= 0 else "" for code in np.unique(used)})
    place = {text: number for number, text in enumerate(texts)}
    place_of = np.array([*(place.get(text, -1) for text in cells.texts), place.get("", -1)], np.int64)
    prepared = featurised(reader, texts, n_jobs=n_jobs, cache=cache, progress=progress)
    number = place_of[used]
    row = np.array(prepared.row, np.int64)[number]
    if prepared.problems:
        bad = row < 0
        first: dict[int, int] = {}  # case -> its first position in the table
        for case, at in zip(number[bad].tolist(), values.at[bad].tolist(), strict=True):
            first[case] = min(at, first.get(case, at))
        if not skip_invalid:
            problems = sorted(prepared.problems, key=lambda problem: first[problem.position])
            shown = "; ".join(f"{source.row(first[p.position])} ({p.text!r}): {p.reason}" for p in problems[:_SHOWN])
            more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
            raise CaseError(
                f"{source.name}, column {column!r}: {len(problems):,} of {len(texts):,} cases cannot be read: "
                f"{shown}{more}; mend them, or choose to skip invalid cases"
            )
        left_out["invalid cases"] = len(prepared.problems)
        left_out["values of invalid cases"] = int(bad.sum())
        values, row = values.keep(~bad), row[~bad]
        if not len(row):
            raise CaseError(
                f"{source.name}, column {column!r}: none of {len(texts):,} cases can be read, the first because of: "
                f"{prepared.problems[0].reason}; name the column that holds {reader.name}"
            )
    return values, row, prepared
