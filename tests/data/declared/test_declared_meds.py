"""The Medical Event Data Standard: cases are index events, columns look back from them, labels look ahead, and static facts hold always."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metamedica.data.declared import Declared, read_declared
from metamedica.errors import FileFormatError, InputError, TaskError

Declare = Callable[..., Declared]

ROWS = [
    (1, None, "SEX//F", None),
    (1, "1971-01-01", "BIRTH", None),
    (1, "2031-01-01", "ADMIT//ER", None),
    (1, "2031-01-01 10:00", "LAB//Na", 130.0),
    (1, "2031-01-02", "LAB//Na", 150.0),
    (1, "2031-01-10", "DEATH", None),
    (2, None, "SEX//M", None),
    (2, "1981-01-01", "BIRTH", None),
    (2, "2031-03-01", "ADMIT//WARD", None),
    (2, "2031-03-01", "LAB//K", 4.0),
    (2, "2031-06-01", "ADMIT//ER", None),
    (2, "2031-12-01", "LAB//K", 5.0),
    (3, "2031-02-01", "ADMIT//ER", None),
    (3, "2031-02-03", "LAB//Na", 120.0),
    (4, "2031-02-01", "LAB//Na", 1.0),
]
SPEC = """source: meds
index: {codes: "ADMIT//*", plus: {hours: 12}}
events:
  - take:
      sodium: {codes: LAB//Na, how: last, schema: {unit: mmol/L}}
      sex: {codes: "SEX//*", how: code}
      entry: {codes: "ADMIT//*", how: code}
      age: {codes: BIRTH, how: years_since}
      death: {codes: DEATH, how: time, future: any}
label: {column: death, within: {span: {days: 30}, until: record_end}, absent: drop}
time: index_time
"""


def _events(rows: list[tuple[Any, ...]]) -> pa.Table:
    subject, time, code, value = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "subject_id": pa.array(subject, pa.int64()),
            "time": pa.array([None if each is None else pd.Timestamp(each) for each in time], pa.timestamp("us")),
            "code": pa.array(code, pa.string()),
            "numeric_value": pa.array(value, pa.float32()),
        }
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "metadata").mkdir()
    pq.write_table(_events(ROWS[:6]), tmp_path / "data" / "train" / "0.parquet")
    pq.write_table(_events(ROWS[6:]), tmp_path / "data" / "train" / "1.parquet")
    return tmp_path


def test_cases_are_index_events_with_what_was_known_by_then(declare: Declare, data: Path) -> None:
    found = declare(SPEC)
    assert found.columns == ("sodium", "sex", "entry", "age")
    frame = found.frame.set_index("group")
    assert frame["label"].to_dict() == {"1": 1, "2": 0}
    assert frame["sodium"].iloc[0] == 130  # not the 150 of the next day
    assert frame["sex"].to_dict() == {"1": "F", "2": "M"}
    assert frame["entry"].to_dict() == {"1": "ER", "2": "WARD"}
    assert frame["age"].tolist() == pytest.approx([60.0, 50.16], abs=0.01)
    assert frame["time"].iloc[0] == pd.Timestamp("2031-01-01 12:00")
    assert found.left_out == {
        "subjects without an index event": 1,
        "without a label": 1,
    }  # nobody saw subject 3 for 30 days
    assert found.schema == {"sodium": {"unit": "mmol/L"}}


def test_the_last_and_every_index_event_can_be_the_case(declare: Declare, data: Path) -> None:
    last = declare(SPEC.replace('"ADMIT//*", plus', '"ADMIT//*", which: last, plus')).frame.set_index("group")
    assert last["entry"].to_dict() == {"1": "ER", "2": "ER"}
    every = declare(SPEC.replace('"ADMIT//*", plus', '"ADMIT//*", which: every, plus')).frame
    assert every["group"].tolist() == ["1", "2", "2"]
    assert every["case"].nunique() == 3


def test_the_split_of_subjects_is_a_column_to_choose_by(declare: Declare, data: Path) -> None:
    split = pa.table({"subject_id": [1, 2], "split": ["train", "held_out"]})
    pq.write_table(split, data / "metadata" / "subject_splits.parquet")
    found = declare(f"{SPEC}exclude: [{{column: split, not_in: [train], because: of the other side}}]\n")
    assert found.frame["group"].tolist() == ["1"]
    assert declare(f"{SPEC}other_columns: keep\n").columns == ("sodium", "sex", "entry", "age")
    pq.write_table(pa.table({"subject_id": [1, 1], "split": ["a", "b"]}), data / "metadata" / "subject_splits.parquet")
    with pytest.raises(InputError, match=r"subject_splits\.parquet gives subject 1 two sides of the split; give one"):
        declare(SPEC)


def test_a_code_is_known_by_the_events_or_by_the_list_of_codes(declare: Declare, data: Path) -> None:
    odd = SPEC.replace("LAB//Na", "LAB//Mg")
    with pytest.raises(
        InputError, match="demo: the code 'LAB//Mg' is in no event and not among the known codes; check"
    ):
        declare(odd)
    pq.write_table(pa.table({"code": ["LAB//Mg"]}), data / "metadata" / "codes.parquet")
    assert declare(odd).frame["sodium"].isna().all()


def test_times_with_a_zone_are_read_in_utc(declare: Declare, data: Path) -> None:
    table = _events(ROWS)
    zoned = table.column("time").cast(pa.timestamp("us", tz="Asia/Tokyo"))
    plain = declare(SPEC).frame
    for path in (data / "data").rglob("*.parquet"):
        path.unlink()
    pq.write_table(table.set_column(1, "time", zoned), data / "data" / "all.parquet")
    pd.testing.assert_frame_equal(declare(SPEC).frame, plain)


@pytest.mark.parametrize(
    ("write", "error", "sentence"),
    [
        (
            lambda path: path.unlink(),
            FileFormatError,
            r"demo: there is no parquet file under .*/data; give the folder of MEDS",
        ),
        (
            lambda path: pq.write_table(_events([]), path),
            FileFormatError,
            "the parquet files under data hold no event; give",
        ),
        (
            lambda path: path.write_bytes(b""),
            FileFormatError,
            r"0\.parquet is not a whole Parquet file; write it again",
        ),
        (
            lambda path: path.write_bytes(b"PAR1 and no more"),
            FileFormatError,
            r"0\.parquet is not a whole Parquet file",
        ),
        (
            lambda path: pq.write_table(_events(ROWS).drop_columns(["numeric_value"]), path),
            FileFormatError,
            r"0\.parquet has no column 'numeric_value', which MEDS asks for; it has: subject_id, time, code",
        ),
        (
            lambda path: pq.write_table(_events(ROWS).set_column(1, "time", pa.array(["x"] * len(ROWS))), path),
            FileFormatError,
            r"0\.parquet, column 'time' is of type string; MEDS has timestamps there",
        ),
        (
            lambda path: pq.write_table(
                _events([(1, None, "ADMIT//ER", None), *ROWS[1:2], *ROWS[3:6], *ROWS[:1]]), path
            ),
            InputError,
            "no subject has a timed event ADMIT",
        ),
    ],
)
def test_files_that_are_no_meds_data_are_refused(
    declare: Declare, data: Path, write: Callable[[Path], None], error: type[Exception], sentence: str
) -> None:
    (data / "data" / "train" / "1.parquet").unlink()
    write(data / "data" / "train" / "0.parquet")
    with pytest.raises(error, match=sentence):
        declare(SPEC)


def test_what_is_too_large_leaves_the_folder_or_leaks_is_refused(declare: Declare, data: Path, tmp_path: Path) -> None:
    declare(SPEC)
    with pytest.raises(FileFormatError, match=r"0\.parquet unpacks to more than the 100 bytes read at once; split it"):
        read_declared(data / "d.yaml", limit_bytes=100)
    with pytest.raises(FileFormatError, match="demo keeps events of more than 800 bytes; name fewer codes"):
        read_declared(data / "d.yaml", limit_bytes=800)
    with pytest.raises(InputError, match=r"'record_end' among the columns, which .* \(a leak\)"):
        declare(f"{SPEC}columns: [record_end]\n")
    with pytest.raises(TaskError, match="demo has no case left"):
        declare(SPEC.replace("label:", "smallest: {cases: 5}\nlabel:"))
    outside = tmp_path.parent / f"{tmp_path.name}-outside.parquet"
    pq.write_table(_events(ROWS), outside)
    (data / "data" / "link.parquet").symlink_to(outside)
    with pytest.raises(InputError, match=r"names 'data/link.parquet', which is a link that leaves the root folder"):
        declare(SPEC)
