import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process.kernels import RBF, Matern
from torch import Tensor

from metamedica.functional import kernels
from metamedica.functional.kernels import (
    matern_kernel,
    minmax_and_tanimoto,
    minmax_kernel,
    rbf_kernel,
    squares_between,
)


def counts(rows: int, columns: int, seed: int, mean: float = 0.7) -> Tensor:
    return torch.poisson(
        torch.full((rows, columns), mean, dtype=torch.float64), generator=torch.Generator().manual_seed(seed)
    )


def by_definition(left: Tensor, right: Tensor) -> Tensor:
    smallest = torch.minimum(left[:, None], right[None]).sum(-1)
    return smallest / torch.maximum(left[:, None], right[None]).sum(-1)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.7, 5.0, 90.0]))
def test_whole_counts_give_the_ratio_of_sums_of_minima_and_maxima(seed: int, mean: float) -> None:
    left, right = counts(5, 12, seed, mean) + torch.eye(5, 12), counts(7, 12, seed + 1, mean)
    torch.testing.assert_close(minmax_kernel(left, right), by_definition(left, right), rtol=1e-12, atol=0)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_fractions_give_the_ratio_of_sums_of_minima_and_maxima(seed: int) -> None:
    left, right = counts(5, 12, seed) + 0.25, counts(7, 12, seed + 1) / 3
    torch.testing.assert_close(minmax_kernel(left, right), by_definition(left, right), rtol=1e-12, atol=1e-14)


def test_counts_beyond_the_levels_give_the_same_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = counts(4, 9, 0, 4.0), counts(6, 9, 1, 4.0)
    by_levels = minmax_kernel(left, right)
    monkeypatch.setattr(kernels, "MOST_LEVELS", 0)
    torch.testing.assert_close(minmax_kernel(left, right), by_levels, rtol=1e-14, atol=0)


def test_the_gradient_is_that_of_the_definition() -> None:
    left, right = (counts(3, 6, 0) + 0.3).requires_grad_(), (counts(4, 6, 1) + 0.6).requires_grad_()
    assert torch.autograd.gradcheck(minmax_kernel, (left, right))


def test_whole_counts_have_the_gradient_of_the_distance_too() -> None:
    left, right = torch.tensor([[3.0, 0.0]], requires_grad=True), torch.tensor([[1.0, 1.0]])
    minmax_kernel(left, right).sum().backward()  # 1 / 4 -> min 1, max 3 + 1; d/d(3) = -1/16
    assert left.grad is not None
    assert left.grad[0, 0].item() == pytest.approx(-1 / 16)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_the_kernel_is_positive_semi_definite_with_ones_on_the_diagonal(seed: int) -> None:
    rows = counts(9, 8, seed)
    rows[:2] = 0
    kernel = minmax_kernel(rows, rows)
    assert torch.equal(kernel.diagonal(), torch.ones(9, dtype=torch.float64))
    assert torch.equal(kernel, kernel.mT)
    assert torch.linalg.eigvalsh(kernel).min() > -1e-9


def test_two_empty_rows_are_alike_and_an_empty_row_shares_nothing_with_a_full_one() -> None:
    empty, full = torch.zeros(1, 3), torch.tensor([[0.0, 2.0, 1.0]])
    assert minmax_kernel(empty, empty).item() == 1
    assert minmax_kernel(empty, full).item() == 0
    assert minmax_kernel(full, empty).item() == 0


def test_no_rows_give_no_entries() -> None:
    assert minmax_kernel(torch.zeros(2, 0, 5), torch.zeros(2, 3, 5)).shape == (2, 0, 3)


def test_leading_axes_are_kept_apart() -> None:
    left, right = counts(2 * 3 * 4, 6, 0).reshape(2, 3, 4, 6), counts(2 * 3 * 5, 6, 1).reshape(2, 3, 5, 6)
    kernel = minmax_kernel(left, right)
    assert kernel.shape == (2, 3, 4, 5)
    torch.testing.assert_close(kernel[1, 2], minmax_kernel(left[1, 2], right[1, 2]), rtol=0, atol=0)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 3.0))
def test_the_squared_exponential_is_scikit_learns_with_the_length_per_column(seed: int, length: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(rows, 5, generator=generator, dtype=torch.float64) for rows in (4, 6))
    known = RBF(length * 5**0.5)(left.numpy(), right.numpy())
    torch.testing.assert_close(rbf_kernel(left, right, length=length), torch.from_numpy(known), rtol=1e-10, atol=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.7, 5.0]), st.integers(1, 60))
