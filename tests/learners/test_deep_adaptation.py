"""Deep adaptation: the discrepancy falls, and a task from another device without label is predicted where the pooled network fails."""

import pytest
import torch
from tests.shifted_tasks import cases_of, changed, loss, of_prevalence, without_labels

from metamedica.functional.discrepancy import mean_discrepancy
from metamedica.functional.perceptron import Perceptron
from metamedica.learners.deep_adaptation import DeepAdaptation
from metamedica.testing import SIZE, VectorRaw, check_learner, on_vectors, vector_batch
from metamedica.types import LabelledBatch

EYE = torch.eye(SIZE, dtype=torch.float64)
SHIFT = torch.tensor([2.0, 0.0, 1.5, 0.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def learner() -> DeepAdaptation:
    settings = {"hidden": 8, "most_compared": 100}
    made = DeepAdaptation(VectorRaw(), strengths=(3.0,), signals=(1.0,), **settings).double()
    made.fit_tasks([of_prevalence(0.5, 150, seed=seed) for seed in range(4)])
    return made


def _shifted() -> LabelledBatch:
    return changed(of_prevalence(0.5, 1500, seed=30), EYE, SHIFT)


def test_cases_of_another_device_without_label_make_up_for_most_of_it(learner: DeepAdaptation) -> None:
    task, same = _shifted(), of_prevalence(0.5, 1500, seed=30)
    nothing = without_labels(task)
    blind = loss(learner.predict(learner.adapt(nothing), task.cases), task)
    found = loss(learner.predict(learner.adapt_with(nothing, cases_of(task, slice(200))), task.cases), task)
    at_home = loss(learner.predict(learner.adapt(nothing), same.cases), same)
    assert found < at_home + 0.12
    assert blind > found + 0.2


def test_a_task_like_all_others_is_predicted_as_before(learner: DeepAdaptation) -> None:
    task = of_prevalence(0.5, 1500, seed=30)
    nothing = without_labels(task)
    before = loss(learner.predict(learner.adapt(nothing), task.cases), task)
    after = loss(learner.predict(learner.adapt_with(nothing, cases_of(task, slice(200))), task.cases), task)
    assert after < before + 0.02


def test_the_hidden_layers_come_nearer_to_each_other(learner: DeepAdaptation) -> None:
    task = _shifted()
    state = learner.adapt_with(without_labels(task), cases_of(task, slice(200)))
    taught = learner.taught.of("binary")
    before = Perceptron(*(taught[name] for name in Perceptron._fields))
    assert isinstance(state.score, Perceptron)
    after = state.score._replace(
        **{name: getattr(state.score, name)[0] for name in ("inner", "bias", "weight", "intercept")}
    )
    rows, cases = taught["rows"][:300], task.features["vector"][0, 200:500]

    def apart(network: Perceptron) -> float:
        layers = [network.hidden(each) for each in (rows, cases)]
        spread = 2 * float((layers[0] - layers[0].mean(0)).square().sum(1).mean())
        return float(mean_discrepancy(*layers, *(torch.ones_like(each[:, 0]) for each in layers), usual=spread))

    assert apart(after) < 0.3 * apart(before)


def test_a_regression_task_from_another_device_is_predicted_too() -> None:
    def task(shift: float, n: int, seed: int) -> LabelledBatch:
        random = torch.Generator().manual_seed(seed)
        vectors = torch.randn(n, SIZE, generator=random, dtype=torch.float64)
        return vector_batch((vectors + shift)[None], torch.tanh(vectors[:, 0] + vectors[:, 1])[None])

    settings = {"hidden": 8, "most_compared": 100}
    learner = DeepAdaptation(VectorRaw(), strengths=(3.0,), signals=(3.0,), **settings).double()
    learner.fit_tasks([task(0.0, 150, seed) for seed in range(4)])
    far = task(1.0, 1000, 9)
    errors = []
    for others in (cases_of(far, slice(0)), cases_of(far, slice(200))):
        state = learner.adapt_with(without_labels(far), others)
        errors.append(float((state.score(far.features["vector"]) - far.targets).square().mean()))
    assert errors[1] < 0.5 * errors[0]


def test_it_keeps_the_contract_where_it_aligns() -> None:
    settings = {"strengths": (1.0,), "hidden": 3, "steps": 2, "signals": (1.0,), "most_compared": 6}
    check_learner(lambda: on_vectors(DeepAdaptation, settings=settings))
