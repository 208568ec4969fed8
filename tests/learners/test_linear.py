"""Linear models from scratch against scikit-learn's, with the penalty chosen as cross-validation by scikit-learn chooses it."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.functional.logistic import BIAS_VARIANCE, LogisticFit
from metamedica.functional.ridge import PRIOR_CASES, RELATIVE_PENALTIES, RidgeFit
from metamedica.learners.linear import Linear
from metamedica.testing import VectorRaw, vector_batch
from metamedica.types import Features, LabelledBatch


class Doubled(VectorRaw):
    """Flat features that are not the vectors, so that it shows which of the two a learner reads."""

    def flat(self, features: Features) -> Tensor:
        return 2 * features["vector"]


def _regression(seed: int, n: int = 12) -> LabelledBatch:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    y = x @ rng.normal(size=4) * rng.uniform(0, 1) + 0.5 * rng.normal(size=n)
    return vector_batch(torch.tensor(x)[None], torch.tensor(y)[None])


def _fitted(support: LabelledBatch) -> tuple[Linear, RidgeFit]:
    learner = Linear(Doubled()).double()
    fit = learner.adapt(support)
    assert isinstance(fit, RidgeFit)
    return learner, fit


def test_the_penalty_is_the_one_that_scikit_learns_leave_one_out_chooses() -> None:
    chosen = set()
    for seed in range(10):
        support = _regression(seed)
        x, y = 2 * support.features["vector"][0].numpy(), support.targets[0].numpy()
        usual = ((x - x.mean(0)) ** 2).sum(1).mean()
        known = RidgeCV(alphas=usual * np.array(RELATIVE_PENALTIES)).fit(x, y)
        _, fit = _fitted(support)
        np.testing.assert_allclose(float(fit.penalty), known.alpha_)
        chosen.add(round(known.alpha_ / usual, 3))
    assert len(chosen) > 2


def test_the_regression_mean_is_scikit_learns_ridge_at_that_penalty() -> None:
    support, query = _regression(1), _regression(2)
    learner, fit = _fitted(support)
    known = Ridge(alpha=float(fit.penalty)).fit(2 * support.features["vector"][0].numpy(), support.targets[0].numpy())
    law = learner.predict(fit, query.cases)
    assert isinstance(law, Normal)
    want = known.predict(2 * query.features["vector"][0].numpy())
    np.testing.assert_allclose(law.loc[0].numpy(), want, atol=1e-10)


def test_the_leave_one_out_error_is_that_of_refits_by_scikit_learn() -> None:
    support = _regression(3)
    _, fit = _fitted(support)
    x, y = 2 * support.features["vector"][0].numpy(), support.targets[0].numpy()
    squares = 0.0
    for case in range(12):
        rest = np.arange(12) != case
        squares += (y[case] - Ridge(alpha=float(fit.penalty)).fit(x[rest], y[rest]).predict(x[[case]])[0]) ** 2
    np.testing.assert_allclose(float(fit.left_out), (PRIOR_CASES + squares) / (PRIOR_CASES + 12), rtol=1e-6)


def test_class_probabilities_are_scikit_learns_and_the_slope_at_the_optimum_is_zero() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(15) % 3
    x = rng.normal(size=(15, 4)) + rng.normal(size=(3, 4))[labels]
    support = vector_batch(torch.tensor(x)[None], torch.tensor(labels)[None], n_classes=3)
    learner = Linear(Doubled()).double()
    fit = learner.adapt(support)
    assert isinstance(fit, LogisticFit)
    law = learner.predict(fit, support.cases)
    assert isinstance(law, Categorical)
    inputs = 2 * x - 2 * x.mean(0)
    scaled = np.hstack([inputs * np.sqrt(float(fit.signal)), np.full((15, 1), BIAS_VARIANCE**0.5)])
    known = LogisticRegression(fit_intercept=False, tol=1e-12, solver="newton-cholesky").fit(scaled, labels)
    np.testing.assert_allclose(law.probs[0].numpy(), known.predict_proba(scaled), atol=1e-7)
    misfit = law.probs[0].numpy() - np.eye(3)[labels]
    slope = inputs.T @ misfit + fit.weight[0].numpy() / float(fit.signal)
    assert np.abs(slope).max() < 1e-8


def test_a_support_of_one_class_is_answered_with_doubt() -> None:
    learner = Linear(VectorRaw()).double()
    support = vector_batch(torch.randn(1, 4, 4).double(), torch.ones(1, 4, dtype=torch.int64), n_classes=2)
    law = learner.predict(learner.adapt(support), support.cases)
    assert isinstance(law, Categorical)
    assert bool(((law.probs[..., 1] > 0.5) & (law.probs[..., 1] < 0.99)).all())


def test_a_single_penalty_is_used_as_given() -> None:
    support = _regression(4)
    learner = Linear(VectorRaw(), relative_penalties=(0.5,)).double()
    fit = learner.adapt(support)
    assert isinstance(fit, RidgeFit)
    x = support.features["vector"][0]
    np.testing.assert_allclose(float(fit.penalty), 0.5 * float((x - x.mean(0)).square().sum(1).mean()))


def test_it_has_nothing_to_learn_from_earlier_tasks() -> None:
    assert not Linear(VectorRaw()).learns_from_tasks()
