"""The fixed encoders of molecules: count fingerprints compared by the MinMax kernel."""

from abc import ABC

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from metamedica.functional.kernels import minmax_and_tanimoto, minmax_kernel, rbf_kernel
from metamedica.functional.shared import shared
from metamedica.modalities.molecules.featurise import MORE_FINGERPRINTS
from metamedica.types import Features, RawEncoder


class _CountEncoder(RawEncoder, ABC):
    """Count fingerprints as they are; similarity is the count Tanimoto.

    Args:
        dim: number of columns of the `counts` block.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return the `counts` block in floating point."""
        counts = features["counts"]
        return counts if counts.is_floating_point() else counts.to(torch.get_default_dtype())

    def similarity(
        self, left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
    ) -> Float[Tensor, "*batch n m"]:
        """Return the MinMax kernel (count Tanimoto) of Ralaivola et al. 2005 between rows of counts."""
        return minmax_kernel(left, right)

    def flat(self, features: Features) -> Float[Tensor, "*batch flat"]:
        """Return `log(1 + counts)` and the descriptors side by side."""
        counts = self(features).log1p()
        return torch.cat([counts, features["descriptors"].to(counts.dtype)], dim=-1)

    def summary(self, features: Features) -> Float[Tensor, "*batch descriptors"]:
        """Return the descriptors."""
        descriptors = features["descriptors"]
        return descriptors if descriptors.is_floating_point() else descriptors.to(torch.get_default_dtype())

    def _alike_and_near(
        self, left: Features, right: Features
    ) -> tuple[Float[Tensor, "*batch n m"], Float[Tensor, "*batch n m"]]:
        """Return T, the mean of the count and the binary Tanimoto, and D, an RBF on the descriptors."""
        return _alike(left["counts"], right["counts"]), _near(self.summary(left), self.summary(right))


class FingerprintEncoder(_CountEncoder):
    """Count fingerprints as they are; similarity is the count Tanimoto.

    Args:
        dim: number of columns of the `counts` block.
    """

    def kernels(self, left: Features, right: Features) -> Float[Tensor, "*batch 3 n m"]:
        """Return T, T x D and 3/4 T + 1/4 D: T the mean of the count and the binary Tanimoto, D an RBF on the descriptors.

        Chosen on meta-valid targets of chembl691; decisions/0007 has the figures.
        """
        alike, near = self._alike_and_near(left, right)
        return torch.stack([alike, alike * near, 0.75 * alike + 0.25 * near], dim=-3)


class ManyFingerprintsEncoder(_CountEncoder):
    """The same counts and similarity; `kernels` look at every fingerprint of `featurise.MORE_FINGERPRINTS` too, each a block.

    Args:
        dim: number of columns of the `counts` block.
    """

    def kernels(self, left: Features, right: Features) -> Float[Tensor, "*batch 7 n m"]:
        """Return T, T x D, D and the T of each further fingerprint: T the mean of the count and the binary Tanimoto, D an RBF on the descriptors.

        Chosen on meta-train targets of chembl691 in folds; decisions/0009 has the figures.
        """
        alike, near = self._alike_and_near(left, right)
        more = [_alike(left[block], right[block]) for block in MORE_FINGERPRINTS]
        return torch.stack([alike, alike * near, near, *more], dim=-3)


@shared
def _alike(left: Shaped[Tensor, "*batch n dim"], right: Shaped[Tensor, "*batch m dim"]) -> Float[Tensor, "*batch n m"]:
    of_counts, of_presence = minmax_and_tanimoto(left, right)
    return (of_counts + of_presence) / 2


@shared
def _near(
    left: Float[Tensor, "*batch n descriptors"], right: Float[Tensor, "*batch m descriptors"]
) -> Float[Tensor, "*batch n m"]:
    return rbf_kernel(left, right)
