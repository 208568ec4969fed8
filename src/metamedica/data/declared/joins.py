"""More tables beside the cases: one row a case by a key, never more. The number of cases stays as it was or is counted."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from metamedica.data.declared.cells import blanked, check_columns, keys, matches
from metamedica.data.declared.files import inside
from metamedica.data.declared.language import Join, Scalars
from metamedica.data.measurements import Source
from metamedica.data.tables import read_table
from metamedica.errors import FileFormatError, InputError


def read(
    folder: Path,
    table: str,
    *,
    where: str,
    missing: Scalars = (),
    only: Mapping[str, Scalars] | None = None,
    limit_bytes: int,
) -> Source:
    """Return a declared table, every cell as text and empty where missing.

    Args:
        folder: above the table.
        table: its path below the folder.
        where: what the messages call the declaration.
        missing: codes for missing cells, in every column.
        only: column -> values; other rows are left out.
        limit_bytes: largest size, unpacked, that is read.

    Raises:
        InputError: the path leaves the folder, or no row is left.
        FileFormatError: the file cannot be read, is too large, or lacks a column.
    """
    frame = read_table(inside(folder, table, where=where), limit_bytes=limit_bytes)
    for column, values in (only or {}).items():
        check_columns(frame, [column], of=table)
        frame = frame[matches(frame[column], values)]
        if not len(frame):
            raise InputError(
                f"{table} has no row whose {column!r} is {' or '.join(map(repr, values))}; mend where in {where}"
            )
    if missing:
        frame = pd.DataFrame({name: blanked(frame[name], missing) for name in frame.columns}, index=frame.index)
    return Source(frame, table)


def join(cases: Source, spec: Join, *, folder: Path, where: str, limit_bytes: int) -> tuple[Source, int]:
    """Return the cases with the columns of another table, and how many were left out because they have no row there.

    Raises:
        InputError: a key is there twice (the cases would be multiplied), a column is there already, or a case has no
            row and `absent: refuse`.
        FileFormatError: the file cannot be read or lacks a column.
    """
    here, there = spec.keys
    other = read(folder, spec.table, where=where, missing=spec.missing, only=spec.where, limit_bytes=limit_bytes)
    check_columns(cases.frame, [here], of=cases.name)
    names = spec.take if isinstance(spec.take, dict) else {name: name for name in _taken(spec, other, there)}
    check_columns(other.frame, [there, *names], of=spec.table)
    for name in names.values():
        if name in cases.frame.columns:
            raise InputError(
                f"{spec.table} brings a column {name!r} that is there already; rename it: take: {{{name}: another_name}}"
            )
    key = keys(other.frame[there])
    twice = np.flatnonzero(key.duplicated().to_numpy() & key.notna().to_numpy())
    if len(twice):
        raise InputError(
            f"{spec.table}, {other.row(twice[0])} has the {there!r} {key.iloc[twice[0]]!r} again, so that cases would be "
            f"multiplied; take one row a case by where, or aggregate the table under events"
        )
    at = pd.Series(np.arange(len(key)), index=key)
    at = at[at.index.notna()]
    position = at.reindex(keys(cases.frame[here])).to_numpy(dtype=float)
    found = ~np.isnan(position)
    if spec.absent == "refuse" and not found.all():
        first = int(np.flatnonzero(~found)[0])
        raise InputError(
            f"{cases.name}, {cases.row(first)} has the {here!r} {cases.frame[here].iloc[first]!r}, which {spec.table} lacks "
            f"({(~found).sum():,} such cases); declare absent: keep or absent: drop, or mend the files"
        )
    rows = np.where(found, position, 0).astype(np.int64)
    brought = {new: np.where(found, other.frame[old].to_numpy(dtype=object)[rows], "") for old, new in names.items()}
    whole = pd.concat([cases.frame, pd.DataFrame(brought, index=cases.frame.index, dtype=object)], axis=1)
    dropped = 0
    if spec.absent == "drop":
        whole, dropped = whole[found], int((~found).sum())
    if not len(whole):
        raise InputError(f"no case of {cases.name} has a row in {spec.table} by {here!r}; check the key")
    return Source(whole, cases.name), dropped


def _taken(spec: Join, other: Source, key: str) -> list[str]:
    if spec.take is not None:
        return list(spec.take)
    names = [str(name) for name in other.frame.columns if name != key]
    if not names:
        raise FileFormatError(f"{spec.table} has no column beside {key!r}; join a table that has one")
    return names
