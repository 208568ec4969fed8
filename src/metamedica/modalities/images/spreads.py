"""How much each number of a block usually varies between images of one set: what one unit of it is, when images are compared.

Measured on four sets whose licence allows it, by `python -m benchmarks.make_image_spreads`; a handful of images of a new task could not tell.
"""

from functools import cache
from importlib.resources import as_file, files

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

FILE = "spreads.safetensors"
LEAST = 0.3
"""A number that hardly varies counts as one that varies by this share of the block's median."""


@cache
def spreads() -> dict[str, Float[Tensor, " dim"]]:
    """Return the spread of each number of each block that has them."""
    with as_file(files(__package__) / FILE) as path:
        return load_file(path)


def spread_of(sets: list[Float[Tensor, "n dim"]]) -> Float[Tensor, " dim"]:
    """Return the root of the mean variance within a set, over the sets on which a number varies at all; never below `LEAST` of the median."""
    each = torch.stack([values.double().var(0) for values in sets])
    varies = each > 1e-12
    variance = each.masked_fill(~varies, 0.0).sum(0) / varies.sum(0).clamp(min=1)
    spread = variance.sqrt()
    return spread.clamp(min=LEAST * float(spread[spread > 0].median())).float()
