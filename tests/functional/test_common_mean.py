"""The common mean against plain NumPy, and its covariances against the ones that tasks were drawn with."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metamedica.errors import TaskError
from metamedica.functional.common_mean import (
    OFFSET_VARIANCE,
    CommonMean,
    OwnCovariance,
    fit_common,
    fit_own_covariance,
    landmark_basis,
    ridge_over_tasks,
    some_cases,
    spread_out,
    whiten,
)
from metamedica.functional.kernels import rbf_kernel
from metamedica.testing import VectorRaw, vector_batch

DOUBLE = torch.float64
OWN = OwnCovariance(torch.tensor([0.6, 0.2], dtype=DOUBLE), torch.tensor(0.1, dtype=DOUBLE))


def _kernels(x: Tensor) -> Tensor:
    return torch.stack([rbf_kernel(x, x), rbf_kernel(x, x, length=0.2)])


def test_weights_are_the_posterior_mean_of_all_tasks_together() -> None:
    rng = np.random.default_rng(0)
    strength, columns, designs, targets, blocks = 2.5, 3, [], [], []
    for n in (4, 7, 5):
        x = torch.tensor(rng.normal(size=(n, 2)))
        designs.append(torch.tensor(rng.normal(size=(n, columns))))
        targets.append(torch.tensor(rng.normal(size=n)))
        blocks.append((0.6 * _kernels(x)[0] + 0.2 * _kernels(x)[1] + OFFSET_VARIANCE + 0.1 * torch.eye(n)).numpy())
        whitened = whiten(OWN, _kernels(x), torch.cat([designs[-1], targets[-1][:, None]], 1))
        designs[-1], targets[-1] = (designs[-1], whitened[:, :-1]), (targets[-1], whitened[:, -1])
    found = ridge_over_tasks(
        ((design[1], target[1]) for design, target in zip(designs, targets, strict=True)), columns, strength=strength
    )
    # the same as one Gaussian: targets ~ N(0, design design^T / strength + block-diagonal covariances)
    design = np.concatenate([each[0].numpy() for each in designs])
    target = np.concatenate([each[0].numpy() for each in targets])
    total = design @ design.T / strength
    begin = 0
    for block in blocks:
        total[begin : begin + len(block), begin : begin + len(block)] += block
        begin += len(block)
    want = design.T @ np.linalg.solve(total, target) / strength
    np.testing.assert_allclose(found.numpy(), want, atol=1e-10)


def test_covariance_and_noise_are_found_again_from_tasks_drawn_with_them() -> None:
    random = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(250, 20, 1, generator=random, dtype=DOUBLE)
    kernels = torch.stack([rbf_kernel(x, x), rbf_kernel(x, x, length=0.2)], dim=1)
    covariance = torch.einsum("c,tcij->tij", OWN.weights, kernels) + OFFSET_VARIANCE + OWN.noise * torch.eye(20)
    drawn = torch.linalg.cholesky(covariance) @ torch.randn(250, 20, 1, generator=random, dtype=DOUBLE)
    found = fit_own_covariance(kernels, drawn[..., 0], torch.ones(250, 20, dtype=torch.bool))
    torch.testing.assert_close(found.weights, OWN.weights, atol=0.08, rtol=0)
    torch.testing.assert_close(found.noise, OWN.noise, atol=0.02, rtol=0)


def test_padded_cases_do_not_change_the_fitted_covariance() -> None:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(6, 9, 2, generator=random, dtype=DOUBLE)
    kernels, targets = rbf_kernel(x, x)[:, None], torch.randn(6, 9, generator=random, dtype=DOUBLE)
    alone = fit_own_covariance(kernels, targets, torch.ones(6, 9, dtype=torch.bool))
    longer = fit_own_covariance(
        torch.nn.functional.pad(kernels, (0, 2, 0, 2), value=0.4),
        torch.nn.functional.pad(targets, (0, 2)),
        torch.arange(11) < torch.full((6, 1), 9),
    )
    torch.testing.assert_close(longer.weights, alone.weights, atol=1e-6, rtol=0)
    torch.testing.assert_close(longer.noise, alone.noise, atol=1e-6, rtol=0)


def test_features_by_landmarks_give_the_kernel_back_at_the_landmarks() -> None:
    rows = torch.randn(12, 3, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    kernel = rbf_kernel(rows, rows)
    features = kernel @ landmark_basis(rows)
    torch.testing.assert_close(features @ features.mT, kernel, atol=1e-5, rtol=0)
    twice = torch.cat([rows, rows])  # a singular kernel
    assert landmark_basis(twice).shape == (24, 12)


def test_the_mean_is_its_linear_part_and_its_bumps_over_any_leading_axes() -> None:
    rng = np.random.default_rng(3)
    linear, landmarks, weights = rng.normal(size=4), rng.normal(size=(5, 2)), rng.normal(size=5)
    raw, summary = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 2))
    squares = ((summary[:, :, None] - landmarks) ** 2).sum(-1)
    want = raw @ linear + np.exp(-0.5 * squares / 2) @ weights
    found = CommonMean(torch.tensor(linear), torch.tensor(landmarks), torch.tensor(weights))
    np.testing.assert_allclose(found(torch.tensor(raw), torch.tensor(summary)).numpy(), want, atol=1e-12)


def test_a_large_task_is_cut_down_to_the_same_cases_each_time_in_the_shares_of_its_classes() -> None:
    x = torch.arange(100, dtype=DOUBLE)[None, :, None].expand(1, 100, 4)
    labels = (torch.arange(100) % 10 == 0).long()[None]
    task = vector_batch(x, labels, n_classes=2)
    some, again = some_cases(task, 20), some_cases(task, 20)
    assert torch.equal(some.features["vector"], again.features["vector"])
    assert some.mask.shape == (1, 20)
    assert int(some.targets.sum()) == 2
    assert torch.equal(some.targets[0], (some.features["vector"][0, :, 0] % 10 == 0).long())
    assert some_cases(task, 100) is task
    rare = vector_batch(x, (torch.arange(100) == 7).long()[None], n_classes=2)
    assert int(some_cases(rare, 5).targets.sum()) == 1
    assert int(some_cases(task, 12, even=True).targets.sum()) == 6
    assert int(some_cases(task, 50, even=True).targets.sum()) == 10  # all that there are


def test_landmarks_do_not_depend_on_the_order_of_the_cases() -> None:
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(4))
    some = spread_out(rows, 7)
    assert torch.equal(some, spread_out(rows.flip(0), 7))
    assert len(torch.unique(some, dim=0)) == 7
    assert len(spread_out(torch.cat([rows[:3], rows[:3]]), 7)) == 3


def test_tasks_of_no_allowed_kind_are_refused() -> None:
    classes = vector_batch(torch.zeros(1, 3, 4), torch.arange(3)[None], n_classes=3)
    with pytest.raises(TaskError, match="no task is of kind regression"):
        fit_common(
            [classes],
            VectorRaw(),
            ("regression",),
            strength=1.0,
            n_landmarks=5,
            most_cases=5,
        )
