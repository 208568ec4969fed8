"""The game of a case's parts: exact for sums, Shapley's values otherwise, parts that change nothing get nothing, backgrounds at even steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from metamedica.errors import InputError
from metamedica.functional.shapley import shapley_values
from metamedica.parts import CaseParts
from metamedica.predictors.answers import Answer, Sum
from metamedica.predictors.games import (
    COALITIONS,
    background_rows,
    contributions,
    evenly,
    usual_coalitions,
    worths,
)
from metamedica.testing import VectorRaw
from metamedica.types import Features, Law


def _row_parts(row: Tensor, others: Tensor, *, separate: bool = True) -> CaseParts:
    def without(present: Tensor) -> Features:
        return {"vector": torch.where(present[:, None], row, others).flatten(0, 1)}

    names = tuple(f"x{at}" for at in range(len(row)))
    return CaseParts(names, ("",) * len(names), without, len(others), separate)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _curved(features: Features) -> Law:
    x = features["vector"]
    return Normal(x[:, 0] * x[:, 1] + x[:, 2].sin(), torch.ones(len(x), dtype=x.dtype))


def test_values_are_shapleys_of_the_mean_answer_over_the_background() -> None:
    row, others = _normal(5), _normal(7, 5, seed=1)
    parts, answer = _row_parts(row, others), Answer(_curved, None)
    found = contributions(answer, parts)
    want = shapley_values(lambda present: worths(answer, parts, torch.from_numpy(present.copy())), 5, coalitions=32)
    np.testing.assert_allclose(found.values, want, atol=1e-10)
    assert found.base == pytest.approx(float(_curved({"vector": others}).mean.mean()))
    assert found.output == pytest.approx(float(_curved({"vector": row[None]}).mean))
    assert found.exact
    np.testing.assert_allclose(found.values[3:], 0, atol=1e-12)  # the answer does not read them


def test_a_product_is_shared_evenly_against_a_background_of_zeros() -> None:
    found = contributions(
        Answer(_curved, None), _row_parts(torch.tensor([2.0, 3.0, 0.0]).double(), torch.zeros(1, 3).double())
    )
    np.testing.assert_allclose(found.values, [3.0, 3.0, 0.0], atol=1e-12)


def test_a_sum_takes_two_answers_a_part_and_is_exact() -> None:
    row, others, weight = _normal(30), _normal(9, 30, seed=1), _normal(30, seed=2)
    asked: list[int] = []

    class Counting(VectorRaw):
        def flat(self, features: Features) -> Tensor:
            asked.append(len(features["vector"]))
            return features["vector"]

    answer = Answer(_curved, None, Sum(Counting(30), weight, torch.tensor(0.5).double()))
    found = contributions(answer, _row_parts(row, others))
    np.testing.assert_allclose(found.values, weight * (row - others.mean(0)), atol=1e-12)
    assert found.exact
    assert sum(asked) == 32 * 9


def test_a_sum_over_columns_that_parts_share_is_no_sum_over_parts() -> None:
    row, others = _normal(4), _normal(3, 4, seed=1)
    answer = Answer(_curved, None, Sum(VectorRaw(), _normal(4, seed=2), torch.tensor(0.0).double()))
    found = contributions(answer, _row_parts(row, others, separate=False))
    assert found.values.sum() == pytest.approx(found.output - found.base, abs=1e-12)


def test_a_part_that_equals_all_of_the_background_gets_nothing_and_no_coalition_is_spent_on_it() -> None:
    row, others = _normal(20), _normal(4, 20, seed=1)
    others[:, 3:] = row[3:]
    found = contributions(Answer(_curved, None), _row_parts(row, others))
    assert found.exact
    assert not found.values[3:].any()
    assert found.values[:3].all()


def test_few_coalitions_are_refused_before_anything_is_asked() -> None:
    def never(features: Features) -> Law:
        raise AssertionError

    with pytest.raises(InputError, match="got 10 coalitions for 20 parts; give at least 42"):
        contributions(Answer(never, None), _row_parts(_normal(20), _normal(1, 20)), coalitions=10)


def test_the_more_answers_a_coalition_takes_the_fewer_are_asked_within_bounds() -> None:
    assert usual_coalitions(16) == COALITIONS[0]
    assert usual_coalitions(1) == COALITIONS[1]
    assert usual_coalitions(8) == 512
    assert usual_coalitions(1000) == COALITIONS[0]


def test_parts_that_say_how_many_coalitions_suffice_are_asked_so_many_and_four_a_part_at_least() -> None:
    asked = []

    def law(features: Features) -> Law:
        asked.append(len(features["vector"]))
        return _curved(features)

    for players, said, wanted in ((12, 100, 100), (40, 100, 160), (12, None, COALITIONS[1])):
        parts = replace(_row_parts(_normal(players), _normal(1, players), separate=False), coalitions=said)
        asked.clear()
        contributions(Answer(law, None), parts)
        assert 0.7 * wanted <= sum(asked) <= wanted  # equal ones among those that are drawn are asked once


def test_cases_at_even_steps_of_their_answers_stand_for_all() -> None:
    assert evenly(torch.tensor([5.0, 1.0, 3.0, 2.0, 4.0, 0.0]).double(), 3) == [0, 1, 2]
    assert evenly(torch.zeros(2).double(), 3) == [0, 1]
    rows = {"vector": _normal(200, 3)}
    answer = Answer(_curved, None)
    some = background_rows(answer, rows, least=8)
    assert len(some["vector"]) == 16
    assert float(answer(some).mean()) == pytest.approx(float(answer(rows).mean()), abs=0.1)
    shuffled = background_rows(answer, {"vector": rows["vector"].flip(0)}, least=8)
    torch.testing.assert_close(shuffled["vector"].sort(0).values, some["vector"].sort(0).values)
    assert len(background_rows(answer, {"vector": _normal(7, 3)}, least=8)["vector"]) == 0
