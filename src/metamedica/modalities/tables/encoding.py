"""The fixed encoder of table rows: scaled numbers, levels one by one, and what is missing."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.types import Features, RawEncoder


class RowEncoder(RawEncoder):
    """The named blocks side by side; rows are compared by an RBF whose width grows with the number of columns.

    Args:
        blocks: name -> size, in the order of joining.
        n_columns: of the table: a typical squared distance between two rows is about twice that.
    """

    distinct: ClassVar[bool] = False

    def __init__(self, blocks: dict[str, int], *, n_columns: int) -> None:
        super().__init__()
        self.blocks = dict(blocks)
        self.n_columns = n_columns
        self.dim = sum(blocks.values())

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return the blocks side by side in floating point."""
        found = [features[name] for name in self.blocks]
        dtype = next((block.dtype for block in found if block.is_floating_point()), torch.get_default_dtype())
        return torch.cat([block.to(dtype) for block in found], dim=-1)

    def similarity(
        self, left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
    ) -> Float[Tensor, "*batch n m"]:
        """Return exp(-|x - y|^2 / (2 columns))."""
        return torch.exp(-torch.cdist(left, right).square() / (2 * self.n_columns))

    flat = forward
