"""A user's table on the way to tasks: which column is which when none was named, what kind the targets are, what a library holds."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamedica.cli._console import Session
from metamedica.cli._options import Duplicates, Kind, words
from metamedica.errors import FileFormatError, InputError, TaskError

if TYPE_CHECKING:
    import pandas as pd

    from metamedica.data.collection import TaskCollection
    from metamedica.types import CaseProblem, Modality

TARGETS = (
    r"targets?|values?|labels?|y|activity|activities|active|class|measured|response|p?(ic50|ki|ec50|xc50|kd|potency|chembl_value)",
)
"""Usual names of the column with the measured values."""
ALL = "all"


def _found(columns: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return the columns that match the first pattern that any matches; case, spaces and hyphens do not count."""
    plain = {name: re.sub(r"[\s\-]+", "_", name.strip().lower()) for name in columns}
    for pattern in patterns:
        matching = [name for name in columns if re.fullmatch(pattern, plain[name])]
        if matching:
            return matching
    return []


def case_column(columns: Sequence[str], source: str, modality: "Modality") -> str:
    """Return the column that holds the cases, by its name.

    Raises:
        FileFormatError: none has a usual name, or several have.
    """
    found = _found(columns, modality.columns)
    if len(found) == 1:
        return found[0]
    trouble = (
        f"{len(found)} columns that may hold the cases ({', '.join(found)})"
        if found
        else f"no column that looks like {'SMILES' if modality.name == 'molecules' else modality.name}"
    )
    raise FileFormatError(f"{source} has {trouble}; name it with --case; the columns are: {', '.join(columns)}")


def target_column(columns: Sequence[str], source: str, *, taken: Sequence[str]) -> str:
    """Return the column that holds the values: the only one left, or the one with a usual name.

    Raises:
        FileFormatError: none has a usual name, or several have.
    """
    left = [name for name in columns if name not in taken]
    found = left if len(left) == 1 else _found(left, TARGETS)
    if len(found) == 1:
        return found[0]
    trouble = (
        f"{len(found)} columns that may hold the values ({', '.join(found)})"
        if found
        else "no column that looks like measured values"
    )
    raise FileFormatError(f"{source} has {trouble}; name it with --target; the columns are: {', '.join(columns)}")


