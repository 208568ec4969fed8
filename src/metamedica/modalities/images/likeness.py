"""Which part of an image looks like which part of a labelled one, to the network: prototype patches.

Chen et al. 2019, This looks like that: deep learning for interpretable image recognition, arXiv:1806.10574, section 2; the prototypes here are
patches of the labelled images themselves, and likeness is the cosine of feature vectors.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from metamedica.errors import InputError
from metamedica.functional.feature_maps import FeatureMaps
from metamedica.modalities.images.network import Network, entering

PLACES = 8
"""Patches along a side."""


@dataclass(frozen=True)
class Alike:
    """A patch of an image and the most similar patch of a labelled one.

    Args:
        here: row and column of the patch, from 0, on a grid of 8 x 8.
        image: which labelled image.
        there: row and column of its patch.
        likeness: cosine of what the network sees there, about the mean of all labelled patches.
    """

    here: tuple[int, int]
    image: int
    there: tuple[int, int]
    likeness: float


def alike(
    network: Network,
    squares: UInt8[np.ndarray, "n side side 3"],
    labelled: UInt8[np.ndarray, "k side side 3"],
    *,
    top: int = 3,
) -> list[list[Alike]]:
    """Return, for each image, the pairs of patches that look most alike, no patch of the image twice; the best first.

    Args:
        network: whose feature maps are compared.
        squares: the images.
        labelled: the labelled images.
        top: pairs an image.

    Raises:
        InputError: an encoder that has no feature maps, or no labelled image.
    """
    if not len(labelled):
        raise InputError("there is no labelled image to compare with; adapt to some first")
    known, asked = _patches(network, labelled), _patches(network, squares)
    centre = known.mean((0, 1))
    known, asked = normalize(known - centre, dim=-1), normalize(asked - centre, dim=-1)
    found = []
    for each in asked:
        cosine, where = (each @ known.flatten(0, 1).mT).max(-1)
        order = cosine.argsort(descending=True)[:top].tolist()
        found.append(
            [
                Alike(
                    divmod(patch, PLACES),
                    int(where[patch]) // PLACES**2,
                    divmod(int(where[patch]) % PLACES**2, PLACES),
                    float(cosine[patch]),
                )
                for patch in order
            ]
        )
    return found


def _patches(network: Network, squares: UInt8[np.ndarray, "n side side 3"]) -> Float[Tensor, "n patches features"]:
    made = network.built()
    if not isinstance(made, FeatureMaps):
        raise InputError(f"the encoder {network.encoder!r} has no feature maps; use one that has, such as resnet")
    with torch.no_grad():
        maps = made.maps(entering(squares))
    return adaptive_avg_pool2d(maps, PLACES).flatten(2).mT
