"""Deep sets: a function of a set as a perceptron of the mean (Zaheer et al. 2017, theorem 2: sum) of perceptrons of its members."""

from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def masked_mean(
    values: Float[Tensor, "*batch n width"], mask: Bool[Tensor, "*#batch n"]
) -> Float[Tensor, "*batch width"]:
    """Return the mean over the real members of each set; 0 for an empty one."""
    total = values.masked_fill(~mask[..., None], 0).sum(-2)
    return total / mask.sum(-1, keepdim=True).clamp(min=1).to(values.dtype)


def perceptron(*widths: int) -> nn.Sequential:
    """Return linear maps between these widths with a GELU after each but the last, drawn as He et al. (2015, eq. 10) propose.

    With torch's own start a signal dies away over four or five maps, and for a long time the support makes no difference.
    """
    maps = [nn.Linear(before, after) for before, after in pairwise(widths)]
    for one in maps:
        nn.init.normal_(one.weight, std=(2 / one.in_features) ** 0.5)
        nn.init.zeros_(one.bias)
    return nn.Sequential(*[layer for one in maps[:-1] for layer in (one, nn.GELU())], maps[-1])


def beside(left: Float[Tensor, "*#batch left"], right: Float[Tensor, "*#batch right"]) -> Float[Tensor, "*batch both"]:
    """Return two vectors side by side, either repeated where the other has more of them."""
    several = torch.broadcast_shapes(left.shape[:-1], right.shape[:-1])  # type: ignore[no-untyped-call]
    return torch.cat([left.expand(*several, -1), right.expand(*several, -1)], dim=-1)
