"""Table files. In: every cell as text, every row with its number. Out: whole or not at all."""

import csv
import gzip
import io
import re
import threading
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from metamedica.errors import FileFormatError
from metamedica.storage import replace_file

LIMIT_BYTES = 500_000_000
SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".parquet")
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SNIFFED_RECORDS = 50
_POINTER = 8
_FOREIGN = {
    b"PAR1": "a Parquet file; give it the suffix .parquet",
    b"PK\x03\x04": "an Excel or zip file; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel file; save the sheet as CSV",
    b"%PDF": "a PDF; give a table",
}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_cell_limit = threading.Lock()  # csv.field_size_limit is one number for the whole process


def read_table(path: str | Path, *, limit_bytes: int = LIMIT_BYTES) -> pd.DataFrame:
    """Return a table with every cell as text ("" for an empty or missing one).

    The index, called "row", is the row's number as a spreadsheet shows it: a text file's header is row 1 (of Parquet,
    the first row of data is row 1). `frame.attrs["source"]` is the file's name. Rows without any text are left out.

    Text files are UTF-8 (with or without a byte-order mark) or UTF-16 with a mark; what is neither is read as
    Windows-1252, which holds all printable characters of Latin-1. Cells are separated by commas, semicolons or tabs,
    found from the first 50 records. Gzip is known by its first bytes. Numbers of a Parquet file become the shortest
    text that reads back as the same number.

    Args:
        path: `.csv`, `.tsv` or `.txt`, plain or `.gz`, or `.parquet`.
        limit_bytes: largest size, unpacked, that is read.

    Raises:
        FileFormatError: the file is missing, empty, too large, in an unknown format, or not a well-formed table.
    """
    path = Path(path)
    name = path.name
    suffix = _suffix(path, "read")
    try:
        if path.is_dir():
            raise FileFormatError(f"{name} is a folder; give the table file in it")
        size = path.stat().st_size
        if size > limit_bytes:
            raise FileFormatError(_too_large(name, limit_bytes))
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileFormatError(f"there is no file {str(path)!r}; check the path") from None
    except OSError as error:
        raise FileFormatError(f"{name} cannot be read ({error.strerror}); give a file that can be") from None
    if not data:
        raise FileFormatError(f"{name} is empty; give a table with a header and at least one row")
    frame = (
        _parquet(data, name, limit_bytes) if suffix == ".parquet" else _text(_unpacked(data, name, limit_bytes), name)
    )
    if not len(frame):
        raise FileFormatError(f"{name} has a header and no row; give at least one row")
    frame.attrs["source"] = name
    return frame


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table without its index, whole or not at all: CSV or TSV (UTF-8; plain or `.gz`) or Parquet, by suffix.

    A text cell of a CSV or TSV that a spreadsheet would run as a formula (it begins with = + - @ and is not a number)
    gets a leading apostrophe. The same table gives the same bytes.

    Raises:
        FileFormatError: an unknown suffix.
        OSError: the disk is full or read-only; nothing partial stays behind.
    """
    path = Path(path)
    suffix = _suffix(path, "write")
    if suffix == ".parquet":
        plain = frame.copy(deep=False)
        plain.attrs = {}
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(plain, preserve_index=False), sink)
        replace_file(path, sink.getvalue())
        return
    safe = pd.DataFrame(
        {number: _escaped_column(frame.iloc[:, number]) for number in range(frame.shape[1])}, index=frame.index
    )
    safe.columns = pd.Index([_escaped(column) for column in frame.columns], dtype=object)
    separator = "\t" if suffix.startswith(".tsv") else ","
    data = safe.to_csv(index=False, sep=separator, lineterminator="\n").encode("utf-8")
    replace_file(path, gzip.compress(data, mtime=0) if suffix.endswith(".gz") else data)


def _suffix(path: Path, verb: str) -> str:
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise FileFormatError(f"{path.name} has a suffix this cannot {verb}; use one of: {', '.join(SUFFIXES)}")


def _too_large(name: str, limit_bytes: int) -> str:
    return f"{name} is larger than the {limit_bytes:,} bytes that are read at once; split it"


def _unpacked(data: bytes, name: str, limit_bytes: int) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            data = stream.read(limit_bytes + 1)
    except (OSError, EOFError, zlib.error):
        raise FileFormatError(f"{name} is not a whole gzip file; fetch or pack it again") from None
    if len(data) > limit_bytes:
        raise FileFormatError(_too_large(name, limit_bytes))
    return data


def _encoding(data: bytes, name: str) -> str:
    for magic, what in _FOREIGN.items():
        if data.startswith(magic):
            raise FileFormatError(f"{name} is {what}")
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if encoding == "utf-16":
            raise FileFormatError(f"{name} begins as UTF-16 and is not whole UTF-16 text; save it as UTF-8") from None
        encoding = "cp1252"
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            encoding = "latin-1"
            text = data.decode(encoding)
    if _CONTROL.search(text):
        raise FileFormatError(f"{name} holds binary data; give a table as CSV, TSV or Parquet")
    if not text.strip():
        raise FileFormatError(f"{name} is empty; give a table with a header and at least one row")
    return encoding


def _records(data: bytes, encoding: str, separator: str) -> Iterator[list[str]]:
    with io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="") as stream:
        yield from csv.reader(stream, delimiter=separator, strict=True)


def _separator(data: bytes, encoding: str) -> str:
    """Return the separator that gives records of one width; among those, or where none does, the widest header."""
    best, best_rank = ",", (False, 1)
    for separator in _SEPARATORS:
        try:
            widths = [len(record) for record in islice(_records(data, encoding, separator), _SNIFFED_RECORDS) if record]
        except csv.Error:
            continue
        rank = (len(set(widths)) == 1, widths[0] if widths else 0)
        if rank[1] > 1 and rank > best_rank:
            best, best_rank = separator, rank
    return best


def _text(data: bytes, name: str) -> pd.DataFrame:
    encoding = _encoding(data, name)
    numbers: list[int] = []
    rows: list[list[str]] = []
    header: list[str] | None = None
    number = 0
    with _cell_limit:
        usual = csv.field_size_limit(len(data) + 1)
        try:
            separator = _separator(data, encoding)
            for number, record in enumerate(_records(data, encoding, separator), start=1):
                if not any(cell and not cell.isspace() for cell in record):
                    continue
                if header is None:
                    header = record
                elif len(record) != len(header):
                    raise FileFormatError(
                        f"{name}, row {number} has {len(record)} cells and the header has {len(header)}, separated by "
                        f"{_SEPARATORS[separator]}; mend the row or quote the cell that holds a separator"
                    )
                else:
                    numbers.append(number)
                    rows.append(record)
        except csv.Error as error:
            raise FileFormatError(
                f"{name}, row {number + 1} is not well formed ({error}); check its quotes and line ends"
            ) from None
        finally:
            csv.field_size_limit(usual)
    assert header is not None  # _encoding refuses a file without text
    names = _column_names(header, name)
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    cells = {column: np.array(values, dtype=object) for column, values in zip(names, columns, strict=True)}
    return pd.DataFrame(cells, index=pd.Index(numbers, name="row", dtype=np.int64), dtype=object)


def _column_names(header: Sequence[str], name: str) -> list[str]:
    names = [cell.strip() or f"column {number}" for number, cell in enumerate(header, start=1)]
    column, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise FileFormatError(f"{name} has {count} columns called {column!r}; give each its own name")
    return names


def _parquet(data: bytes, name: str, limit_bytes: int) -> pd.DataFrame:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        about = file.metadata
        size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        if max(size, about.num_rows * about.num_columns * _POINTER) > limit_bytes:  # a repeated value takes no bytes
            raise FileFormatError(_too_large(name, limit_bytes))
        table = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{name} is not a whole Parquet file; write it again") from None
    names = _column_names(table.column_names, name)
    cells = {column: _as_text(table.column(number)) for number, column in enumerate(names)}
    return pd.DataFrame(cells, index=pd.RangeIndex(1, table.num_rows + 1, name="row"), dtype=object)


def _as_text(column: Any) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Return an Arrow column as texts; null and NaN as the empty text."""
    texts = ["" if value is None or value != value else str(value) for value in column.to_pylist()]
    return np.array(texts, dtype=object)


def _escaped(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA) and not _PLAIN_NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def _escaped_column(column: "pd.Series[Any]") -> "pd.Series[Any]":
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        return column
    return column.astype(object).map(_escaped)
