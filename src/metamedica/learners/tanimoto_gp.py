"""Gaussian process from scratch with the modality's own similarity as kernel (Tanimoto over counts for molecules)."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from metamedica.functional.process_learner import AveragedProcess
from metamedica.types import Features, Paper


class TanimotoGP(AveragedProcess):
    """Exact Gaussian process on the raw similarity; noise share averaged over a grid by marginal likelihood. Learns nothing from tasks.

    Deviates: Griffiths et al. maximise the marginal likelihood over scale and noise; here the scale is fixed by standardised
    targets and the noise share is averaged over five values.

    Args:
        raw: its `similarity`, 1 on the diagonal, compares cases.
        noises: shares of noise in a standardised target's variance, in (0, 1).
    """

    paper: ClassVar[Paper] = Paper(
        "GAUCHE: a library for Gaussian processes in chemistry", "Griffiths et al.", 2023, "arXiv:2212.04450"
    )

    def kernels(self, left: Features, right: Features) -> Float[Tensor, "tasks 1 n m"]:
        """Return the raw similarity."""
        return self.raw.similarity(self.raw(left), self.raw(right))[:, None]
