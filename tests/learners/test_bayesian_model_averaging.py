"""The average of two models by their exact evidence; what earlier tasks teach of each; what an answer is made of."""

import math

import pytest
import torch
from scipy.stats import multivariate_t
from tests.hospitals import hospitals, parted
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.errors import InputError
from metamedica.functional.stacked_score import stack_of
from metamedica.functional.task_posterior import NOISE_CASES
from metamedica.learners.additive_transfer import AdditiveTransfer
from metamedica.learners.bayesian_model_averaging import BayesianModelAveraging
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, TaskKind


def _taught(tasks: list[LabelledBatch]) -> BayesianModelAveraging:
    learner = BayesianModelAveraging(VectorRaw(), trees=10, leaves=4).double()
    learner.fit_tasks(tasks)
    return learner


def _first(learner: BayesianModelAveraging, kind: TaskKind = "binary") -> float:
    """Return what `hierarchical_bayes` counts for before labels."""
    return float(learner.taught.of(kind)["log_weight"].exp()[0])


def _log_density(expected: Tensor, shape: Tensor, targets: Tensor, noise: float) -> float:
    wide = (NOISE_CASES - 2) * noise / NOISE_CASES * shape
    return float(multivariate_t(expected.numpy(), wide.numpy(), NOISE_CASES).logpdf(targets.numpy()))


def _averaged(log_prior: Tensor, densities: list[float]) -> float:
    return float(torch.logsumexp(log_prior.log_softmax(0) + torch.tensor(densities, dtype=torch.float64), 0))


@pytest.fixture(scope="module")
def regression() -> BayesianModelAveraging:
    return _taught(hospitals(5, 40, kind="regression"))


def test_the_weights_are_those_of_the_exact_densities_of_the_labels(regression: BayesianModelAveraging) -> None:
    episode = parted(hospitals(1, 30, seed=3, kind="regression")[0], 7)
    state = regression.adapt(episode.support)
    x, targets = episode.support.features["vector"][0], episode.support.targets[0]
    eye = torch.eye(7, dtype=torch.float64)

    taught = regression.models["hierarchical_bayes"].taught.of("regression")
    m = stack_of(taught)(x) - taught["score_centre"]
    u = (x - taught["flat_centre"]) / taught["size"]
    densities = []
    for spread, centre in zip(taught["spread"], taught["centre"], strict=True):
        a, b, w = spread.square().tolist()
        shape = a + b * torch.outer(m, m) + w * u @ u.mT + eye
        densities.append(_log_density(centre[0] + centre[1] * m, shape, targets, float(taught["noise"])))
    hierarchy = _averaged(taught["log_weight"], densities)

    taught = regression.models["additive_transfer"].taught.of("regression")
    known = regression.models["additive_transfer"]._seen(episode.support.features, taught)
    shapes = regression.models["additive_transfer"]._covariance(known, known)[0] + 1e-4 * eye
    densities = [
        _log_density(known.score[0], eye + size**2 * shape, targets, float(taught["noise"]))
        for size in regression.models["additive_transfer"].sizes
        for shape in shapes
    ]
    correction = _averaged(taught["log_prior"], densities)

    before = regression.taught.of("regression")["log_weight"]
    odds = float(before[0] - before[1]) + hierarchy - correction
    assert float(state.log_weight[0, 0] - state.log_weight[0, 1]) == pytest.approx(odds, abs=1e-6)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_the_law_is_the_average_of_both_models(kind: TaskKind) -> None:
    learner = _taught(hospitals(5, 40, kind=kind))
    episode = parted(hospitals(1, 30, seed=3, kind=kind)[0], 8)
    state = learner.adapt(episode.support)
    law = learner.predict(state, episode.query.cases)
    both = [
        model.predict(model.adapt(episode.support), episode.query.cases)
        for model in (learner.models["hierarchical_bayes"], learner.models["additive_transfer"])
    ]
    weight = state.log_weight.exp()
    assert weight[0].min() > 0.001, "both must count for the test to say anything"
    if kind == "regression":
        assert isinstance(law, Normal)
        want = weight[:, :1] * both[0].mean + weight[:, 1:] * both[1].mean
        torch.testing.assert_close(law.mean, want)
    else:
        assert isinstance(law, Categorical)
        assert all(isinstance(each, Categorical) for each in both)
        want = weight[:, :1, None] * both[0].probs + weight[:, 1:, None] * both[1].probs
        torch.testing.assert_close(law.probs, want)


