"""Class means and covariances against numpy, and Mahalanobis distances against the explicit inverse."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metamedica.errors import TaskError
from metamedica.functional.prototypes import (
    class_means,
    mahalanobis_squares,
    prototypes_of,
    regularised_gaussians,
    relative_squares,
)
from metamedica.testing import vector_batch

SEEDS = st.integers(0, 10_000)


def _data(sizes: tuple[int, ...], d: int, *, seed: int = 0) -> tuple[Tensor, Tensor, np.ndarray]:
    """Points, one-hot classes with these sizes, and the classes as numbers; one task."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = rng.normal(size=(1, len(labels), d)) + 2 * rng.normal(size=(len(sizes), d))[labels]
    return torch.tensor(points), torch.tensor(np.eye(len(sizes))[labels])[None], labels


def _covariance(factor: Tensor) -> np.ndarray:
    return (factor @ factor.mT).numpy()


def test_class_means_are_those_of_numpy_and_zero_without_cases() -> None:
    points, members, labels = _data((3, 1, 0, 4), 5)
    found = class_means(points, members)[0].numpy()
    for k in (0, 1, 3):
        np.testing.assert_allclose(found[k], points[0].numpy()[labels == k].mean(0), atol=1e-12)
    assert not found[2].any()


def test_prototypes_are_the_means_of_the_real_cases_and_their_number() -> None:
    points, members, labels = _data((3, 1, 0, 4), 5)
    padded = torch.cat([points, torch.full((1, 2, 5), 1e3).double()], 1)
    batch = vector_batch(padded, torch.tensor([[*labels, 0, 0]]), n_classes=4)
    batch.mask[:, -2:] = False
    found = prototypes_of(padded, batch)
    torch.testing.assert_close(found.means, class_means(points, members), atol=1e-12, rtol=0)
    assert found.counts.tolist() == [[3, 1, 0, 4]]


def test_prototypes_of_one_class_or_of_none_are_refused() -> None:
    points = torch.ones(1, 3, 2)
    with pytest.raises(TaskError, match="task 0 has one class only"):
        prototypes_of(points, vector_batch(points, torch.ones(1, 3, dtype=torch.int64), n_classes=2))
    with pytest.raises(TaskError, match="regression support"):
        prototypes_of(points, vector_batch(points, torch.ones(1, 3)))


