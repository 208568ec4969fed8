"""Shapley values: the average over all orders by brute force, closed forms, and the axioms that define them."""

import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from metamedica.errors import InputError
from metamedica.functional.shapley import FEW_PLAYERS, coalitions_of, fewest_coalitions, shapley_values

Table = dict[tuple[bool, ...], float]


def _random_game(players: int, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    return {there: float(rng.normal()) for there in itertools.product((False, True), repeat=players)}


def _asked(table: Table, present: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.array([table[tuple(bool(each) for each in row)] for row in present])


def _by_orders(table: Table, players: int) -> NDArray[np.float64]:
    """Return each player's mean gain over all orders of arrival: Shapley's definition."""
    total = np.zeros(players)
    for order in itertools.permutations(range(players)):
        there = [False] * players
        for player in order:
            before = table[tuple(there)]
            there[player] = True
            total[player] += table[tuple(there)] - before
    return total / math.factorial(players)


@settings(max_examples=25)
@given(players=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_few_players_get_what_all_orders_of_arrival_give_them(players: int, seed: int) -> None:
    table = _random_game(players, seed)
    found = shapley_values(lambda present: _asked(table, present), players, coalitions=0)
    np.testing.assert_allclose(found, _by_orders(table, players), atol=1e-10)


def test_drawn_coalitions_come_near_to_all_of_them_and_nearer_the_more_there_are() -> None:
    players, rng = 12, np.random.default_rng(0)
    weight, pair, trio = rng.normal(size=players), rng.normal(size=(players, players)), rng.normal(size=players)

    def game(present: NDArray[np.bool_]) -> NDArray[np.float64]:
        there = present.astype(float)
        worth: NDArray[np.float64] = there @ weight + 0.3 * np.einsum("ci,ij,cj->c", there, pair, there)
        return worth + np.tanh(there @ trio)

    exact = shapley_values(game, players, coalitions=2**players)
    few, many = (
        np.mean([np.square(shapley_values(game, players, coalitions=n, seed=s) - exact).mean() for s in range(8)])
        for n in (60, 600)
    )
    assert many < few / 5
    assert math.sqrt(many) < 0.02 * np.abs(exact).mean() + 0.02


@settings(max_examples=25)
@given(players=st.integers(1, 60), seed=st.integers(0, 10**6))
def test_a_sum_over_players_is_found_to_ten_digits_from_the_fewest_coalitions(players: int, seed: int) -> None:
    weight, level = np.random.default_rng(seed).normal(size=players), 3.0
    found = shapley_values(
        lambda present: level + present @ weight, players, coalitions=fewest_coalitions(players), seed=seed
    )
    np.testing.assert_allclose(found, weight, atol=1e-10)


@settings(max_examples=25)
@given(players=st.integers(2, 16), seed=st.integers(0, 10**6))
def test_values_sum_to_what_all_are_worth_more_than_nobody(players: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked = coalitions_of(players, coalitions=fewest_coalitions(players) + 30, seed=seed)
    worths = rng.normal(size=len(asked.present)) * 100
    assert asked.values(worths).sum() == pytest.approx(worths[1] - worths[0], abs=1e-10)
    assert not asked.present[0].any()
    assert asked.present[1].all()


@settings(max_examples=20)
@given(players=st.integers(3, 7), seed=st.integers(0, 10**6))
def test_players_that_add_the_same_get_the_same_and_one_that_adds_nothing_gets_nothing(players: int, seed: int) -> None:
    table = _random_game(players, seed)
    symmetric = {t: table[(*sorted(t[:2]), *t[2:])] for t in table}
    found = shapley_values(lambda present: _asked(symmetric, present), players, coalitions=0)
    assert found[0] == pytest.approx(found[1], abs=1e-10)
    idle = {t: table[(False, *t[1:])] for t in table}
    found = shapley_values(lambda present: _asked(idle, present), players, coalitions=0)
    assert found[0] == pytest.approx(0, abs=1e-10)


@settings(max_examples=20)
@given(players=st.integers(2, 14), seed=st.integers(0, 10**6))
def test_the_values_of_a_sum_of_games_are_the_sums_of_their_values(players: int, seed: int) -> None:
    asked = coalitions_of(players, coalitions=fewest_coalitions(players) + 40, seed=seed)
    one, other = np.random.default_rng(seed).normal(size=(2, len(asked.present)))
    both = asked.values(np.stack([one, other, 2 * one - other], axis=1))
    np.testing.assert_allclose(both[:, 2], 2 * asked.values(one) - asked.values(other), atol=1e-9)


def test_the_same_seed_asks_the_same_and_no_more_than_the_budget() -> None:
    first, again, other = (coalitions_of(20, coalitions=100, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.present, again.present)
    assert first.present.shape[0] <= 100
    assert first.present.shape != other.present.shape or (first.present != other.present).any()
    assert not first.complete
    assert coalitions_of(FEW_PLAYERS, coalitions=0).complete
    assert coalitions_of(11, coalitions=2048).complete


def test_drawn_coalitions_come_with_their_complements() -> None:
    present = coalitions_of(25, coalitions=300, seed=3).present
    rows = {row.tobytes() for row in present}
    assert all((~row).tobytes() in rows for row in present)


def test_one_player_gets_everything_and_none_gets_nothing() -> None:
    assert shapley_values(lambda present: 2 + 3 * present[:, 0], 1, coalitions=0) == pytest.approx([3.0])
    assert shapley_values(lambda present: np.ones(len(present)), 0, coalitions=0).shape == (0,)


def test_too_few_coalitions_are_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(InputError, match="got 20 coalitions for 30 parts; give at least 62"):
        shapley_values(lambda present: present.sum(1).astype(float), 30, coalitions=20)
    with pytest.raises(InputError, match="give none or more"):
        coalitions_of(-1, coalitions=5)


def test_it_agrees_with_the_package_shap_where_that_is_installed() -> None:
    shap = pytest.importorskip("shap", reason="shap is not installed; the values are compared with brute force above")
    rng = np.random.default_rng(0)
    rows, weight = rng.normal(size=(5, 7)), rng.normal(size=7)

    def answer(x: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.tanh(x @ weight) + x[:, 0] * x[:, 1]
        return found

    def game(present: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.array([answer(np.where(there, rows[0], rows[1:])).mean() for there in present])

    theirs = shap.KernelExplainer(answer, rows[1:]).shap_values(rows[0], nsamples=2**7, silent=True)
    np.testing.assert_allclose(shapley_values(game, 7, coalitions=2**7), theirs, atol=1e-6)
