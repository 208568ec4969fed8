"""Adapt once and predict many equals torch's transformer in one pass under the mask; near the exact posterior after meta-training."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal
from torch.nn.functional import layer_norm, softplus

from generated_tasks import (
    OF_CURVES,
    best_of_clusters,
    best_of_functions,
    clusters,
    curves,
    learned,
    meta_train,
    ragged,
    score,
    stirred,
    support_mean,
    support_shares,
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
    learner, episodes = _learner(), ragged(kind)
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    for task in range(3):
        real = episodes.support.mask[task]
        x, targets = episodes.support.features["vector"][task, real], episodes.support.targets[task, real]
        z = episodes.query.features["vector"][task]
        if kind == "regression":
            output = _one_pass(learner, kind, x, targets[:, None], z)
            assert isinstance(law, Normal)
            torch.testing.assert_close(law.mean[task], output[:, 0], atol=1e-10, rtol=0)
            torch.testing.assert_close(law.stddev[task], 0.05 + softplus(output[:, 1]), atol=1e-10, rtol=0)
            continue
        each = [torch.stack([targets != k, targets == k], dim=-1).double() for k in range(3)]
        views = each if kind == "multiclass" else each[1:2]
        scores = torch.cat([_one_pass(learner, kind, x, view, z) for view in views], dim=-1)
        torch.testing.assert_close(law.probs[task], torch.softmax(scores, -1), atol=1e-10, rtol=0)


def test_the_state_is_as_large_as_the_support_and_holds_one_memory_a_layer() -> None:
    state = _learner().adapt(vector_episodes("multiclass").support)
    assert len(state.memories) == 3
    assert {memory.keys.shape for memory in state.memories} == {(3, 3, 2, 8, 4)}


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


def test_after_meta_training_on_curves_it_is_near_the_exact_gaussian_process() -> None:
    """Best -0.82, mean of the support -1.28, learned -0.95 nats a case."""
    new = curves(200, 1)
    torch.manual_seed(0)
    learner = InContextTransformer(VectorRaw(1), width=32, layers=2)
    meta_train(learner, curves, steps=160, rate=0.008, count=16)
    best, found = score(best_of_functions(OF_CURVES, new), new), learned(learner, new)
    assert best - 0.18 < found < best
    assert found > score(support_mean(new), new) + 0.25


def test_after_meta_training_on_clusters_it_is_near_the_rule_of_bayes() -> None:
    """Best -0.48, shares of the support -1.13, learned -0.51 nats a case."""
    new = clusters(200, 1)
    torch.manual_seed(0)
    learner = InContextTransformer(VectorRaw(2), width=32, layers=1)
    meta_train(learner, clusters, steps=120, rate=0.01, count=16)
    best, found = score(best_of_clusters(new), new), learned(learner, new)
    assert best - 0.07 < found < best
    assert found > score(support_shares(new), new) + 0.4
