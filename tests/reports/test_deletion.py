"""The deletion test: right contributions beat chance, random ones do not, reversed ones lose; nothing to test is refused."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from metamedica.errors import InputError
from metamedica.predictors.explanation import Explanation, Part
from metamedica.reports.deletion import deletion_test


def _explanation(
    values: NDArray[np.float64], answer_with: Callable[[NDArray[np.bool_]], NDArray[np.float64]]
) -> Explanation:
    parts = tuple(Part(f"x{at}", "", float(value), at) for at, value in enumerate(values))
    base, output = answer_with(np.array([[False] * len(values), [True] * len(values)]))
    return Explanation("", "value", None, float(base), float(output), parts, True, (), answer_with)


def _cases(
    change: Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]], count: int = 40
) -> list[Explanation]:
    rng = np.random.default_rng(0)
    told = []
    for _ in range(count):
        weight = rng.normal(size=8)
        told.append(_explanation(change(weight, rng), lambda present, weight=weight: present @ weight))  # type: ignore[misc]
    return told


def test_right_contributions_let_the_answer_fall_as_soon_as_any_order_can() -> None:
    found = deletion_test(_cases(lambda weight, rng: weight))
    assert found.better
    assert found.share_better == 1.0
    assert found.low < found.gain < found.high
    rng = np.random.default_rng(0)
    for drop in found.by_contribution:
        ordered = np.sort(rng.normal(size=8))[::-1]
        assert drop == pytest.approx(np.cumsum(ordered).mean())


def test_contributions_by_chance_do_not_and_reversed_ones_do_worse() -> None:
    assert not deletion_test(_cases(lambda weight, rng: rng.normal(size=8))).better
    found = deletion_test(_cases(lambda weight, rng: -weight))
    assert found.high < 0
    assert found.share_better == 0.0


def test_it_is_the_same_each_time_and_a_value_of_json() -> None:
    one, other = (deletion_test(_cases(lambda weight, rng: weight), seed=3).as_dict() for _ in range(2))
    assert one == other
    assert one["cases"] == 40
    assert one["gain"] == pytest.approx(one["drop"] - one["drop_by_chance"])


def test_cases_of_one_part_have_no_order_to_test() -> None:
    lone = _explanation(np.array([1.0]), lambda present: present @ np.array([1.0]))
    with pytest.raises(InputError, match="no explained case has two parts or more"):
        deletion_test([lone])
    with pytest.raises(InputError, match="no explained case has two parts or more"):
        deletion_test([])
