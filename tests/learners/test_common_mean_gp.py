"""The process with a common mean: exact before and after learning, near the best answer on tasks drawn from a known family."""

import math
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from metamedica.errors import TaskError
from metamedica.functional.common_mean import OFFSET_VARIANCE, START_NOISE
from metamedica.functional.descriptions import described
from metamedica.learners.common_mean_gp import KINDS, LEANINGS, CommonMeanGP
from metamedica.testing import VectorRaw, vector_batch, vector_episodes
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch
from refits import told_by_refits

NOISE, OWN = 0.1, 0.5
SUPPORT, QUERY = 8, 40


def _mean(x: Tensor) -> Tensor:
    """What all tasks have in common: a slope and a bend."""
    return 0.7 * x[..., 0] + torch.sin(2 * x[..., 1])


def _tasks(count: int, seed: int, *, sign: float = 1.0, n: int = SUPPORT + QUERY) -> LabelledBatch:
    """Tasks of the family: the common mean, a level and a smooth part of their own, noise."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, n, 4, generator=random, dtype=torch.float64)
    kernel = OWN * VectorRaw().similarity(x, x) + OFFSET_VARIANCE + NOISE * torch.eye(n)
    drawn = torch.linalg.cholesky(kernel) @ torch.randn(count, n, 1, generator=random, dtype=torch.float64)
    return vector_batch(x, sign * _mean(x) + drawn[..., 0])


def _episodes(tasks: LabelledBatch) -> EpisodeBatch:
    support, query = tasks.map(lambda v: v[:, :SUPPORT]), tasks.map(lambda v: v[:, SUPPORT:])
    return EpisodeBatch(support, query, torch.arange(len(tasks.mask)))


def _one_by_one(tasks: LabelledBatch) -> list[LabelledBatch]:
    return [tasks.map(lambda v, at=at: v[at : at + 1]) for at in range(len(tasks.mask))]


class Best(NamedTuple):
    """The exact law of who knows the family."""

    mean: Tensor
    variance: Tensor


def _best(episodes: EpisodeBatch) -> Best:
    x, z = episodes.support.features["vector"], episodes.query.features["vector"]
    similarity = VectorRaw().similarity
    own = OWN * similarity(x, x) + OFFSET_VARIANCE + NOISE * torch.eye(SUPPORT)
    cross = OWN * similarity(z, x) + OFFSET_VARIANCE
    solved = torch.linalg.solve(own, cross.mT)
    mean = _mean(z) + ((episodes.support.targets - _mean(x))[:, None] @ solved)[:, 0]
    return Best(mean, OWN + OFFSET_VARIANCE + NOISE - (cross * solved.mT).sum(-1))


def _log_likelihood(learner: CommonMeanGP, episodes: EpisodeBatch) -> float:
    with torch.no_grad():
        law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    return float(episodes.query.log_likelihood(law).mean())


@pytest.fixture(scope="module")
def taught() -> CommonMeanGP:
    learner = CommonMeanGP(VectorRaw(), strength=0.05, n_landmarks=150).double()
    learner.fit_tasks(_one_by_one(_tasks(150, 0)))
    return learner


def test_on_a_known_family_it_comes_near_the_law_of_who_knows_mean_and_covariance(taught: CommonMeanGP) -> None:
    episodes = _episodes(_tasks(60, 1))
    best = _best(episodes)
    law = Normal(best.mean, best.variance.sqrt())
    reach = float(episodes.query.log_likelihood(law).mean())
    scratch = _log_likelihood(CommonMeanGP(VectorRaw()).double(), episodes)
    found = _log_likelihood(taught, episodes)
    taught_more = CommonMeanGP(VectorRaw(), strength=0.05, n_landmarks=150).double()
    taught_more.load_state_dict(taught.state_dict())
    taught_more.fit_prior([_episodes(_tasks(40, 2))])
    assert found > scratch + 0.6 * (reach - scratch)
    assert _log_likelihood(taught_more, episodes) > scratch + 0.75 * (reach - scratch)


def test_the_learned_covariance_is_that_of_the_tasks_around_their_mean(taught: CommonMeanGP) -> None:
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = taught._mean({"vector": x})
    assert float(torch.corrcoef(torch.stack([found, _mean(x)]))[0, 1]) > 0.95
    assert float(taught.noise[KINDS.index("regression")]) == pytest.approx(NOISE, rel=0.5)


def test_the_prior_leans_on_the_common_mean_where_unseen_tasks_share_it_and_not_where_they_do_not(
    taught: CommonMeanGP,
) -> None:
    weight = {}
    for sign in (1.0, -1.0):
        learner = CommonMeanGP(VectorRaw(), strength=0.05, n_landmarks=150).double()
        learner.load_state_dict(taught.state_dict())
        learner.fit_prior([_episodes(_tasks(30, 4, sign=sign))])
        weight[sign] = learner.log_prior[KINDS.index("regression")].exp().reshape(len(LEANINGS), -1).sum(1)
    assert float(weight[1.0][0]) < 1 / 3 < float(weight[-1.0][0])
    torch.testing.assert_close(weight[1.0].sum(), torch.tensor(1.0, dtype=torch.float64))


def test_before_learning_it_is_the_average_of_gaussian_processes_in_closed_form() -> None:
    learner = CommonMeanGP(VectorRaw()).double()
    episodes = vector_episodes("regression")
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    x, y = episodes.support.features["vector"][0], episodes.support.targets[0]
    z = episodes.query.features["vector"][0]
    means, weights = [], []
    for _, scale, noise in learner.cells.tolist():

        def kernel(left: Tensor, right: Tensor, scale: float = scale) -> Tensor:
            return (1 - START_NOISE) * scale * VectorRaw().similarity(left, right) + OFFSET_VARIANCE

        covariance = kernel(x, x) + START_NOISE * noise * torch.eye(len(x))
        means.append(kernel(z, x) @ torch.linalg.solve(covariance, y))
        weights.append(-0.5 * y @ torch.linalg.solve(covariance, y) - 0.5 * torch.logdet(covariance))
    want = (torch.softmax(torch.stack(weights), 0)[:, None] * torch.stack(means)).sum(0)
    torch.testing.assert_close(law.mean[0], want, atol=1e-7, rtol=0)  # the factors are kept in single precision


def test_classes_alone_teach_a_common_mean_too() -> None:
    tasks = _tasks(60, 5)
    classes = [
        vector_batch(one.features["vector"], (one.targets > one.targets.median()).long(), n_classes=2)
        for one in _one_by_one(tasks)
    ]
    learner = CommonMeanGP(VectorRaw(), strength=1.0).double()
    learner.fit_tasks(classes)
    x = torch.randn(1, 300, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    support = vector_batch(torch.zeros(1, 2, 4, dtype=torch.float64), torch.tensor([[0, 1]]), n_classes=2)
    law = learner.predict(learner.adapt(support), CaseBatch({"vector": x}, torch.ones(1, 300, dtype=torch.bool)))
    score = law.logits[0, :, 1] - law.logits[0, :, 0]
    assert float(torch.corrcoef(torch.stack([score, _mean(x[0])]))[0, 1]) > 0.8
    assert math.isclose(float(learner.noise[0]), float(learner.noise[1]))


def test_a_case_that_earlier_tasks_measured_is_known_again_and_a_new_one_gets_the_common_mean() -> None:
    random = torch.Generator().manual_seed(7)
    x = torch.randn(80, 4, generator=random, dtype=torch.float64)
    level = torch.randn(80, generator=random, dtype=torch.float64)
    tasks = []
    for _ in range(30):
        some = torch.randperm(80, generator=random)[:50]
        noise = 0.3 * torch.randn(50, generator=random, dtype=torch.float64)
        tasks.append(vector_batch(x[None, some], (_mean(x[some]) + level[some] + noise)[None]))
    learner, forgetful = (CommonMeanGP(VectorRaw(), most_known=most).double() for most in (80, 0))
    for each in (learner, forgetful):
        each.fit_tasks(tasks)
    assert len(learner.known) == 80
    assert len(forgetful.known) == 0
    left = learner._mean({"vector": x}) - forgetful._mean({"vector": x})
    found = forgetful._mean({"vector": x}) + left
    assert float(torch.corrcoef(torch.stack([found, _mean(x) + level]))[0, 1]) > 0.95
    torch.testing.assert_close(learner._mean({"vector": x + 0.01}), forgetful._mean({"vector": x + 0.01}))


class Panel(NamedTuple):
    """Tasks over the same sixty cases, combinations of three directions."""

    earlier: list[LabelledBatch]
    later: list[LabelledBatch]


@pytest.fixture(scope="module")
def panel() -> Panel:
    random = torch.Generator().manual_seed(12)
    x = torch.randn(1, 60, 4, generator=random, dtype=torch.float64)
    directions = torch.randn(3, 60, generator=random, dtype=torch.float64)
    weights = torch.randn(70, 3, generator=random, dtype=torch.float64)
    noise = 0.2 * torch.randn(70, 60, generator=random, dtype=torch.float64)
    tasks = [vector_batch(x, targets[None]) for targets in weights @ directions + noise]
    return Panel(tasks[:40], tasks[40:])


def test_what_single_tasks_measured_of_the_same_cases_tells_how_a_new_task_varies_over_them(panel: Panel) -> None:
    learner, forgetful = (CommonMeanGP(VectorRaw(), most_known=most).double() for most in (100, 0))
    error = {}
    for each in (learner, forgetful):
        each.fit_tasks(panel.earlier)
        left = []
        for task in panel.later:
            support, query = task.map(lambda v: v[:, :10]), task.map(lambda v: v[:, 10:])
            law = each.predict(each.adapt(support), CaseBatch(query.features, query.mask))
            left.append((law.mean - query.targets).square().mean() / query.targets.var())
        error[each] = float(torch.stack(left).mean())
    assert len(learner.profiles) == 60
    assert len(forgetful.profiles) == 0
    assert error[learner] < 0.3 < 0.7 < error[forgetful]  # ten cases tell three weights; the kernel of x tells nothing


def test_a_hidden_case_that_earlier_tasks_measured_has_the_likelihood_of_a_refit_without_it(panel: Panel) -> None:
    learner = CommonMeanGP(VectorRaw()).double()
    learner.fit_tasks(panel.earlier)
    support = panel.later[0].map(lambda v: v[:, :7])
    torch.testing.assert_close(learner.leave_one_out(support)[0], told_by_refits(learner, support), atol=1e-8, rtol=0)


LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def _written(family: str, random: np.random.Generator) -> str:
    """The text of a family with a tenth of its letters changed."""
    return "".join(random.choice(list(LETTERS)) if random.random() < 0.1 else letter for letter in family)


@pytest.fixture(scope="module")
def families() -> Panel:
    """Tasks of ten families over the same sixty cases, which they are described by: those of one family vary alike."""
    random = np.random.default_rng(5)
    x = torch.tensor(random.normal(size=(1, 60, 4)))
    tasks = []
    for _ in range(10):
        family = "".join(random.choice(list(LETTERS), 200))
        common = random.normal(size=60)
        for _ in range(7):
            values = torch.tensor(common + 0.5 * random.normal(size=60))
            about = described(_written(family, random))[None]
            tasks.append(replace(vector_batch(x, values[None]), about=about))
    later = set(range(0, 70, 7))
    return Panel([task for at, task in enumerate(tasks) if at not in later], [tasks[at] for at in later])


def test_tasks_that_are_described_alike_tell_what_a_new_one_is_like_before_any_label(families: Panel) -> None:
    learner = CommonMeanGP(VectorRaw()).double()
    learner.fit_tasks(families.earlier)
    assert learner.compares_tasks()
    share: dict[tuple[bool, int], float] = {}
    for told in (True, False):
        for shots in (0, 4):
            left = []
            for whole in families.later:
                task = whole if told else replace(whole, about=None)
                support, query = task.map(lambda v, at=shots: v[:, :at]), task.map(lambda v: v[:, 4:])
                state = learner.adapt(support) if shots else learner.population(task.map(lambda v: v[:, :1]))
                law = learner.predict(state, query.cases)
                left.append(float((law.mean - query.targets).square().mean() / query.targets.var()))
            share[told, shots] = sum(left) / len(left)
    assert share[False, 0] > 0.9
    assert share[True, 0] < 0.4  # the noise of one case is a fifth of its variance, and six of the family are known
    assert share[True, 4] < share[False, 4] - 0.2


def test_a_task_of_no_known_family_is_predicted_as_without_a_description(families: Panel) -> None:
    learner = CommonMeanGP(VectorRaw()).double()
    learner.fit_tasks(families.earlier)
    task = replace(families.later[0], about=torch.zeros_like(cast(Tensor, families.later[0].about)))
    support, query = task.map(lambda v: v[:, :6]), task.map(lambda v: v[:, 6:])
    laws = [learner.predict(learner.adapt(each), query.cases) for each in (support, replace(support, about=None))]
    torch.testing.assert_close(laws[0].mean, laws[1].mean)
    torch.testing.assert_close(laws[0].stddev, laws[1].stddev)


def test_descriptions_that_do_not_tell_which_tasks_vary_alike_are_not_used(panel: Panel) -> None:
    random = np.random.default_rng(6)
    texts = ["".join(random.choice(list(LETTERS), 200)) for _ in panel.earlier]
    learner = CommonMeanGP(VectorRaw()).double()
    learner.fit_tasks(
        [replace(task, about=described(text)[None]) for task, text in zip(panel.earlier, texts, strict=True)]
    )
    assert len(learner.profiles) == 60
    if learner.compares_tasks():  # chance found a width at which they seem to
        assert float(learner.profiles["nearness"][0]) < 0.1


def test_a_hidden_case_of_a_described_task_has_the_likelihood_of_a_refit_without_it(families: Panel) -> None:
    learner = CommonMeanGP(VectorRaw()).double()
    learner.fit_tasks(families.earlier)
    support = families.later[1].map(lambda v: v[:, :5])
    torch.testing.assert_close(learner.leave_one_out(support)[0], told_by_refits(learner, support), atol=1e-8, rtol=0)


def test_a_second_fit_forgets_what_the_first_knew_of_cases_and_descriptions(families: Panel) -> None:
    learner, fresh = (CommonMeanGP(VectorRaw()).double() for _ in range(2))
    learner.fit_tasks(families.earlier)
    assert learner.compares_tasks()
    support = families.later[0].map(lambda v: v[:, :6])
    for tasks in ([replace(task, about=None) for task in families.earlier], _one_by_one(_tasks(12, 3))):
        for each in (learner, fresh):
            each.fit_tasks(tasks)
        assert not learner.compares_tasks()
        assert len(learner.profiles) == len(fresh.profiles)
        laws = [each.predict(each.adapt(support), support.cases) for each in (learner, fresh)]
        torch.testing.assert_close(laws[0].mean, laws[1].mean, atol=0, rtol=0)


def test_tasks_of_several_classes_only_are_refused() -> None:
    tasks = vector_episodes("multiclass").support
    with pytest.raises(TaskError, match="no task is of kind regression or binary"):
        CommonMeanGP(VectorRaw()).fit_tasks([tasks.map(lambda v: v[:1])])


def test_cells_that_differ_in_their_leaning_are_predicted_together_as_each_by_itself(taught: CommonMeanGP) -> None:
    episodes = _episodes(_tasks(3, 11))
    support, query = episodes.support, episodes.query.cases
    with torch.no_grad():
        mean, variance = taught._in_cells(taught.adapt(support), query)
        weights, noise = taught.weights[KINDS.index("regression")], taught.noise[KINDS.index("regression")]
        own, cross = (
            torch.einsum("c,tcij->tij", weights, taught.rich.kernels(left, support.features))
            for left in (support.features, query.features)
        )
        for cell, (leaning, scale, times) in enumerate(taught.cells.double()):
            covariance = scale * own + OFFSET_VARIANCE + times * noise * torch.eye(SUPPORT)
            solved = torch.linalg.solve(covariance, (scale * cross + OFFSET_VARIANCE).mT)
            around = support.targets - leaning * taught._mean(support.features)
            wanted = (around[:, None] @ solved)[:, 0] + leaning * taught._mean(query.features)
            left_over = scale * weights.sum() + OFFSET_VARIANCE + times * noise
            left_over = left_over - ((scale * cross + OFFSET_VARIANCE) * solved.mT).sum(-1)
            torch.testing.assert_close(mean[:, cell, :, 0], wanted, rtol=1e-6, atol=1e-8)
            torch.testing.assert_close(variance[:, cell], left_over, rtol=1e-6, atol=1e-8)