def _kind_of(
    frame: "pd.DataFrame", columns: Sequence[str], source: str, *, positive: str | None, shown: Callable[[str], str]
) -> Kind:
    """Return the kind of task that the target cells speak of; errors show a cell as `shown` gives it.

    Raises:
        TaskError: numbers and texts are mixed, or nearly every text is another one: then a number was probably wanted.
    """
    import numpy as np

    from metamedica.cells import MISSING, numbers, texts
    from metamedica.data import labels
    from metamedica.predictors.support import infer_kind

    kept: list[str] = []
    numeric = measured = 0
    odd: tuple[int, str, str] | None = None
    for column in columns:
        cells = texts(frame[column], missing=MISSING)
        values = numbers(cells)
        text = np.flatnonzero(np.isinf(values))
        kept += cells.texts
        measured += int((cells.codes >= 0).sum())
        numeric += int(np.isfinite(values).sum())
        if len(text) and odd is None:
            odd = (int(frame.index[text[0]]), column, cells.of(int(text[0])))
    if not kept:
        raise TaskError(
            f"{source} has no measured value in {', '.join(columns[:5])}; fill the cells, or name another column with --target"
        )
    distinct = {labels.class_label(text) for text in kept}
    if odd is not None:
        row, column, text_there = odd
        where = f"{source}, row {row}, column {column!r}: the target is {shown(text_there[:40])}"
        if numeric:
            raise TaskError(
                f"{where} and {numeric:,} others are numbers; mend the cell or empty it, or name --kind if these are labels"
            )
        if len(distinct) > max(2, measured // 2):
            raise TaskError(
                f"{where}, not a number, and {len(distinct):,} of {measured:,} targets differ, so they are no labels either; "
                "name the right column with --target, or name --kind"
            )
    kind = infer_kind(sorted(distinct))
    if positive is None or kind != "multiclass":
        return kind
    if len(distinct) > 2:
        those = f" ({', '.join(sorted(distinct))})" if len(distinct) <= labels.MOST_LABELS else ""
        raise TaskError(
            f"{source} has {len(distinct):,} labels{those} in {', '.join(columns[:5])} and --positive speaks of two; mend the odd ones or empty "
            "them, or name --kind"
        )
    return "binary"


@dataclass(frozen=True)
class TableOptions:
    """The options that say how to read a table of measurements; None where the user left one out."""

    case: str | None = None
    target: str | None = None
    task: str | None = None
    targets: str | None = None
    kind: Kind | None = None
    unit: str | None = None
    group: str | None = None
    family: str | None = None
    split: str | None = None
    positive: str | None = None
    skip_invalid: bool = False
    duplicates: Duplicates = "error"
    modality: str = "molecules"
    schema: Path | None = None
    settings: "Mapping[str, Any] | None" = None
    about: str | None = None

    def complete(self, file: Path, *, many: bool) -> "FullOptions":
        """Return the options with the columns and the kind that were left out, read from the table.

        Args:
            file: the table.
            many: whether several tasks are wanted, so that a column of tasks or several of targets must be named.

        Raises:
            FileFormatError: the table cannot be read, lacks a column, or it is not clear which column is which.
            TaskError: it is not clear what kind the targets are.
            InputError: both forms of table were named, or none of them where several tasks are wanted.
        """
        from metamedica import registry
        from metamedica.cells import untold

        if self.targets is not None and (self.target is not None or self.task is not None):
            raise InputError(
                "--targets (one column a task) came with --target or --task (one row a measurement); name one form"
            )
        from metamedica.cli._image_options import found_beside, read_labelled

        reader = registry.modality(self.modality)
        frame = read_labelled(file, reader)
        columns = [str(name) for name in frame.columns]
        listed = ", ".join(columns)
        rows = not reader.distinct
        if self.schema is not None and not rows:
            raise InputError(
                f"--schema came, and {self.modality} have no columns of their own; leave it out, or name --modality tables"
            )
        cases = [] if self.case is None else words(self.case, "--case") if rows else [self.case]
        roles = (self.target, self.task, self.group, self.family, self.split, self.about)
        for name in (*cases, *roles):
            if name is not None and name not in columns:
                raise FileFormatError(f"{file.name} has no column {name!r}; it has: {listed}")
        if many and self.task is None and self.targets is None:
            raise InputError(
                f"several tasks are wanted: name the column that says which task a row belongs to (--task), or the columns that each "
                f"hold one (--targets); {file.name} has: {listed}"
            )
        named = [name for name in roles if name is not None]
        case: str | tuple[str, ...]
        if rows:
            case = tuple(cases)
        else:
            case = self.case or case_column([name for name in columns if name not in named], file.name, reader)
            frame = frame.assign(**{case: found_beside(reader, frame[case].tolist(), file)})
        taken = [*(case if isinstance(case, tuple) else [case]), *named]
        if self.targets is not None:
            wide = (
                [name for name in columns if name not in taken]
                if self.targets == ALL not in columns
                else words(self.targets, "--targets")
            )
            absent = [name for name in wide if name not in columns]
            if absent or not wide:
                raise FileFormatError(
                    f"{file.name} has no column {absent[0]!r}; it has: {listed}"
                    if absent
                    else f"{file.name} has no column beside {', '.join(taken)}; --targets wants a column a task: add them"
                )
            target, target_columns = None, tuple(wide)
        else:
            target = self.target or target_column(columns, file.name, taken=taken)
            target_columns = None
        if rows and not cases:
            others = {target, *(target_columns or ()), *named}
            case = tuple(name for name in columns if name not in others)
            if not case:
                raise FileFormatError(
                    f"{file.name} has no column beside {', '.join(map(str, others))}; a case needs at least one"
                )
        shown = untold if rows else repr  # a cell of a row is a patient's
        kind = self.kind or _kind_of(
            frame, target_columns or (str(target),), file.name, positive=self.positive, shown=shown
        )
        return FullOptions(frame, case, target, target_columns, kind, self)


@dataclass(frozen=True)
class FullOptions:
    """A table and the options with nothing left open; exactly one of `target` and `targets` is given."""

    frame: "pd.DataFrame"
    case: str | tuple[str, ...]
    target: str | None
    targets: tuple[str, ...] | None
    kind: Kind
    given: TableOptions

    def as_dict(self) -> dict[str, Any]:
        """Return which columns were taken, as a JSON value."""
        return {
            "case": self.case,
            "target": self.target,
            "targets": self.targets,
            "task": self.given.task,
            "kind": self.kind,
        }

    @property
    def source(self) -> str:
        """What a person calls the table."""
        return str(self.frame.attrs["source"])

    @property
    def cases_in(self) -> str:
        """Where the cases stand, for a person."""
        return repr(self.case) if isinstance(self.case, str) else f"{len(self.case)} columns"

    @property
    def targets_in(self) -> str:
        """Where the targets stand, for a person."""
        names = self.targets or (self.target or "",)
        return ", ".join(repr(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")

    def labelled_rows(self) -> "tuple[pd.DataFrame, list[str], dict[str, int]]":
        """Return the rows that have a target, as cases, their targets, and what was left out; for modalities whose cases are rows.

        Raises:
            TaskError: no row has one.
        """
        from metamedica.cells import texts

        assert self.target is not None
        targets = texts(self.frame[self.target])
        there = targets.codes >= 0
        if not there.any():
            raise TaskError(
                f"no row has a value in {self.target!r}; fill the cells, or name another column with --target"
            )
        left_out = {"missing targets": int((~there).sum())}
        rows = self.frame.loc[there, list(self.case)]
        return rows, [targets.texts[code] for code in targets.codes[there]], {k: n for k, n in left_out.items() if n}

    def read(self, session: Session) -> "TaskCollection":
        """Return the tasks of the table.

        Raises:
            InputError: a row, a case or a target cannot be used.
        """
        from metamedica.data.collection import TaskCollection

        with session.progress("reading cases") as progress:
            return TaskCollection.from_table(
                self.frame,
                modality=self.given.modality,
                settings=self.given.settings,
                schema=None if self.given.schema is None else _schema(self.given.schema),
                case=self.case,
                kind=self.kind,
                target=self.target,
                task=self.given.task,
                targets=self.targets,
                unit=self.given.unit,
                group=self.given.group,
                family=self.given.family,
                split=self.given.split,
                about=self.given.about,
                positive=self.given.positive,
                skip_invalid=self.given.skip_invalid,
                duplicates=self.given.duplicates,
                progress=progress,
            )


def told_by_place(problem: "CaseProblem", place: Callable[[int], str]) -> str:
    """Return a remark on a cell or a column, with the place of its row.

    Args:
        problem: of a modality whose cases are rows.
        place: where the case at a position stands in the file, such as "row 5".
    """
    where = f"{place(problem.position)}, " if problem.position >= 0 else ""
    return f"{where}column {problem.text!r}: {problem.reason}"


def _schema(path: Path) -> dict[str, Any]:
    from metamedica.modalities.tables.schema import Schema

    return Schema.read(path).as_dict()


@dataclass(frozen=True)
class Library:
    """Cases to predict.

    Args:
        cases: raw texts, or rows as a data frame.
        about: what the file says of them beside, one row a case; the first column is the row (table) or record number in the file.
        word: what the file counts in, "row" or "record".
        shown: the cases as the file names them, where `cases` say where they lie on this machine; None: they are the same.
    """

    cases: "list[str] | pd.DataFrame"
    about: "pd.DataFrame"
    word: str
    shown: "list[str] | None" = None

    def place(self, position: int) -> str:
        """Return where the case at a position of `cases` stands in the file."""
        return f"{self.word} {int(self.about['row'].iloc[position])}"


def read_library(file: Path, modality: "Modality", *, case: str | None) -> Library:
    """Return the cases of a file in the modality's own format (.smi, .sdf for molecules) or of a table.

    Raises:
        FileFormatError: the file cannot be read, holds no case, or it is not clear which column holds them.
    """
    import pandas as pd

    from metamedica.cli._image_options import found_beside
    from metamedica.data.tables import read_table
    from metamedica.filed import LiesInFiles

    own = modality.read_file(str(file))
    if own is not None:
        cases, names = own
        about = pd.DataFrame({"row": range(1, len(cases) + 1), "name": names})
        return Library(cases, about, "record", names if isinstance(modality, LiesInFiles) else None)
    frame = read_table(file)
    columns = [str(name) for name in frame.columns]
    if not modality.distinct:
        chosen = columns if case is None else words(case, "--case")
        absent = [name for name in chosen if name not in columns]
        if absent:
            raise FileFormatError(f"{file.name} has no column {absent[0]!r}; it has: {', '.join(columns)}")
        return Library(frame[chosen], _numbered(frame), "row")
    if case is not None and case not in columns:
        raise FileFormatError(f"{file.name} has no column {case!r}; it has: {', '.join(columns)}")
    column = case or case_column(columns, file.name, modality)
    shown = [text.strip() for text in frame[column]]
    return Library(found_beside(modality, shown, file), _numbered(frame.drop(columns=[column])), "row", shown)


def _numbered(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table with the numbers of its rows as the first column."""
    about = frame.rename(columns={"row": "row (input)"})
    about.insert(0, "row", frame.index.to_numpy())
    return about.reset_index(drop=True)
