import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metamedica.data.tables import read_table, write_table
from metamedica.errors import FileFormatError

TEXT = "smiles,pki,note\nCCO,7.5,plain\nc1ccccc1,-3e2,\n"
ROWS = [["CCO", "7.5", "plain"], ["c1ccccc1", "-3e2", ""]]


def write(folder: Path, data: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom"])
def test_a_table_reads_the_same_whatever_its_separator_line_end_and_encoding(
    tmp_path: Path, separator: str, ending: str, encoding: str
) -> None:
    text = TEXT.replace(",", separator).replace("\n", ending).replace("plain", "plaïn €")
    data = b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16-le-bom" else text.encode(encoding)
    frame = read_table(write(tmp_path, data))
    assert frame.columns.tolist() == ["smiles", "pki", "note"]
    assert frame.to_numpy().tolist() == [["CCO", "7.5", "plaïn €"], ["c1ccccc1", "-3e2", ""]]
    assert frame.attrs["source"] == "table.csv"


@pytest.mark.parametrize(
    ("encoding", "text"), [("latin-1", "Größe µM"), ("cp1252", "10 € – ok"), ("latin-1", "a\x81é")]
)
def test_what_is_not_utf_8_is_read_as_windows_1252_or_latin_1(tmp_path: Path, encoding: str, text: str) -> None:
    frame = read_table(write(tmp_path, f"a,b\n{text},1\n".encode(encoding)))
    assert frame.iloc[0, 0] == text


def test_gzip_is_unpacked_whatever_the_suffix_says(tmp_path: Path) -> None:
    packed = gzip.compress(TEXT.encode(), mtime=0)
    assert read_table(write(tmp_path, packed, "a.csv.gz")).to_numpy().tolist() == ROWS
    assert read_table(write(tmp_path, packed, "a.tsv")).to_numpy().tolist() == ROWS


def test_rows_keep_the_numbers_a_spreadsheet_shows(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path, 'a,b\n1,"two\nlines"\n\n,\n2,x\n'))
    assert frame.index.tolist() == [2, 5]
    assert frame["b"].tolist() == ["two\nlines", "x"]


def test_a_decimal_comma_does_not_make_the_comma_the_separator(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path, "smiles;pki\nCCO;7,5\nCCN;6,5\n"))
    assert frame.columns.tolist() == ["smiles", "pki"]
    assert frame["pki"].tolist() == ["7,5", "6,5"]


def test_one_column_is_a_table_too(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, "smiles\nCCO\n\nCCN\n"))["smiles"].tolist() == ["CCO", "CCN"]


def test_a_column_without_a_name_gets_its_number(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, ",smiles\n0,CCO\n")).columns.tolist() == ["column 1", "smiles"]


