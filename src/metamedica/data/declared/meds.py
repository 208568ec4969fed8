"""The Medical Event Data Standard: parquet files of (subject_id, time, code, numeric_value) -> events, and a case an index event.

https://github.com/Medical-Event-Data-Standard/meds: events below `data/`, known codes in `metadata/codes.parquet`, each subject's
side of a split in `metadata/subject_splits.parquet`. A null time is a fact known all along, such as the sex.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from metamedica.data.declared.events import of_codes
from metamedica.data.declared.files import inside
from metamedica.data.declared.language import Declaration
from metamedica.data.measurements import Source
from metamedica.errors import FileFormatError, InputError

_COLUMNS = ("subject_id", "time", "code", "numeric_value")
_BYTES_A_VALUE = 16


def read_meds(spec: Declaration, *, folder: Path, limit_bytes: int) -> tuple[Source, Source, int]:
    """Return the cases, the events that the declaration names, and how many subjects have no index event.

    The cases have the columns `subject_id`, `index_time` (the span that the index adds not yet added), `record_end` (the
    subject's last event) and, where the data have them, `split`. The events have `key`, `time`, `code` and `value`.

    Args:
        spec: a declaration with `source: meds`.
        folder: with `data/` in it.
        limit_bytes: largest size, unpacked, of one file, and of all events that are kept.

    Raises:
        FileFormatError: there is no parquet file, one is not whole, lacks a column or has it in another type, or too large.
        InputError: a code is neither in the events nor among the known codes, or no subject has an index event.
    """
    assert spec.index is not None
    assert spec.index.codes is not None
    takes = {name: take for each in spec.events for name, take in each.take.items()}
    wanted = (*spec.index.codes, *(code for take in takes.values() for code in take.codes))
    every = any(not take.codes for take in takes.values())
    parts: list[pd.DataFrame] = []
    ends: list[pd.Series[Any]] = []
    size = 0
    for frame in _frames(folder, spec.name, limit_bytes):
        ends.append(frame.groupby("key")["time"].max())
        kept = frame if every else frame[of_codes(frame["code"], wanted).notna()]
        size += len(kept) * len(_COLUMNS) * _BYTES_A_VALUE
        if size > limit_bytes:
            raise FileFormatError(f"{spec.name} keeps events of more than {limit_bytes:,} bytes; name fewer codes")
        parts.append(kept)
    subjects = pd.concat(ends).groupby(level=0).max()
    if not len(subjects):
        raise FileFormatError(f"{spec.name}: the parquet files under data hold no event; give at least one")
    events = pd.concat(parts, ignore_index=True)
    _check_codes(events, wanted, folder, spec.name)
    cases = _cases(spec, events, subjects)
    return cases, Source(events, "the MEDS events"), len(subjects) - cases.frame["subject_id"].nunique()


def _frames(folder: Path, name: str, limit_bytes: int) -> Iterator[pd.DataFrame]:
    """Yield the events of each file, in the order of their names."""
    data = inside(folder, "data", where=name)
    files = sorted(data.rglob("*.parquet")) if data.is_dir() else []
    if not files:
        raise FileFormatError(
            f"{name}: there is no parquet file under {folder.name}/data; give the folder of MEDS data"
        )
    for path in files:
        table = _table(folder, path, name, limit_bytes, _COLUMNS)
        types = {column: table.schema.field(column).type for column in _COLUMNS}
        for column, fits, what in (
            ("subject_id", pa.types.is_integer, "whole numbers"),
            ("time", pa.types.is_timestamp, "timestamps"),
            ("code", lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind), "strings"),
            ("numeric_value", lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind), "numbers"),
        ):
            if table.num_rows and not fits(types[column]):
                raise FileFormatError(
                    f"{path.name}, column {column!r} is of type {types[column]}; MEDS has {what} there"
                )
        yield pd.DataFrame(
            {
                "key": pd.Series([str(key) for key in table.column("subject_id").to_pylist()], dtype=object),
                "time": _naive(pd.to_datetime(table.column("time").to_pandas())),
                "code": table.column("code").to_pandas().astype(object),
                "value": table.column("numeric_value").to_pandas().astype(float),
            }
        )


def _naive(time: "pd.Series[Any]") -> "pd.Series[Any]":
    zoned = time.dt.tz_convert("UTC").dt.tz_localize(None) if time.dt.tz is not None else time
    return zoned.astype("datetime64[us]")


def _table(folder: Path, path: Path, name: str, limit_bytes: int, columns: tuple[str, ...]) -> Any:
    safe = inside(folder, path.relative_to(folder).as_posix(), where=name)
    try:
        with pq.ParquetFile(safe) as file:
            about = file.metadata
            rows = about.num_rows * len(columns) * _BYTES_A_VALUE  # a repeated value takes no bytes in the file
            if (
                max(rows, sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups)))
                > limit_bytes
            ):
                raise FileFormatError(
                    f"{path.name} unpacks to more than the {limit_bytes:,} bytes read at once; split it"
                )
            lacking = [column for column in columns if column not in file.schema_arrow.names]
            if lacking:
                raise FileFormatError(
                    f"{path.name} has no column {lacking[0]!r}, which MEDS asks for; it has: "
                    f"{', '.join(file.schema_arrow.names[:20])}"
                )
            return file.read(columns=list(columns))
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path.name} is not a whole Parquet file; write it again") from None


def _check_codes(events: pd.DataFrame, wanted: tuple[str, ...], folder: Path, name: str) -> None:
    metadata = folder / "metadata" / "codes.parquet"
    known = pd.Series(events["code"].dropna().unique(), dtype=object)
    if metadata.is_file():
        table = _table(folder, metadata, name, 500_000_000, ("code",))
        known = pd.concat([known, table.column("code").to_pandas().astype(object)])
    for pattern in wanted:
        if not of_codes(known, (pattern,)).notna().any():
            raise InputError(
                f"{name}: the code {pattern!r} is in no event and not among the known codes; check its spelling"
            )


def _cases(spec: Declaration, events: pd.DataFrame, ends: "pd.Series[Any]") -> Source:
    assert spec.index is not None
    assert spec.index.codes is not None
    found = events[of_codes(events["code"], spec.index.codes).notna() & events["time"].notna()]
    found = found.sort_values("time", kind="stable").drop_duplicates(["key", "time"])
    if spec.index.which != "every":
        found = found.drop_duplicates("key", keep=spec.index.which)
    if not len(found):
        raise InputError(
            f"{spec.name}: no subject has a timed event {' or '.join(spec.index.codes)}; name another index"
        )
    found = found.sort_values(["key", "time"], kind="stable")
    frame = pd.DataFrame({"subject_id": found["key"], "index_time": found["time"]}).reset_index(drop=True)
    frame["record_end"] = ends.reindex(frame["subject_id"]).to_numpy()
    return Source(frame.set_axis(pd.RangeIndex(1, len(frame) + 1, name="row"), axis=0), "the MEDS cases")


def add_splits(cases: Source, *, folder: Path, name: str) -> Source:
    """Return the cases with the column `split` of `metadata/subject_splits.parquet`, or as they are where it is absent.

    Raises:
        FileFormatError: the file is not whole or lacks a column.
        InputError: it names a subject twice.
    """
    path = folder / "metadata" / "subject_splits.parquet"
    if not path.is_file():
        return cases
    table = _table(folder, path, name, 500_000_000, ("subject_id", "split"))
    sides = pd.Series(
        np.array(table.column("split").to_pylist(), dtype=object),
        index=pd.Index([str(key) for key in table.column("subject_id").to_pylist()], dtype=object),
    )
    twice = sides.index[sides.index.duplicated()]
    if len(twice):
        raise InputError(f"{path.name} gives subject {twice[0]} two sides of the split; give one")
    side = sides.reindex(cases.frame["subject_id"]).fillna("").to_numpy(dtype=object)
    return Source(cases.frame.assign(split=side), cases.name)
