"""Four convolutions over small images: the encoder of the few-shot image benchmarks.

Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra 2016, Matching Networks for One Shot Learning, arXiv:1606.04080, section 4.1; Snell,
Swersky and Zemel 2017, Prototypical Networks for Few-shot Learning, arXiv:1703.05175, section 3.

Deviates: group norm (Wu and He 2018, arXiv:1803.08494, 16 channels a group as in their table 3) in place of batch norm, which lets the
cases of one task see those of the others; with it a vector depends on its own image alone.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metamedica.encoders.mlp import checked
from metamedica.errors import InputError
from metamedica.types import Encoder, Features

BLOCKS = 4
LEAST_SIDE = 2**BLOCKS
"""Fewest pixels of a side, which four poolings make one."""
AT_ONCE = 32
"""Images that a CPU takes at once: more fall out of its cache, and images do not see each other."""


class Conv4(Encoder):
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
        channels, *sides = image
        if channels < 1 or min(sides) < LEAST_SIDE:
            raise InputError(
                f"got images of {channels} channels and {sides[0]} x {sides[1]} pixels; give at least one channel and {LEAST_SIDE} pixels "
                "a side"
            )
        if min(width, groups) < 1 or width % groups:
            raise InputError(f"got width {width} and {groups} groups; give a width that is a multiple of the groups")
        self.image = tuple(image)
        self.dim = width * math.prod(side // LEAST_SIDE for side in sides)
        layers: list[nn.Module] = []
        for entering in (channels, *[width] * (BLOCKS - 1)):
            layers += [
                nn.Conv2d(entering, width, 3, padding=1),
                nn.GroupNorm(groups, width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return one vector per image.

        Raises:
            InputError: the block `image` is missing or has another size.
        """
        flat = checked(features, {"image": math.prod(self.image)})["image"]
        images = flat.reshape(-1, *self.image)
        parts = torch.split(images, AT_ONCE) if images.device.type == "cpu" and len(images) else (images,)
        found: Tensor = torch.cat([self.convolutions(part) for part in parts])
        return found.reshape(*flat.shape[:-1], self.dim)
