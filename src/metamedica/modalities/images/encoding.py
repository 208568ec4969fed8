"""The fixed encoders of images: what a network sees, classical features, and how alike two images are by each."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.kernels import rbf_kernel
from metamedica.functional.shared import shared
from metamedica.modalities.images.spreads import spreads
from metamedica.types import Features, RawEncoder


class ImageEncoder(RawEncoder):
    """The blocks side by side, each of about the same total variance; images are compared block by block.

    Args:
        blocks: name -> size, those that are compared by.
    """

    def __init__(self, blocks: dict[str, int]) -> None:
        super().__init__()
        self.blocks = dict(blocks)
        self.dim = sum(blocks.values())

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return the blocks side by side in floating point, each with a total variance of about 1."""
        return torch.cat([self._scaled(name, features) / size**0.5 for name, size in self.blocks.items()], dim=-1)

    def _scaled(self, name: str, features: Features) -> Tensor:
        block = features[name]
        values = block if block.is_floating_point() else block.to(torch.get_default_dtype())
        if values.dtype == torch.float16:
            values = values.float()
        if name in SCALES:
            return values * SCALES[name]
        return values / spreads()[name].to(values)

    def similarity(
        self, left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
    ) -> Float[Tensor, "*batch n m"]:
        """Return the mean over blocks of an RBF on each."""
        sizes = list(self.blocks.values())
        pairs = zip(torch.split(left, sizes, -1), torch.split(right, sizes, -1), sizes, strict=True)
        return torch.stack([_near(one * size**0.5, other * size**0.5) for one, other, size in pairs]).mean(0)

    def kernels(self, left: Features, right: Features) -> Float[Tensor, "*batch kernels n m"]:
        """Return means of the RBFs on blocks: of those that tell what lies in the middle, whichever way round; of those that tell where on the
        image something is; with a network, of the first and of what it sees. A few labels cannot single out a block, but tell which of these has
        anything to say (decisions/0015)."""
        each = {name: _near(self._scaled(name, left), self._scaled(name, right)) for name in self.blocks}
        groups = [[name for name in group if name in each] for group in (OF_THE_MIDDLE, OF_PLACES)]
        if "network" in each:
            groups.append([*groups[0], "network"])
        return torch.stack([torch.stack([each[name] for name in group]).mean(0) for group in groups if group], dim=-3)

    def flat(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return the same as the vectors, at a scale at which a column varies by about 1."""
        flat: Tensor = self(features) * math.sqrt(self.dim)
        return flat


OF_THE_MIDDLE = ("colours", "patterns", "outline", "nucleus", "waves")
OF_PLACES = ("texture", "patterns", "levels", "hog")
BY_SPREAD = ("colours", "levels", "patterns", "outline", "nucleus", "waves")
"""Blocks each number of which has its own scale (`spreads.py`)."""
SCALES = {"network": 0.9, "hog": 5.8, "texture": 1.9}
"""Of the others, one over the usual standard deviation of a column of one task: so scaled, the median squared distance of two images is about 1 a
column."""


@shared
def _near(left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]) -> Float[Tensor, "*batch n m"]:
    return rbf_kernel(left, right)
