"""Images changed at random as the same case could have looked: batched, in plain PyTorch, drawn from one generator.

Every function takes `[n, channels, height, width]` in any scale unless it says so, changes each image by numbers of its own, and returns the
images unchanged at strength 0. Random numbers are drawn on the CPU, so that one seed gives the same images on every device.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from metamedica.errors import InputError

Images: TypeAlias = Float[Tensor, "n channels height width"]
Numbers: TypeAlias = Float[Tensor, " n"]

GREY = (0.299, 0.587, 0.114)
"""Share of red, green and blue in luma (ITU-R BT.601)."""


def _uniform(images: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return one number of each image."""
    drawn = torch.rand(len(images), generator=generator, dtype=torch.float64)
    return (low + (high - low) * drawn).to(images)


def _each(numbers: Tensor) -> Tensor:
    return numbers[:, None, None, None]


def _checked(name: str, value: float, *, least: float = 0.0, most: float = math.inf) -> None:
    if not least <= value <= most:
        raise InputError(f"got {name} {value}; give a number from {least:g} to {most:g}")


def flipped(images: Images, generator: torch.Generator, *, across: float = 0.5, upside_down: float = 0.0) -> Images:
    """Return the images, each mirrored left to right with probability `across`, and top to bottom with probability `upside_down`.

    Raises:
        InputError: a probability outside [0, 1].
    """
    for name, share, axis in (("across", across, 3), ("upside_down", upside_down, 2)):
        _checked(name, share, most=1.0)
        chosen = torch.rand(len(images), generator=generator, dtype=torch.float64) < share
        if bool(chosen.any()):
            images = torch.where(_each(chosen).to(images.device), images.flip(axis), images)
    return images


def quarter_turned(images: Images, generator: torch.Generator) -> Images:
    """Return square images, each turned by 0, 90, 180 or 270 degrees, for cells and tissue, which have no upright.

    Raises:
        InputError: images that are not square.
    """
    if images.shape[2] != images.shape[3]:
        raise InputError(
            f"got images of {images.shape[2]} x {images.shape[3]} pixels to turn by quarters; crop them to squares first"
        )
    turns = torch.randint(4, (len(images),), generator=generator).to(images.device)
    found = images
    for quarters in (1, 2, 3):
        found = torch.where(_each(turns == quarters), images.rot90(quarters, (2, 3)), found)
    return found


