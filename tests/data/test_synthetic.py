"""The oracles themselves, against other ways to the same posterior, and against what they are said to be best of."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from torch import Tensor
from torch.distributions import Normal

from metamedica.data.episodes import gather, labelled
from metamedica.data.synthetic import BLOCK, ClusterTasks, LinearTasks, cluster_tasks, linear_tasks
from metamedica.errors import InputError, TaskError
from metamedica.types import CaseBatch, LabelledBatch

SEEDS = st.integers(0, 10_000)


def _episodes(made: LinearTasks | ClusterTasks, sizes: list[int]) -> tuple[LabelledBatch, LabelledBatch]:
    """Return the first cases of each task as support, ragged, and the other cases as query."""
    tasks = list(made.collection.tasks.values())
    support = labelled(made.collection, tasks, [np.arange(n) for n in sizes])
    return support, labelled(made.collection, tasks, [np.arange(max(sizes), len(task)) for task in tasks])


def _spoiled(support: LabelledBatch) -> LabelledBatch:
    """Return the support with the padding overwritten."""
    vectors = torch.where(support.mask[..., None], support.features[BLOCK], torch.tensor(1e6))
    cases = CaseBatch({BLOCK: vectors}, support.mask)
    return LabelledBatch(cases, support.targets, support.kind, support.n_classes)


@settings(max_examples=25)
@given(SEEDS, st.floats(0.05, 3), st.floats(0.05, 3))
def test_the_linear_optimum_is_gaussian_conditioning_of_the_joint_law(seed: int, spread: float, noise: float) -> None:
    made = linear_tasks(3, 12, dim=3, spread=spread, noise=noise, seed=seed)
    sizes = [6, 1, 4]
    support, query = _episodes(made, sizes)
    law = made.optimal(_spoiled(support), query.cases)
    centre = made.centre.numpy()
    for number, size in enumerate(sizes):
        x = support.features[BLOCK][number, :size].double().numpy()
        at = query.features[BLOCK][number].double().numpy()
        y = support.targets[number, :size].double().numpy()
        both = spread**2 * x @ x.T + noise**2 * np.eye(size)
        cross = spread**2 * at @ x.T
        mean = at @ centre + cross @ np.linalg.solve(both, y - x @ centre)
        covariance = spread**2 * at @ at.T + noise**2 * np.eye(len(at)) - cross @ np.linalg.solve(both, cross.T)
        np.testing.assert_allclose(law.mean[number].numpy(), mean, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(law.stddev[number].numpy() ** 2, np.diag(covariance), rtol=1e-6)


def _joint(x: np.ndarray, centre: np.ndarray, spread: float, within: float) -> float:
    """Return the log density of cases of one class, its mean integrated out, one dimension at a time."""
    covariance = spread**2 * np.ones((len(x), len(x))) + within**2 * np.eye(len(x))
    return sum(
        float(multivariate_normal(np.full(len(x), centre[k]), covariance).logpdf(x[:, k])) for k in range(x.shape[1])
    )


@settings(max_examples=15)
@given(SEEDS, st.floats(0.2, 2), st.floats(0.2, 2))
def test_the_cluster_optimum_is_bayes_rule_on_joint_densities(seed: int, spread: float, within: float) -> None:
    made = cluster_tasks(2, 9, dim=2, spread=spread, within=within, seed=seed)
    sizes = [6, 3]
    support, query = _episodes(made, sizes)
    probability = made.optimal(_spoiled(support), query.cases).probs
    for number, size in enumerate(sizes):
        x = support.features[BLOCK][number, :size].double().numpy()
        label = support.targets[number, :size].numpy()
        for place, case in enumerate(query.features[BLOCK][number].double().numpy()):
            score = []
            for each in (0, 1):
                own = x[label == each]
                centre = made.centres[each].numpy()
                joint = _joint(np.vstack([own, case]), centre, spread, within)
                score.append(joint - (_joint(own, centre, spread, within) if len(own) else 0.0))
            expected = 1 / (1 + math.exp(score[0] - score[1]))
            assert float(probability[number, place, 1]) == pytest.approx(expected, abs=1e-6)


def test_without_a_support_the_linear_optimum_is_what_the_tasks_have_in_common() -> None:
    made = linear_tasks(2, 8, dim=3)
    support, query = _episodes(made, [0, 0])
    law = made.optimal(support, query.cases)
    x = query.features[BLOCK].double()
    torch.testing.assert_close(law.mean, x @ made.centre)
    torch.testing.assert_close(law.variance, made.noise**2 + made.spread**2 * x.square().sum(-1))


def test_the_linear_optimum_is_calibrated_and_no_wrong_prior_scores_better() -> None:
    made = linear_tasks(400, 16, dim=4, seed=3)
    support, query = _episodes(made, [6] * 400)
    law = made.optimal(support, query.cases)
    z = (query.targets.double() - law.mean) / law.stddev
    assert float(z.mean()) == pytest.approx(0, abs=0.05)
    assert float(z.square().mean()) == pytest.approx(1, abs=0.08)
    best = law.log_prob(query.targets.double()).mean()
    for spread, noise, centre in ((0.25, 1, 1), (4, 1, 1), (1, 0.5, 1), (1, 2, 1), (1, 1, 0)):
        wrong = LinearTasks(
            made.collection, made.weights, made.centre * centre, made.spread * spread, made.noise * noise
        )
        assert float(wrong.optimal(support, query.cases).log_prob(query.targets.double()).mean()) < float(best) - 0.005


def test_the_cluster_optimum_is_calibrated_and_no_wrong_prior_scores_better() -> None:
    made = cluster_tasks(600, 16, dim=3, seed=4)
    support, query = _episodes(made, [4] * 600)
    law = made.optimal(support, query.cases)
    positive = law.probs[..., 1].flatten()
    label = query.targets.flatten().double()
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        here = (positive >= low) & (positive <= low + 0.2)
        assert float(label[here].mean()) == pytest.approx(float(positive[here].mean()), abs=0.07)
    best = float(law.log_prob(query.targets).mean())
    for spread, within, centre in ((0.2, 1, 1), (4, 1, 1), (1, 0.5, 1), (1, 2, 1), (1, 1, -1)):
        wrong = ClusterTasks(
            made.collection, made.means, made.centres * centre, made.spread * spread, made.within * within
        )
        assert float(wrong.optimal(support, query.cases).log_prob(query.targets).mean()) < best - 0.001


def test_linear_tasks_are_drawn_from_the_law_they_name() -> None:
    made = linear_tasks(300, 40, dim=3, spread=0.7, noise=0.2, seed=1)
    assert float((made.weights - made.centre).std()) == pytest.approx(0.7, rel=0.05)
    assert float(made.collection.features[BLOCK].std()) == pytest.approx(1, rel=0.05)
    residual = _residuals(made)
    assert float(residual.std()) == pytest.approx(0.2, rel=0.03)
    assert float(residual.mean()) == pytest.approx(0, abs=0.01)


def _residuals(made: LinearTasks) -> Tensor:
    tasks = list(made.collection.tasks.values())
    x = made.collection.features[BLOCK].double()
    return torch.stack(
        [torch.from_numpy(task.targets) - x[task.rows] @ w for task, w in zip(tasks, made.weights, strict=True)]
    )


def test_cluster_tasks_are_drawn_from_the_law_they_name() -> None:
    made = cluster_tasks(300, 40, dim=3, spread=0.4, within=0.9, separation=3.0, seed=1)
    assert float((made.centres[1] - made.centres[0]).norm()) == pytest.approx(3.0)
    torch.testing.assert_close(made.centres[0], -made.centres[1])
    assert float((made.means - made.centres).std()) == pytest.approx(0.4, rel=0.06)
    tasks = list(made.collection.tasks.values())
    labels = np.concatenate([task.targets for task in tasks])
    assert labels.mean() == pytest.approx(0.5, abs=0.02)
    rows = np.concatenate([task.rows for task in tasks])
    task_of = np.repeat(np.arange(300), 40)
    spread = made.collection.features[BLOCK].double()[rows] - made.means[task_of, labels]
    assert float(spread.std()) == pytest.approx(0.9, rel=0.02)


@pytest.mark.parametrize("make", [linear_tasks, cluster_tasks])
def test_the_seed_decides_everything_and_no_case_is_in_two_tasks(make: Any) -> None:
    one, same, other = make(3, 5, seed=7), make(3, 5, seed=7), make(3, 5, seed=8)
    assert torch.equal(one.collection.features[BLOCK], same.collection.features[BLOCK])
    assert not torch.equal(one.collection.features[BLOCK], other.collection.features[BLOCK])
    for name, task in one.collection.tasks.items():
        assert task.targets.tolist() == same.collection[name].targets.tolist()
    rows = np.concatenate([task.rows for task in one.collection.tasks.values()])
    assert sorted(rows.tolist()) == list(range(15))
    assert len(set(one.collection.canonical)) == 15
    assert one.collection.modality == "synthetic"


def test_making_tasks_leaves_the_global_generators_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    linear_tasks(2, 3)
    cluster_tasks(2, 3)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tobytes()  # noqa: NPY002


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (linear_tasks, {"n_tasks": 0}, "got 0 tasks of 5 cases with 4 dimensions; give at least 1 of each"),
        (linear_tasks, {"dim": 0}, "got 3 tasks of 5 cases with 0 dimensions; give at least 1 of each"),
        (linear_tasks, {"noise": 0.0}, "got noise=0.0; give a positive number"),
        (linear_tasks, {"spread": math.nan}, "got spread=nan; give a positive number"),
        (cluster_tasks, {"n_cases": 0}, "got 3 tasks of 0 cases with 4 dimensions; give at least 1 of each"),
        (cluster_tasks, {"within": -1.0}, "got within=-1.0; give a positive number"),
    ],
)
def test_a_family_that_cannot_be_is_refused(make: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(**{"n_tasks": 3, "n_cases": 5, **settings})


def test_an_optimum_answers_for_its_own_kind_of_task_only() -> None:
    linear, cluster = linear_tasks(1, 5), cluster_tasks(1, 5)
    numbers, query = _episodes(linear, [3])
    classes, _ = _episodes(cluster, [3])
    with pytest.raises(TaskError, match="got binary tasks; these tasks are regressions"):
        linear.optimal(classes, query.cases)
    with pytest.raises(TaskError, match="got regression tasks; these tasks are binary"):
        cluster.optimal(numbers, query.cases)


def test_the_optimum_is_in_raw_units_and_in_double_precision() -> None:
    made = linear_tasks(1, 30, centre_scale=100.0)
    law = made.optimal(*_raw(made))
    assert isinstance(law, Normal)
    assert law.mean.dtype == torch.float64
    assert float(law.mean.abs().max()) > 20


def _raw(made: LinearTasks) -> tuple[LabelledBatch, CaseBatch]:
    support, _ = _episodes(made, [10])
    return support, gather(made.collection, [np.arange(10, 30)])
