"""The fixed encoder of molecules: count fingerprints compared by the MinMax kernel."""

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.kernels import minmax_kernel
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

    def flat(self, features: Features) -> Float[Tensor, "*batch flat"]:
        """Return `log(1 + counts)` and the descriptors side by side."""
        counts = self(features).log1p()
        return torch.cat([counts, features["descriptors"].to(counts.dtype)], dim=-1)
