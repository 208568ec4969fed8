"""Augmented crops of a few labelled images: recoloured, mirrored, turned, scaled and sheared, the same for the same seed.

Colours are mixed and stretched as optical density, the logarithm in which stains add up (Ruifrok and Johnston 2001), and channels may change
places, so that a network learns what is darker or other than the background rather than which colour a stain has. Where new images come under
another stain, each structure is also painted anew by itself and discs of no class are laid beside, so that contrast between structures and what
else lies around are no clue either (Billot et al. 2023, SynthSeg, arXiv:2107.09559, who draw whole images from label maps in this way).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from metamedica.applications.segmentation.cases import LEAST_SIDE, LabelledPicture
from metamedica.applications.segmentation.features import blurred, network_channels

Expected: TypeAlias = Literal["alike", "recoloured"]
"""What new images are like: taken and stained as the support, or otherwise."""
VARIANTS = 32
"""Recoloured copies of the support in all, at least one an image (four under another stain); features of each are computed once."""
_DARKEST = 0.02
_MOST_DISCS = 8


def recoloured(
    pixels: Float[Tensor, "channels height width"], generator: torch.Generator
) -> Float[Tensor, "channels height width"]:
    """Return an image under another stain, lamp and sensor: densities mixed over channels, channels in another order, gamma, tint and noise."""
    channels = len(pixels)
    density = -pixels.clamp(min=_DARKEST).log()
    mix = torch.eye(channels) + 0.33 * torch.randn(channels, channels, generator=generator) * (channels > 1)
    mix = mix[torch.randperm(channels, generator=generator)]
    tint = 0.15 * torch.randn(channels, 1, 1, generator=generator).abs()
    density = torch.einsum("ij,jhw->ihw", mix, density) + tint
    gamma = torch.exp(0.4 * torch.randn((), generator=generator))
    changed = torch.exp(-density.clamp(min=0)).clamp(0, 1) ** gamma
    noise = 0.02 * changed.std()  # of thin structures little more than that tells them from the ground
    return (changed + noise * torch.randn(changed.shape, generator=generator)).clamp(0, 1)


def repainted(
    pixels: Float[Tensor, "channels height width"], classes: Int[Tensor, "height width"], generator: torch.Generator
) -> Float[Tensor, "channels height width"]:
    """Return an image whose structures have each a density and a contrast of their own, with discs of any density laid on the background.

    Args:
        pixels: 0 ... 1.
        classes: of the pixels; what nobody has labelled is painted as a class of its own.
        generator: of all draws.
    """
    channels, height, width = pixels.shape
    density = -pixels.clamp(min=_DARKEST).log()
    named = sorted({int(value) for value in torch.unique(classes)})
    soft = blurred(torch.stack([(classes == each).float() for each in named])[None], 0.7)[0]
    painted = torch.zeros_like(density)
    for share, each in zip(soft, named, strict=True):
        middle = density[:, classes == each].mean(1)[:, None, None]
        gain = torch.exp(0.3 * torch.randn((), generator=generator))
        shift = 0.15 * torch.randn(channels, 1, 1, generator=generator) + 0.15 * torch.randn((), generator=generator)
        painted += share * (gain * (density - middle) + middle + shift)
    ground = blurred((classes <= 0).float()[None, None], 1.0)[0, 0]
    down, right = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for _ in range(int(torch.randint(_MOST_DISCS + 1, (), generator=generator))):
        place = torch.rand(2, generator=generator) * torch.tensor([height, width])
        reach = (0.05 + 0.12 * torch.rand((), generator=generator)) * min(height, width)
        away = ((down - place[0]).square() + (right - place[1]).square()).sqrt()
        disc = torch.sigmoid((reach - away) / 0.7) * ground
        painted += 0.3 * disc * (torch.randn(channels, 1, 1, generator=generator).abs() + 0.3)
    return torch.exp(-painted.clamp(min=0)).clamp(0, 1)


def painted_copies(
    pairs: Sequence[LabelledPicture], copies: int, *, expected: Expected, generator: torch.Generator
) -> Iterator[LabelledPicture]:
    """Give so many copies of each pair in turn: the first as it is, the others recoloured, under another stain three of four painted anew.

    Args:
        pairs: of the support.
        copies: of each.
        expected: what new images are like.
        generator: of all draws.
    """
    for pair in pairs:
        yield pair
        for copy in range(1, copies):
            pixels = pair.picture.pixels
            if copy % 4 and expected == "recoloured":
                pixels = repainted(pixels, pair.classes, generator)
            # a picture of its own: features of the first are kept with it
            yield replace(pair, picture=replace(pair.picture, pixels=recoloured(pixels, generator)))


class Crops:
    """Draws augmented crops of labelled images, as many in turn as asked.

    Args:
        pairs: of the support.
        side: of a crop, in pixels; smaller where an image is smaller, a multiple of 8.
        seed: of all draws.
        expected: what new images are like; "recoloured" paints structures anew in three of four copies.
    """

    def __init__(self, pairs: Sequence[LabelledPicture], *, side: int, seed: int, expected: Expected = "alike") -> None:
        self._generator = torch.Generator().manual_seed(seed)
        least = min(min(pair.classes.shape) for pair in pairs)
        self.side = max(LEAST_SIDE, min(side, least) // 8 * 8)
        copies = max(1 if expected == "alike" else 4, round(VARIANTS / len(pairs)))
        self._features: list[Tensor] = []
        self._classes: list[Tensor] = []
        for pair in painted_copies(pairs, copies, expected=expected, generator=self._generator):
            self._features.append(network_channels(pair.picture.pixels[None], pair.picture.region[None])[0])
            self._classes.append(pair.classes)

    def batch(self, count: int) -> tuple[Float[Tensor, "n features side side"], Int[Tensor, "n side side"]]:
        """Return so many crops, their features and classes: all mirrored and turned by right angles, half of them bent as well."""
        drawn = [self._crop() for _ in range(count)]
        features, classes = torch.stack([each[0] for each in drawn]), torch.stack([each[1] for each in drawn])
        bent = count // 2
        if bent:
            grid = functional.affine_grid(self._bends(bent), [bent, 1, self.side, self.side], align_corners=False)
            features[:bent] = functional.grid_sample(
                features[:bent], grid, mode="bilinear", padding_mode="reflection", align_corners=False
            )
            classes[:bent] = (
                functional.grid_sample(
                    classes[:bent, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
                )[:, 0]
                .round()
                .long()
            )
        return features, classes

    def _crop(self) -> tuple[Tensor, Tensor]:
        image = self._whole(len(self._classes))
        height, width = self._classes[image].shape
        top, left = self._whole(height - self.side + 1), self._whole(width - self.side + 1)
        turns, mirrored = self._whole(4), self._whole(2)
        found = []
        for values in (self._features[image], self._classes[image]):
            part = values[..., top : top + self.side, left : left + self.side].rot90(turns, (-2, -1))
            found.append(part.flip(-1) if mirrored else part)
        return found[0], found[1]

    def _bends(self, count: int) -> Float[Tensor, "n 2 3"]:
        angle = 2 * math.pi * torch.rand(count, generator=self._generator)
        scale = torch.exp(0.6 * (torch.rand(count, generator=self._generator) - 0.5))
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).reshape(count, 2, 2)
        shear = torch.eye(2) + 0.1 * torch.randn(count, 2, 2, generator=self._generator)
        shift = 0.2 * (torch.rand(count, 2, 1, generator=self._generator) - 0.5)
        return torch.cat([scale[:, None, None] * turn @ shear, shift], dim=-1)

    def _whole(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._generator))
