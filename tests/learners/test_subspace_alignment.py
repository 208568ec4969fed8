"""Subspace alignment: unchanged with all directions, the paper's matrix by NumPy as oracle, and a turned and shifted task recovered."""

import math

import numpy as np
import torch
from tests.shifted_tasks import APART, cases_of, loss, of_prevalence, without_labels

from metamedica.learners.subspace_alignment import SubspaceAlignment
from metamedica.testing import SIZE, VectorRaw, check_learner, on_vectors, vector_batch
from metamedica.types import LabelledBatch

RANDOM = np.random.default_rng(0)


def _covariance() -> np.ndarray:
    rows = RANDOM.normal(size=(40, SIZE)) @ RANDOM.normal(size=(SIZE, SIZE))
    return np.cov(rows.T)


OWN, SOURCE, WEIGHT = _covariance(), _covariance(), RANDOM.normal(size=SIZE)


def _aligned(share: float, own: np.ndarray = OWN) -> np.ndarray:
    learner = SubspaceAlignment(VectorRaw(), share=share)
    return learner.aligned(*(torch.from_numpy(each) for each in (own[None], SOURCE, WEIGHT)))[0].numpy()


def test_all_directions_of_equal_covariances_leave_the_score_as_it_is_and_so_do_some() -> None:
    for share in (1.0, 0.6):
        np.testing.assert_allclose(_aligned(share, SOURCE), WEIGHT, atol=1e-12)


def test_all_directions_bring_the_columns_to_the_scale_of_the_source() -> None:
    scale = np.sqrt(np.diag(SOURCE) / np.diag(OWN))
    np.testing.assert_allclose(_aligned(1.0), scale * WEIGHT, atol=1e-12)


def test_some_directions_are_brought_to_each_other_by_the_matrix_of_the_paper_and_the_others_likewise() -> None:
    def directions(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spread = np.sqrt(np.diag(covariance))
        values, vectors = np.linalg.eigh(covariance / np.outer(spread, spread))
        return values[::-1], vectors[:, ::-1]

    values, source = directions(SOURCE)
    own = directions(OWN)[1]
    number = int(np.argmax(np.cumsum(values) / values.sum() >= 0.9)) + 1
    assert 1 < number < SIZE
    turn = sum(
        t @ (t.T @ s) @ s.T
        for t, s in ((own[:, part], source[:, part]) for part in (slice(number), slice(number, None)))
    )
    want = (turn @ (WEIGHT * np.sqrt(np.diag(SOURCE)))) / np.sqrt(np.diag(OWN))
    np.testing.assert_allclose(_aligned(0.9), want, atol=1e-12)


def _flat(task: LabelledBatch, angle: float, shift: float) -> LabelledBatch:
    """Return the task with its cases in a plane, tilted out of it by an angle and shifted."""
    vectors = task.features["vector"] * torch.tensor([1.0, 1.0, 0.1, 0.1], dtype=torch.float64)
    turn = torch.eye(SIZE, dtype=torch.float64)
    turn[:2, :2] = turn[2:, 2:] = math.cos(angle) * torch.eye(2, dtype=torch.float64)
    turn[:2, 2:], turn[2:, :2] = (sign * math.sin(angle) * torch.eye(2, dtype=torch.float64) for sign in (1, -1))
    return vector_batch(vectors @ turn + shift, task.targets, n_classes=2)


def test_a_task_whose_plane_is_tilted_and_shifted_is_recovered_without_labels() -> None:
    assert float(APART[:2].norm()) > 1
    learner = SubspaceAlignment(VectorRaw(), share=0.6, mean_cases=(1e-9,), spread_cases=(1e-9,), ridge=0.05).double()
    learner.fit_tasks([_flat(of_prevalence(0.5, 300, seed=seed), 0.0, 0.0) for seed in range(4)])
    whole = of_prevalence(0.5, 2000, seed=30)
    task, same = _flat(whole, 0.7, 2.0), _flat(whole, 0.0, 0.0)
    nothing = without_labels(task)
    blind = loss(learner.predict(learner.adapt(nothing), task.cases), task)
    found = loss(learner.predict(learner.adapt_with(nothing, cases_of(task, slice(300))), task.cases), task)
    at_home = loss(learner.predict(learner.adapt(nothing), same.cases), same)
    assert found < at_home + 0.05
    assert blind > found + 0.2


def test_it_keeps_the_contract_where_it_aligns() -> None:
    check_learner(lambda: on_vectors(SubspaceAlignment, settings={"mean_cases": (5.0,), "spread_cases": (1.0,)}))
