"""The pooled model: scikit-learn's on the pool, the penalty by tasks left out, and deaf to the support."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from tests.hospitals import hospitals, parted
from torch.distributions import Categorical, Normal

from metamedica.errors import TaskError
from metamedica.functional.pooled_models import usual_square_of
from metamedica.learners.pooled_linear import PooledLinear
from metamedica.testing import VectorRaw, vector_episodes

TASKS = hospitals(4, 60)
X = torch.cat([task.features["vector"][0] for task in TASKS])
Y = torch.cat([task.targets[0] for task in TASKS]).numpy()
GROUP = np.repeat(np.arange(4), 60)


def test_the_law_is_scikit_learns_on_all_cases_and_the_penalty_the_best_with_a_task_left_out() -> None:
    signals = (0.05, 1.0, 20.0)
    learner = PooledLinear(VectorRaw(), signals=signals).double()
    learner.fit_tasks(TASKS)
    centred = (X - X.mean(0)).numpy()
    models = [LogisticRegression(C=signal / usual_square_of(X), tol=1e-10, max_iter=10_000) for signal in signals]
    losses = []
    for model in models:
        out = cross_val_predict(model, centred, Y, groups=GROUP, cv=LeaveOneGroupOut(), method="predict_log_proba")
        losses.append(-out[np.arange(len(Y)), Y].mean())
    known = models[int(np.argmin(losses))].fit(centred, Y)
    query = hospitals(1, 9, seed=5)[0].cases
    law = learner.predict(learner.adapt(TASKS[0]), query)
    assert isinstance(law, Categorical)
    want = known.predict_proba((query.features["vector"][0] - X.mean(0)).numpy())
    np.testing.assert_allclose(law.probs[0].numpy(), want, atol=1e-4)


def test_a_regression_has_the_mean_of_ridge_and_the_noise_of_tasks_left_out() -> None:
    tasks = hospitals(5, 60, kind="regression", level=0.0, noise=0.5)
    learner = PooledLinear(VectorRaw(), signals=(10.0,)).double()
    learner.fit_tasks(tasks)
    x, y = (
        torch.cat([part(task)[0] for task in tasks]) for part in (lambda t: t.features["vector"], lambda t: t.targets)
    )
    law = learner.predict(learner.adapt(tasks[0]), tasks[0].cases)
    assert isinstance(law, Normal)
    known = Ridge(alpha=usual_square_of(x) / 10.0).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(law.loc[0].numpy(), known.predict(tasks[0].features["vector"][0].numpy()), atol=1e-8)
    assert abs(float(law.variance[0, 0]) - 0.25) < 0.05


def test_the_labels_of_the_support_change_nothing() -> None:
    learner = PooledLinear(VectorRaw()).double()
    learner.fit_tasks(TASKS)
    support = parted(TASKS[0], 10).support
    flipped = support.with_targets(1 - support.targets)
    laws = [learner.predict(learner.adapt(each), TASKS[1].cases).logits for each in (support, flipped)]
    assert torch.equal(*laws)


def test_tasks_of_several_classes_are_refused() -> None:
    with pytest.raises(TaskError, match="no task is of kind binary or regression"):
        PooledLinear(VectorRaw()).fit_tasks([vector_episodes("multiclass").support.map(lambda v: v[:1])])
