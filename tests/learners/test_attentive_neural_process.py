"""The attentive neural process against torch's own layers task by task, and near the exact posterior after a short meta-training."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal
from torch.nn.functional import gelu, softplus

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
from metamedica.errors import InputError
from metamedica.learners.attentive_neural_process import AttentiveNeuralProcess
from metamedica.testing import VectorEncoder, VectorRaw, vector_episodes
from metamedica.types import TaskKind
from torch_layers import torch_attention, torch_layer

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


def _learner() -> AttentiveNeuralProcess:
    torch.manual_seed(0)
    return stirred(AttentiveNeuralProcess(VectorEncoder(), width=8, heads=2, layers=2))


def _outputs(learner: AttentiveNeuralProcess, kind: TaskKind, known: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """The head's output of one view of one task: encode pairs, let them attend, let each query attend by its case alone, decode."""
    w, (x, z) = learner.state_dict(), (learner.encoder({"vector": cases}) for cases in (known, asked))

    def through(name: str, value: Tensor) -> Tensor:
        return value @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    pairs = through(
        "encode.1.2", gelu(through("encode.1.0", gelu(through("tokens.case", x) + through(f"tokens.{kind}", labels))))
    )
    for layer in learner.transformer.layers:
        pairs = torch_layer(layer)(pairs)
    places = [through("place.2", gelu(through("place.0", cases))) for cases in (z, x)]
    read, _ = torch_attention(learner.cross)(*places, pairs)
    decoded = gelu(through("decode.0.0", torch.cat([z, read], dim=-1)))
    return through(f"head.{kind}", gelu(through("decode.0.2", decoded)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_law_is_that_of_torchs_layers_task_by_task_without_padding(kind: TaskKind) -> None:
    learner, episodes = _learner(), ragged(kind)
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    for task in range(3):
        real = episodes.support.mask[task]
        x, targets = episodes.support.features["vector"][task, real], episodes.support.targets[task, real]
        z = episodes.query.features["vector"][task]
        if kind == "regression":
            output = _outputs(learner, kind, x, targets[:, None], z)
            assert isinstance(law, Normal)
            torch.testing.assert_close(law.mean[task], output[:, 0], atol=1e-10, rtol=0)
            torch.testing.assert_close(law.stddev[task], 0.05 + softplus(output[:, 1]), atol=1e-10, rtol=0)
            continue
        each = [torch.stack([targets != k, targets == k], dim=-1).double() for k in range(3)]
        views = each if kind == "multiclass" else each[1:2]
        scores = torch.cat([_outputs(learner, kind, x, view, z) for view in views], dim=-1)
        torch.testing.assert_close(law.probs[task], torch.softmax(scores, -1), atol=1e-10, rtol=0)


def test_a_query_attends_by_its_case_alone_so_that_labels_do_not_change_where_it_looks() -> None:
    learner, support = _learner(), vector_episodes("regression").support
    before, after = learner.adapt(support), learner.adapt(support.with_targets(-support.targets))
    assert torch.equal(before.memory.keys, after.memory.keys)
    assert not torch.allclose(before.memory.values, after.memory.values)


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


def test_a_width_that_the_heads_cannot_share_is_refused() -> None:
    with pytest.raises(InputError, match="got width 8 and 3 heads"):
        AttentiveNeuralProcess(VectorEncoder(), width=8, heads=3)


def test_after_meta_training_on_curves_it_is_near_the_exact_gaussian_process() -> None:
    """Best -0.82, mean of the support -1.28, learned -0.94 nats a case."""
    new = curves(200, 1)
    torch.manual_seed(0)
    learner = AttentiveNeuralProcess(VectorRaw(1), width=32, layers=1)
    meta_train(learner, curves, steps=200, rate=0.008, count=20)
    best, found = score(best_of_functions(OF_CURVES, new), new), learned(learner, new)
    assert best - 0.16 < found < best
    assert found > score(support_mean(new), new) + 0.25


def test_after_meta_training_on_clusters_it_is_near_the_rule_of_bayes() -> None:
    """Best -0.48, shares of the support -1.13, learned -0.54 nats a case."""
    new = clusters(200, 1)
    torch.manual_seed(0)
    learner = AttentiveNeuralProcess(VectorRaw(2), width=32, layers=1)
    meta_train(learner, clusters, steps=120, rate=0.005, count=16)
    best, found = score(best_of_clusters(new), new), learned(learner, new)
    assert best - 0.1 < found < best
    assert found > score(support_shares(new), new) + 0.4