def test_a_cell_of_200_kilobytes_is_read_and_the_limit_of_the_csv_module_is_put_back(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    frame = read_table(write(tmp_path, f"smiles,pki\n{'C' * 200_000},1\n"))
    assert len(frame.iloc[0, 0]) == 200_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"", "t.csv", "t.csv is empty"),
        (b"\n \n", "t.csv", "t.csv is empty"),
        (b"\xef\xbb\xbf", "t.csv", "t.csv is empty"),
        (b"a,b\n", "t.csv", "t.csv has a header and no row"),
        (b"a,b\n,\n", "t.csv", "t.csv has a header and no row"),
        (bytes(range(256)) * 4, "t.csv", "t.csv holds binary data"),
        (b"PK\x03\x04 and more", "t.csv", "t.csv is an Excel or zip file"),
        (b"PAR1 and more", "t.csv", "t.csv is a Parquet file"),
        (b"\xff\xfea\x00,\x00b", "t.csv", "not whole UTF-16"),
        (b"a,b,a\n1,2,3\n", "t.csv", "2 columns called 'a'"),
        (b"a,b\n1,2\n3\n", "t.csv", "t.csv, row 3 has 1 cells and the header has 2, separated by commas"),
        (b"a,b\n1,2,3\n", "t.csv", "row 2 has 3 cells and the header has 2"),
        (b'a,b\n1,"2\n3,4\n', "t.csv", "row 2 is not well formed"),
        (gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9], "t.csv.gz", "t.csv.gz is not a whole gzip file"),
        (b"PAR1 is not enough", "t.parquet", "t.parquet is not a whole Parquet file"),
        (b"a,b\n1,2\n", "t.xlsx", "has a suffix this cannot read"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_sentence(
    tmp_path: Path, data: bytes, name: str, message: str
) -> None:
    with pytest.raises(FileFormatError, match=message.replace("(", r"\(")) as caught:
        read_table(write(tmp_path, data, name))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"there is no file .*nowhere\.csv"):
        read_table(tmp_path / "nowhere.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileFormatError, match=r"folder\.csv is a folder"):
        read_table(tmp_path / "folder.csv")


def test_a_file_over_the_limit_is_refused_packed_or_not(tmp_path: Path) -> None:
    text = "a,b\n" + "1,2\n" * 5000
    with pytest.raises(FileFormatError, match="larger than the 10,000 bytes"):
        read_table(write(tmp_path, text), limit_bytes=10_000)
    packed = write(tmp_path, gzip.compress(text.encode(), mtime=0), "t.csv.gz")
    assert packed.stat().st_size < 10_000
    with pytest.raises(FileFormatError, match="larger than the 10,000 bytes"):
        read_table(packed, limit_bytes=10_000)
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": np.zeros(5000)}).to_parquet(path)
    with pytest.raises(FileFormatError, match="larger than the 10,000 bytes"):
        read_table(path, limit_bytes=10_000)


def test_parquet_cells_become_text_that_reads_back_as_the_same_value(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "text": ["CCO", None, "x"],
            "number": [0.1 + 0.2, np.nan, -1e300],
            "whole": [1, 2, 3],
            "truth": [True, False, True],
            "kind": pd.Categorical(["a", "b", "a"]),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert read["text"].tolist() == ["CCO", "", "x"]
    assert read["number"].tolist() == ["0.30000000000000004", "", "-1e+300"]
    assert read["whole"].tolist() == ["1", "2", "3"]
    assert read["truth"].tolist() == ["True", "False", "True"]
    assert read["kind"].tolist() == ["a", "b", "a"]
    assert read.index.tolist() == [1, 2, 3]


CELL = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="=+-@"), max_size=12)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".parquet"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=5))
def test_a_table_written_and_read_is_the_same(tmp_path: Path, suffix: str, cells: list[list[str]]) -> None:
    cells = [["x", *row] for row in cells]  # a row without any text would be left out
    path = tmp_path / f"t{suffix}"
    write_table(pd.DataFrame(cells, columns=["a", "b", "c", "d,;"]), path)
    read = read_table(path)
    assert read.columns.tolist() == ["a", "b", "c", "d,;"]
    assert read.to_numpy().tolist() == cells


def test_only_text_that_a_spreadsheet_would_run_is_escaped(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "=name": ["=1+1", "+x", "-x", "@x", "-5.2", "CC=O", "+1e-3", "-"],
            "number": [-1.5, 2, 3, 4, 5, 6, 7, np.nan],
        }
    )
    write_table(frame, tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == "'=name,number"
    assert [line.split(",")[0] for line in lines[1:]] == ["'=1+1", "'+x", "'-x", "'@x", "-5.2", "CC=O", "+1e-3", "'-"]
    assert [line.split(",")[1] for line in lines[1:]] == ["-1.5", "2.0", "3.0", "4.0", "5.0", "6.0", "7.0", ""]
    write_table(frame, tmp_path / "t.parquet")
    assert pd.read_parquet(tmp_path / "t.parquet")["=name"].tolist() == frame["=name"].tolist()


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [0.1, 0.2], "b": ["x", "y"]})
    for name in ("t.csv", "t.csv.gz", "t.parquet"):
        write_table(frame, tmp_path / name)
        first = (tmp_path / name).read_bytes()
        write_table(frame, tmp_path / name)
        assert (tmp_path / name).read_bytes() == first


def test_a_table_that_cannot_be_written_leaves_the_old_one_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    write_table(pd.DataFrame({"a": [1]}), path)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_table(pd.DataFrame({"a": [2]}), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]


def test_an_unknown_suffix_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"t\.xls has a suffix this cannot write"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.xls")
    assert list(tmp_path.iterdir()) == []
