"""Models of the pool against scikit-learn's own."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from tests.hospitals import hospitals

from metamedica.functional.pooled_models import (
    Growth,
    boosted_buffers,
    fit_boosted,
    fit_linear,
    usual_square_of,
)
from metamedica.functional.pooling import Pool, pools
from metamedica.testing import VectorRaw
from metamedica.types import TaskKind

GROWTH = Growth(12, 5)


def _pool(kind: TaskKind, *, count: int = 4, n: int = 80, level: float = 1.0) -> Pool:
    return pools(hospitals(count, n, kind=kind, level=level), VectorRaw(), [kind], most_cases=1000)[kind]


def _every(pool: Pool) -> torch.Tensor:
    return torch.ones_like(pool.task, dtype=torch.bool)


def test_the_linear_model_of_classes_is_scikit_learns_at_that_prior_variance() -> None:
    pool = _pool("binary")
    found = fit_linear(pool, _every(pool), signal=2.0)
    variance = 2.0 / usual_square_of(pool.flat)
    centred = (pool.flat - pool.flat.mean(0)).numpy()
    known = LogisticRegression(C=variance, tol=1e-10, max_iter=10_000).fit(centred, pool.targets.numpy())
    np.testing.assert_allclose(found(pool.flat).numpy(), known.decision_function(centred), atol=1e-4)


def test_the_linear_model_of_numbers_is_scikit_learns_ridge() -> None:
    pool = _pool("regression")
    found = fit_linear(pool, _every(pool), signal=2.0)
    known = Ridge(alpha=usual_square_of(pool.flat) / 2.0).fit(pool.flat.numpy(), pool.targets.numpy())
    np.testing.assert_allclose(found(pool.flat).numpy(), known.predict(pool.flat.numpy()), atol=1e-8)


def test_a_level_of_its_own_for_each_task_uncovers_effects_that_prevalence_hides() -> None:
    pool = _pool("binary", count=6, n=300)
    shifted = pool._replace(flat=pool.flat + torch.tensor([0, 0, 0, 2.0]) * pool.task[:, None])
    wrong = shifted._replace(targets=(torch.sigmoid(pool.flat[:, 0] + 2 * pool.task - 5) > 0.5).double())
    with_levels, without = (fit_linear(wrong, _every(pool), signal=10.0, level=level) for level in (5.0, 0.0))
    assert abs(float(with_levels.weight[3])) < 0.5 * abs(float(without.weight[3]))


def test_a_pool_of_one_class_has_finite_odds() -> None:
    pool = _pool("binary")
    one = pool._replace(targets=torch.ones_like(pool.targets))
    for score in (fit_linear(one, _every(pool), signal=1.0), fit_boosted(one, _every(pool), growth=GROWTH)):
        n = len(pool.targets)
        np.testing.assert_allclose(score(pool.flat).numpy(), np.log((n + 0.5) / 0.5))


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
def test_the_trees_score_as_scikit_learns(kind: TaskKind, precision: torch.dtype) -> None:
    pool = _pool(kind)
    model = fit_boosted(pool, _every(pool), growth=GROWTH)
    made: Any = HistGradientBoostingClassifier if kind == "binary" else HistGradientBoostingRegressor
    known = made(
        max_iter=12,
        max_leaf_nodes=5,
        learning_rate=0.06,
        min_samples_leaf=16,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=0,
    )
    cases = pool.flat.to(torch.float32).numpy()
    known.fit(cases, pool.targets.numpy())
    asked = torch.cat([pool.flat, torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()])
    rounded = asked.to(torch.float32).numpy()
    want = known.decision_function(rounded) if kind == "binary" else known.predict(rounded)
    arrays = model.trees._replace(threshold=model.trees.threshold.to(precision), value=model.trees.value.to(precision))
    found = model._replace(trees=arrays, baseline=model.baseline.to(precision))
    np.testing.assert_allclose(found(asked.to(precision)).numpy(), want, atol=1e-6)


def test_the_buffers_of_the_trees_are_tensors_only() -> None:
    pool = _pool("binary")
    buffers = boosted_buffers(fit_boosted(pool, _every(pool), growth=GROWTH))
    assert all(isinstance(value, torch.Tensor) for value in buffers.values())
    assert int(buffers["depth"]) > 1