def test_where_tasks_have_linear_effects_of_their_own_the_hierarchy_counts_for_more_and_where_corrections_bend_for_less() -> (
    None
):
    linear = hospitals(10, 80, kind="regression", level=2.0)
    bent = []
    for task in hospitals(10, 80, kind="regression", level=0.0):
        x = task.features["vector"]
        bump = 3 * torch.exp(-(x - x[:, :1]).square().sum(-1) / 2) - 1
        bent.append(task.with_targets(task.targets + bump))
    assert _first(_taught(linear), "regression") > _first(_taught(bent), "regression") + 0.1


def test_meta_valid_tasks_move_the_weights_toward_the_model_that_says_more_of_them(
    regression: BayesianModelAveraging,
) -> None:
    learner = _taught(hospitals(5, 40, kind="regression"))
    before = _first(learner, "regression")
    episodes = [
        parted(task, 15, index=at) for at, task in enumerate(hospitals(8, 60, seed=9, kind="regression", level=3.0))
    ]
    learner.fit_prior(episodes)
    after = _first(learner, "regression")
    gain = _mean(learner, episodes, 0) - _mean(learner, episodes, 1)
    assert abs(after - before) > 1e-3
    assert math.copysign(1, after - before) == math.copysign(1, gain)


def _mean(learner: BayesianModelAveraging, episodes: list[EpisodeBatch], which: int) -> float:
    model = (learner.models["hierarchical_bayes"], learner.models["additive_transfer"])[which]
    found = []
    for one in episodes:
        law = model.predict(model.adapt(one.support), one.query.cases)
        found.append(float(law.log_prob(one.query.targets).mean()))
    return sum(found) / len(found)


def test_shares_sum_to_one_and_a_task_against_all_others_is_made_of_its_own_labels() -> None:
    learner = _taught(hospitals(8, 80, level=0.3))
    usual, against = hospitals(2, 120, seed=3, level=0.0)
    told = []
    for task in (usual, against.with_targets(1 - against.targets)):
        leaning = learner.leaning(learner.adapt(parted(task, 60).support))
        assert sum(float(share) for share in leaning.shares.values()) == pytest.approx(1, abs=1e-6)
        assert list(leaning.shares)[-1] == "from scratch"
        assert "own correction" in leaning.shares
        told.append(leaning)
    assert float(told[0].gain) > 0 > float(told[1].gain)
    assert float(told[1].learned) < float(told[0].learned)


def test_before_any_label_nothing_is_gained_and_the_weights_are_those_of_earlier_tasks() -> None:
    learner = _taught(hospitals(6, 60))
    state = learner.population(parted(hospitals(1, 30, seed=3)[0], 5).support)
    torch.testing.assert_close(state.log_weight[0], learner.taught.of("binary")["log_weight"])
    torch.testing.assert_close(learner.leaning(state).gain, torch.zeros(1, dtype=torch.float64), atol=1e-9, rtol=0)


def test_one_model_alone_is_that_model_and_gains_nothing_where_it_cannot_be_from_scratch() -> None:
    tasks = hospitals(5, 40)
    learner = BayesianModelAveraging(VectorRaw(), models=("additive_transfer",)).double()
    alone = AdditiveTransfer(VectorRaw()).double()
    episode = parted(hospitals(1, 30, seed=3)[0], 8)
    for each in (learner, alone):
        each.fit_tasks(tasks)
    state = learner.adapt(episode.support)
    laws = [
        learner.predict(state, episode.query.cases),
        alone.predict(alone.adapt(episode.support), episode.query.cases),
    ]
    torch.testing.assert_close(laws[0].probs, laws[1].probs)
    leaning = learner.leaning(state)
    assert (float(leaning.gain), float(leaning.learned)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("models", "said"), [((), "got no model"), (("linear",), "'linear' does not say its evidence")]
)
def test_models_without_evidence_are_refused_and_the_others_named(models: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=f"{said}.*additive_transfer, hierarchical_bayes"):
        BayesianModelAveraging(VectorRaw(), models=models)


def test_where_a_task_has_columns_of_its_own_only_models_that_read_them_have_a_say() -> None:
    learner = _taught(hospitals(5, 40))
    episode = parted(hospitals(1, 30, seed=3)[0], 10)
    own = torch.randn(1, 10, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cases = CaseBatch({**episode.support.features, "own": own}, episode.support.mask)
    state = learner.adapt(LabelledBatch(cases, episode.support.targets, "binary", 2))
    assert state.log_weight.exp().tolist() == [[1.0, 0.0]]
    law = learner.predict(state, episode.query.cases)
    alone = learner.models["hierarchical_bayes"]
    torch.testing.assert_close(law.probs, alone.predict(state.each[0], episode.query.cases).probs)
    leaning = learner.leaning(state)
    assert bool(torch.isfinite(leaning.gain).all())
    assert sum(float(share) for share in leaning.shares.values()) == pytest.approx(1, abs=1e-6)
