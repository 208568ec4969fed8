"""Units in, standard units inside, units out: learners see regression targets with mean 0 and scale about 1 per task.

The scale of a small support is uncertain, so its variance is pulled towards the variance that tasks with this unit usually have
(an inverse-gamma prior worth `PRIOR_CASES` cases), where that is known.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from metamedica.types import EpisodeBatch, LabelledBatch, Law

PRIOR_CASES = 4.0
_ROUNDING = 16.0


class TargetScale(NamedTuple):
    """Per task: `standard = (target - shift) / scale`."""

    shift: Float[Tensor, " tasks"]
    scale: Float[Tensor, " tasks"]


def scale_of(support: LabelledBatch, *, usual_scale: float | None = None) -> TargetScale:
    """Return shift and scale of each task from its support; 0 and 1 for tasks with classes.

    Args:
        support: targets in the task's unit.
        usual_scale: the standard deviation that tasks with this unit usually have, in that unit; None where unknown. A support
            whose targets are all equal has this scale, and 1 where it is unknown.
    """
    mask = support.mask
    if support.kind == "regression":
        targets = support.targets
        count = support.counts().to(targets.dtype)
        shift = targets.masked_fill(~mask, 0).sum(1) / count.clamp(min=1)
        squares = ((targets - shift[:, None]) ** 2).masked_fill(~mask, 0).sum(1)
        if usual_scale is None:
            scale = (squares / (count - 1).clamp(min=1)).sqrt()
            # the mean of equal numbers is not always that number: what is left is rounding, and no spread to be sure by
            rounding = _ROUNDING * torch.finfo(targets.dtype).eps * targets.masked_fill(~mask, 0).norm(dim=1)
            scale = torch.where(scale > rounding, scale, torch.ones_like(scale))
        else:
            scale = ((PRIOR_CASES * usual_scale**2 + squares) / (PRIOR_CASES + (count - 1).clamp(min=0))).sqrt()
    else:
        shift = torch.zeros(mask.shape[0], dtype=torch.get_default_dtype(), device=mask.device)
        scale = torch.ones_like(shift)
    return TargetScale(shift, scale)


def standardise(batch: LabelledBatch, scale: TargetScale) -> LabelledBatch:
    """Return the batch with regression targets in standard units; unchanged for classes. Padding stays 0."""
    if batch.kind != "regression":
        return batch
    standard = (batch.targets - scale.shift[:, None]) / scale.scale[:, None]
    return batch.with_targets(standard.masked_fill(~batch.mask, 0))


def law_in_units(law: Law, scale: TargetScale) -> Law:
    """Return a regression law in the task's unit; a law over classes unchanged."""
    if not isinstance(law, Normal):
        return law
    return Normal(
        law.loc * scale.scale[:, None] + scale.shift[:, None], law.scale * scale.scale[:, None], validate_args=False
    )


def standardise_episodes(episodes: EpisodeBatch, *, usual_scale: float | None = None) -> EpisodeBatch:
    """Return episodes with support and query targets in the standard units of their support."""
    scale = scale_of(episodes.support, usual_scale=usual_scale)
    return replace(episodes, support=standardise(episodes.support, scale), query=standardise(episodes.query, scale))
