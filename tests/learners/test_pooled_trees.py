"""The pooled trees: scikit-learn's predictions without scikit-learn's objects."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from tests.hospitals import hospitals
from torch.distributions import Categorical, Normal

from metamedica.learners.pooled_trees import PooledTrees
from metamedica.testing import VectorRaw
from metamedica.types import LabelledBatch

QUERY = hospitals(1, 40, seed=9)[0].cases
SETTINGS = {
    "learning_rate": 0.06,
    "min_samples_leaf": 15,
    "l2_regularization": 5.0,
    "early_stopping": False,
    "random_state": 0,
}


def _pool(tasks: list[LabelledBatch]) -> tuple[np.ndarray, np.ndarray]:
    x = torch.cat([task.features["vector"][0] for task in tasks]).to(torch.float32)
    return x.numpy(), torch.cat([task.targets[0] for task in tasks]).numpy()


@pytest.mark.parametrize("single", [False, True])
def test_the_probabilities_are_scikit_learns(single: bool) -> None:
    tasks = hospitals(5, 60)
    learner = PooledTrees(VectorRaw(), growths=((15, 6),))
    learner = learner.float() if single else learner.double()
    learner.fit_tasks(tasks)
    known = HistGradientBoostingClassifier(max_iter=15, max_leaf_nodes=6, **SETTINGS)
    sorted_tasks = sorted(tasks, key=lambda t: t.targets[0].double().numpy().tobytes())
    known.fit(*_pool(sorted_tasks))
    law = learner.predict(learner.adapt(tasks[0]), QUERY)
    assert isinstance(law, Categorical)
    want = known.predict_proba(QUERY.features["vector"][0].to(torch.float32).numpy())
    np.testing.assert_allclose(law.probs[0].numpy(), want, atol=1e-6)


def test_the_means_are_scikit_learns() -> None:
    tasks = hospitals(5, 60, kind="regression")
    learner = PooledTrees(VectorRaw(), growths=((15, 6),)).double()
    learner.fit_tasks(tasks)
    known = HistGradientBoostingRegressor(max_iter=15, max_leaf_nodes=6, **SETTINGS)
    known.fit(*_pool(sorted(tasks, key=lambda t: t.targets[0].numpy().tobytes())))
    law = learner.predict(learner.adapt(tasks[0]), QUERY)
    assert isinstance(law, Normal)
    want = known.predict(QUERY.features["vector"][0].to(torch.float32).numpy())
    np.testing.assert_allclose(law.loc[0].numpy(), want, atol=1e-6)


def test_few_cases_bear_few_leaves_and_many_bear_more() -> None:
    def bent(count: int, n: int) -> int:
        tasks = []
        for task in hospitals(count, n, level=0.0):
            x = task.features["vector"]
            tasks.append(task.with_targets((x[..., 0] * x[..., 1] > 0).long()))
        learner = PooledTrees(VectorRaw(), growths=((1, 2), (40, 8))).double()
        learner.fit_tasks(tasks)
        return int(learner.taught.of("binary")["feature"].shape[0])

    assert bent(3, 200) == 40


def test_the_trees_go_through_safetensors_and_come_back() -> None:
    learner, new = (PooledTrees(VectorRaw(), growths=((10, 5),)).double() for _ in range(2))
    learner.fit_tasks(hospitals(3, 50))
    new.load_state_dict(load(save(dict(learner.state_dict()))))
    laws = [each.predict(each.adapt(hospitals(1, 5)[0]), QUERY).logits for each in (learner, new)]
    assert torch.equal(*laws)
