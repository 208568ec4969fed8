"""A declaration and its files -> one frame, a row a labelled case, with roles. All that is left out is counted with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metamedica.data.declared import joins, rules
from metamedica.data.declared.cells import Mask, blanked, check_columns, empty, keys, replaced, times, typed
from metamedica.data.declared.events import add_columns, read_events
from metamedica.data.declared.files import inside, read_declaration
from metamedica.data.declared.language import ROLES, Column, Declaration
from metamedica.data.declared.meds import add_splits, read_meds
from metamedica.data.measurements import Source
from metamedica.data.tables import LIMIT_BYTES
from metamedica.errors import InputError, TaskError
from metamedica.types import TaskKind


@dataclass(frozen=True)
class Declared:
    """Clinical tasks in one frame: a row a labelled case of a task.

    Args:
        name: of the declaration.
        about: what it asks, in a sentence.
        frame: the columns of the cases (float64 where numeric, otherwise texts, None where missing) and the roles: `case` (the
            case's key), `label`, and where they are declared `task`, `group` and `time`. Its index is the row in the file.
        columns: the columns of the cases.
        kind: of every task.
        task: "task", or None where all is one task.
        group: "group" (the patient), or None where each row is one.
        time: "time", by which the cases are ordered, or None.
        positive: the label of class 1, "1" for binary tasks.
        unit: of regression labels.
        schema: column -> what is declared of it: type, unit, range, levels, whether it is sensitive.
        origin: the cohort of patients; declarations with one origin may share patients.
        left_out: what was left out -> how many: cases, unless the words name tasks, subjects or events.
    """

    name: str
    about: str
    frame: pd.DataFrame
    columns: tuple[str, ...]
    kind: TaskKind
    task: str | None = None
    group: str | None = None
    time: str | None = None
    positive: str | None = None
    unit: str | None = None
    schema: Mapping[str, Mapping[str, Any]] | None = None
    origin: str | None = None
    left_out: Mapping[str, int] | None = None

    @property
    def target(self) -> str:
        """The column of the labels."""
        return "label"

    def roles(self) -> dict[str, Any]:
        """Return what `TaskCollection.from_table(frame, modality="tables", ...)` is told of the frame."""
        name = self.name if self.task is None else None
        return {
            "case": list(self.columns),
            "target": self.target,
            "task": self.task,
            "group": self.group,
            "kind": self.kind,
            "unit": self.unit,
            "positive": self.positive,
            "schema": dict(self.schema) if self.schema else None,
            "name": name,
        }


def read_declared(
    declared: str | Path | Declaration,
    *,
    root: str | Path | None = None,
    variant: str | None = None,
    limit_bytes: int = LIMIT_BYTES,
) -> Declared:
    """Return the tasks of a declaration.

    Args:
        declared: a YAML file, or what `declared.files` made of one.
        root: the folder that the declared paths are below and never leave; the YAML file's own for None.
        variant: one of the file's `variants`.
        limit_bytes: largest size, unpacked, of one file.

    Raises:
        FileFormatError: a file cannot be read, is too large, or lacks a column.
        InputError: the declaration does not fit the files (the message names the row, the column and the text), or a path leaves
            the root.
        TaskError: labels that do not fit their kind, or nothing is left.
    """
    if isinstance(declared, Declaration):
        if root is None or variant is not None:
            raise InputError("got a declaration that is read already; give root, and no variant")
        spec = declared
    else:
        spec = read_declaration(declared, variant=variant)
        root = Path(declared).parent if root is None else root
    folder = inside(Path(root), spec.folder, where=spec.name)
    if not folder.is_dir():
        raise InputError(
            f"{spec.name} names the folder {spec.folder or '.'!r}, which is not below the root; check the root"
        )
    return _Reading(spec, folder, limit_bytes).declared()


class _Reading:
    """One declaration being read: the cases as they become fewer, and the count of those left out."""

    def __init__(self, spec: Declaration, folder: Path, limit_bytes: int) -> None:
        self.spec, self.folder, self.limit_bytes = spec, folder, limit_bytes
        self.left_out: dict[str, int] = {}
        self.cases = Source(pd.DataFrame(), spec.name)

    def declared(self) -> Declared:
        spec = self.spec
        self._read_cases()
        for number, rule in enumerate(spec.exclude, start=1):
            out = rules.excluded(self.cases, rule, form=spec.time_format)
            self._keep(~out, f"{rule.because} (exclusion {number})")
        columns = self._columns()
        schema = {name: column.schema_ for name, column in columns.items() if column.schema_}
        frame = self._frame(columns)
        if spec.duplicate_rows == "drop":
            again = frame.duplicated([*columns, "label", *({"task"} & {*frame})])
            self.left_out["rows that repeat another one"] = int(again.sum())
            frame = frame[~again]
        if spec.patient is not None and "task" in frame:
            frame = self._groups_in_one_task(frame)
        frame = self._large_enough(frame)
        if spec.kind == "binary":
            frame["label"] = frame["label"].astype(np.int64)
        frame.attrs["source"] = spec.name
        return Declared(
            spec.name,
            spec.about,
            frame,
            tuple(columns),
            spec.kind,
            task="task" if "task" in frame else None,
            group="group" if "group" in frame else None,
            time="time" if "time" in frame else None,
            positive="1" if spec.kind == "binary" else None,
            unit=spec.unit,
            schema=schema,
            origin=spec.origin,
            left_out={what: count for what, count in self.left_out.items() if count},
        )

    def _keep(self, kept: Mask, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + int((~kept).sum())
        self.cases = Source(self.cases.frame[kept], self.cases.name)
        if not len(self.cases.frame):
            self._nothing_left()

    def _nothing_left(self) -> None:
        told = "; ".join(f"{what}: {count:,}" for what, count in self.left_out.items() if count)
        raise TaskError(f"{self.spec.name} has no case left ({told}); declare less to be left out")

    def _read_cases(self) -> None:
        """Read the cases and all that stands beside them."""
        spec = self.spec
        if spec.source == "meds":
            cases, events, without = read_meds(spec, folder=self.folder, limit_bytes=self.limit_bytes)
            self.left_out["subjects without an index event"] = without
            self.cases = add_splits(cases, folder=self.folder, name=spec.name)
            self._set_index_time("index_time")
            for each in spec.events:
                self.cases = add_columns(self.cases, each, events, where=spec.name)
            return
        assert spec.table is not None
        self.cases = joins.read(
            self.folder, spec.table, where=spec.name, missing=spec.missing, limit_bytes=self.limit_bytes
        )
        self._check_key()
        for join in spec.joins:
            self.cases, dropped = joins.join(
                self.cases, join, folder=self.folder, where=spec.name, limit_bytes=self.limit_bytes
            )
            self.left_out[f"without a row in {join.table}"] = dropped
        if spec.index is not None:
            assert spec.index.time is not None
            check_columns(self.cases.frame, [spec.index.time], of=self.cases.name)
            if "index_time" in self.cases.frame:
                raise InputError(f"{self.cases.name} has a column 'index_time', which a declaration makes; rename it")
            self._set_index_time(spec.index.time)
        for each in spec.events:
            found, timeless = read_events(
                each, folder=self.folder, where=spec.name, form=spec.time_format, limit_bytes=self.limit_bytes
            )
            self.left_out[f"events of {each.table} without a time"] = timeless
            self.cases = add_columns(self.cases, each, found, where=spec.name)

    def _check_key(self) -> None:
        spec, frame = self.spec, self.cases.frame
        check_columns(frame, spec.case, of=self.cases.name)
        if not spec.case:
            return
        key = _key(frame, spec.case)
        wrong = np.flatnonzero(key.isna().to_numpy())
        if len(wrong):
            raise InputError(
                f"{self.cases.name}, {self.cases.row(wrong[0])} has no {' and '.join(spec.case)}; give every case one"
            )
        twice = np.flatnonzero(key.duplicated().to_numpy())
        if len(twice):
            raise InputError(
                f"{self.cases.name}, {self.cases.row(twice[0])} has the {' and '.join(spec.case)} {key.iloc[twice[0]]!r} again "
                f"({len(twice):,} such rows); name a key that is one a case, or aggregate the table under events"
            )

    def _set_index_time(self, column: str) -> None:
        index = self.spec.index
        assert index is not None
        time = times(self.cases, column, form=self.spec.time_format)
        gone = time.isna().to_numpy(dtype=bool)
        if gone.any() and index.absent == "refuse":
            first = int(np.flatnonzero(gone)[0])
            raise InputError(
                f"{self.cases.name}, {self.cases.row(first)}, column {column!r}: the index time is missing ({gone.sum():,} such "
                f"cases); declare absent: drop under index, or mend the file"
            )
        if index.plus is not None:
            time = time + pd.Timedelta(hours=index.plus.total_hours)
        self.cases = Source(self.cases.frame.assign(index_time=time), self.cases.name)
        self._keep(~gone, "without an index time")

    def _columns(self) -> dict[str, Column]:
        """Return the columns of the cases, the label and what gives it away refused by name."""
        spec, held = self.spec, [str(name) for name in self.cases.frame.columns]
        takes = {name: take for each in spec.events for name, take in each.take.items()}
        future = {name for name, take in takes.items() if take.future is not None}
        leaks = {name: "is what the label is made of" for label in spec.every_label.values() for name in label.columns}
        leaks |= dict.fromkeys(future, "lies after the index time")
        if spec.source == "meds":
            leaks |= {"record_end": "lies after the index time", "split": "is the side of a split"}
        for name in (*spec.case, *((spec.patient,) if spec.patient else ())):
            leaks.setdefault(name, "names the case or the patient")
        check_columns(self.cases.frame, spec.drop, of=self.cases.name)
        columns = dict(spec.columns)
        if spec.other_columns == "keep":
            named = {column.from_ or name for name, column in columns.items()}
            roles = {
                *named,
                *spec.drop,
                *leaks,
                *takes,
                spec.task,
                spec.time,
                "index_time",
                spec.index and spec.index.time,
            }
            columns |= {name: Column() for name in held if name not in roles}
        for name, column in columns.items():
            source = column.from_ or name
            check_columns(self.cases.frame, [source], of=self.cases.name)
            if source in leaks:
                raise InputError(
                    f"{spec.name} has {source!r} among the columns, which {leaks[source]} (a leak); take it out"
                )
        for name, take in takes.items():
            if name not in leaks and name not in columns and name not in spec.drop:
                columns[name] = Column(schema=take.schema_)
        if not columns:
            raise InputError(f"{spec.name} leaves the cases no column; name some under columns")
        for name in ROLES:
            if name in columns:
                raise InputError(f"{spec.name} has a column {name!r}, which the frame uses itself; rename it by from")
        return columns

    def _frame(self, columns: Mapping[str, Column]) -> pd.DataFrame:
        """Return a row a labelled case of each task, with the roles."""
        spec, cases = self.spec, self.cases
        made: dict[str, Any] = {}
        for name, column in columns.items():
            cells = replaced(blanked(cases.frame[column.from_ or name], column.missing), column.replace)
            source = Source(pd.DataFrame({name: cells}), cases.name)
            made[name] = typed(source, name, kind=column.schema_.get("type"))
        made["case"] = _key(cases.frame, spec.case) if spec.case else self._own_keys()
        usable = np.ones(len(cases.frame), dtype=bool)
        for role, named in (("task", spec.task), ("group", spec.patient)):
            if named is not None:
                check_columns(cases.frame, [named], of=cases.name)
                made[role] = keys(cases.frame[named])
        if spec.task is not None:
            usable = ~empty(made["task"])
            self.left_out["without a task"] = int((~usable).sum())
        if spec.patient is not None:
            self._check_groups(spec.patient, usable)
        if spec.time is not None:
            made["time"] = self._order(spec.time)
        base = pd.DataFrame(made, index=cases.frame.index)
        parts = [self._labelled(base, name, usable) for name in spec.every_label]
        frame = pd.concat(parts)
        if not len(frame):
            self._nothing_left()
        return frame

    def _own_keys(self) -> "pd.Series[Any]":
        frame = self.cases.frame
        if self.spec.source == "meds":
            return frame["subject_id"] + " " + frame["index_time"].astype(str)
        return pd.Series([str(row) for row in frame.index], index=frame.index, dtype=object)

    def _check_groups(self, column: str, usable: Mask) -> None:
        lacking = np.flatnonzero(empty(self.cases.frame[column]) & usable)
        if len(lacking):
            raise InputError(
                f"{self.cases.name}, {self.cases.row(lacking[0])} has no {column!r} ({len(lacking):,} such cases), so "
                f"that a patient could stand on both sides; fill it, or leave the rows out by exclude"
            )

    def _order(self, column: str) -> "pd.Series[Any]":
        """Return what orders the cases: numbers where the column is numeric, otherwise times."""
        check_columns(self.cases.frame, [column], of=self.cases.name)
        values = typed(self.cases, column, kind=None)
        if values.dtype != object:
            return values
        return times(self.cases, column, form=self.spec.time_format)

    def _labelled(self, base: pd.DataFrame, name: str, usable: Mask) -> pd.DataFrame:
        spec, rule = self.spec, self.spec.every_label[name]
        value, known, late = rules.labelled(self.cases, rule, spec)
        if rule.absent == "refuse" and not (known | ~usable | late).all():
            rules.refuse_unknown(self.cases, rule, known | ~usable | late)
        of = f" of {name}" if spec.labels is not None else ""
        self.left_out[f"the event{of} came before the index time"] = int((usable & late).sum())
        self.left_out[f"without a label{of}"] = int((usable & ~late & ~known).sum())
        frame = base.assign(label=value)
        if spec.labels is not None:
            frame["task"] = name if spec.task is None else name + " at " + base["task"].astype(str)
        return frame[usable & known & ~late]

    def _groups_in_one_task(self, frame: pd.DataFrame) -> pd.DataFrame:
        """See that a patient is in one task only, as far as that is declared."""
        if self.spec.group_in_several_tasks == "keep":
            return frame
        ordered = frame.sort_values("time", kind="stable") if "time" in frame else frame
        own = ordered.drop_duplicates("group").set_index("group")["task"]
        elsewhere = frame["task"].to_numpy() != own.reindex(frame["group"]).to_numpy()
        if self.spec.group_in_several_tasks == "refuse" and elsewhere.any():
            row = frame.iloc[int(np.flatnonzero(elsewhere)[0])]
            raise InputError(
                f"{self.spec.name}: {self.spec.patient} {row['group']!r} is in the tasks {own[row['group']]!r} and {row['task']!r} "
                f"({elsewhere.sum():,} such cases), so that a split by task shares patients; declare group_in_several_tasks: first "
                f"or keep"
            )
        self.left_out["cases of a patient who is in an earlier task"] = int(elsewhere.sum())
        kept: pd.DataFrame = frame[~elsewhere]
        return kept

    def _large_enough(self, frame: pd.DataFrame) -> pd.DataFrame:
        least = self.spec.smallest
        tasks = frame["task"] if "task" in frame else pd.Series(self.spec.name, index=frame.index)
        sizes = tasks.value_counts()
        few = set(sizes.index[sizes < least.cases])
        if least.per_class:
            counts = frame.groupby([tasks.to_numpy(), frame["label"].to_numpy()]).size()
            classes = counts.groupby(level=0).agg(["size", "min"])
            few |= set(classes.index[(classes["size"] < 2) | (classes["min"] < least.per_class)])
        small = tasks.isin(few).to_numpy(dtype=bool)
        what = f"fewer than {least.cases} cases or {least.per_class} of a class"
        self.left_out[f"tasks with {what}"] = len(few)
        self.left_out[f"cases of tasks with {what}"] = int(small.sum())
        if small.all():
            self._nothing_left()
        return frame[~small].copy()


def _key(frame: pd.DataFrame, columns: tuple[str, ...]) -> "pd.Series[Any]":
    """Return the columns as one key, None where one of them is missing."""
    parts = [keys(frame[column]) for column in columns]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.where(part.notna(), None) + " / " + part
    return whole
