"""Cells to texts and numbers: nothing measured stays nothing, nothing is guessed."""

import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.cells import MISSING, as_text, numbers, texts


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
    assert as_text(cell) == text


CELLS = st.lists(st.sampled_from(["a", " a", "b ", "", " ", "NaN", "n/a", "NULL", "none", None, math.nan, 1, 1.0, "1"]))


@given(CELLS)
def test_codes_point_at_the_text_of_every_cell_and_missing_ones_at_none(cells: list[object]) -> None:
    column = texts(pd.Series(cells, dtype=object))
    expected = []
    for cell in cells:
        text = "" if cell is None or cell != cell else str(int(cell) if isinstance(cell, float) else cell).strip()
        expected.append("" if text.lower() in MISSING else text)
    assert [column.of(row) for row in range(len(cells))] == expected
    assert [code < 0 for code in column.codes] == [text == "" for text in expected]
    assert column.texts == list(dict.fromkeys(text for text in expected if text))


def test_the_label_none_is_a_label_and_not_a_missing_cell() -> None:
    column = texts(pd.Series(["none", "some", "None"], dtype=object))
    assert column.texts == ["none", "some", "None"]


def test_an_empty_column_has_no_codes_and_no_texts() -> None:
    column = texts(pd.Series([], dtype=object))
    assert (len(column.codes), column.texts) == (0, [])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_every_finite_number_written_by_python_reads_back_exactly(values: list[float]) -> None:
    column = texts(pd.Series([repr(value) for value in values], dtype=object))
    assert numbers(column).tolist() == values


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**6), max_value=10**6, places=4))
def test_a_decimal_reads_as_the_nearest_number(value: Decimal) -> None:
    column = texts(pd.Series([f"{value:f}"], dtype=object))
    assert numbers(column).tolist() == [float(value)]


@pytest.mark.parametrize(
    "text",
    [">10", "<=3", "1,5", "1.000,5", "5 nM", "inf", "-Infinity", "0x10", "1_000", "1e400", "١٢", "--1", ".", "e5"],
)
def test_what_is_no_finite_number_becomes_infinity_so_that_it_can_be_named(text: str) -> None:
    column = texts(pd.Series([text, "2.5", ""], dtype=object))
    first, second, third = numbers(column).tolist()
    assert math.isinf(first)
    assert second == 2.5
    assert math.isnan(third)
