"""Cases that are rows of a table: each row is a case of its own, and what its columns hold is learned from rows outside the meta-test tasks."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from metamedica.data import measurements
from metamedica.data.measurements import Source, Values
from metamedica.data.roles import Columns
from metamedica.data.task import IntArray
from metamedica.errors import CaseError, InputError
from metamedica.types import CaseProblem, Modality, PreparedCases, Progress

_SHOWN = 3


def described(source: Source, columns: Columns, values: Values, reader: Modality) -> Modality:
    """Return the modality as it reads the rows that have a value: typed and scaled by those outside meta-test tasks.

    Where there is a column of meta-splits, a case column that only meta-test tasks have measured becomes their own.

    Raises:
        InputError: the schema describes a column that is no part of a case, or does not fit the rows.
    """
    _check_schema(columns, reader)
    frame = _frame(source, columns, values.at)
    if columns.split is None:
        return reader.fitted(frame, source=source.name)
    side = measurements.split(source, columns.split, values)
    judged = np.array([side.get(name) == "meta_test" for name in values.names], dtype=bool)[values.task]
    known = _frame(source, columns, values.at[~judged])
    return reader.fitted(known, others=frame, source=source.name)


def _check_schema(columns: Columns, reader: Modality) -> None:
    described = {str(name) for name, _ in reader.settings().get("schema", ())}
    for name in columns.roles():
        if name in described:
            raise InputError(
                f"the schema describes the column {name!r}, which is no part of a case here (the target, the task, the group or the split); "
                "take it out of the schema"
            )


class Read(NamedTuple):
    """The values whose row can be read, the place of each row among the prepared cases, these, and what was read otherwise than it stands there."""

    values: Values
    row: IntArray
    prepared: PreparedCases
    remarks: list[str]


def cases(
    source: Source,
    columns: Columns,
    values: Values,
    reader: Modality,
    skip_invalid: bool,
    left_out: dict[str, int],
    *,
    progress: Progress | None,
) -> Read:
    """Return the rows that have a value, featurised.

    Raises:
        CaseError: rows that cannot be read, unless they are to be skipped; none that can.
    """
    used = np.unique(values.at)
    prepared = reader.prepare(_frame(source, columns, values.at), progress=progress)
    row = np.array(prepared.row, np.int64)[np.searchsorted(used, values.at)]
    told = [_told(source, used, remark) for remark in prepared.remarks]
    if not prepared.problems:
        return Read(values, row, prepared, told)
    if not skip_invalid or not prepared.canonical:
        shown = "; ".join(_told(source, used, problem) for problem in prepared.problems[:_SHOWN])
        more = f"; and {len(prepared.problems) - _SHOWN:,} more" if len(prepared.problems) > _SHOWN else ""
        raise CaseError(
            f"{source.name}: {len(prepared.problems):,} of {len(used):,} rows cannot be read: {shown}{more}; mend them, "
            "declare in a schema what stands for a missing value, or choose to skip invalid cases"
        )
    left_out["invalid cases"] = len(prepared.problems)
    return Read(values.keep(row >= 0), row[row >= 0], prepared, told)


def check_leaks(source: Source, columns: Columns, values: Values, reader: Modality) -> None:
    """Refuse a case column that holds a label: of all tasks at once in the long form, of each in the wide form.

    Args:
        source: the table.
        columns: of it.
        values: class indices.
        reader: of the rows.

    Raises:
        InputError: there is such a column.
    """
    tasks = [values] if columns.target is not None else [values.keep(values.task == t) for t in np.unique(values.task)]
    for group in tasks:
        frame = source.frame.iloc[group.at][list(columns.of_case)]
        found = reader.leaks(frame, [int(value) for value in group.value])
        if found:
            name = columns.target or group.names[int(group.task[0])]
            raise InputError(
                f"{source.name}: the column {found[0]!r} tells the two classes of {name!r} apart without error: it seems to be the label itself or "
                "something written after it; leave it out, or declare separates: true in the schema if it is known beforehand"
            )


def _told(source: Source, used: IntArray, problem: CaseProblem) -> str:
    where = f"{source.row(used[problem.position])}, " if problem.position >= 0 else ""
    return f"{where}column {problem.text!r}: {problem.reason}"


def _frame(source: Source, columns: Columns, at: IntArray) -> pd.DataFrame:
    return source.frame.iloc[np.unique(at)][list(columns.of_case)]
