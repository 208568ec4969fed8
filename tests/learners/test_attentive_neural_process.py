"""The attentive neural process against torch's own layers task by task, and near the exact posterior after a short meta-training."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu

from generated_tasks import (
    CLUSTERS,
    CURVES,
    check_laws_of_views,
    check_near_the_best,
    check_other_names_of_classes,
    stirred,
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
    learner = _learner()
    check_laws_of_views(learner, kind, partial(_outputs, learner, kind))


def test_a_query_attends_by_its_case_alone_so_that_labels_do_not_change_where_it_looks() -> None:
    learner, support = _learner(), vector_episodes("regression").support
    before, after = learner.adapt(support), learner.adapt(support.with_targets(-support.targets))
    assert torch.equal(before.memory.keys, after.memory.keys)
    assert not torch.allclose(before.memory.values, after.memory.values)


def test_other_names_of_the_classes_of_a_multiclass_task_give_the_same_law_under_those_names() -> None:
    check_other_names_of_classes(_learner())


def test_a_width_that_the_heads_cannot_share_is_refused() -> None:
    with pytest.raises(InputError, match="got width 8 and 3 heads"):
        AttentiveNeuralProcess(VectorEncoder(), width=8, heads=3)


def test_after_meta_training_on_curves_it_is_near_the_exact_gaussian_process() -> None:
    """Best -0.82, mean of the support -1.28, learned -0.94 nats a case."""
    check_near_the_best(
        lambda: AttentiveNeuralProcess(VectorRaw(1), width=32, layers=1),
        CURVES,
        steps=200,
        rate=0.008,
        count=20,
        below=0.16,
        above=0.25,
    )


def test_after_meta_training_on_clusters_it_is_near_the_rule_of_bayes() -> None:
    """Best -0.48, shares of the support -1.13, learned -0.54 nats a case."""
    check_near_the_best(
        lambda: AttentiveNeuralProcess(VectorRaw(2), width=32, layers=1),
        CLUSTERS,
        steps=120,
        rate=0.005,
        count=16,
        below=0.1,
        above=0.4,
    )
