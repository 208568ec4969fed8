"""Units go in and come out again."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Normal

from metamedica.functional.targets import PRIOR_CASES, law_in_units, scale_of, standardise, standardise_episodes
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch


def _batch(values: list[list[float]], mask: list[list[bool]] | None = None) -> LabelledBatch:
    targets = torch.tensor(values, dtype=torch.float64)
    there = torch.ones(targets.shape, dtype=torch.bool) if mask is None else torch.tensor(mask)
    cases = CaseBatch({"vector": torch.zeros(*targets.shape, 1)}, there)
    return LabelledBatch(cases, targets.masked_fill(~there, 0), "regression")


numbers = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=12).filter(lambda v: np.std(v) > 1e-3)


@given(numbers, st.floats(-50, 50), st.floats(0.1, 20))
def test_standard_targets_have_mean_0_and_scale_1_whatever_the_unit(
    values: list[float], shift: float, factor: float
) -> None:
    plain, moved = _batch([values]), _batch([[shift + factor * v for v in values]])
    standard = standardise(plain, scale_of(plain)).targets
    assert float(standard.mean()) == pytest.approx(0, abs=1e-6)
    assert float(standard.std()) == pytest.approx(1, rel=1e-6)
    torch.testing.assert_close(standardise(moved, scale_of(moved)).targets, standard, atol=1e-6, rtol=1e-6)


@given(numbers)
def test_a_law_comes_back_in_the_unit_of_the_targets(values: list[float]) -> None:
    batch = _batch([values])
    scale = scale_of(batch)
    standard = standardise(batch, scale)
    law = law_in_units(Normal(standard.targets, torch.ones_like(standard.targets), validate_args=False), scale)
    torch.testing.assert_close(law.mean, batch.targets, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(law.stddev, scale.scale[:, None].expand_as(law.stddev))


def test_the_usual_scale_is_a_prior_worth_a_few_cases() -> None:
    batch = _batch([[1.0, 2.0, 4.0]])
    squares = float(((batch.targets - batch.targets.mean()) ** 2).sum())
    want = ((PRIOR_CASES * 1.5**2 + squares) / (PRIOR_CASES + 2)) ** 0.5
    assert float(scale_of(batch, usual_scale=1.5).scale[0]) == pytest.approx(want)


def test_equal_targets_have_a_scale_and_nothing_becomes_infinite() -> None:
    batch = _batch([[5.0, 5.0]])
    assert float(scale_of(batch).scale[0]) == 1.0
    assert standardise(batch, scale_of(batch)).targets.tolist() == [[0.0, 0.0]]
    assert float(scale_of(batch, usual_scale=2.0).scale[0]) > 0


@given(st.floats(-1e3, 1e3, width=32), st.integers(1, 64), st.sampled_from([torch.float32, torch.float64]))
def test_rounding_is_no_spread(value: float, count: int, dtype: torch.dtype) -> None:
    batch = _batch([[value] * count])
    equal = batch.with_targets(batch.targets.to(dtype))
    assert float(scale_of(equal).scale[0]) == 1.0


def test_sixteen_equal_numbers_in_single_precision_do_not_make_a_law_sure() -> None:
    equal = _batch([[11.1] * 16]).with_targets(torch.full((1, 16), 11.1))
    mean = equal.targets.sum(1) / 16
    assert float((equal.targets - mean).abs().max()) > 0, "else this number does not show it"
    assert float(scale_of(equal).scale[0]) == 1.0
    near = equal.with_targets(equal.targets + torch.tensor([[0.0] * 15 + [0.01]]))
    assert float(scale_of(near).scale[0]) == pytest.approx(0.0025, rel=1e-2)


def test_padding_stays_zero_and_does_not_count() -> None:
    padded = _batch([[1.0, 3.0, 9.0]], [[True, True, False]])
    scale = scale_of(padded)
    assert float(scale.shift[0]) == 2.0
    assert float(standardise(padded, scale).targets[0, 2]) == 0.0


def test_classes_are_left_as_they_are() -> None:
    cases = CaseBatch({"vector": torch.zeros(1, 2, 1)}, torch.ones(1, 2, dtype=torch.bool))
    batch = LabelledBatch(cases, torch.tensor([[0, 1]]), "binary", 2)
    scale = scale_of(batch)
    assert standardise(batch, scale) is batch
    law = Categorical(logits=torch.zeros(1, 2, 2))
    assert law_in_units(law, scale) is law


def test_query_targets_are_in_the_units_of_the_support() -> None:
    episodes = standardise_episodes(
        EpisodeBatch(_batch([[0.0, 2.0]]), _batch([[1.0, 3.0]]), torch.zeros(1, dtype=torch.int64))
    )
    sd = 2**0.5
    torch.testing.assert_close(episodes.query.targets, torch.tensor([[0.0, 2.0 / sd]], dtype=torch.float64))
