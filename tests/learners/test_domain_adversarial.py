"""Domain-adversarial training: the gradient is reversed, and a task from another device without label is predicted where the pooled network fails."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.shifted_tasks import cases_of, changed, loss, of_prevalence, without_labels

from metamedica.functional.perceptron import Perceptron
from metamedica.learners.domain_adversarial import DomainAdversarial, reversed_gradient
from metamedica.testing import SIZE, VectorRaw, check_learner, on_vectors
from metamedica.types import LabelledBatch

EYE = torch.eye(SIZE, dtype=torch.float64)
SHIFT = torch.tensor([2.0, 0.0, 1.5, 0.0], dtype=torch.float64)


def test_the_values_stay_and_the_gradient_is_reversed() -> None:
    values = torch.randn(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    strength = torch.tensor([[1.0], [0.3]], dtype=torch.float64)
    assert torch.equal(reversed_gradient(values, strength), values)
    plain = torch.func.grad(lambda x: x.sin().sum())(values)
    turned = torch.func.grad(lambda x: reversed_gradient(x, strength).sin().sum())(values)
    torch.testing.assert_close(turned, -strength * plain, atol=0, rtol=1e-15)


def test_the_discriminator_descends_on_its_loss_and_the_network_ascends() -> None:
    random = torch.Generator().manual_seed(0)
    earlier, target = (torch.randn(1, n, 3, generator=random, dtype=torch.float64) for n in (6, 4))
    weight, strength = torch.ones(1, 4).double(), torch.tensor([0.5], dtype=torch.float64)
    learner = DomainAdversarial(VectorRaw())
    opponent = {
        "weight": torch.randn(1, 3, generator=random, dtype=torch.float64),
        "intercept": torch.zeros(1).double(),
    }

    def at(strength: torch.Tensor, earlier: torch.Tensor, guess: torch.Tensor) -> torch.Tensor:
        return learner.alignment(
            earlier, target, weight, strength=strength, opponent={**opponent, "weight": guess}
        ).sum()

    reversed_, own = (torch.func.grad(at, argnums=place)(strength, earlier, opponent["weight"]) for place in (1, 2))
    plain, same = (
        torch.func.grad(at, argnums=place)(-torch.ones(1).double(), earlier, opponent["weight"]) for place in (1, 2)
    )
    torch.testing.assert_close(reversed_, -0.5 * plain)
    torch.testing.assert_close(own, same)


@pytest.fixture(scope="module")
def learner() -> DomainAdversarial:
    made = DomainAdversarial(VectorRaw(), strengths=(1.0,), signals=(1.0,), hidden=8).double()
    made.fit_tasks([of_prevalence(0.5, 150, seed=seed) for seed in range(4)])
    return made


def _shifted() -> LabelledBatch:
    return changed(of_prevalence(0.5, 1500, seed=30), EYE, SHIFT)


def test_cases_of_another_device_without_label_make_up_for_most_of_it(learner: DomainAdversarial) -> None:
    task, same = _shifted(), of_prevalence(0.5, 1500, seed=30)
    nothing = without_labels(task)
    blind = loss(learner.predict(learner.adapt(nothing), task.cases), task)
    found = loss(learner.predict(learner.adapt_with(nothing, cases_of(task, slice(200))), task.cases), task)
    at_home = loss(learner.predict(learner.adapt(nothing), same.cases), same)
    assert found < at_home + 0.12
    assert blind > found + 0.2


def test_a_task_like_all_others_is_predicted_as_before(learner: DomainAdversarial) -> None:
    task = of_prevalence(0.5, 1500, seed=30)
    nothing = without_labels(task)
    before = loss(learner.predict(learner.adapt(nothing), task.cases), task)
    after = loss(learner.predict(learner.adapt_with(nothing, cases_of(task, slice(200))), task.cases), task)
    assert after < before + 0.02


def test_a_fresh_discriminator_can_hardly_tell_the_hidden_layers_apart_any_more(learner: DomainAdversarial) -> None:
    task = _shifted()
    state = learner.adapt_with(without_labels(task), cases_of(task, slice(200)))
    taught = learner.taught.of("binary")
    before = Perceptron(*(taught[name] for name in Perceptron._fields))
    assert isinstance(state.score, Perceptron)
    after = state.score._replace(
        **{name: getattr(state.score, name)[0] for name in ("inner", "bias", "weight", "intercept")}
    )
    sides = taught["rows"], task.features["vector"][0, 200:800]
    told = torch.cat([torch.zeros(len(sides[0])), torch.ones(len(sides[1]))]).numpy()
    right = []
    for network in (before, after):
        layers = torch.cat([network.hidden(side) for side in sides]).numpy()
        right.append(LogisticRegression(max_iter=1000).fit(layers, told).score(layers, told))
    assert right[0] > 0.7
    assert right[1] < right[0] - 0.1


def test_it_keeps_the_contract_where_it_aligns() -> None:
    settings = {"strengths": (1.0,), "hidden": 3, "steps": 2, "signals": (1.0,), "most_compared": 6}
    check_learner(lambda: on_vectors(DomainAdversarial, settings=settings))
