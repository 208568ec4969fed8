"""The network that a task adapts: an encoder and a linear head for the task's kind, as a dictionary of parameters.

The module that the parameters come from is never written to.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Categorical, Normal
from torch.nn import functional

from metamedica.errors import TaskError
from metamedica.functional.classes import membership
from metamedica.functional.inner_loop.chain import Parameters
from metamedica.types import Encoder, Features, LabelledBatch, Law, TaskKind

ENCODER = "encoder."


class KindHeads(nn.Module):
    """A linear head per kind of task on an embedding: two scores for binary, `max_classes` for multiclass, a mean for regression.

    Heads read the embedding divided by sqrt(dim), so that one inner learning rate serves any width.

    Args:
        dim: length of the embedding.
        max_classes: most classes that a multiclass task may have.
    """

    def __init__(self, dim: int, *, max_classes: int) -> None:
        super().__init__()
        self.max_classes = max_classes
        self.binary = nn.Linear(dim, 2)
        self.multiclass = nn.Linear(dim, max_classes)
        self.regression = nn.Linear(dim, 1)
        self.log_variance = nn.Parameter(torch.zeros(1))

    def check_classes(self, kind: TaskKind, n_classes: int | None) -> None:
        """Raise `TaskError` where a multiclass task has more classes than the head."""
        if kind == "multiclass" and (n_classes or 0) > self.max_classes:
            raise TaskError(
                f"got {n_classes} classes for a head of {self.max_classes}; build the learner with more max_classes"
            )


@dataclass(frozen=True)
class Front:
    """What a task changed of a wide first layer, never laid out: its pre-activation of x is x W^T + b - (x inputs^T) weight_step - bias_step.

    Args:
        inputs: `[tasks, n, width]`, the support as it enters the first layer.
        weight_step: `[tasks, n, out]`, the rates times the slopes of the first pre-activations, summed over the steps so far.
        bias_step: `[tasks, 1, out]`.
    """

    inputs: Float[Tensor, "tasks n width"]
    weight_step: Float[Tensor, "tasks n out"]
    bias_step: Float[Tensor, "tasks 1 out"]


@dataclass(frozen=True)
class AdaptedNetworks:
    """Each task's own network.

    Args:
        parameters: by name, those that tasks moved with the tasks as leading axis, the others as the learner has them.
        moved: names of the parameters that tasks moved.
        n_classes: None for regression.
        front: what tasks changed of the first layer, where its parameters are not laid out per task.
    """

    parameters: Parameters
    moved: frozenset[str]
    n_classes: int | None
    front: Front | None = None


def encoder_parameters(encoder: Encoder) -> Parameters:
    """Return the encoder's parameters, their names under `encoder.`."""
    return {ENCODER + name: value for name, value in encoder.named_parameters()}


def start_parameters(encoder: Encoder, heads: KindHeads, kind: TaskKind) -> Parameters:
    """Return the parameters that a task of this kind starts from: the encoder's and one head's."""
    found = encoder_parameters(encoder)
    head = getattr(heads, kind)
    found |= {"weight": head.weight, "bias": head.bias}
    if kind == "regression":
        found["log_variance"] = heads.log_variance
    return found


def embed(encoder: Encoder, parameters: Parameters, features: Features) -> Float[Tensor, "*batch dim"]:
    """Return the embedding under `parameters` instead of the encoder's own."""
    own = {name.removeprefix(ENCODER): value for name, value in parameters.items() if name.startswith(ENCODER)}
    embedded: Tensor = torch.func.functional_call(encoder, own, (features,))
    return embedded


def head_output(encoder: Encoder, parameters: Parameters, features: Features) -> Float[Tensor, "*batch outputs"]:
    """Return the head's output for each case of one task."""
    embedded = embed(encoder, parameters, features)
    return functional.linear(embedded / embedded.shape[-1] ** 0.5, parameters["weight"], parameters["bias"])


def goals_of(support: LabelledBatch, dtype: torch.dtype) -> Float[Tensor, "tasks n outputs"]:
    """Return one-hot classes, or regression targets in one column; 0 where padded."""
    return support.targets[..., None] if support.n_classes is None else membership(support, dtype)


def output_loss(
    output: Float[Tensor, "n outputs"],
    parameters: Parameters,
    goals: Float[Tensor, "n goals"],
    mask: Bool[Tensor, " n"],
) -> Float[Tensor, ""]:
    """Return the negative log-likelihood of one task's cases (less a constant for regression), mean over real cases."""
    if "log_variance" in parameters:
        log_variance = parameters["log_variance"]
        each = 0.5 * ((goals - output).square() * torch.exp(-log_variance) + log_variance).sum(-1)
    else:
        each = -(torch.log_softmax(output[:, : goals.shape[-1]], dim=-1) * goals).sum(-1)
    return (each * mask).sum() / mask.sum().clamp(min=1)


def output_slopes(
    output: Float[Tensor, "tasks n outputs"],
    parameters: Parameters,
    goals: Float[Tensor, "tasks n goals"],
    mask: Bool[Tensor, "tasks n"],
) -> tuple[Float[Tensor, "tasks n outputs"], Parameters]:
    """Return the slopes of `output_loss` of every task: of the output, and of the parameters that only the loss reads."""
    share = (mask.to(output.dtype) / mask.sum(1, keepdim=True).clamp(min=1))[..., None]
    if "log_variance" in parameters:
        precision = torch.exp(-parameters["log_variance"])[..., None, None].reshape(-1, 1, 1)
        miss = (output - goals) * share
        return miss * precision, {
            "log_variance": 0.5 * (share - miss * (output - goals) * precision).sum((1, 2))[:, None]
        }
    shown = goals.shape[-1]
    slope = (torch.softmax(output[..., :shown], dim=-1) - goals) * share
    return functional.pad(slope, (0, output.shape[-1] - shown)), {}


def law_of_output(output: Float[Tensor, "tasks m outputs"], adapted: AdaptedNetworks) -> Law:
    """Return the law that a head's output stands for."""
    if adapted.n_classes is None:
        scale = torch.exp(0.5 * adapted.parameters["log_variance"]).expand(output.shape[:2])
        return Normal(output[..., 0], scale, validate_args=False)
    return Categorical(logits=output[..., : adapted.n_classes], validate_args=False)
