"""Gaussian process from scratch, averaged over several kernels of the modality by how well each tells labelled cases that it has not seen."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.hidden_labels import HiddenLabelProcess
from metamedica.types import Paper, TaskKind


class LeaveOneOutGP(HiddenLabelProcess):
    """Exact Gaussian process averaged over every pair of a raw kernel and a noise share by leave-one-out probability. Learns nothing from tasks.

    `HiddenLabelProcess` says how pairs are weighed; before any label all weigh the same.

    Deviates: pairs are averaged over and not optimised; classes by `average_law` where the paper has numbers.

    Args:
        rich: its `kernels`, 1 on the diagonal, compare cases.
        noises: shares of noise in a standardised target's variance, in (0, 1).
    """

    paper: ClassVar[Paper] = Paper(
        "Predictive approaches for choosing hyperparameters in Gaussian processes", "Sundararajan and Keerthi", 2001,
        "doi:10.1162/08997660151134343",
    )  # fmt: skip

    def cell_prior(self, kind: TaskKind, like: Float[Tensor, "tasks cells"]) -> Float[Tensor, " cells"]:
        """Return 0 for each pair."""
        return torch.zeros_like(like[0])
