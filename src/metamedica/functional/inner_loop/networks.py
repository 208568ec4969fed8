"""The network that a task adapts: an encoder and a linear head for the task's kind, as a dictionary of parameters.

The module that the parameters come from is never written to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Categorical, Normal
from torch.nn import functional

from metamedica.errors import TaskError
from metamedica.functional.classes import membership
from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.sparse import Piece, transposed
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
    """What a task changed of a wide first layer, never laid out.

    Its pre-activation of x is x W^T + b + (x inputs^T) weight_step + the sum of bias_step over the support.

    Args:
        inputs: `[tasks, n, width]`, the support as it enters the first layer, as pieces side by side.
        kernel: `[tasks, n, n]`, their inner products with each other.
        base: `[tasks, n, out]`, their pre-activations under the shared layer.
        weight_step: `[tasks, n, out]`, the rates times minus the slopes of the first pre-activations, summed over the steps so far;
            None before the first.
        bias_step: `[tasks, n, out]`, likewise with the bias's rates; the same tensor where those are the weight's.
    """

    inputs: Sequence[Piece]
    kernel: Float[Tensor, "tasks n n"]
    base: Float[Tensor, "tasks n out"]
    weight_step: Float[Tensor, "tasks n out"] | None = None
    bias_step: Float[Tensor, "tasks n out"] | None = None

    def further(
        self,
        below: Float[Tensor, "tasks n out"],
        of_weight: float | Tensor,
        of_bias: float | Tensor,
        *,
        pull: float = 0.0,
    ) -> "Front":
        """Return the front one step further.

        Args:
            below: minus the slopes of the first pre-activations.
            of_weight: rate, one number.
            of_bias: likewise.
            pull: of `InnerLoop`.
        """

        def moved(before: Tensor | None, rate: float | Tensor) -> Tensor:
            step = below if isinstance(rate, float) and rate == 1 else rate * below
            if before is None:
                return step
            return before * (1 - rate * pull) + step if pull else before + step

        weight_step = moved(self.weight_step, of_weight)
        joined = self.weight_step is self.bias_step and (of_weight is of_bias or of_weight == of_bias)
        bias_step = weight_step if joined else moved(self.bias_step, of_bias)
        return replace(self, weight_step=weight_step, bias_step=bias_step)

    def summed(self) -> tuple[Float[Tensor, "out width"], Float[Tensor, " out"]]:
        """Return what all tasks together changed of weight and bias; at least one step was taken."""
        assert self.weight_step is not None
        assert self.bias_step is not None
        return transposed(self.inputs, self.weight_step).mT, self.bias_step.sum((0, 1))

    def change(
        self, kernel: Float[Tensor, "tasks m n"], base: Float[Tensor, "tasks m out"]
    ) -> Float[Tensor, "tasks m out"]:
        """Return the pre-activations of cases under each task's own first layer.

        Args:
            kernel: their inner products with `inputs`.
            base: their pre-activations under the shared layer.
        """
        if self.weight_step is None or self.bias_step is None:
            return base
        if self.weight_step is self.bias_step:
            return torch.baddbmm(base, kernel + 1, self.weight_step)
        return torch.baddbmm(base, kernel, self.weight_step) + self.bias_step.sum(1, keepdim=True)


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


def shares(mask: Bool[Tensor, "tasks n"], dtype: torch.dtype) -> Float[Tensor, "tasks n 1"]:
    """Return the weight of each case in its task's loss: one over their number, 0 where padded."""
    return (mask.to(dtype) / mask.sum(1, keepdim=True).clamp(min=1))[..., None]


def output_slopes(
    output: Float[Tensor, "tasks n outputs"],
    parameters: Parameters,
    goals: Float[Tensor, "tasks n goals"],
    share: Float[Tensor, "tasks n 1"],
) -> tuple[Float[Tensor, "tasks n outputs"], Parameters]:
    """Return the slopes of every task's loss, the sum of `share` times the cases' negative log-likelihoods.

    Those of the output, and those of the parameters that only the loss reads.
    """
    if "log_variance" in parameters:
        precision = torch.exp(-parameters["log_variance"])[..., None, None].reshape(-1, 1, 1)
        miss = (output - goals) * share
        return miss * precision, {
            "log_variance": 0.5 * (share - miss * (output - goals) * precision).sum((1, 2))[:, None]
        }
    shown = goals.shape[-1]
    probability = torch.softmax(
        output[..., :shown].mT, dim=1
    ).mT  # over rows: few columns take torch five times as long
    slope = (probability - goals) * share
    return slope if shown == output.shape[-1] else functional.pad(slope, (0, output.shape[-1] - shown)), {}


def law_of_output(output: Float[Tensor, "tasks m outputs"], parameters: Parameters, n_classes: int | None) -> Law:
    """Return the law that a head's output stands for; regression reads its `log_variance`."""
    if n_classes is None:
        scale = torch.exp(0.5 * parameters["log_variance"]).expand(output.shape[:2])
        return Normal(output[..., 0], scale, validate_args=False)
    return Categorical(logits=output[..., :n_classes], validate_args=False)