@given(SEEDS, st.sampled_from([0.0, 1e4]))
def test_differences_of_relative_squares_are_those_of_squared_distances(seed: int, far: float) -> None:
    random = torch.Generator().manual_seed(seed)
    query, means = (far + torch.randn(2, n, 3, generator=random, dtype=torch.float64) for n in (4, 5))
    found, want = (
        relative_squares(query, means),
        torch.cdist(query, means, compute_mode="donot_use_mm_for_euclid_dist") ** 2,
    )
    torch.testing.assert_close(found - found[..., :1], want - want[..., :1], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("most_share", [1.0, 0.1])
def test_covariances_are_the_papers_mixture_of_class_and_task(most_share: float) -> None:
    points, members, labels = _data((5, 2, 1), 4)
    found = _covariance(regularised_gaussians(points, members, most_share=most_share, ridge=0.3).factor)[0]
    x = points[0].numpy()
    for k, n in enumerate((5, 2, 1)):
        own = np.cov(x[labels == k].T) if n > 1 else np.zeros((4, 4))
        share = min(n / (n + 1), most_share)
        np.testing.assert_allclose(found[k], share * own + (1 - share) * np.cov(x.T) + 0.3 * np.eye(4), atol=1e-10)


def test_a_class_without_cases_has_the_covariance_of_the_task() -> None:
    points, members, _ = _data((4, 0), 3)
    found = _covariance(regularised_gaussians(points, members, most_share=1.0, ridge=1.0).factor)[0]
    np.testing.assert_allclose(found[1], np.cov(points[0].numpy().T) + np.eye(3), atol=1e-10)


def test_distances_are_those_of_the_explicit_inverse() -> None:
    points, members, _ = _data((4, 3), 6)
    gaussians = regularised_gaussians(points, members, most_share=1.0, ridge=0.5)
    query = torch.randn(1, 5, 6, dtype=torch.float64)
    found = mahalanobis_squares(query, gaussians)[0].numpy()
    for k in range(2):
        inverse = np.linalg.inv(_covariance(gaussians.factor)[0, k])
        away = query[0].numpy() - gaussians.mean[0, k].numpy()
        np.testing.assert_allclose(found[:, k], np.einsum("md,de,me->m", away, inverse, away), rtol=1e-9)


def test_one_case_leaves_the_ridge_only() -> None:
    points = torch.randn(1, 1, 3, dtype=torch.float64)
    gaussians = regularised_gaussians(points, torch.ones(1, 1, 1).double(), most_share=1.0, ridge=2.0)
    np.testing.assert_allclose(_covariance(gaussians.factor)[0, 0], 2 * np.eye(3), atol=1e-12)


def test_cases_that_are_all_the_same_are_as_far_as_the_ridge_says() -> None:
    points = torch.ones(1, 4, 2, dtype=torch.float64)
    members = torch.tensor([[[1.0, 0], [1.0, 0], [0, 1.0], [0, 1.0]]], dtype=torch.float64)
    gaussians = regularised_gaussians(points, members, most_share=1.0, ridge=0.5)
    torch.testing.assert_close(mahalanobis_squares(points + 1, gaussians), torch.full((1, 4, 2), 4.0).double())


def test_no_ridge_and_no_class_covariance_make_distances_blind_to_any_linear_map() -> None:
    points, members, _ = _data((6, 6), 3)
    query, warp = torch.randn(1, 4, 3).double(), torch.tensor([[2.0, 1, 0], [0, 0.5, 1], [1, 0, 3]]).double()

    def squares(warp: Tensor) -> Tensor:
        return mahalanobis_squares(
            query @ warp, regularised_gaussians(points @ warp, members, most_share=0.5, ridge=0.0)
        )

    torch.testing.assert_close(squares(warp), squares(torch.eye(3).double()), atol=1e-8, rtol=1e-8)


@given(SEEDS, st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.floats(-1e3, 1e3))
def test_order_and_padding_do_not_matter(seed: int, first: int, second: int, extra: int, garbage: float) -> None:
    points, members, _ = _data((first, second), 3, seed=seed)
    order = torch.tensor(np.random.default_rng(seed).permutation(first + second))
    longer = torch.cat([points[:, order], torch.full((1, extra, 3), garbage).double()], 1)
    classes = torch.cat([members[:, order], torch.zeros(1, extra, 2).double()], 1)
    found = regularised_gaussians(longer, classes, most_share=1.0, ridge=1.0)
    want = regularised_gaussians(points, members, most_share=1.0, ridge=1.0)
    torch.testing.assert_close(found.mean, want.mean, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(found.factor, want.factor, atol=1e-9, rtol=1e-9)


@given(SEEDS, st.floats(-5, 5))
def test_moving_everything_moves_no_distance(seed: int, shift: float) -> None:
    points, members, _ = _data((3, 4), 3, seed=seed)
    query = points[:, :2] + 0.5

    def both(shift: float) -> Tensor:
        gaussians = regularised_gaussians(points + shift, members, most_share=1.0, ridge=1.0)
        return torch.stack(
            [mahalanobis_squares(query + shift, gaussians), relative_squares(query + shift, gaussians.mean)]
        )

    torch.testing.assert_close(both(shift), both(0.0), atol=1e-8, rtol=1e-8)


@given(SEEDS, st.floats(0.1, 10))
def test_a_unit_of_length_scales_distances_and_ridge_together(seed: int, unit: float) -> None:
    points, members, _ = _data((3, 4), 3, seed=seed)
    query = points[:, :2] + 0.5
    plain = mahalanobis_squares(query, regularised_gaussians(points, members, most_share=1.0, ridge=1.0))
    scaled = regularised_gaussians(points * unit, members, most_share=1.0, ridge=unit**2)
    torch.testing.assert_close(mahalanobis_squares(query * unit, scaled), plain, atol=1e-8, rtol=1e-8)
