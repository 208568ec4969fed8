"""Residual networks over images: ResNet-12 of the few-shot benchmarks, ResNet-18, and a ResNet-10 for small images and little time.

He, Zhang, Ren and Sun 2016, Deep Residual Learning for Image Recognition, arXiv:1512.03385, table 1 and section 3.3 (18 layers);
Oreshkin, Rodriguez and Lacoste 2018, TADAM, arXiv:1805.10123, and Lee, Maji, Ravichandran and Soatto 2019, Meta-Learning with
Differentiable Convex Optimization, arXiv:1904.03758, section 4.1 (12 layers).
"""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

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
from metamedica.functional.weights import KnownElsewhere, for_channels
from metamedica.types import Encoder, Features, OneOf, Ranges

LEAST_SIDE = 16
SLOPE = 0.1
"""Of the leaky ReLU of the 12 layers below zero (Lee et al.)."""
STAGES = {10: (1, 1, 1, 1), 12: (1, 1, 1, 1), 18: (2, 2, 2, 2)}
"""Blocks of each stage; a stage has twice the channels of the one before."""


class FixedNorm(nn.Module):
    """Batch norm (Ioffe and Szegedy 2015, arXiv:1502.03167) with stored mean and variance, which no batch changes.

    Args:
        channels: of the maps.
        eps: added to the variance.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def scale_and_shift(self) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
        """Return what a channel is multiplied by and what is added to it."""
        scale = self.weight * (self.variance + self.eps).rsqrt()
        return scale, self.bias - self.mean * scale


class NormedConvolution(nn.Module):
    """A convolution without bias, and a norm; a fixed norm is computed inside of the convolution's filters."""

    def __init__(self, entering: int, leaving: int, *, size: int, norm: str, groups: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(entering, leaving, size, stride=stride, padding=size // 2, bias=False)
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out", nonlinearity="relu")
        self.norm: nn.Module = GroupNormOfMaps(groups, leaving) if norm == "group" else FixedNorm(leaving)

    def forward(self, x: Float[Tensor, "n entering height width"]) -> Float[Tensor, "n leaving high wide"]:
        if not isinstance(self.norm, FixedNorm):
            normed: Tensor = self.norm(self.convolution(x))
            return normed
        own = self.convolution
        scale, shift = self.norm.scale_and_shift()
        return functional.conv2d(x, own.weight * scale[:, None, None, None], shift, own.stride, own.padding)


class Residual(nn.Module):
    """relu(F(x) + shortcut(x)), F being normed 3 x 3 convolutions with ReLUs between (He et al., eq. 1 and 2).

    Args:
        entering, leaving: channels; where they differ, or places are skipped, the shortcut is a normed 1 x 1 convolution (option B).
        depth: convolutions of F.
        slope: of the ReLU below zero.
        stride: of the first convolution and the shortcut.
        pool: side of the max-pooling at the end.
    """

    def __init__(
        self,
        entering: int,
        leaving: int,
        *,
        depth: int,
        slope: float,
        norm: str,
        groups: int,
        stride: int = 1,
        pool: int = 1,
    ) -> None:
        super().__init__()
        self.slope, self.pool = slope, pool
        self.path = nn.ModuleList(
            NormedConvolution(
                leaving if number else entering,
                leaving,
                size=3,
                norm=norm,
                groups=groups,
                stride=1 if number else stride,
            )
            for number in range(depth)
        )
        self.shortcut: nn.Module = nn.Identity()
        if entering != leaving or stride > 1:
            self.shortcut = NormedConvolution(entering, leaving, size=1, norm=norm, groups=groups, stride=stride)

    def _bent(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, self.slope) if self.slope else functional.relu(x)

    def forward(self, x: Float[Tensor, "n entering height width"]) -> Float[Tensor, "n leaving high wide"]:
        through = x
        for number, layer in enumerate(self.path):
            through = layer(self._bent(through) if number else through)
        both = through + self.shortcut(x)
        # pooled before the ReLU, which keeps the order and so the maximum
        return self._bent(functional.max_pool2d(both, self.pool) if self.pool > 1 else both)


class ResNet(Encoder, FeatureMaps, KnownElsewhere):
    """Residual blocks in four stages, each with twice the channels of the one before -> mean over all places.

    12 layers: four blocks of three 3 x 3 convolutions, leaky ReLU (0.1) and 2 x 2 max-pooling after each: sides from 16 pixels on, 1/16 of
    which is left. 18 layers: a 7 x 7 convolution and a 3 x 3 max-pooling, each skipping every second place, then eight blocks of two: 1/32
    of a side is left, so that images below about 96 pixels do better with 12. 10 layers: a 3 x 3 convolution that skips every second place and
    no pooling, then four blocks of two, 1/16 of a side is left; a third of the time of 12 at the same width.

    Weights of the same networks elsewhere can be loaded
    (`functional/weights`): key names of torchvision and timm.

    Block: `image` `[*batch, channels * height * width]`, one channel after another, row by row; scaled to about +-1.

    Deviates: `norm="group"` (Wu and He 2018, arXiv:1803.08494) in place of batch norm, which lets the cases of one task see those of the
    others; `norm="fixed"` is batch norm with stored statistics, so that a vector depends on its own image alone. It norms nothing before
    statistics are loaded. 12 layers: channels as of Oreshkin et al. (64, 128, 256, 512 at width 64), where Lee et al. have 64, 160, 320, 640;
    mean over places as both; without their DropBlock. 10 layers: the stem is smaller than the one usual for larger images.

    Args:
        image: channels, height and width of an image, sides of 16 pixels or more.
        layers: 10, 12 or 18.
        width: channels of the first stage; the vector has eight times as many numbers.
        norm: "group", or "fixed" for weights that were trained elsewhere with batch norm.
        groups: of channels that are normed together; they share the width.

    Raises:
        InputError: no channel, a side below 16 pixels, another number of layers, another norm, or a width that is no multiple of the groups.
    """

    ranges: ClassVar[Ranges] = {
        "layers": OneOf((10, 12, 18)),
        "width": OneOf((16, 32, 64)),
        "groups": OneOf((4, 8, 16)),
    }
    renamed: ClassVar[tuple[tuple[str, str], ...]] = (
        (r"conv1\.", r"stem.convolution."),
        (r"bn1\.", r"stem.norm."),
        (r"layer(\d)\.(\d+)\.conv(\d)\.", r"stages.\1-.\2.path.\3-.convolution."),
        (r"layer(\d)\.(\d+)\.bn(\d)\.", r"stages.\1-.\2.path.\3-.norm."),
        (r"layer(\d)\.(\d+)\.downsample\.0\.", r"stages.\1-.\2.shortcut.convolution."),
        (r"layer(\d)\.(\d+)\.downsample\.1\.", r"stages.\1-.\2.shortcut.norm."),
        (r"(.*norm\.)running_mean", r"\1mean"),
        (r"(.*norm\.)running_var", r"\1variance"),
    )
    left_out: ClassVar[str] = r"fc\..*|.*\.num_batches_tracked"

    def __init__(
        self,
        image: tuple[int, int, int],
        *,
        layers: int = 12,
        width: int = 64,
        norm: str = "group",
        groups: int = 8,
    ) -> None:
        super().__init__()
        self.image = checked_image(image, least=LEAST_SIDE)
        if layers not in STAGES or norm not in ("group", "fixed"):
            raise InputError(
                f"got {layers} layers and norm {norm!r}; give 10, 12 or 18 layers and the norm 'group' or 'fixed'"
            )
        if width < 1 or (norm == "group" and (groups < 1 or width % groups)):
            raise InputError(f"got width {width} and {groups} groups; give a width that is a multiple of the groups")
        self.layers, self.width, self.dim = layers, width, 8 * width
        self.stem: nn.Module = nn.Identity()
        entering = image[0]
        if layers != 12:
            size = 7 if layers == 18 else 3
            self.stem = NormedConvolution(entering, width, size=size, norm=norm, groups=groups, stride=2)
            entering = width
        self.stages = nn.ModuleList()
        for stage, blocks in enumerate(STAGES[layers]):
            leaving = width * 2**stage
            made = []
            for number in range(blocks):
                skips = layers != 12 and stage and not number
                made.append(
                    Residual(
                        entering,
                        leaving,
                        depth=3 if layers == 12 else 2,
                        slope=SLOPE if layers == 12 else 0.0,
                        norm=norm,
                        groups=groups,
                        stride=2 if skips else 1,
                        pool=2 if layers == 12 else 1,
                    )
                )
                entering = leaving
            self.stages.append(nn.Sequential(*made))
        block = "stages.0.0."
        first = ("stem.",) if layers != 12 else (f"{block}path.0.", f"{block}shortcut.")
        self._first = tuple(f"{name}convolution.weight" for name in first)
        channels_last(self)

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return one vector per image.

        Raises:
            InputError: the block `image` is missing or has another size.
        """
        flat = checked(features, {"image": math.prod(self.image)})["image"]
        images = flat.reshape(-1, *self.image)
        vectors = in_parts(lambda part: self._stages(part)[-1].mean((2, 3)), images, widest=self._widest(images))
        return vectors.reshape(*flat.shape[:-1], self.dim)

    def maps(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n features high wide"]:
        """Return what the last stage leaves, whose mean over places is the vector.

        Raises:
            InputError: another number of channels, or a side below 16 pixels.
        """
        return self.stage_maps(images)[-1]

    def last(self) -> tuple[nn.Module, Callable[[Tensor], Float[Tensor, "n features high wide"]]]:
        """Return the last stage: what it leaves is `maps`."""
        return self.stages[-1], lambda left: left

    def stage_maps(
        self, images: Float[Tensor, "n channels height width"]
    ) -> list[Float[Tensor, "n features high wide"]]:
        """Return what each of the four stages leaves, the finest first.

        Raises:
            InputError: another number of channels, or a side below 16 pixels.
        """
        check_readable(images, channels=self.image[0], least=LEAST_SIDE)
        return self._stages(images)

    def _stages(self, images: Tensor) -> list[Tensor]:
        x, found = images, []
        if self.layers == 18:
            # pooled before the ReLU, which keeps the order and so the maximum
            x = functional.relu(functional.max_pool2d(self.stem(x), 3, stride=2, padding=1))
        elif self.layers == 10:
            x = functional.relu(self.stem(x))
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def _widest(self, images: Tensor) -> int:
        places = math.prod(images.shape[2:])
        return self.width * max(1, places if self.layers == 12 else places // 4)

    def own_value(self, name: str, value: Tensor) -> Tensor:
        """Return a weight from elsewhere as this network has it: filters of colours summed where images are grey."""
        return for_channels(value, self.image[0]) if name in self._first else value
