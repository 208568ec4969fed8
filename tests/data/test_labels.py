"""Cells to texts, numbers and classes: nothing measured stays nothing, nothing is guessed."""

import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.data import labels
from metamedica.errors import TaskError


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (np.float32(2.0), "2"),
        (True, "1"),
        (np.bool_(False), "0"),
        (0.5, "0.5"),
        (" CCO \n", "CCO"),
        (float("inf"), "inf"),
        (-3, "-3"),
    ],
)
def test_one_value_has_one_text_whatever_its_type(cell: object, text: str) -> None:
    assert labels.as_text(cell) == text


CELLS = st.lists(st.sampled_from(["a", " a", "b ", "", " ", "NaN", "n/a", "NULL", "none", None, math.nan, 1, 1.0, "1"]))


@given(CELLS)
def test_codes_point_at_the_text_of_every_cell_and_missing_ones_at_none(cells: list[object]) -> None:
    column = labels.texts(pd.Series(cells, dtype=object))
    expected = []
    for cell in cells:
        text = "" if cell is None or cell != cell else str(int(cell) if isinstance(cell, float) else cell).strip()
        expected.append("" if text.lower() in labels.MISSING else text)
    assert [column.of(row) for row in range(len(cells))] == expected
    assert [code < 0 for code in column.codes] == [text == "" for text in expected]
    assert column.texts == list(dict.fromkeys(text for text in expected if text))


def test_the_label_none_is_a_label_and_not_a_missing_cell() -> None:
    column = labels.texts(pd.Series(["none", "some", "None"], dtype=object))
    assert column.texts == ["none", "some", "None"]


def test_an_empty_column_has_no_codes_and_no_texts() -> None:
    column = labels.texts(pd.Series([], dtype=object))
    assert (len(column.codes), column.texts) == (0, [])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_every_finite_number_written_by_python_reads_back_exactly(values: list[float]) -> None:
    column = labels.texts(pd.Series([repr(value) for value in values], dtype=object))
    assert labels.numbers(column).tolist() == values


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**6), max_value=10**6, places=4))
def test_a_decimal_reads_as_the_nearest_number(value: Decimal) -> None:
    column = labels.texts(pd.Series([f"{value:f}"], dtype=object))
    assert labels.numbers(column).tolist() == [float(value)]


@pytest.mark.parametrize(
    "text",
    [">10", "<=3", "1,5", "1.000,5", "5 nM", "inf", "-Infinity", "0x10", "1_000", "1e400", "١٢", "--1", ".", "e5"],
)
def test_what_is_no_finite_number_becomes_infinity_so_that_it_can_be_named(text: str) -> None:
    column = labels.texts(pd.Series([text, "2.5", ""], dtype=object))
    first, second, third = labels.numbers(column).tolist()
    assert math.isinf(first)
    assert second == 2.5
    assert math.isnan(third)


@pytest.mark.parametrize(
    ("text", "label"),
    [("1.0", "1"), ("1.", "1"), ("0.000", "0"), ("-2.0", "-2"), ("1.5", "1.5"), ("active", "active"), ("1.0 ", "1.0 ")],
)
def test_a_whole_number_is_the_same_label_with_and_without_decimals(text: str, label: str) -> None:
    assert labels.class_label(text) == label


@pytest.mark.parametrize("pair", labels.NEGATIVE_POSITIVE)
@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("turned", [False, True])
def test_clear_pairs_are_known_in_any_letters_and_order(pair: tuple[str, str], change: type[str], turned: bool) -> None:
    negative, positive = (change(label) for label in pair)
    found = [positive, negative] if turned else [negative, positive]
    classes, index = labels.classes_of(found, "binary", None, elsewhere=found, where="t")
    assert classes == (negative, positive)
    assert index == {negative: 0, positive: 1}


@pytest.mark.parametrize("pair", labels.NEGATIVE_POSITIVE)
@pytest.mark.parametrize("place", [0, 1])
def test_one_label_of_a_clear_pair_names_the_other(pair: tuple[str, str], place: int) -> None:
    classes, index = labels.classes_of([pair[place]], "binary", None, elsewhere=[pair[place]], where="t")
    assert classes == pair
    assert index == {pair[place]: place}


def test_two_spellings_of_one_label_are_one_class() -> None:
    classes, index = labels.classes_of(["Active", "active", "INACTIVE"], "binary", None, elsewhere=[], where="t")
    assert classes == ("INACTIVE", "Active")
    assert index == {"Active": 1, "active": 1, "INACTIVE": 0}


@pytest.mark.parametrize(
    ("found", "elsewhere", "classes"),
    [
        (["sick", "well"], ["sick", "well"], ("well", "sick")),
        (["well", "sick"], ["well", "sick"], ("well", "sick")),
        (["well"], ["sick", "well"], ("well", "sick")),
        (["sick"], ["sick", "well"], ("well", "sick")),
        (["sick"], ["sick"], ("not sick", "sick")),
        (["sick"], ["sick", "well", "dead"], ("not sick", "sick")),
        (["0", "1"], ["0", "1"], ("0", "1")),
    ],
)
def test_a_named_positive_label_is_class_one(found: list[str], elsewhere: list[str], classes: tuple[str, str]) -> None:
    positive = "1" if "1" in found else "sick"
    made, index = labels.classes_of(found, "binary", positive, elsewhere=elsewhere, where="t")
    assert made == classes
    assert all(made[index[label]] == label for label in found)


def test_a_named_positive_label_turns_a_clear_pair_around() -> None:
    classes, index = labels.classes_of(["no", "yes"], "binary", "no", elsewhere=["no", "yes"], where="t")
    assert classes == ("yes", "no")
    assert index == {"yes": 0, "no": 1}


@pytest.mark.parametrize(
    ("found", "positive", "message"),
    [
        (
            ["a", "b", "c"],
            None,
            r"f, task 't' has 3 labels \('a', 'b', 'c'\) and a binary task has two; name kind multi",
        ),
        (["a", "b", "c"], "a", "has 3 labels"),
        (["a", "b"], None, "has the labels 'a', 'b', and which one is positive is not clear; name it"),
        (["a"], None, "has the label 'a', and which one is positive is not clear; name it"),
        (["a", "b"], "c", "has the labels 'a', 'b', neither is the positive one 'c'; name one of them"),
        (["0", "yes"], None, "which one is positive is not clear"),
        (list("abcdef"), None, r"has 6 labels \('a', 'b', 'c', 'd', \.\.\.\)"),
    ],
)
def test_labels_that_leave_a_doubt_are_refused(found: list[str], positive: str | None, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        labels.classes_of(found, "binary", positive, elsewhere=found, where="f, task 't'")


@given(st.lists(st.integers(-50, 50).map(str) | st.text("abz", min_size=1, max_size=3), unique=True, min_size=1))
def test_classes_of_many_are_numbers_in_their_order_and_then_words(found: list[str]) -> None:
    classes, index = labels.classes_of(found, "multiclass", None, elsewhere=found, where="t")
    assert sorted(classes) == sorted(found)
    assert index == {label: place for place, label in enumerate(classes)}
    numeric = [label for label in classes if label.lstrip("-").isdigit()]
    assert list(classes[: len(numeric)]) == numeric
    assert [int(label) for label in numeric] == sorted(int(label) for label in numeric)
    assert labels.classes_of(found[::-1], "multiclass", None, elsewhere=found, where="t")[0] == classes
