"""Gaussian process from scratch, averaged over several kernels of the modality (Tanimoto and descriptors for molecules)."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from metamedica.functional.process_learner import AveragedProcess
from metamedica.types import Features, Paper


class MultiKernelGP(AveragedProcess):
    """Exact Gaussian process averaged over every pair of a raw kernel and a noise share by marginal likelihood. Learns nothing from tasks.

    Which kernels there are is the modality's matter: `RawEncoder.kernels`.

    Deviates: Duvenaud et al. search sums and products of kernels greedily and keep the best; here a handful is fixed and the average is
    taken, since 16 cases rarely single one out.

    Args:
        raw: its `kernels`, 1 on the diagonal, compare cases.
        noises: shares of noise in a standardised target's variance, in (0, 1).
    """

    paper: ClassVar[Paper] = Paper(
        "Structure discovery in nonparametric regression through compositional kernel search",
        "Duvenaud et al.",
        2013,
        "arXiv:1302.4922",
    )

    def kernels(self, left: Features, right: Features) -> Float[Tensor, "tasks kernels n m"]:
        """Return what the modality compares by."""
        return self.raw.kernels(left, right)
