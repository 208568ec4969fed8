"""The fixed encoder of molecules: count fingerprints compared by the MinMax kernel."""

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.kernels import minmax_and_tanimoto, minmax_kernel, rbf_kernel
from metamedica.types import Features, RawEncoder


class FingerprintEncoder(RawEncoder):
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

    def kernels(self, left: Features, right: Features) -> Float[Tensor, "*batch 3 n m"]:
        """Return T, T x D and 3/4 T + 1/4 D: T the mean of the count and the binary Tanimoto, D an RBF on the descriptors.

        Chosen on meta-valid targets of chembl691; decisions/0007 has the figures.
        """
        ours, theirs = self(left), self(right)
        of_counts, of_presence = minmax_and_tanimoto(ours, theirs)
        alike = (of_counts + of_presence) / 2
        near = rbf_kernel(left["descriptors"].to(ours.dtype), right["descriptors"].to(ours.dtype))
        return torch.stack([alike, alike * near, 0.75 * alike + 0.25 * near], dim=-3)

    def flat(self, features: Features) -> Float[Tensor, "*batch flat"]:
        """Return `log(1 + counts)` and the descriptors side by side."""
        counts = self(features).log1p()
        return torch.cat([counts, features["descriptors"].to(counts.dtype)], dim=-1)

    def summary(self, features: Features) -> Float[Tensor, "*batch descriptors"]:
        """Return the descriptors."""
        descriptors = features["descriptors"]
        return descriptors if descriptors.is_floating_point() else descriptors.to(torch.get_default_dtype())
