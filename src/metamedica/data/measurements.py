"""Measured values as arrays -> tasks: labels to classes, duplicates merged, groups, families and splits checked."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metamedica.cells import Texts, as_text, texts
from metamedica.data import labels
from metamedica.data.task import IntArray, Task
from metamedica.errors import CaseError, TaskError
from metamedica.types import META_SPLITS, MetaSplit, TaskKind

Duplicates = Literal["error", "mean", "median"]

_SPLITS: dict[str, MetaSplit] = {
    **{split: split for split in META_SPLITS},
    **{split.removeprefix("meta_"): split for split in META_SPLITS},
    "validation": "meta_valid",
}


@dataclass(frozen=True)
class Source:
    """A table and how to speak of it."""

    frame: pd.DataFrame
    name: str

    def row(self, position: int | np.int64) -> str:
        return f"row {self.frame.index[int(position)]}"

    def texts(self, column: str, *, missing: frozenset[str] = frozenset({""})) -> Texts:
        return texts(self.frame[column], missing=missing)


@dataclass(frozen=True)
class Values:
    """Measured values: entry i is `value[i]` of task `task[i]`, found at position `at[i]` of the table.

    `value` is the number, or the code of the label in `texts`.
    """

    at: IntArray
    task: IntArray
    value: NDArray[np.float64]
    names: list[str]
    texts: list[str]

    def keep(self, mask: NDArray[np.bool_]) -> "Values":
        return Values(self.at[mask], self.task[mask], self.value[mask], self.names, self.texts)

    def replaced(self, value: NDArray[np.float64]) -> "Values":
        return Values(self.at, self.task, value, self.names, self.texts)


def in_all(count: int, what: str) -> str:
    return f" ({count:,} such {what}s)" if count > 1 else ""


def classes_of_tasks(
    source: Source, values: Values, kind: TaskKind, positive: str | None
) -> tuple[list[tuple[str, ...]], Values]:
    """Return the classes of each task, and the values as class indices."""
    wanted = None if positive is None else labels.class_label(as_text(positive))
    every = [values.texts[int(code)] for code in np.unique(values.value)]
    if wanted is not None and wanted not in every:
        those = f"one of: {', '.join(every)}" if len(every) <= labels.MOST_LABELS else f"one of its {len(every):,}"
        raise TaskError(f"{source.name} has no label {wanted!r}; the positive one is {those}")
    pairs, inverse = np.unique(values.task * len(values.texts) + values.value.astype(np.int64), return_inverse=True)
    found: dict[int, list[int]] = {}
    for pair in pairs.tolist():
        found.setdefault(pair // len(values.texts), []).append(pair % len(values.texts))
    classes: list[tuple[str, ...]] = [()] * len(values.names)
    index: list[int] = []
    for task, codes in found.items():
        where = f"{source.name}, task {values.names[task]!r}"
        texts = [values.texts[code] for code in codes]
        classes[task], place = labels.classes_of(texts, kind, wanted, elsewhere=every, where=where)
        index.extend(place[text] for text in texts)
    return classes, values.replaced(np.array(index, np.float64)[inverse])


def merged(
    source: Source,
    column: str,
    values: Values,
    row: IntArray,
    duplicates: Duplicates,
    classes: list[tuple[str, ...]] | None,
    left_out: dict[str, int],
) -> tuple[Values, IntArray]:
    """Return one value for each case of a task, in the order of the table.

    Equal values become one. Numbers that differ become their mean or median; a case with labels that differ is left out.

    Raises:
        CaseError: values differ and `duplicates` is "error".
    """
    key = _key(values, row)
    order = np.lexsort((values.at, key))
    start = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    if len(start) == len(key):
        return values, row
    size = np.diff(np.r_[start, len(key)])
    value = values.value[order]
    differ = np.maximum.reduceat(value, start) != np.minimum.reduceat(value, start)
    if differ.any() and duplicates == "error":
        place = min(np.flatnonzero(differ), key=lambda each: int(values.at[order[start[each]]]))
        one = start[place]
        two = one + int(np.flatnonzero(value[one : one + size[place]] != value[one])[0])
        raise CaseError(
            _conflict(source, column, values, (int(order[one]), int(order[two])), int(differ.sum()), classes)
        )
    merged = value[start]
    if differ.any() and classes is None:
        ranked = values.value[np.lexsort((values.value, key))]
        low, high = start + (size - 1) // 2, start + size // 2
        middle = (ranked[low] + ranked[high]) / 2
        mean = np.add.reduceat(value, start) / size
        merged[differ] = (mean if duplicates == "mean" else middle)[differ]
    elif differ.any():
        left_out["cases with differing labels"] = int(differ.sum())
        start, size, merged = start[~differ], size[~differ], merged[~differ]
    left_out["merged duplicates"] = int((size - 1).sum())
    first = order[start]
    back = np.argsort(first, kind="stable")
    first = first[back]
    return Values(values.at[first], values.task[first], merged[back], values.names, values.texts), row[first]


def _conflict(
    source: Source,
    column: str,
    values: Values,
    pair: tuple[int, int],
    count: int,
    classes: list[tuple[str, ...]] | None,
) -> str:
    one, two = (int(values.at[entry]) for entry in pair)
    texts = dict.fromkeys(as_text(source.frame[column].iloc[at])[:60] for at in (one, two))
    shown = []
    for entry in pair:
        value, task = values.value[entry], values.task[entry]
        shown.append(f"{value:g}" if classes is None else repr(classes[task][int(value)]))
    way = "merge duplicates by mean or median" if classes is None else "merge duplicates, which leaves such cases out"
    return (
        f"{source.name}, task {values.names[values.task[pair[0]]]!r}: {source.row(one)} and {source.row(two)} are the same "
        f"case ({' and '.join(map(repr, texts))}) with targets {shown[0]} and {shown[1]}{in_all(count, 'case')}; "
        f"keep one, or choose to {way}"
    )


def groups(source: Source, column: str, values: Values, row: IntArray) -> Texts:
    """Return the column of groups.

    Raises:
        TaskError: the cell of a measured row is empty, or a case of a task has two groups.
    """
    cells = source.texts(column)
    code = cells.codes[values.at]
    gone = np.flatnonzero(code < 0)
    if len(gone):
        raise TaskError(
            f"{source.name}, {source.row(values.at[gone[0]])}: the cell of column {column!r} is empty"
            f"{in_all(len(gone), 'cell')}; give every row its {column}"
        )
    key = _key(values, row)
    order = np.lexsort((values.at, key))
    two = np.flatnonzero((np.diff(key[order]) == 0) & (np.diff(code[order]) != 0))
    if len(two):
        one, other = (int(values.at[order[two[0] + step]]) for step in (0, 1))
        raise TaskError(
            f"{source.name}: {source.row(one)} and {source.row(other)} are the same case with {cells.of(one)!r} and "
            f"{cells.of(other)!r} in column {column!r}{in_all(len(two), 'pair')}; give a case one {column}"
        )
    return cells


def _key(values: Values, row: IntArray) -> IntArray:
    """Return a number for each value that is the same for the same case of the same task."""
    return values.task * (int(row.max()) + 1) + row


def per_task(source: Source, column: str, values: Values) -> dict[int, str]:
    """Return the one text of a column for each task (tasks without any are left out)."""
    cells = source.texts(column)
    codes = cells.codes[values.at]
    _, first = np.unique(values.task, return_index=True)
    first_code = np.full(len(values.names), -1, np.int64)
    first_code[values.task[first]] = codes[first]
    other = np.flatnonzero(codes != first_code[values.task])
    if len(other):
        two = int(other[0])
        one = int(np.flatnonzero(values.task == values.task[two])[0])
        raise TaskError(
            f"{source.name}, task {values.names[values.task[two]]!r} has {cells.of(values.at[one])!r} "
            f"({source.row(values.at[one])}) and {cells.of(values.at[two])!r} ({source.row(values.at[two])}) in column "
            f"{column!r}; give one a task"
        )
    return {task: cells.texts[code] for task, code in enumerate(first_code) if code >= 0}


def split(source: Source, column: str, values: Values) -> dict[str, MetaSplit]:
    found: dict[str, MetaSplit] = {}
    for task, text in per_task(source, column, values).items():
        if text.lower() not in _SPLITS:
            raise TaskError(
                f"{source.name}, task {values.names[task]!r} has {text!r} in column {column!r}; "
                f"use one of: {', '.join(META_SPLITS)}"
            )
        found[values.names[task]] = _SPLITS[text.lower()]
    return found


def tasks(
    values: Values,
    row: IntArray,
    kind: TaskKind,
    unit: str | None,
    classes: list[tuple[str, ...]] | None,
    grouped: Texts | None,
    family: dict[int, str] | None,
    left_out: dict[str, int],
    *,
    about: dict[int, str] | None = None,
    least_classes: int = 2,
) -> list[Task]:
    """Return the tasks in the order of the table; one that shows fewer classes than wanted is left out and counted."""
    order = np.argsort(values.task, kind="stable")
    task = values.task[order]
    numbers, start = np.unique(task, return_index=True)
    made = []
    for number, index in zip(numbers.tolist(), np.split(order, start[1:]), strict=True):
        value = values.value[index]
        if classes is not None and len(np.unique(value)) < least_classes:
            left_out["tasks with one class"] = left_out.get("tasks with one class", 0) + 1
            continue
        made.append(
            Task(
                values.names[number],
                kind,
                row[index],
                value if classes is None else value.astype(np.int64),
                None if classes is None else classes[number],
                unit if kind == "regression" else None,
                None if family is None else family.get(number),
                None if grouped is None else tuple(grouped.of(at) for at in values.at[index]),
                None if about is None else about.get(number),
            )
        )
    return made
