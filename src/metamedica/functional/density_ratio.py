"""How much denser a task's cases lie than the source's at each case of the source, by telling the two apart."""

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.task_posterior import task_posterior
from metamedica.types import TaskKind

_LEVEL = 10.0
"""Prior standard deviation of an intercept: next to none."""


def with_level(flat: Float[Tensor, "*batch n d"], scale: Float[Tensor, "*some"]) -> Float[Tensor, "*batch n p"]:
    """Return the design of whitened weights of standard deviation `scale` (one, or one a task), and last of the intercept's."""
    return torch.cat([scale[..., None, None] * flat, torch.full_like(flat[..., :1], _LEVEL)], dim=-1)


def log_density_ratio(
    source: Float[Tensor, "s d"],
    target: Float[Tensor, "tasks n d"],
    weight: Float[Tensor, "tasks n"],
    *,
    signal: float,
    at: Float[Tensor, "m d"] | None = None,
) -> Float[Tensor, "tasks m"]:
    """Return log p(x | target) / p(x | source) at each case of the source, or of `at`, one row a task.

    A penalised logistic regression tells target from source; its log-odds are the ratio's logarithm plus that of the numbers of cases
    (Bickel, Brückner and Scheffer 2009, Discriminative learning under covariate shift, section 4). Without a target case it is 0.

    Args:
        source: centred cases of the source.
        target: centred with it; finite where padded.
        weight: 1 for a case of the target, 0 where padded.
        signal: prior variance of the log-odds of a usual case.
        at: centred with the source; None: the source itself.
    """
    scale = _scale(source, signal)
    wide = source.expand(len(target), *source.shape)
    flat = torch.cat([wide, target], dim=1)
    count = weight.sum(1)
    counted = torch.cat([torch.ones_like(wide[..., 0]), weight], dim=1)
    side = torch.cat([torch.zeros_like(wide[..., 0]), torch.ones_like(weight)], dim=1)
    odds = (count.clamp(min=1) / len(source)).log()
    found = task_posterior(with_level(flat, scale), odds[:, None].expand_as(side), side, counted, kind="binary")
    asked = wide if at is None else at.expand(len(target), *at.shape)
    ratio = (with_level(asked, scale) @ found.mode[..., None])[..., 0]
    return torch.where(count[:, None] > 0, ratio, torch.zeros_like(ratio))


def weighted_linear(
    flat: Float[Tensor, "*some n d"],
    targets: Float[Tensor, " n"],
    weight: Float[Tensor, "tasks n"],
    *,
    signal: Float[Tensor, ""] | float,
    kind: TaskKind,
) -> tuple[Float[Tensor, "tasks d"], Float[Tensor, " tasks"]]:
    """Return weights and intercept of the penalised logistic or ridge regression in which each case counts for its weight, one a task.

    Args:
        flat: centred cases, the same for all tasks or of each.
        targets: 0 / 1 for classes.
        weight: of each case, in each task.
        signal: prior variance of the score of a usual case (in units of the noise, for regression).
        kind: binary or regression.
    """
    scale = _scale(flat, signal)
    design = with_level(flat, scale).expand(*weight.shape, -1)
    wide = targets.expand_as(weight)
    found = task_posterior(design, torch.zeros_like(wide), wide, weight, kind=kind)
    return scale[..., None] * found.mode[:, :-1], _LEVEL * found.mode[:, -1]


def _scale(flat: Float[Tensor, "*some n d"], signal: Tensor | float) -> Float[Tensor, "*some"]:
    square = flat.square().sum(-1).mean(-1)
    return (signal / torch.where(square > 0, square, torch.ones_like(square))) ** 0.5
