"""Domain-adversarial training: a network whose hidden layer does not tell a discriminator whether a case is an earlier one or the task's."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from metamedica.functional.aligned_network import OUTER_SIGNALS, AlignedNetwork
from metamedica.functional.target_cases import Taught
from metamedica.types import Between, Paper, Ranges, RawEncoder

_PULL = 0.1
"""Inverse prior variance of the discriminator's weights, a case."""


def reversed_gradient(values: Float[Tensor, "*batch"], strength: Float[Tensor, "*#batch"]) -> Float[Tensor, "*batch"]:
    """Return the values; their gradient is multiplied by minus the strength (Ganin et al. 2016, eq. 16 and 17)."""
    held = values.detach()
    return held - strength * (values - held)


class DomainAdversarial(AlignedNetwork):
    """Alignment is the loss of a logistic discriminator on the hidden layer, its gradient reversed where it enters the network.

    The discriminator descends on its loss and the network, times strength, ascends (the paper's shallow network, algorithm 1). It starts at even
    odds, with a pull to them. Both sides count the same, whatever their sizes. The labels of the support set intercept and slope
    (`AlignedNetwork` for the rest).

    Deviates: Ganin et al. train from a random start, by single cases, for one target; here one network is fitted for all earlier tasks,
    and every new one starts from it with full batches.

    Args:
        raw: its `flat` features are the inputs.
        strengths: of the reversed gradient that are tried; 0 first: the pooled network as it is.
        cases: what the pooled network is worth, in cases of the task.
        steps: gradient steps a task.
        momentum: of the network's steps, below 1.
        hidden: units.
        seed: of the start from which the pooled network is fitted.
        signals: prior variances of the score that are tried for the pooled network.
        most_kept: cases of all earlier tasks together that are kept, drawn by chance; at least 20 a task.
        most_compared: cases of the task that are compared at most, drawn by chance.
    """

    paper: ClassVar[Paper] = Paper(
        "Domain-adversarial training of neural networks", "Ganin, Ustinova, Ajakan, Germain, Larochelle, Laviolette, Marchand and Lempitsky",
        2016, "arXiv:1505.07818",
    )  # fmt: skip

    ranges: ClassVar[Ranges] = {"momentum": Between(0.0, 0.95), "seed": None}

    def __init__(
        self,
        raw: RawEncoder,
        *,
        strengths: tuple[float, ...] = (0.0, 0.3, 1.0),
        cases: float = 30.0,
        steps: int = 50,
        momentum: float = 0.5,
        hidden: int = 16,
        seed: int = 0,
        signals: tuple[float, ...] = OUTER_SIGNALS,
        most_kept: int = 2000,
        most_compared: int = 2000,
    ) -> None:
        super().__init__(
            raw,
            strengths=strengths,
            cases=cases,
            steps=steps,
            momentum=momentum,
            hidden=hidden,
            seed=seed,
            signals=signals,
            most_kept=most_kept,
            most_compared=most_compared,
        )

    def opponent(self, hidden: int) -> Taught:
        """Return the discriminator: weights and intercept of the log-odds that a case is the task's."""
        return {"weight": torch.zeros(hidden), "intercept": torch.zeros(())}

    def alignment(
        self,
        earlier: Float[Tensor, "tasks s hidden"],
        target: Float[Tensor, "tasks n hidden"],
        weight: Float[Tensor, "tasks n"],
        *,
        strength: Float[Tensor, " tasks"],
        opponent: Mapping[str, Tensor],
    ) -> Float[Tensor, " tasks"]:
        """Return the discriminator's mean loss over both sides, with a pull on its weights: else the game need not come to rest."""

        def odds(layers: Tensor) -> Tensor:
            seen = reversed_gradient(layers, strength[:, None, None])
            return (seen @ opponent["weight"][..., None])[..., 0] + opponent["intercept"][:, None]

        theirs = (weight * softplus(-odds(target))).sum(1) / weight.sum(1).clamp(min=1)
        pull = 0.5 * _PULL * (opponent["weight"].square().sum(-1) + opponent["intercept"].square())
        return softplus(odds(earlier)).mean(1) + theirs + pull

    def bend(self, strength: Float[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        """Return that of the discriminator's loss where its weights have the length 1, for network and discriminator."""
        return 1 + strength
