"""Columns as labelled cases show them: scaled by these cases, by how much they tell, whatever their names, order or unit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metamedica.functional.shown_columns import ShownColumns, shown_columns


def _shown(flat: Tensor, labels: list[int], most: int = 10) -> ShownColumns:
    mask = torch.ones(1, len(labels), dtype=torch.bool)
    return shown_columns(flat[None].double(), mask, torch.tensor([labels]).double(), most=most)


def test_what_a_column_tells_is_its_point_biserial_correlation_with_the_label() -> None:
    rng = np.random.default_rng(0)
    flat, labels = rng.normal(size=(12, 3)), [0, 1] * 6
    shown = _shown(torch.from_numpy(flat), labels)
    for place, column in enumerate(shown.index[0].tolist()):
        assert float(shown.told[0, place]) == pytest.approx(np.corrcoef(flat[:, column], labels)[0, 1], abs=1e-12)
    assert shown.told[0].abs().tolist() == sorted(shown.told[0].abs().tolist(), reverse=True)


def test_a_column_that_does_not_vary_among_the_labelled_cases_is_left_out() -> None:
    flat = torch.tensor([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    shown = _shown(flat, [0, 1, 1])
    assert shown.index.tolist() == [[0]]
    assert shown.varying.tolist() == [1.0]
    asked = torch.tensor([[[1.0, 900.0]]]).double()
    assert float(shown.every(asked)[0, 0, 1]) == 0


def test_of_more_columns_than_wanted_those_that_tell_most_are_chosen_and_of_mirrored_ones_the_first() -> None:
    label = torch.tensor([0.0, 0, 0, 1, 1, 1])
    noise = torch.tensor([0.0, 1, 0, 1, 0, 1])
    flat = torch.stack([noise, 1 - label, label], dim=1)
    assert _shown(flat, label.int().tolist(), most=1).index.tolist() == [[1]]


def test_two_values_are_told_from_three() -> None:
    flat = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    shown = _shown(flat, [0, 1, 1])
    told = dict(zip(shown.index[0].tolist(), shown.two_valued[0].tolist(), strict=True))
    assert told == {0: True, 1: False}


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0]])
def test_one_class_tells_nothing_and_breaks_nothing(labels: list[int]) -> None:
    shown = _shown(torch.tensor([[1.0], [2.0], [3.0]]), labels)
    assert shown.told.abs().max() < 1e-12
    assert torch.isfinite(shown.every(torch.zeros(1, 2, 1).double())).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-50, 50))
def test_unit_and_origin_of_a_column_change_nothing(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    flat, asked = torch.from_numpy(rng.normal(size=(9, 4))), torch.from_numpy(rng.normal(size=(1, 5, 4)))
    labels = [0, 1, 1, 0, 1, 0, 0, 1, 1]
    plain, other = _shown(flat, labels), _shown(scale * flat + shift, labels)
    torch.testing.assert_close(other.told, plain.told, atol=1e-9, rtol=0)
    torch.testing.assert_close(other.every(scale * asked + shift), plain.every(asked), atol=1e-7, rtol=0)
