"""Four convolutions over small images: the encoder of the few-shot image benchmarks.

Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra 2016, Matching Networks for One Shot Learning, arXiv:1606.04080, section 4.1; Snell,
Swersky and Zemel 2017, Prototypical Networks for Few-shot Learning, arXiv:1703.05175, section 3.

Deviates: group norm (Wu and He 2018, arXiv:1803.08494, 16 channels a group as in their table 3) in place of batch norm, which lets the
cases of one task see those of the others; with it a vector depends on its own image alone.
"""

import math
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from metamedica.encoders.mlp import checked
from metamedica.errors import InputError
from metamedica.functional.feature_maps import (
    FeatureMaps,
    GroupNormOfMaps,
    channels_last,
    check_readable,
    checked_image,
    in_parts,
)
from metamedica.types import Encoder, Features

BLOCKS = 4
LEAST_SIDE = 2**BLOCKS
"""Fewest pixels of a side, which four poolings make one."""


class Conv4(Encoder, FeatureMaps):
    """[3 x 3 convolution, group norm, ReLU, 2 x 2 max-pooling] four times -> all channels and places side by side.

    Block: `image` `[*batch, channels * height * width]`, one channel after another, row by row (an image laid flat, so that it is a
    block like every other); scaled to about +-1. The vector has `width * (height // 16) * (width of the image // 16)` numbers:
    64 for 28 x 28 pixels, 1,600 for 84 x 84.

    Args:
        image: channels, height and width of an image, sides of 16 pixels or more.
        width: channels of each convolution.
        groups: of channels that are normed together; they share the width.

    Raises:
        InputError: no channel, a side below 16 pixels, or a width that is no multiple of the groups.
    """

    def __init__(self, image: tuple[int, int, int], *, width: int = 64, groups: int = 4) -> None:
        super().__init__()
        channels, *sides = self.image = checked_image(image, least=LEAST_SIDE)
        if min(width, groups) < 1 or width % groups:
            raise InputError(f"got width {width} and {groups} groups; give a width that is a multiple of the groups")
        self.width = width
        self.dim = width * math.prod(side // LEAST_SIDE for side in sides)
        layers: list[nn.Module] = []
        for entering in (channels, *[width] * (BLOCKS - 1)):
            layers += [
                nn.Conv2d(entering, width, 3, padding=1),
                GroupNormOfMaps(groups, width),
                nn.MaxPool2d(
                    2
                ),  # before the ReLU, which keeps the order and so the maximum: the same numbers, a quarter of the work
                nn.ReLU(),
            ]
        self.convolutions = nn.Sequential(*layers)
        channels_last(self)

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return one vector per image.

        Raises:
            InputError: the block `image` is missing or has another size.
        """
        flat = checked(features, {"image": math.prod(self.image)})["image"]
        return self.maps(flat.reshape(-1, *self.image)).reshape(*flat.shape[:-1], self.dim)

    def maps(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n features high wide"]:
        """Return what the last block leaves, one place per 16 x 16 pixels; the vector is this, laid flat.

        Raises:
            InputError: another number of channels, or a side below 16 pixels.
        """
        check_readable(images, channels=self.image[0], least=LEAST_SIDE)
        return in_parts(self.convolutions, images, widest=self.width * math.prod(images.shape[2:]))

    def last(self) -> tuple[nn.Module, Callable[[Tensor], Float[Tensor, "n features high wide"]]]:
        """Return the four blocks: what they leave is `maps`."""
        return self.convolutions, lambda left: left
