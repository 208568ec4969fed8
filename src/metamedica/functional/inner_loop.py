"""Gradient steps on a functional copy of a network, one copy a task: the inner loop of MAML and of fine-tuning.

Parameters are plain dictionaries of tensors; the module that they come from is never written to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Categorical, Normal
from torch.nn import functional

from metamedica.errors import TaskError
from metamedica.functional.classes import membership
from metamedica.types import Encoder, Features, LabelledBatch, Law, TaskKind

Parameters: TypeAlias = dict[str, Tensor]
_ENCODER = "encoder."


@dataclass(frozen=True)
class AdaptedNetworks:
    """Each task's own network: `[tasks, ...]` per parameter name; `n_classes` None for regression."""

    parameters: Parameters
    n_classes: int | None


def descend(loss: Callable[[Parameters], Tensor], parameters: Parameters, *, rate: float, steps: int) -> Parameters:
    """Return the parameters after plain gradient steps (Finn et al. 2017, eq. 1). Differentiable in `parameters`, to any order.

    Works under `torch.no_grad` (gradients are enabled inside) and inside `torch.func.vmap`.
    """
    slope = torch.func.grad(loss)
    for _ in range(steps):
        gradient = slope(parameters)
        parameters = {name: value - rate * gradient[name] for name, value in parameters.items()}
    return parameters


def descend_if_better(
    loss: Callable[[Parameters], Tensor], parameters: Parameters, *, rate: float, steps: int
) -> Parameters:
    """Return the parameters after `steps` tries of a gradient step, each kept only if the loss falls; carries no gradient.

    A kept step makes the next 1.5 times longer, a refused one half as long ("bold driver"), so that no rate has to fit every task.
    The rule reads nothing but `loss`, and the loss never rises.
    """
    slope = torch.func.grad_and_value(loss)
    parameters = {name: value.detach() for name, value in parameters.items()}
    with torch.no_grad():
        gradient, now = slope(parameters)
        for _ in range(steps):
            tried = {name: value - rate * gradient[name] for name, value in parameters.items()}
            next_gradient, then = slope(tried)
            if bool(then < now):
                parameters, gradient, now, rate = tried, next_gradient, then, rate * 1.5
            else:
                rate = rate / 2
    return parameters


def straight_through(adapted: Parameters, start: Parameters) -> Parameters:
    """Return the values of `adapted` with the gradient of `start`: the first-order approximation (Finn et al. 2017, section 5.2)."""
    return {name: adapted[name].detach() + (value - value.detach()) for name, value in start.items()}


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


def encoder_parameters(encoder: Encoder) -> Parameters:
    """Return the encoder's parameters, their names under `encoder.`."""
    return {_ENCODER + name: value for name, value in encoder.named_parameters()}


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
    own = {name.removeprefix(_ENCODER): value for name, value in parameters.items() if name.startswith(_ENCODER)}
    embedded: Tensor = torch.func.functional_call(encoder, own, (features,))
    return embedded


def head_output(encoder: Encoder, parameters: Parameters, features: Features) -> Float[Tensor, "*batch outputs"]:
    """Return the head's output for each case of one task."""
    embedded = embed(encoder, parameters, features)
    return functional.linear(embedded / embedded.shape[-1] ** 0.5, parameters["weight"], parameters["bias"])


def support_loss(
    encoder: Encoder,
    parameters: Parameters,
    features: Features,
    goals: Float[Tensor, "n outputs"],
    mask: Bool[Tensor, " n"],
) -> Float[Tensor, ""]:
    """Return the negative log-likelihood of one task's support, mean over real cases.

    Args:
        goals: one-hot classes, or regression targets in one column; 0 where padded.
    """
    output = head_output(encoder, parameters, features)
    if "log_variance" in parameters:
        log_variance = parameters["log_variance"]
        each = 0.5 * ((goals - output).square() * torch.exp(-log_variance) + log_variance).sum(-1)
    else:
        each = -(torch.log_softmax(output[:, : goals.shape[-1]], dim=-1) * goals).sum(-1)
    return (each * mask).sum() / mask.sum().clamp(min=1)


def adapt_tasks(
    encoder: Encoder, parameters: Parameters, support: LabelledBatch, *, rate: float, steps: int, chunk: int | None
) -> Parameters:
    """Return each task's own parameters after the inner loop, stacked: `[tasks, ...]` per name. Differentiable in `parameters`.

    Args:
        chunk: tasks that are adapted at once (memory: every task owns a copy of the network); None for all.
    """

    if support.n_classes is None:
        goals = support.targets[..., None]
    else:
        goals = membership(support, next(iter(parameters.values())).dtype)

    def one(features: Features, goals: Tensor, mask: Tensor) -> Parameters:
        def loss(own: Parameters) -> Tensor:
            return support_loss(encoder, own, features, goals, mask)

        return descend(loss, parameters, rate=rate, steps=steps)

    batched = torch.func.vmap(one, randomness="different", chunk_size=chunk)
    adapted: Parameters = batched(support.features, goals, support.mask)
    return adapted


def law_of_tasks(encoder: Encoder, adapted: AdaptedNetworks, features: Features, *, chunk: int | None) -> Law:
    """Return the law of each query case of each task under that task's own parameters."""

    def one(parameters: Parameters, features: Features) -> Tensor:
        return head_output(encoder, parameters, features)

    output = torch.func.vmap(one, randomness="different", chunk_size=chunk)(adapted.parameters, features)
    if adapted.n_classes is None:
        scale = torch.exp(0.5 * adapted.parameters["log_variance"]).expand(output.shape[:2])
        return Normal(output[..., 0], scale, validate_args=False)
    return Categorical(logits=output[..., : adapted.n_classes], validate_args=False)
