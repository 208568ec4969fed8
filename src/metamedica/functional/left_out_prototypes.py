"""How well the prototypes of a support tell its own cases apart, each case left out of the prototype that it is compared with."""

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.prototypes import class_means


def left_out_loss(
    embedded: Float[Tensor, "n d"], members: Float[Tensor, "n classes"], temperature: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood of one task's cases, each under prototypes that it is no part of.

    Without its case, the mean of n lies n / (n - 1) times as far from that case. A case that is the only one of its class is not
    asked about; 0 where all are.

    Args:
        embedded: of the support.
        members: 1 where a case has a class, 0 elsewhere and where padded.
        temperature: of squared distances.
    """
    count = members.sum(0)
    means = class_means(embedded[None], members[None])[0]
    squares = (embedded[:, None] - means).square().sum(-1)
    further = (count / (count - 1).clamp(min=1)).square()
    squares = torch.where(members > 0, squares * further, squares)
    scores = (-squares / temperature).masked_fill(count == 0, -torch.inf)
    asked = members * (count > 1)
    each = torch.log_softmax(scores, dim=-1).masked_fill(asked == 0, 0.0).sum(-1)
    return -each.sum() / asked.sum().clamp(min=1)
