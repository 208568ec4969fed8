"""Rows by their entries against the dense rows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metamedica.blocks import SparseRows, SparseTable, as_block
from metamedica.functional.sparse import (
    FEWEST_COLUMNS,
    FEWEST_ROWS,
    MOST_FILLED,
    Entries,
    affine,
    entries_of,
    gram,
    is_mostly_zero,
    laid_out,
    transposed,
)


def block(rows: int, size: int, filled: float, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.poisson(3, (rows, size)) * (rng.random((rows, size)) < filled), dtype=torch.float64)


def entries(rows: Tensor) -> Entries:
    found = entries_of(rows)
    assert found is not None
    return found


@given(st.integers(0, 1000), st.integers(FEWEST_COLUMNS, 400), st.sampled_from([0.0, 0.01, 0.05]))
def test_a_product_is_that_of_the_changed_dense_rows_and_so_are_its_gradients_of_both_orders(
    seed: int, size: int, filled: float
) -> None:
    rows = block(FEWEST_ROWS, size, filled, seed)
    weight = torch.randn(7, size, dtype=torch.float64, requires_grad=True)
    found = entries_of(rows)
    if found is None:
        assert (rows != 0).double().mean() > MOST_FILLED
        return
    found = found.map(torch.log1p)
    torch.testing.assert_close(found.dense(), rows.log1p())
    goal = torch.randn(FEWEST_ROWS, 7, dtype=torch.float64)
    for order, power in ((1, 2), (2, 3)):
        slopes = []
        for product in (found.times(weight.T), rows.log1p() @ weight.T):
            value = ((product - goal) ** power).mean()
            slope = torch.autograd.grad(value, weight, create_graph=order == 2)[0]
            slopes.append(torch.autograd.grad(slope.square().sum(), weight)[0] if order == 2 else slope)
        torch.testing.assert_close(*slopes)


def test_a_product_has_a_gradient_under_torch_func_too() -> None:
    rows, weight = block(FEWEST_ROWS, 300, 0.05, 0), torch.randn(300, 4, dtype=torch.float64)
    found = entries(rows)
    slope = torch.func.grad(lambda table: found.times(table).square().mean())(weight)
    torch.testing.assert_close(slope, torch.func.grad(lambda table: (rows @ table).square().mean())(weight))


def test_leading_axes_and_empty_rows_are_kept() -> None:
    rows = block(FEWEST_ROWS, 300, 0.05, 0)
    rows[0] = rows[-1] = 0
    found, table = entries(rows.reshape(2, -1, 300)), torch.randn(300, 5, dtype=torch.float64)
    out = found.times(table)
    assert out.shape == (2, FEWEST_ROWS // 2, 5)
    assert not out[0, 0].any()
    assert not out[-1, -1].any()
    torch.testing.assert_close(out.reshape(-1, 5), rows @ table)
    assert found.dense().equal(rows.reshape(2, -1, 300))


@pytest.mark.parametrize(
    ("rows", "size", "filled"),
    [
        (FEWEST_ROWS - 1, 300, 0.01),
        (FEWEST_ROWS, 300, 0.5),
        (FEWEST_ROWS, 300, 0.15),
        (FEWEST_ROWS, FEWEST_COLUMNS - 1, 0.01),
    ],
)
def test_where_it_would_not_pay_rows_stay_dense(rows: int, size: int, filled: float) -> None:
    assert entries_of(block(rows, size, filled, 1)) is None
    assert entries_of(block(FEWEST_ROWS, 300, 0.01, 1)) is not None


def test_rows_that_may_not_be_looked_at_stay_dense() -> None:
    rows = block(FEWEST_ROWS, 300, 0.01, 1)
    assert entries_of(rows.clone().requires_grad_()) is None
    seen: list[bool] = []

    def look(each: Tensor) -> Tensor:
        seen.append(entries_of(each) is None)
        return each

    torch.func.vmap(look)(torch.stack([rows, rows]))
    assert seen == [True]


def test_inner_products_within_each_task_are_those_of_the_dense_rows() -> None:
    left, right = (block(FEWEST_ROWS, 300, 0.05, seed).reshape(2, -1, 300) for seed in (0, 1))
    left[1, -1] = right[0, 0] = 0
    torch.testing.assert_close(gram([entries(left)], [entries(right)]), left @ right.mT)


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 40), st.integers(1, 70))
def test_inner_products_of_rows_of_a_table_are_those_of_the_dense_rows(seed: int, tasks: int, m: int, n: int) -> None:
    known = block(50, 300, 0.03, seed)
    table, rng = SparseTable.of(known), np.random.default_rng(seed)
    left, right = (SparseRows(table, torch.from_numpy(rng.integers(0, 51, (tasks, k)))) for k in (m, n))
    found = gram([entries(as_block(left))], [entries(as_block(right))])
    torch.testing.assert_close(found, left.laid_out() @ right.laid_out().mT)


@given(st.integers(0, 1000))
def test_rows_of_a_table_have_the_entries_that_a_look_at_the_dense_rows_finds(seed: int) -> None:
    known, rng = block(50, 300, 0.03, seed), np.random.default_rng(seed)
    rows = SparseRows(SparseTable.of(known), torch.from_numpy(rng.integers(0, 51, (2, FEWEST_ROWS))))
    found, looked = entries(as_block(rows)), entries(rows.laid_out())
    assert found.shape == looked.shape
    for one, other in zip(vars(found).values(), vars(looked).values(), strict=True):
        assert isinstance(one, torch.Size) or torch.equal(one, other)


def test_the_transposed_product_is_the_gradient_of_a_table() -> None:
    wide, narrow = block(FEWEST_ROWS, 300, 0.05, 3).reshape(4, -1, 300), torch.randn(4, 32, 3, dtype=torch.float64)
    pieces, slope = [entries(wide), narrow], torch.randn(4, 32, 5, dtype=torch.float64)
    table = torch.randn(303, 5, dtype=torch.float64, requires_grad=True)
    (want,) = torch.autograd.grad(affine(pieces, table, torch.zeros(5, dtype=torch.float64)), table, slope)
    torch.testing.assert_close(transposed(pieces, slope), want)


def test_a_block_of_many_columns_of_which_few_are_filled_is_mostly_zero() -> None:
    assert is_mostly_zero(block(20, FEWEST_COLUMNS, MOST_FILLED / 2, 0))
    assert not is_mostly_zero(block(20, FEWEST_COLUMNS, MOST_FILLED * 2, 0))
    assert not is_mostly_zero(block(20, FEWEST_COLUMNS - 1, 0.01, 0))


def test_pieces_side_by_side_are_one_matrix() -> None:
    wide, narrow = block(FEWEST_ROWS, 300, 0.05, 3).reshape(4, -1, 300), torch.randn(4, 32, 3, dtype=torch.float64)
    pieces, rows = [entries(wide), narrow], torch.cat([wide, narrow], -1)
    table, bias = torch.randn(303, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    torch.testing.assert_close(affine(pieces, table, bias), rows @ table + bias)
    torch.testing.assert_close(affine([narrow], table[300:], bias), narrow @ table[300:] + bias)
    torch.testing.assert_close(laid_out(pieces), rows)
    fewer = rows[:, :7]
    other = [entries(torch.cat([fewer] * 5, 1)[..., :300]), torch.cat([fewer] * 5, 1)[..., 300:]]
    torch.testing.assert_close(gram(pieces, other), rows @ torch.cat([fewer] * 5, 1).mT)
