"""Deep adaptation: a network whose hidden layer is as little apart as can be, in maximum mean discrepancy, between earlier cases and the task's."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.aligned_network import OUTER_SIGNALS, AlignedNetwork
from metamedica.functional.discrepancy import WIDTHS, mean_discrepancy
from metamedica.functional.target_cases import Taught
from metamedica.types import Between, Paper, Ranges, RawEncoder

_USUAL = 2.0
"""Mean squared distance between two vectors drawn about a centre at a distance of 1."""


class DeepAdaptation(AlignedNetwork):
    """Alignment is the squared maximum mean discrepancy between hidden layers, with the mean of Gaussian kernels of five widths.

    The widths are a quarter, a half, once, twice and four times the mean squared distance between hidden layers of earlier cases. The labels
    of the support set intercept and slope (`AlignedNetwork` for the rest).

    Deviates: Long et al. align several layers of a convolutional network, learn the kernels' weights, and estimate the discrepancy from
    quadruples of a mini-batch, which takes linear time; here it is one layer of a perceptron, equal weights and all pairs. One network
    is fitted for all earlier tasks, and every new one starts from it.

    Args:
        raw: its `flat` features are the inputs.
        strengths: of the alignment that are tried; 0 first: the pooled network as it is.
        cases: what the pooled network is worth, in cases of the task.
        steps: gradient steps a task.
        momentum: of the network's steps, below 1.
        hidden: units.
        seed: of the start from which the pooled network is fitted, and of which earlier cases are compared.
        signals: prior variances of the score that are tried for the pooled network.
        most_kept: cases of all earlier tasks together that are kept, drawn by chance; at least 20 a task.
        most_compared: cases of either side that are compared at most, drawn by chance; the time grows with its square.
    """

    paper: ClassVar[Paper] = Paper(
        "Learning transferable features with deep adaptation networks", "Long, Cao, Wang and Jordan", 2015, "arXiv:1502.02791"
    )  # fmt: skip

    ranges: ClassVar[Ranges] = {"momentum": Between(0.0, 0.95), "seed": None}

    def __init__(
        self,
        raw: RawEncoder,
        *,
        strengths: tuple[float, ...] = (0.0, 0.3, 1.0),
        cases: float = 30.0,
        steps: int = 50,
        momentum: float = 0.9,
        hidden: int = 16,
        seed: int = 0,
        signals: tuple[float, ...] = OUTER_SIGNALS,
        most_kept: int = 2000,
        most_compared: int = 300,
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
        """Return nothing: the discrepancy has no parameter."""
        return {}

    def alignment(
        self,
        earlier: Float[Tensor, "tasks s hidden"],
        target: Float[Tensor, "tasks n hidden"],
        weight: Float[Tensor, "tasks n"],
        *,
        strength: Float[Tensor, " tasks"],
        opponent: Mapping[str, Tensor],
    ) -> Float[Tensor, " tasks"]:
        """Return strength times the squared discrepancy."""
        order = torch.randperm(earlier.shape[1], generator=torch.Generator().manual_seed(self.seed))
        some = earlier[:, order[: self.most_compared]]
        found = mean_discrepancy(some, target, torch.ones_like(some[..., 0]), weight, usual=_USUAL)
        return strength * found

    def bend(self, strength: Float[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        """Return four times strength times the curvature of the kernel at 0: of the four sums of the discrepancy."""
        return 4 * strength * sum(2 / (width * _USUAL) for width in WIDTHS) / len(WIDTHS)
