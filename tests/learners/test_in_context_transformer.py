"""Adapt once and predict many equals torch's transformer in one pass under the mask; near the exact posterior after meta-training."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from generated_tasks import (
    CLUSTERS,
    CURVES,
    check_laws_of_views,
    check_near_the_best,
    check_other_names_of_classes,
    stirred,
)
from metamedica.learners.in_context_transformer import InContextTransformer
from metamedica.testing import VectorEncoder, VectorRaw, vector_episodes
from metamedica.types import TaskKind
from torch_layers import torch_layer

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")
WIDTH = 8


def _learner() -> InContextTransformer:
    torch.manual_seed(0)
    return stirred(InContextTransformer(VectorEncoder(), width=WIDTH, heads=2, layers=3))


def _one_pass(learner: InContextTransformer, kind: TaskKind, known: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """The head's output for the asked cases: support and query side by side through torch's layers, nobody attends to a query."""
    w, (x, z) = learner.state_dict(), (learner.encoder({"vector": cases}) for cases in (known, asked))
    cases = torch.cat([x, z]) @ w["tokens.case.weight"].T + w["tokens.case.bias"]
    label = labels @ w[f"tokens.{kind}.weight"].T + w[f"tokens.{kind}.bias"]
    tokens = cases + torch.cat([label, torch.zeros(len(z), WIDTH).double()])
    hidden = torch.zeros(len(tokens), len(tokens), dtype=torch.bool)
    hidden[:, len(x) :] = True
    for layer in learner.transformer.layers:
        tokens = torch_layer(layer)(tokens[None], src_mask=hidden)[0]
    read = layer_norm(tokens[len(x) :], (WIDTH,), w["norm.weight"], w["norm.bias"])
    return read @ w[f"head.{kind}.weight"].T + w[f"head.{kind}.bias"]


@pytest.mark.parametrize("kind", KINDS)
def test_adapting_once_and_predicting_is_one_pass_of_torchs_transformer_under_the_mask(kind: TaskKind) -> None:
    learner = _learner()
    check_laws_of_views(learner, kind, partial(_one_pass, learner, kind))


def test_the_state_is_as_large_as_the_support_and_holds_one_memory_a_layer() -> None:
    state = _learner().adapt(vector_episodes("multiclass").support)
    assert len(state.memories) == 3
    assert {memory.keys.shape for memory in state.memories} == {(3, 3, 2, 8, 4)}


def test_other_names_of_the_classes_of_a_multiclass_task_give_the_same_law_under_those_names() -> None:
    check_other_names_of_classes(_learner())


def test_after_meta_training_on_curves_it_is_near_the_exact_gaussian_process() -> None:
    """Best -0.82, mean of the support -1.28, learned -0.95 nats a case."""
    check_near_the_best(
        lambda: InContextTransformer(VectorRaw(1), width=32, layers=2),
        CURVES,
        steps=160,
        rate=0.008,
        count=16,
        below=0.18,
        above=0.25,
    )


def test_after_meta_training_on_clusters_it_is_near_the_rule_of_bayes() -> None:
    """Best -0.48, shares of the support -1.13, learned -0.51 nats a case."""
    check_near_the_best(
        lambda: InContextTransformer(VectorRaw(2), width=32, layers=1),
        CLUSTERS,
        steps=120,
        rate=0.01,
        count=16,
        below=0.07,
        above=0.4,
    )
