"""The conditional neural process against a plain loop, and near the exact posterior after a short meta-training."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn.functional import gelu

from generated_tasks import (
    CLUSTERS,
    LINES,
    check_laws_of_views,
    check_near_the_best,
    check_other_names_of_classes,
    learned,
    meta_train,
    score,
    stirred,
)
from metamedica.learners.conditional_neural_process import ConditionalNeuralProcess
from metamedica.testing import VectorEncoder, VectorRaw, vector_batch, vector_episodes
from metamedica.types import EpisodeBatch, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


def _learner() -> ConditionalNeuralProcess:
    torch.manual_seed(0)
    return stirred(ConditionalNeuralProcess(VectorEncoder(), width=7, depth=2))


def _outputs(learner: ConditionalNeuralProcess, kind: TaskKind, known: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """The head's output for the asked vectors of one view of one task; a loop over cases."""
    w = learner.state_dict()

    def through(name: str, x: Tensor) -> Tensor:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    def embed(x: Tensor) -> Tensor:
        return torch.tanh(through("encoder.map", x))

    total = torch.zeros(7).double()
    for x, label in zip(known, labels, strict=True):
        h = gelu(through("tokens.case", embed(x)) + through(f"tokens.{kind}", label))
        total = total + through("encode.1.2", gelu(through("encode.1.0", h)))
    read = total / len(known)
    decoded = [gelu(through("decode.0.0", torch.cat([embed(z), read]))) for z in asked]
    return torch.stack([through(f"head.{kind}", gelu(through("decode.0.2", h))) for h in decoded])


@pytest.mark.parametrize("kind", KINDS)
def test_the_law_is_that_of_a_loop_over_tasks_and_cases_without_padding(kind: TaskKind) -> None:
    learner = _learner()
    check_laws_of_views(learner, kind, partial(_outputs, learner, kind))


def test_a_support_given_twice_says_the_same_since_a_mean_forgets_how_many() -> None:
    learner, episodes = _learner(), vector_episodes("regression")
    once, twice = (
        learner.predict(learner.adapt(support), episodes.query.cases)
        for support in (episodes.support, episodes.support.map(lambda value: torch.cat([value, value], dim=1)))
    )
    torch.testing.assert_close(once.mean, twice.mean, atol=1e-12, rtol=0)
    torch.testing.assert_close(once.stddev, twice.stddev, atol=1e-12, rtol=0)


def test_other_names_of_the_classes_of_a_multiclass_task_give_the_same_law_under_those_names() -> None:
    check_other_names_of_classes(_learner())


def test_a_task_may_have_any_number_of_classes_and_those_without_cases_are_alike() -> None:
    learner, x = _learner(), torch.randn(1, 6, 4, dtype=torch.float64)
    law = learner.predict(
        learner.adapt(vector_batch(x, torch.tensor([[0, 0, 11, 5, 5, 5]]), n_classes=12)),
        vector_batch(x, torch.zeros(1, 6)).cases,
    )
    assert isinstance(law, Categorical)
    assert law.probs.shape == (1, 6, 12)
    torch.testing.assert_close(law.probs[..., 1], law.probs[..., 10])
    assert not torch.allclose(law.probs[..., 1], law.probs[..., 5], atol=1e-3)


def test_what_earlier_binary_tasks_say_of_class_1_carries_over_to_a_support_of_class_0_only() -> None:
    """Class 0 is about -1 and class 1 about 1 in every task, so the best log-odds of class 1 at x are 2 x."""

    def draw(count: int, seed: int) -> EpisodeBatch:
        random = torch.Generator().manual_seed(seed)
        labels = torch.randint(2, (count, 24), generator=random)
        labels[:, :4] = 0
        x = 2.0 * labels - 1 + torch.randn(count, 24, generator=random)
        both = vector_batch(x[..., None], labels, n_classes=2)
        support, query = both.map(lambda value: value[:, :4]), both.map(lambda value: value[:, 4:])
        return EpisodeBatch(support, query, torch.arange(count))

    torch.manual_seed(0)
    learner, new = ConditionalNeuralProcess(VectorRaw(1), width=16), draw(200, 1)
    meta_train(learner, draw, steps=60, rate=0.02, count=16)
    odds = 2 * new.query.features["vector"][..., 0]
    best = score(Categorical(logits=torch.stack([-odds / 2, odds / 2], dim=-1)), new)
    assert best - 0.03 < learned(learner, new) < best + 0.001


def test_after_meta_training_on_lines_it_is_near_bayesian_linear_regression() -> None:
    """Best -0.69, mean of the support -1.69, learned -0.77 nats a case."""
    check_near_the_best(
        lambda: ConditionalNeuralProcess(VectorRaw(1), width=48), LINES, steps=300, rate=0.01, below=0.13, above=0.7
    )


def test_after_meta_training_on_clusters_it_is_near_the_rule_of_bayes() -> None:
    """Best -0.48, shares of the support -1.13, learned -0.52 nats a case."""
    check_near_the_best(
        lambda: ConditionalNeuralProcess(VectorRaw(2), width=32),
        CLUSTERS,
        steps=200,
        rate=0.01,
        count=16,
        below=0.08,
        above=0.4,
    )