def _sampled(images: Images, places: Float[Tensor, "n 2 3"]) -> Images:
    """Return what stands at the places that a map of pixels, in units of pixels about the centre, leads to; edges go on outside."""
    high, wide = images.shape[2:]
    unit = torch.tensor([wide / 2, high / 2], dtype=images.dtype, device=images.device)
    about = places.clone()
    about[:, :, :2] = places[:, :, :2] * unit[None, None] / unit[None, :, None]
    about[:, :, 2] = places[:, :, 2] / unit
    grid = functional.affine_grid(about, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def moved(
    images: Images,
    generator: torch.Generator,
    *,
    degrees: float = 15.0,
    scale: float = 0.1,
    shift: float = 0.1,
    shear: float = 5.0,
) -> Images:
    """Return the images, each turned, scaled, shifted and sheared at once: one interpolation, edges going on outside.

    Args:
        images: any scale.
        generator: of the random numbers.
        degrees: most turn to either side.
        scale: most change of size: between 1 / (1 + scale) and 1 + scale, evenly in its logarithm.
        shift: most shift along each side, as a share of the side.
        shear: most shear, in degrees.

    Raises:
        InputError: a negative strength, or a shear of 90 degrees or more.
    """
    for name, value, most in (
        ("degrees", degrees, 360.0),
        ("scale", scale, 9.0),
        ("shift", shift, 1.0),
        ("shear", shear, 89.0),
    ):
        _checked(name, value, most=most)
    if not (degrees or scale or shift or shear) or not len(images):
        return images
    turn = torch.deg2rad(_uniform(images, -degrees, degrees, generator))
    size = _uniform(images, -math.log1p(scale), math.log1p(scale), generator).exp()
    right, down = (_uniform(images, -shift, shift, generator) * side for side in (images.shape[3], images.shape[2]))
    slant = torch.deg2rad(_uniform(images, -shear, shear, generator)).tan()
    rotation = torch.stack([torch.stack([turn.cos(), -turn.sin()], -1), torch.stack([turn.sin(), turn.cos()], -1)], 1)
    along = torch.eye(2, dtype=images.dtype, device=images.device).repeat(len(images), 1, 1)
    along[:, 0, 1] = slant
    inverse = rotation @ along / size[:, None, None]
    return _sampled(images, torch.cat([inverse, -inverse @ torch.stack([right, down], -1)[:, :, None]], 2))


def cropped(
    images: Images, generator: torch.Generator, *, least: float = 0.6, ratio: float = 4 / 3, side: int | None = None
) -> Float[Tensor, "n channels high wide"]:
    """Return a random part of each image, resized to the whole (Szegedy et al. 2015, arXiv:1409.4842, section 6).

    Args:
        images: any scale.
        generator: of the random numbers.
        least: smallest part, as a share of the area; 1 for none.
        ratio: most that width to height changes, either way, evenly in its logarithm; a part that would not fit is made to.
        side: pixels of the square that is returned; None for the size that came.

    Raises:
        InputError: a share outside (0, 1], a ratio below 1, or a side below 1.
    """
    _checked("least", least, least=1e-6, most=1.0)
    _checked("ratio", ratio, least=1.0)
    if side is not None:
        _checked("side", float(side), least=1.0)
    size = list(images.shape[2:]) if side is None else [side, side]
    if not len(images):
        return images.new_empty(0, images.shape[1], *size)
    if least == 1 and size == list(images.shape[2:]):
        return images
    area = _uniform(images, least, 1.0, generator)
    bend = (_uniform(images, -1.0, 1.0, generator) * math.log(ratio if least < 1 else 1.0) / 2).exp()
    wide, high = (area.sqrt() * bend).clamp(max=1.0), (area.sqrt() / bend).clamp(max=1.0)
    right, down = (_uniform(images, -1.0, 1.0, generator) * (1 - part) for part in (wide, high))
    zero = torch.zeros_like(wide)
    part = torch.stack([torch.stack([wide, zero, right], -1), torch.stack([zero, high, down], -1)], 1)
    grid = functional.affine_grid(part, [*images.shape[:2], *size], align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def relit(
    images: Images,
    generator: torch.Generator,
    *,
    brightness: float = 0.1,
    contrast: float = 0.2,
    gamma: float = 0.2,
) -> Images:
    """Return the images under other light: x -> range of the image, bent by a power, stretched about its mean, and shifted.

    Args:
        images: any scale; each image's own range [its least, its most] is what a power bends and a shift is a share of.
        generator: of the random numbers.
        brightness: most shift, as a share of the range.
        contrast: most stretch: between 1 / (1 + contrast) and 1 + contrast.
        gamma: most power: between 1 / (1 + gamma) and 1 + gamma.

    Raises:
        InputError: a negative strength.
    """
    for name, value in (("brightness", brightness), ("contrast", contrast), ("gamma", gamma)):
        _checked(name, value)
    if not (brightness or contrast or gamma) or not images.numel():
        return images
    powers = _uniform(images, -math.log1p(gamma), math.log1p(gamma), generator).exp()
    stretch = _uniform(images, -math.log1p(contrast), math.log1p(contrast), generator).exp()
    shift = _uniform(images, -brightness, brightness, generator)
    least, most = (_each(found) for found in images.flatten(1).aminmax(dim=1))
    span = most - least
    if gamma:
        unit = (images - least) / span.clamp(min=torch.finfo(images.dtype).tiny)
        images = least + span * unit.clamp(0, 1).pow(_each(powers))
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * _each(stretch) + span * _each(shift)


def recoloured(
    images: Images, generator: torch.Generator, *, saturation: float = 0.2, hue: float = 10.0, stain: float = 0.05
) -> Images:
    """Return colour images in other colours: one matrix and one scale per channel for each image.

    Args:
        images: red, green and blue; any scale.
        generator: of the random numbers.
        saturation: most stretch of the distance from grey: between 1 / (1 + saturation) and 1 + saturation.
        hue: most turn of the colours about the grey axis, in degrees.
        stain: most change of each channel's scale, on its own, as a share; as stains and cameras differ.

    Raises:
        InputError: images of other than three channels, or a negative strength.
    """
    if images.shape[1] != 3:
        raise InputError(
            f"got images of {images.shape[1]} channels to recolour; give red, green and blue, or saturation, hue and stain 0"
        )
    for name, value, most in (("saturation", saturation, math.inf), ("hue", hue, 180.0), ("stain", stain, 1.0)):
        _checked(name, value, most=most)
    if not (saturation or hue or stain):
        return images
    stretch = _uniform(images, -math.log1p(saturation), math.log1p(saturation), generator).exp()
    turn = torch.deg2rad(_uniform(images, -hue, hue, generator))
    scale = torch.stack([1 + _uniform(images, -stain, stain, generator) for _ in range(3)], 1)
    whole = torch.eye(3, dtype=images.dtype, device=images.device)
    grey = torch.full((3, 3), 1 / 3, dtype=images.dtype, device=images.device)
    aside = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=images.dtype, device=images.device) / 3**0.5
    # Rodrigues' formula about the grey axis: what is along it stays
    turned = grey + turn.cos()[:, None, None] * (whole - grey) + turn.sin()[:, None, None] * aside
    luma = images.new_tensor(GREY).expand(3, 3)
    saturated = luma + stretch[:, None, None] * (whole - luma)
    return torch.einsum("nij,njhw->nihw", scale[:, :, None] * (turned @ saturated), images)


def blurred(images: Images, generator: torch.Generator, *, sigma: float = 1.0) -> Images:
    """Return the images, each under a Gaussian of its own width, from 0 to `sigma` pixels; edges go on outside.

    Raises:
        InputError: a negative width, or one above 20 pixels.
    """
    _checked("sigma", sigma, most=20.0)
    if not sigma or not len(images):
        return images
    widths = _uniform(images, 0.0, sigma, generator)
    reach = max(1, math.ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (steps / widths.clamp(min=1e-3)[:, None]).square())
    weights = weights / weights.sum(1, keepdim=True)
    n, channels, high, wide = images.shape
    kernels = weights.repeat_interleave(channels, 0)[:, None]
    rows = functional.pad(images, (reach,) * 4, mode="replicate").reshape(
        1, n * channels, high + 2 * reach, wide + 2 * reach
    )
    rows = functional.conv2d(rows, kernels[:, :, None], groups=n * channels)
    return functional.conv2d(rows, kernels[..., None], groups=n * channels).view(n, channels, high, wide)


def noisy(images: Images, generator: torch.Generator, *, sigma: float = 0.05) -> Images:
    """Return the images with Gaussian noise, each at a level of its own from 0 to `sigma` times the standard deviation of its pixels.

    Raises:
        InputError: a negative level.
    """
    _checked("sigma", sigma)
    if not sigma or not images.numel():
        return images
    levels = _uniform(images, 0.0, sigma, generator)
    noise = torch.randn(images.shape, generator=generator, dtype=torch.float32)
    spread = images.flatten(1).std(1, correction=0)
    return images + noise.to(images) * _each(levels * spread)


def cut_out(images: Images, generator: torch.Generator, *, side: float = 0.25, share: float = 0.5) -> Images:
    """Return the images, some with a square replaced by their mean (DeVries and Taylor 2017, arXiv:1708.04552, section 3).

    Deviates: the square lies wholly inside, and takes the image's own mean instead of the data's.

    Args:
        images: any scale.
        generator: of the random numbers.
        side: of the square, as a share of each side, rounded to pixels.
        share: probability that an image is cut.

    Raises:
        InputError: a share outside [0, 1].
    """
    _checked("side", side, most=1.0)
    _checked("share", share, most=1.0)
    if not side or not share:
        return images
    high, wide = images.shape[2:]
    inside = _boxes(images, round(side * high), round(side * wide), generator)
    chosen = torch.rand(len(images), generator=generator, dtype=torch.float64) < share
    inside = inside & _each(chosen).to(images.device)
    return torch.where(inside, images.mean((2, 3), keepdim=True), images)


def _boxes(images: Images, high: int, wide: int, generator: torch.Generator) -> Tensor:
    """Return `[n, 1, height, width]`, true inside a box of each image that lies anywhere in it."""
    sides = []
    for whole, length in zip(images.shape[2:], (high, wide), strict=True):
        first = torch.randint(whole - length + 1, (len(images), 1), generator=generator)
        place = torch.arange(whole)
        sides.append((place >= first) & (place < first + length))
    return (sides[0][:, None, :, None] & sides[1][:, None, None, :]).to(images.device)


@dataclass(frozen=True)
class Augmentation:
    """What happens to every image of a training step, in this order; each strength 0 leaves its part out.

    The strengths are those of the functions of the same words: `flipped`, `moved`, `cropped`, `relit`, `recoloured`, `blurred`, `noisy`,
    `cut_out`. `quarters` turns by quarters (1) or not (0): for cells and tissue, not for chests.

    Raises:
        InputError: when called, a strength outside of what its function takes, or colours of grey images.
    """

    across: float = 0.5
    upside_down: float = 0.0
    quarters: int = 0
    degrees: float = 15.0
    scale: float = 0.1
    shift: float = 0.05
    shear: float = 0.0
    least: float = 1.0
    ratio: float = 4 / 3
    brightness: float = 0.1
    contrast: float = 0.2
    gamma: float = 0.2
    saturation: float = 0.0
    hue: float = 0.0
    stain: float = 0.0
    blur: float = 0.0
    noise: float = 0.05
    cut_side: float = 0.25
    cut_share: float = 0.0

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """Return the images changed; the same generator state gives the same images."""
        images = flipped(images, generator, across=self.across, upside_down=self.upside_down)
        if self.quarters:
            images = quarter_turned(images, generator)
        images = moved(images, generator, degrees=self.degrees, scale=self.scale, shift=self.shift, shear=self.shear)
        images = cropped(images, generator, least=self.least, ratio=self.ratio)
        if self.saturation or self.hue or self.stain:
            images = recoloured(images, generator, saturation=self.saturation, hue=self.hue, stain=self.stain)
        images = relit(images, generator, brightness=self.brightness, contrast=self.contrast, gamma=self.gamma)
        images = blurred(images, generator, sigma=self.blur)
        images = noisy(images, generator, sigma=self.noise)
        return cut_out(images, generator, side=self.cut_side, share=self.cut_share)
