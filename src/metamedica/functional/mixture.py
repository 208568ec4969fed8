"""Laws of the same cases averaged under weights."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.errors import TaskError
from metamedica.types import Law


def matched_normal(mean: Tensor, variance: Tensor, share: Tensor, *, dim: int) -> Normal:
    """Return the Normal with the mean and variance of a mixture of Normals.

    Args:
        mean: of each part, the parts along `dim`.
        variance: likewise.
        share: of each part; sums to 1 along `dim`. The three broadcast.
        dim: axis of the parts.
    """
    centre = (share * mean).sum(dim)
    spread = (share * (variance + (mean - centre.unsqueeze(dim)).square())).sum(dim)
    return Normal(centre, spread.sqrt(), validate_args=False)


def mix(laws: Sequence[Law], weights: Float[Tensor, "tasks laws"]) -> Law:
    """Return the mixture of laws: class probabilities are averaged; Normals are matched in mean and variance.

    Args:
        laws: of `[tasks, m]` cases.
        weights: of each law; a row sums to 1.

    Raises:
        TaskError: laws of different families.
    """
    share = weights[:, None, :]
    if all(isinstance(law, Normal) for law in laws):
        mean, variance = (torch.stack([getattr(law, name) for law in laws], dim=-1) for name in ("mean", "variance"))
        return matched_normal(mean, variance, share, dim=-1)
    if all(isinstance(law, Categorical) for law in laws):
        logits = torch.stack(
            [torch.log_softmax(law.logits, dim=-1) for law in laws if isinstance(law, Categorical)], dim=-1
        )
        return Categorical(logits=torch.logsumexp(logits + share[..., None, :].log(), dim=-1), validate_args=False)
    raise TaskError("laws that are averaged must all be of the same family; got different ones")
