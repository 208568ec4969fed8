"""Tables to tasks: every number as it stands, every fault with its row, column, and what to do."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metamedica.data.collection import TaskCollection
from metamedica.data.reading import read_tasks
from metamedica.data.roles import Columns
from metamedica.data.tables import write_table
from metamedica.errors import CaseError, FileFormatError, InputError, TaskError


def _read(frame: pd.DataFrame | Path, **changes: Any) -> TaskCollection:
    settings: dict[str, Any] = {"modality": "words", "case": "word", "target": "value", "kind": "regression"}
    return TaskCollection.from_table(frame, **{**settings, **changes})


def _table(values: list[Any], **columns: Any) -> pd.DataFrame:
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven"]
    words = [names[place % len(names)] for place in range(len(values))]
    return pd.DataFrame({"word": words, "value": pd.Series(values, dtype=object), **columns})


def _targets(collection: TaskCollection, name: str = "value") -> dict[str, float]:
    task = collection[name]
    return {collection.canonical[row]: float(value) for row, value in zip(task.rows, task.targets, strict=True)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"case": "c"}, r"name one target column \(a row a measurement\) or several \(a column a task\), not both"),
        ({"case": "c", "target": "t", "targets": ("u",)}, "not both"),
        ({"case": "c", "targets": ()}, r"got the target columns \[\]; name at least one, each once"),
        ({"case": "c", "targets": ("u", "u")}, r"got the target columns \['u', 'u'\]; name at least one, each once"),
        ({"case": "c", "targets": ("u",), "task": "t"}, "has no task column; leave task out"),
        ({"case": "c", "targets": ("u",), "family": "t"}, "has no family column; leave family out"),
        ({"case": "c", "targets": ("u",), "about": "t"}, "has no about column; leave about out"),
        ({"case": "c", "targets": ("u",), "split": "t"}, "has no split column; leave split out"),
    ],
)
def test_columns_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Columns(**settings)


def test_the_named_columns_are_those_that_are_used() -> None:
    assert Columns("c", target="t", group="g", split="s").named() == ["c", "t", "g", "s"]
    assert Columns("c", targets=("a", "b")).named() == ["c", "a", "b"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8),
    suffix=st.sampled_from([".csv", ".tsv", ".csv.gz", ".parquet"]),
)
def test_raw_targets_go_through_any_file_unchanged(
    words: Any, tmp_path: Path, values: list[float], suffix: str
) -> None:
    path = tmp_path / f"assays{suffix}"
    write_table(_table(values).astype({"value": float}), path)
    read = _read(path, unit="nM")
    assert list(_targets(read).values()) == values
    assert read["value"].unit == "nM"


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", "Int64", "float32", "float64", "Float64"])
def test_numeric_columns_of_any_type_keep_their_numbers(words: Any, dtype: str) -> None:
    frame = pd.DataFrame({"word": ["one", "two", "three"], "value": pd.Series([1, 7, 3], dtype=dtype)})
    assert _targets(_read(frame)) == {"one": 1.0, "two": 7.0, "three": 3.0}


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA, "", " ", "NaN", "n/a", "NULL"])
def test_a_missing_target_is_left_out_and_counted(words: Any, missing: Any) -> None:
    read = _read(_table([1.5, missing, 3.5, missing]))
    assert _targets(read) == {"zero": 1.5, "two": 3.5}
    assert read.left_out == {"missing targets": 2}
    assert words.asked == [["two", "zero"]]


@pytest.mark.parametrize(
    ("value", "came", "hint"),
    [
        (math.inf, "inf", ""),
        (-math.inf, "-inf", ""),
        (">10", ">10", r" \(a bound is no value: leave it out\)"),
        ("<0.1", "<0.1", r" \(a bound is no value: leave it out\)"),
        ("7,5", "7,5", r" \(numbers have a decimal point and no thousands separator\)"),
        ("n.d.", "n.d.", ""),
        ("none", "none", ""),
    ],
)
def test_a_target_that_is_no_finite_number_is_named_with_its_row(
    words: Any, value: object, came: str, hint: str
) -> None:
    frame = _table([1.0, value, 2.0, value]).set_axis([2, 3, 5, 9])
    frame.attrs["source"] = "assays.csv"
    message = (
        f"^assays.csv, row 3, column 'value': '{came}' came and a finite number was wanted \\(2 such cells\\); mend it, or "
        f"leave it empty where nothing was measured{hint}$"
    )
    with pytest.raises(TaskError, match=message):
        _read(frame)
    assert words.asked == []


def test_infinity_in_a_numeric_column_is_named_with_its_row(words: Any) -> None:
    frame = pd.DataFrame({"word": ["one", "two"], "value": [1.0, math.inf]})
    with pytest.raises(TaskError, match="the table, row 1, column 'value': 'inf' came and a finite number was wanted;"):
        _read(frame)


def test_truth_values_are_the_numbers_one_and_zero(words: Any) -> None:
    frame = pd.DataFrame({"word": ["one", "two"], "value": [True, False]})
    assert _targets(_read(frame)) == {"one": 1.0, "two": 0.0}
    assert _targets(_read(frame, kind="binary")) == {"one": 1.0, "two": 0.0}


@pytest.mark.parametrize(
    ("values", "classes", "targets"),
    [
        ([0, 1, 1, 0], ("0", "1"), [0, 1, 1, 0]),
        (["1.0", "0.0", "1", "0"], ("0", "1"), [1, 0, 1, 0]),
        (["Active", "inactive", "Active", "inactive"], ("inactive", "Active"), [1, 0, 1, 0]),
        ([True, False, False, True], ("0", "1"), [1, 0, 0, 1]),
        (["yes", "no", None, "yes"], ("no", "yes"), [1, 0, 1]),
    ],
)
def test_binary_labels_that_say_it_themselves_need_no_help(
    words: Any, values: list[Any], classes: tuple[str, str], targets: list[int]
) -> None:
    task = _read(_table(values), kind="binary")["value"]
    assert task.classes == classes
    assert task.targets.tolist() == targets
    assert task.targets.dtype == np.int64


def test_other_binary_labels_need_the_positive_one(words: Any) -> None:
    frame = _table(["ill", "well", "ill"])
    with pytest.raises(
        TaskError, match="the table, task 'value' has the labels 'ill', 'well', and which one is positive"
    ):
        _read(frame, kind="binary")
    task = _read(frame, kind="binary", positive="ill")["value"]
    assert (task.classes, task.targets.tolist()) == (("well", "ill"), [1, 0, 1])


def test_three_labels_are_no_binary_task_but_a_multiclass_one(words: Any) -> None:
    frame = _table(["10", "9", "x", "9"])
    with pytest.raises(TaskError, match=r"has 3 labels .* and a binary task has two; name kind multiclass"):
        _read(frame, kind="binary")
    task = _read(frame, kind="multiclass")["value"]
    assert (task.classes, task.targets.tolist()) == (("9", "10", "x"), [1, 0, 2, 0])


def test_tasks_of_one_class_are_left_out_and_a_table_of_only_those_is_refused(words: Any) -> None:
    frame = _table([0, 1, 1, 1], task=["a", "a", "b", "b"])
    read = _read(frame, kind="binary", task="task")
    assert read.names() == ["a"]
    assert read.left_out == {"tasks with one class": 1}
    with pytest.raises(TaskError, match="the table has no task with cases of two classes; give cases of both"):
        _read(frame[2:], kind="binary", task="task")


def test_wide_columns_without_a_value_are_counted(words: Any) -> None:
    frame = pd.DataFrame({"word": ["one", "two"], "a": [1.0, None], "b": [None, None]})
    read = _read(frame, target=None, targets=["a", "b"])
    assert read.names() == ["a"]
    assert read.left_out == {"not measured": 3, "tasks without a value": 1}


def test_labels_of_wide_columns_are_each_columns_own(words: Any) -> None:
    frame = pd.DataFrame({"word": ["one", "two", "three"], "a": ["x", "y", "z"], "b": ["z", "z", "x"]})
    read = _read(frame, target=None, targets=["a", "b"], kind="multiclass")
    assert (read["a"].classes, read["b"].classes) == (("x", "y", "z"), ("x", "z"))
    assert read["b"].targets.tolist() == [1, 1, 0]


def test_a_row_without_a_task_name_is_left_out_and_counted(words: Any) -> None:
    read = _read(_table([1.0, 2.0, 3.0, None], task=["a", None, " ", None]), task="task")
    assert _targets(read, "a") == {"zero": 1.0}
    assert read.left_out == {"missing task names": 2, "missing targets": 1}


def test_one_task_has_the_name_given_or_that_of_its_column(words: Any) -> None:
    assert _read(_table([1.0, 2.0])).names() == ["value"]
    assert _read(_table([1.0, 2.0]), name="hERG").names() == ["hERG"]


def test_task_names_are_text_whatever_their_type(words: Any) -> None:
    read = _read(_table([1.0, 2.0, 3.0], task=[7, 7.0, "x"]), task="task")
    assert {name: len(task) for name, task in read.tasks.items()} == {"7": 2, "x": 1}


def test_spellings_of_one_case_are_one_case(words: Any) -> None:
    frame = pd.DataFrame({"word": ["One", " one ", "TWO"], "value": [1.0, 1.0, 2.0]})
    read = _read(frame)
    assert read.canonical == ["one", "two"]
    assert _targets(read) == {"one": 1.0, "two": 2.0}
    assert read.left_out == {"merged duplicates": 1}


def test_cases_that_cannot_be_read_are_told_before_anything_starts(words: Any) -> None:
    frame = pd.DataFrame({"word": ["ok", "b-d", "", "w@w", "x x", "b-d"], "value": range(6)}, index=[2, 3, 4, 5, 6, 7])
    message = (
        r"^the table, column 'word': 4 of 5 cases cannot be read: row 3 \('b-d'\): it is no word; row 4 \(''\): it is empty; "
        r"row 5 \('w@w'\): it is no word; and 1 more; mend them, or choose to skip invalid cases$"
    )
    with pytest.raises(CaseError, match=message):
        _read(frame)
    read = _read(frame, skip_invalid=True)
    assert _targets(read) == {"ok": 0.0}
    assert read.left_out == {"invalid cases": 4, "values of invalid cases": 5}


def test_a_column_of_no_readable_case_names_the_modality_to_look_for(words: Any) -> None:
    frame = pd.DataFrame({"word": ["?", "!"], "value": [1.0, 2.0]})
    message = "none of 2 cases can be read, the first because of: it is no word; name the column that holds words"
    with pytest.raises(CaseError, match=message):
        _read(frame, skip_invalid=True)


def test_a_case_without_a_value_is_not_read_at_all(words: Any) -> None:
    frame = pd.DataFrame({"word": ["fine", "not fine"], "value": [1.0, None]})
    assert _read(frame).canonical == ["fine"]
    assert words.asked == [["fine"]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "vlaue"}, "the table has no column 'vlaue'; name one of: word, value"),
        ({"case": "smiles"}, "the table has no column 'smiles'; name one of: word, value"),
        ({"group": "patient"}, "the table has no column 'patient'"),
    ],
)
def test_a_column_that_is_not_there_gives_those_that_are(words: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        _read(_table([1.0]), **changes)


def test_two_columns_of_one_name_and_a_table_without_rows_are_refused(words: Any) -> None:
    twice = pd.DataFrame([["a", 1.0, 2.0]], columns=["word", "value", "value"])
    with pytest.raises(FileFormatError, match="the table has 2 columns called 'value'"):
        _read(twice)
    with pytest.raises(FileFormatError, match="the table has no row; give at least one"):
        _read(_table([]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"duplicates": "max"}, "got duplicates='max'; choose error, mean or median"),
        ({"kind": "ranking"}, "got kind='ranking'; choose binary, multiclass or regression"),
    ],
)
def test_an_unknown_choice_gives_the_choices(words: Any, wrong: dict[str, str], message: str) -> None:
    plain = getattr(read_tasks, "__wrapped__", read_tasks)  # past the tests' own type checks
    settings: dict[str, Any] = {"modality": "words", "kind": "regression", **wrong}
    with pytest.raises(InputError, match=message):
        plain(_table([1.0]), Columns("word", target="value"), **settings)


def test_families_and_splits_are_read_for_every_task(words: Any) -> None:
    frame = _table(
        [1.0, 2.0, 3.0], task=["a", "b", "a"], family=["kinase", "", "kinase"], split=["train", "test", "train"]
    )
    read = _read(frame, task="task", family="family", split="split")
    assert (read["a"].family, read["b"].family) == ("kinase", None)
    assert read.split == {"a": "meta_train", "b": "meta_test"}


def test_the_split_of_a_task_that_is_left_out_is_left_out_too(words: Any) -> None:
    frame = _table([0, 1, 1, 1], task=["a", "a", "b", "b"], split=["train", "train", "test", "test"])
    assert _read(frame, kind="binary", task="task", split="split").split == {"a": "meta_train"}


def test_groups_stay_with_their_cases(words: Any) -> None:
    frame = _table([1.0, 2.0, 3.0], task=["a", "b", "a"], patient=["p1", "p2", 3])
    read = _read(frame, task="task", group="patient")
    assert (read["a"].groups, read["b"].groups) == (("p1", "3"), ("p2",))


def test_groups_of_wide_tables_go_to_every_task(words: Any) -> None:
    frame = pd.DataFrame({"word": ["one", "two"], "a": [1.0, 2.0], "b": [None, 4.0], "patient": ["p", "q"]})
    read = _read(frame, target=None, targets=["a", "b"], group="patient")
    assert (read["a"].groups, read["b"].groups) == (("p", "q"), ("q",))


def test_progress_is_passed_on_to_the_modality(words: Any) -> None:
    told: list[tuple[int, int, str]] = []
    _read(_table([1.0, 2.0]), progress=lambda *step: told.append(step))
    assert told == [(2, 2, "reading words")]
