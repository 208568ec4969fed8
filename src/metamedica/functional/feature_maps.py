"""What an encoder adds when it reads images: maps that keep the places, and images taken in parts that a CPU's cache holds."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metamedica.errors import InputError

NUMBERS_AT_ONCE = 5 * 2**18
"""Of the widest map of all images that a CPU takes at once (5 MB in single precision, 26 images through Conv-4 on 28 x 28 pixels): more fall out of
its cache, and past 32 MB every map is memory that the system hands out anew. Images do not see each other, so that parts change nothing but
rounding."""


class FeatureMaps(ABC):
    """An encoder of images that tells what it sees at each place, for heat maps, dense features and patches of prototypes."""

    image: tuple[int, int, int]
    """Channels, height and width of the images that `forward` reads; `maps` takes other heights and widths too."""

    @abstractmethod
    def maps(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n features high wide"]:
        """Return the last feature map of each image: vectors side by side as the image's places are.

        Raises:
            InputError: another number of channels, or sides that the network cannot read.
        """

    @abstractmethod
    def last(self) -> tuple[nn.Module, Callable[[Tensor], Float[Tensor, "n features high wide"]]]:
        """Return the module that leaves the last maps on the way to the vector, and how what it leaves lies as maps (`functional/class_activation`).

        Raises:
            InputError: the vector is made of no maps.
        """


def checked_image(image: tuple[int, int, int], *, least: int) -> tuple[int, int, int]:
    """Return channels, height and width of an image.

    Args:
        image: as given.
        least: pixels of a side.

    Raises:
        InputError: no channel, or a side below `least`.
    """
    channels, high, wide = image
    if channels < 1 or min(high, wide) < least:
        raise InputError(
            f"got images of {channels} channels and {high} x {wide} pixels; give at least one channel and {least} pixels a side"
        )
    return channels, high, wide


def check_readable(images: Float[Tensor, "n channels height width"], *, channels: int, least: int) -> None:
    """Refuse images of another number of channels or with a side below `least`.

    Raises:
        InputError: they are.
    """
    if images.shape[1] != channels or min(images.shape[2:]) < least:
        raise InputError(
            f"got images of {images.shape[1]} channels and {images.shape[2]} x {images.shape[3]} pixels; give {channels} channels and at "
            f"least {least} pixels a side"
        )


def in_parts(
    run: Callable[[Tensor], Tensor], images: Float[Tensor, "n channels height width"], *, widest: int
) -> Float[Tensor, "n *each"]:
    """Return `run(images)`, on a CPU in parts that its cache holds.

    Args:
        run: from images to something of each, images not seeing each other.
        images: laid out.
        widest: numbers of an image's largest map inside `run`.
    """
    n = len(images)
    at_once = max(1, NUMBERS_AT_ONCE // widest)
    if images.device.type != "cpu" or n <= at_once:
        return run(images)
    return torch.cat([run(part) for part in torch.tensor_split(images, -(-n // at_once))])


class GroupNormOfMaps(nn.GroupNorm):
    """Group norm (Wu and He 2018, arXiv:1803.08494) of maps in whatever layout a convolution left them.

    `torch.nn.functional.group_norm` first copies its input in its own layout, which `torch.func.vmap` cannot do with channels last.
    """

    def forward(self, input: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n channels height width"]:
        """Return the maps normed; under autocast in the type of the weights, as PyTorch's own."""
        n, channels, high, wide = input.shape
        own = input.to(self.weight.dtype)
        normed: Tensor = torch.native_group_norm(
            own, self.weight, self.bias, n, channels, high * wide, self.num_groups, self.eps
        )[0]
        return normed


def channels_last(module: nn.Module) -> None:
    """Lay the filters out in memory by place and not by channel, the same numbers: what they make is laid out so too.

    On a CPU a filter of one channel over 64 x 64 pixels is eight times as fast so, group norm and pooling twice.
    """
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
