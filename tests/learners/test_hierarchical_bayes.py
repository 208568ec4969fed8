"""Hierarchical Bayes: exact in every cell, near the best answer on tasks of a known hierarchy, unsure where it should be."""

import pytest
import torch
from scipy.stats import multivariate_t
from tests.hospitals import hospitals, parted
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.functional.hierarchy import start_cells
from metamedica.functional.stacked_score import stack_of
from metamedica.functional.task_posterior import NOISE_CASES
from metamedica.learners.hierarchical_bayes import HierarchicalBayes
from metamedica.learners.pooled_linear import PooledLinear
from metamedica.learners.recalibrated import Recalibrated
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, TaskKind

LOCAL = start_cells().centre[:, 1] == 0


def _learner() -> HierarchicalBayes:
    return HierarchicalBayes(VectorRaw(), trees=10, leaves=4).double()


def _taught(tasks: list[LabelledBatch]) -> HierarchicalBayes:
    learner = _learner()
    learner.fit_tasks(tasks)
    return learner


@pytest.fixture(scope="module")
def differing() -> HierarchicalBayes:
    return _taught(hospitals(8, 80, level=1.5))


def _chances(learner: HierarchicalBayes, support: LabelledBatch, query: CaseBatch) -> Tensor:
    law = learner.predict(learner.adapt(support), query)
    assert isinstance(law, Categorical)
    return law.probs[..., 1]


def _likelihood(learner: HierarchicalBayes | PooledLinear | Recalibrated, episodes: list[EpisodeBatch]) -> float:
    each = [one.query.log_likelihood(learner.predict(learner.adapt(one.support), one.query.cases)) for one in episodes]
    return float(torch.cat(each).mean())


def _with_own(task: LabelledBatch, own: Tensor) -> LabelledBatch:
    cases = CaseBatch({**task.features, "own": own}, task.mask)
    return LabelledBatch(cases, task.targets, task.kind, task.n_classes)


@pytest.mark.parametrize("shots", [3, 9])
def test_a_regression_is_the_average_of_exact_gaussian_processes(shots: int) -> None:
    learner = _taught(hospitals(5, 40, kind="regression"))
    episode = parted(hospitals(1, 30, seed=3, kind="regression")[0], shots)
    law = learner.predict(learner.adapt(episode.support), episode.query.cases)
    assert isinstance(law, Normal)
    taught, targets = learner.taught.of("regression"), episode.support.targets[0]
    x, z = episode.support.features["vector"][0], episode.query.features["vector"][0]
    m, mz = (stack_of(taught)(rows) - taught["score_centre"] for rows in (x, z))
    u, uz = ((rows - taught["flat_centre"]) / taught["size"] for rows in (x, z))
    means, variances, weights = [], [], []
    eye, noise = torch.eye(shots, dtype=torch.float64), float(taught["noise"])
    for spread, centre, prior in zip(taught["spread"], taught["centre"], taught["log_weight"], strict=True):
        a, b, w = spread.square().tolist()
        inside = a + b * torch.outer(m, m) + w * u @ u.mT + eye
        cross = a + b * torch.outer(mz, m) + w * uz @ u.mT
        own = a + b * mz.square() + w * uz.square().sum(1)
        expected = centre[0] + centre[1] * m
        solved = torch.linalg.solve(inside, cross.mT)
        squares = (targets - expected) @ torch.linalg.solve(inside, targets - expected)
        left = ((NOISE_CASES - 2) * noise + squares) / (NOISE_CASES - 2 + shots)
        means.append(centre[0] + centre[1] * mz + solved.mT @ (targets - expected))
        variances.append(left * (1 + own - (cross * solved.mT).sum(1)))
        shape = (NOISE_CASES - 2) * noise / NOISE_CASES * inside
        density = multivariate_t(expected.numpy(), shape.numpy(), NOISE_CASES).logpdf(targets.numpy())
        weights.append(float(prior) + float(density))
    share = torch.softmax(torch.tensor(weights, dtype=torch.float64), 0)[:, None]
    mean = (share * torch.stack(means)).sum(0)
    torch.testing.assert_close(law.loc[0], mean)
    spread_of_means = (share * (torch.stack(means) - mean).square()).sum(0)
    torch.testing.assert_close(law.variance[0], (share * torch.stack(variances)).sum(0) + spread_of_means)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_at_new_tasks_it_says_more_than_the_pooled_and_no_less_than_the_recalibrated_model(kind: TaskKind) -> None:
    tasks = hospitals(8, 80, kind=kind, level=1.5, own=0.5)
    episodes = [parted(task, 15) for task in hospitals(15, 100, seed=2, kind=kind, level=1.5, own=0.5)]
    others = [made(VectorRaw()).double() for made in (PooledLinear, Recalibrated)]
    for other in others:
        other.fit_tasks(tasks)
    ours, (pooled, recalibrated) = _likelihood(_taught(tasks), episodes), (_likelihood(o, episodes) for o in others)
    assert ours > pooled + 0.1
    assert ours > recalibrated


