"""The generated networks against a plain loop, and near the exact posterior after a short meta-training."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn.functional import gelu, layer_norm

from generated_tasks import (
    CLUSTERS,
    LINES,
    check_laws,
    check_near_the_best,
    check_other_names_of_classes,
    stirred,
    views,
)
from metamedica.errors import TaskError
from metamedica.learners.film_network import FilmNetwork
from metamedica.testing import SIZE, VectorEncoder, VectorRaw, vector_batch, vector_episodes
from metamedica.types import TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")
WIDTH = 7


def _learner() -> FilmNetwork:
    torch.manual_seed(0)
    return stirred(FilmNetwork(VectorEncoder(), width=WIDTH, layers=2))


def _outputs(learner: FilmNetwork, kind: TaskKind, known: Tensor, targets: Tensor, asked: Tensor) -> Tensor:
    """The generated head's output for the asked cases of one task, case by case."""
    w = learner.state_dict()

    def through(name: str, x: Tensor) -> Tensor:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    def embed(x: Tensor) -> Tensor:
        return torch.tanh(through("encoder.map", x))

    members = []
    for view in views(kind, targets):
        for x, label in zip(known, view, strict=True):
            h = gelu(through("tokens.case", embed(x)) + through(f"tokens.{kind}", label))
            members.append(through("member.1.2", gelu(through("member.1.0", h))))
    mean = sum(members) / len(members)
    task = gelu(through("task.0.2", gelu(through("task.0.0", mean))))
    scales_and_shifts = through("film", task).split(WIDTH)

    def features(x: Tensor) -> Tensor:
        h = embed(x)
        for layer in (0, 1):
            scale, shift = scales_and_shifts[2 * layer : 2 * layer + 2]
            h = gelu((1 + scale) * layer_norm(through(f"layers.{layer}.0", h), (WIDTH,)) + shift)
        return h

    if kind == "regression":
        rows = list(through("regression_head.2", gelu(through("regression_head.0", task))).split(WIDTH + 1))
    else:
        rows = []
        for label in range(3 if kind == "multiclass" else 2):
            centre = sum(features(x) for x in known[targets == label]) / int((targets == label).sum())
            rows.append(through("class_head.2", gelu(through("class_head.0", centre))))
    return torch.stack([torch.stack([row[:-1] @ features(z) + row[-1] for row in rows]) for z in asked])


@pytest.mark.parametrize("kind", KINDS)
def test_the_law_is_that_of_a_loop_over_tasks_and_cases_without_padding(kind: TaskKind) -> None:
    learner = _learner()
    check_laws(learner, kind, partial(_outputs, learner, kind), close=1e-9)


def test_at_the_start_no_task_is_modulated_and_the_modulation_has_a_gradient() -> None:
    torch.manual_seed(0)
    learner, episodes = FilmNetwork(VectorEncoder()).double(), vector_episodes("regression")
    assert not learner.adapt(episodes.support).film.any()
    learner.meta_loss(episodes).backward()
    assert learner.film.weight.grad is not None
    assert bool(learner.film.weight.grad.any())


def test_other_names_of_the_classes_of_a_multiclass_task_give_the_same_law_under_those_names() -> None:
    check_other_names_of_classes(_learner())


def test_a_class_without_cases_has_half_a_case_and_a_support_of_one_class_is_refused() -> None:
    learner, x = _learner(), torch.randn(1, 4, SIZE, dtype=torch.float64)
    shown = vector_batch(x, torch.tensor([[0, 2, 2, 0]]), n_classes=3)
    law = learner.predict(learner.adapt(shown), shown.cases)
    assert isinstance(law, Categorical)
    torch.testing.assert_close(law.probs[..., 1], torch.full((1, 4), 0.5 / 5.5).double())
    with pytest.raises(TaskError, match="one class only"):
        learner.adapt(vector_batch(x, torch.ones(1, 4, dtype=torch.int64), n_classes=2))


def test_after_meta_training_on_lines_it_is_near_bayesian_linear_regression() -> None:
    """Best -0.69, mean of the support -1.69, learned -0.78 nats a case."""
    check_near_the_best(lambda: FilmNetwork(VectorRaw(1), width=32), LINES, steps=250, rate=0.01, below=0.14, above=0.7)


def test_after_meta_training_on_clusters_it_is_near_the_rule_of_bayes() -> None:
    """Best -0.48, shares of the support -1.13, learned -0.50 nats a case."""
    check_near_the_best(
        lambda: FilmNetwork(VectorRaw(2), width=32), CLUSTERS, steps=200, rate=0.01, count=16, below=0.05, above=0.4
    )
