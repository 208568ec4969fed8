"""Kernel ridge regressions against scikit-learn, and their leave-one-out scores against really leaving out."""

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from torch import Tensor

from metamedica.functional.kernel_scores import N_SCORES, PENALTIES, kernel_scores

N, D = 9, 4


def _data() -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(1)
    return (
        torch.from_numpy(rng.normal(size=(N, D))),
        torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1]).double(),
        torch.from_numpy(rng.normal(size=(5, D))),
    )


def _scores(cases: Tensor, labels: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    mask = torch.ones(1, len(labels), dtype=torch.bool)
    found = kernel_scores(cases[None], mask, labels[None])
    return found(asked[None])[0], found.left_out[0]


def _kernel(gaussian: bool, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    size = (right**2).sum() / len(right)
    if gaussian:
        return np.exp(-((left[:, None] - right[None]) ** 2).sum(-1) / (2 * size)) + 0.5
    return left @ right.T / size + 1.0


@pytest.mark.parametrize("place", range(N_SCORES))
def test_each_score_is_that_of_scikit_learns_kernel_ridge(place: int) -> None:
    cases, labels, asked = _data()
    gaussian = place >= len(PENALTIES[0])
    penalty = [*PENALTIES[0], *PENALTIES[1]][place]
    theirs = KernelRidge(alpha=penalty, kernel="precomputed")
    theirs.fit(_kernel(gaussian, cases.numpy(), cases.numpy()), 2 * labels.numpy() - 1)
    wanted = theirs.predict(_kernel(gaussian, asked.numpy(), cases.numpy()))
    torch.testing.assert_close(_scores(cases, labels, asked)[0][:, place], torch.from_numpy(wanted))


def test_the_score_of_a_labelled_case_by_the_others_is_that_of_a_fit_without_it() -> None:
    cases, labels, _ = _data()
    cases = cases / cases.norm(
        dim=1, keepdim=True
    )  # the kernels' width, the mean squared length, is then the same without a case
    left_out = _scores(cases, labels, cases)[1]
    for case in range(N):
        rest = torch.arange(N) != case
        torch.testing.assert_close(left_out[case], _scores(cases[rest], labels[rest], cases[case : case + 1])[0][0])
