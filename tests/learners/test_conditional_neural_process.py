"""The conditional neural process against a plain loop, and near the exact posterior after a short meta-training."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal
from torch.nn.functional import gelu, softplus

from generated_tasks import (
    OF_LINES,
    best_of_clusters,
    best_of_functions,
    clusters,
    learned,
    lines,
    meta_train,
    ragged,
    score,
    stirred,
    support_mean,
    support_shares,
)
from metamedica.learners.conditional_neural_process import ConditionalNeuralProcess
from metamedica.testing import VectorEncoder, VectorRaw, vector_batch, vector_episodes
from metamedica.types import EpisodeBatch, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


def _learner() -> ConditionalNeuralProcess:
    torch.manual_seed(0)
    return stirred(ConditionalNeuralProcess(VectorEncoder(), width=7, depth=2))


def _one_output(w: dict[str, Tensor], kind: TaskKind, known: list[tuple[Tensor, list[float]]], asked: Tensor) -> Tensor:
    """The head's output for one asked vector, given the vectors and label columns of one view; a loop over cases."""

    def through(name: str, x: Tensor) -> Tensor:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    def embed(x: Tensor) -> Tensor:
        return torch.tanh(through("encoder.map", x))

    total = torch.zeros(7).double()
    for x, label in known:
        h = gelu(through("tokens.case", embed(x)) + through(f"tokens.{kind}", torch.tensor(label, dtype=torch.float64)))
        total = total + through("encode.1.2", gelu(through("encode.1.0", h)))
    decoded = gelu(through("decode.0.0", torch.cat([embed(asked), total / len(known)])))
    return through(f"head.{kind}", gelu(through("decode.0.2", decoded)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_law_is_that_of_a_loop_over_tasks_and_cases_without_padding(kind: TaskKind) -> None:
    learner, episodes = _learner(), ragged(kind)
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    weights, support = learner.state_dict(), episodes.support
    for task in range(3):
        cases = support.features["vector"][task][support.mask[task]]
        targets = support.targets[task][support.mask[task]].tolist()
        for place, asked in enumerate(episodes.query.features["vector"][task]):
            if kind == "multiclass":
                views = [
                    [(x, [float(y != k), float(y == k)]) for x, y in zip(cases, targets, strict=True)] for k in range(3)
                ]
                scores = torch.cat([_one_output(weights, kind, view, asked) for view in views])
            else:
                labels = [[y] if kind == "regression" else [1.0 - y, float(y)] for y in targets]
                scores = _one_output(weights, kind, list(zip(cases, labels, strict=True)), asked)
            if isinstance(law, Normal):
                torch.testing.assert_close(law.mean[task, place], scores[0], atol=1e-10, rtol=0)
                torch.testing.assert_close(law.stddev[task, place], 0.05 + softplus(scores[1]), atol=1e-10, rtol=0)
            else:
                torch.testing.assert_close(law.probs[task, place], torch.softmax(scores, 0), atol=1e-10, rtol=0)


def test_a_support_given_twice_says_the_same_since_a_mean_forgets_how_many() -> None:
    learner, episodes = _learner(), vector_episodes("regression")
    once, twice = (
        learner.predict(learner.adapt(support), episodes.query.cases)
        for support in (episodes.support, episodes.support.map(lambda value: torch.cat([value, value], dim=1)))
    )
    torch.testing.assert_close(once.mean, twice.mean, atol=1e-12, rtol=0)
    torch.testing.assert_close(once.stddev, twice.stddev, atol=1e-12, rtol=0)


def test_other_names_of_the_classes_of_a_multiclass_task_give_the_same_law_under_those_names() -> None:
    learner, episodes = _learner(), vector_episodes("multiclass")
    names = torch.tensor([2, 0, 1])
    renamed = episodes.support.with_targets(names[episodes.support.targets])
    before, after = (
        learner.predict(learner.adapt(support), episodes.query.cases) for support in (episodes.support, renamed)
    )
    assert isinstance(before, Categorical)
    torch.testing.assert_close(after.probs[..., names], before.probs, atol=1e-12, rtol=0)
    assert not torch.allclose(after.probs, before.probs, atol=1e-3)


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
    new = lines(200, 1)
    torch.manual_seed(0)
    learner = ConditionalNeuralProcess(VectorRaw(1), width=48)
    meta_train(learner, lines, steps=300, rate=0.01)
    best, found = score(best_of_functions(OF_LINES, new), new), learned(learner, new)
    assert best - 0.13 < found < best
    assert found > score(support_mean(new), new) + 0.7


def test_after_meta_training_on_clusters_it_is_near_the_rule_of_bayes() -> None:
    """Best -0.48, shares of the support -1.13, learned -0.52 nats a case."""
    new = clusters(200, 1)
    torch.manual_seed(0)
    learner = ConditionalNeuralProcess(VectorRaw(2), width=32)
    meta_train(learner, clusters, steps=200, rate=0.01, count=16)
    best, found = score(best_of_clusters(new), new), learned(learner, new)
    assert best - 0.08 < found < best
    assert found > score(support_shares(new), new) + 0.4