def test_both_tanimoto_kernels_at_once_are_each_by_itself(seed: int, mean: float, rows: int) -> None:
    left, right = counts(rows, 12, seed, mean), counts(40, 12, seed + 1, mean)
    of_counts, of_presence = minmax_and_tanimoto(left, right)
    torch.testing.assert_close(of_counts, minmax_kernel(left, right), rtol=1e-14, atol=0)
    torch.testing.assert_close(
        of_presence, minmax_kernel((left > 0).double(), (right > 0).double()), rtol=1e-14, atol=0
    )


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.7, 5.0, 60.0]), st.integers(1, 60), st.sampled_from([12, 150]))
def test_bytes_on_either_side_are_compared_as_the_same_numbers_in_floating_point(
    seed: int, mean: float, rows: int, columns: int
) -> None:
    left, right = counts(rows, columns, seed, mean), counts(40, columns, seed + 1, mean)
    left[0], right[0] = 0, 0
    smallest, largest = (
        torch.minimum(left[:, None], right[None]).sum(-1),
        torch.maximum(left[:, None], right[None]).sum(-1),
    )
    wanted = torch.where(largest > 0, smallest / largest.clamp(min=1), 1.0)
    use, others_use = left[:, None] > 0, right[None] > 0
    both, either = (use & others_use).sum(-1).double(), (use | others_use).sum(-1)
    present = torch.where(either > 0, both / either.clamp(min=1), 1.0)
    bytes_left, bytes_right = left.to(torch.uint8), right.to(torch.uint8)
    assert torch.equal(bytes_left.double(), left)
    for one, other in ((left, right), (bytes_left, right), (left, bytes_right)):
        of_counts, of_presence = minmax_and_tanimoto(one, other)
        torch.testing.assert_close(of_counts, wanted, rtol=1e-13, atol=0)
        torch.testing.assert_close(of_presence, present, rtol=1e-13, atol=0)
    of_counts, of_presence = minmax_and_tanimoto(bytes_left[None], bytes_right[None])
    torch.testing.assert_close(of_counts[0], wanted.float())
    torch.testing.assert_close(of_presence[0], present.float())


def test_counts_that_few_columns_reach_are_counted_as_those_that_many_reach() -> None:
    left, right = counts(50, 200, 0, 3.0), counts(40, 200, 1, 3.0)
    left[:, 0], right[:, 0] = (
        torch.arange(50.0),
        5 * torch.arange(40.0),
    )  # one column of 195 levels beside 199 of some ten
    of_counts, _ = minmax_and_tanimoto(left.to(torch.uint8), right)
    torch.testing.assert_close(of_counts, by_definition(left, right), rtol=1e-13, atol=0)


@pytest.mark.parametrize("batch", [(), (1,), (2,)])
@pytest.mark.parametrize(
    ("rows", "others", "columns"), [(200, 16, 300), (65, 17, 16), (1100, 1, 17), (33, 40, 63), (400, 3, 1)]
)
def test_products_of_bytes_give_the_bits_of_products_in_floating_point(
    batch: tuple[int, ...], rows: int, others: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = (
        counts(n, columns, n, 4.0).to(torch.uint8).expand(*batch, n, columns).contiguous() for n in (rows, others)
    )
    left[..., 0, :5] = 255  # above what a signed byte holds
    right[..., 0, :3] = 200
    found = []
    for fast in (True, False):
        monkeypatch.setattr(kernels, "_BYTES_ARE_FAST", fast and kernels._BYTES_ARE_FAST)
        found.append(minmax_and_tanimoto(left, right))
    assert all(map(torch.equal, *found))


def test_squares_between_rows_are_squared_distances_and_never_negative() -> None:
    left = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    right = torch.cat([left[:, :2], 100 + left[:, 2:]], dim=1)
    found = squares_between(left, right)
    torch.testing.assert_close(found, torch.cdist(left, right).square(), atol=1e-9, rtol=1e-9)
    assert float(squares_between(1000 + left, 1000 + left).min()) >= 0


@pytest.mark.parametrize("length", [0.3, 1.0, 4.0])
def test_the_matern_kernel_is_scikit_learns(length: float) -> None:
    points = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = matern_kernel(squares_between(points, points) / length**2)
    torch.testing.assert_close(found, torch.tensor(Matern(length, nu=2.5)(points.numpy())), atol=1e-7, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_of_the_matern_kernel_is_finite_between_equal_rows(dtype: torch.dtype) -> None:
    points = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.5, 2.5]], dtype=dtype, requires_grad=True)
    kernel = matern_kernel(squares_between(points, points))
    (slope,) = torch.autograd.grad((kernel * torch.arange(9.0).view(3, 3)).sum(), points)
    assert kernel[0, 1] == 1
    assert bool(slope.isfinite().all())
    assert bool(slope.any())
