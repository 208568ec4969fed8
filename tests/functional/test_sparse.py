"""The sparse linear map against the dense product."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metamedica.functional import sparse
from metamedica.functional.sparse import FEWEST_ROWS, MOST_FILLED, sparse_linear


def block(rows: int, size: int, filled: float, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.poisson(3, (rows, size)) * (rng.random((rows, size)) < filled), dtype=torch.float64)


@given(st.integers(0, 1000), st.integers(1, 60), st.sampled_from([0.0, 0.01, 0.05]))
def test_it_is_the_dense_product_of_the_changed_entries(seed: int, size: int, filled: float) -> None:
    rows, weight = block(FEWEST_ROWS, size, filled, seed), torch.randn(7, size, dtype=torch.float64)
    out = sparse_linear(rows, weight.T, entry=torch.log1p)
    if out is None:
        assert (rows != 0).double().mean() > MOST_FILLED
    else:
        torch.testing.assert_close(out, rows.log1p() @ weight.T)


def test_leading_axes_and_empty_rows_are_kept() -> None:
    rows = block(FEWEST_ROWS, 40, 0.05, 0)
    rows[0] = rows[-1] = 0
    weight = torch.randn(5, 40, dtype=torch.float64)
    out = sparse_linear(rows.reshape(2, -1, 40), weight.T)
    assert out is not None
    assert out.shape == (2, FEWEST_ROWS // 2, 5)
    assert not out[0, 0].any()
    assert not out[-1, -1].any()
    torch.testing.assert_close(out.reshape(-1, 5), rows @ weight.T)


@pytest.mark.parametrize(("rows", "filled"), [(FEWEST_ROWS - 1, 0.01), (FEWEST_ROWS, 0.5)])
def test_where_it_would_not_pay_there_is_no_answer(rows: int, filled: float) -> None:
    assert sparse_linear(block(rows, 50, filled, 1), torch.ones(50, 2, dtype=torch.float64)) is None
    assert sparse.sparse_linear(block(FEWEST_ROWS, 50, 0.01, 1), torch.ones(50, 2, dtype=torch.float64)) is not None