def test_where_tasks_are_alike_it_is_as_good_as_the_pooled_model() -> None:
    tasks, pooled = hospitals(8, 80, level=0.0), PooledLinear(VectorRaw()).double()
    pooled.fit_tasks(tasks)
    episodes = [parted(task, 10) for task in hospitals(15, 100, seed=2, level=0.0)]
    assert _likelihood(_taught(tasks), episodes) > _likelihood(pooled, episodes) - 0.01


def test_the_more_levels_differ_the_less_sure_it_is_of_a_new_task(differing: HierarchicalBayes) -> None:
    task = hospitals(1, 60, seed=3)[0]
    none = task.cases.map(lambda v: v[:, :1])
    empty = LabelledBatch(CaseBatch(none.features, none.mask & False), task.targets[:, :1] * 0, "binary", 2)
    alike = _taught(hospitals(8, 80, level=0.05))
    distance = [float((_chances(each, empty, task.cases) - 0.5).abs().mean()) for each in (differing, alike)]
    assert distance[0] < distance[1] - 0.02


def test_labels_of_one_class_and_two_labels_move_the_law_and_leave_doubt(differing: HierarchicalBayes) -> None:
    task = hospitals(1, 60, seed=3)[0]
    for shots in (2, 5):
        support = parted(task, shots).support
        low, high = (
            _chances(differing, support.with_targets(torch.full_like(support.targets, label)), task.cases)
            for label in (0, 1)
        )
        assert bool((low < high).all())
        assert float(low.min()) > 1e-3
        assert float(high.max()) < 1 - 1e-3


def test_a_column_of_its_own_helps_the_task_that_has_it(differing: HierarchicalBayes) -> None:
    random, gains = torch.Generator().manual_seed(0), []
    for task in hospitals(12, 90, seed=4):
        own = torch.randn(1, 90, 1, generator=random, dtype=torch.float64)
        odds = 2.0 * own[..., 0] + task.features["vector"] @ torch.tensor([1.2, -0.8, 0.5, 0.0]).double()
        labels = (torch.rand(1, 90, generator=random, dtype=torch.float64) < torch.sigmoid(odds)).long()
        plain = parted(task.with_targets(labels), 40)
        known = parted(_with_own(task.with_targets(labels), own), 40)
        gains.append(_likelihood(differing, [known]) - _likelihood(differing, [plain]))
    assert sum(gains) / len(gains) > 0.05


def test_a_column_of_its_own_that_is_always_missing_changes_nothing(differing: HierarchicalBayes) -> None:
    task = hospitals(1, 30, seed=5)[0]
    want = _chances(differing, parted(task, 10).support, task.cases)
    empty = _with_own(task, torch.zeros(1, 30, 3, dtype=torch.float64))
    torch.testing.assert_close(_chances(differing, parted(empty, 10).support, empty.cases), want)
    told = _with_own(task, torch.ones(1, 30, 3, dtype=torch.float64))
    state = differing.adapt(parted(told, 10).support)
    laws = [differing.predict(state, cases) for cases in (empty.cases, task.cases)]
    torch.testing.assert_close(laws[0].logits, laws[1].logits)


def test_meta_valid_tasks_that_share_nothing_raise_the_weight_of_the_local_cells(differing: HierarchicalBayes) -> None:
    weight = []
    for common in (1.0, -1.0):
        learner = _learner()
        learner.load_state_dict(differing.state_dict())
        learner.fit_prior(
            [parted(task, 30, index=i) for i, task in enumerate(hospitals(15, 90, seed=6, common=common))]
        )
        weight.append(float(learner.taught.of("binary")["log_weight"].exp()[LOCAL].sum()))
    before = float(differing.taught.of("binary")["log_weight"].exp()[LOCAL].sum())
    assert weight[0] < before * 1.5
    assert weight[1] > 2 * before
    assert learner.taught.of("binary")["log_weight"].logsumexp(0).abs() < 1e-9


def test_a_long_query_gets_the_law_of_its_parts(differing: HierarchicalBayes) -> None:
    task = hospitals(1, 20_000, seed=7)[0]
    state = differing.adapt(parted(task, 10).support)
    whole = differing.predict(state, task.cases)
    part = differing.predict(state, task.cases.map(lambda v: v[:, -5:]))
    torch.testing.assert_close(whole.logits[:, -5:], part.logits)


def test_the_leaning_sums_to_one_and_falls_for_a_task_that_is_unlike_all_others(differing: HierarchicalBayes) -> None:
    usual = parted(hospitals(1, 120, seed=5, level=1.5)[0], 60).support
    turned = usual.with_targets(1 - usual.targets)
    like, unlike = (differing.leaning(differing.adapt(support)) for support in (usual, turned))
    for found in (like, unlike):
        assert float(sum(found.shares.values())) == pytest.approx(1.0)
        assert float(found.learned) == pytest.approx(1 - float(found.shares["from scratch"]))
    assert float(like.learned) > 0.95 > float(unlike.learned)
    assert float(like.gain) > 0 > float(unlike.gain)
