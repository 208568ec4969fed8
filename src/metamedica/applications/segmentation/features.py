"""Dense features of images in plain torch: brightness and colour against the image's own, edges, blobs, ridges and thin lines at several scales.

Every feature is measured against the image itself (its median and spread, or those of the surroundings), so that another stain, lamp or exposure
changes little. Second derivatives in all directions (eigenvalues of the Hessian; Frangi et al. 1998) and second derivatives of a Gaussian that is
long in one direction, the greatest over directions (Soares et al. 2006 do so with Gabor wavelets), find vessels and membranes.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

DIRECTIONS = 12
SURROUNDINGS = (6.0, 12.0, 24.0)
"""Standard deviations in pixels of the surroundings that brightness is measured against."""
SCALES = (0.7, 1.0, 1.5, 2.2, 3.2, 5.0)
LINES = ((0.8, 3.0), (1.2, 4.0), (1.2, 7.0), (1.8, 5.0), (1.8, 9.0), (2.7, 8.0))
"""Half width and half length of the lines that are looked for, in pixels."""
_LEAST = 1e-3
_RANGE = 8.0
"""Features are cut at this many usual distances: a speck of dust is no better told apart by being ten times as dark."""
_GREY = (0.299, 0.587, 0.114)


@lru_cache(maxsize=64)
def _gaussian(scale: float) -> Tensor:
    reach = max(1, math.ceil(3 * scale))
    at = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weight = torch.exp(-at.square() / (2 * scale**2))
    return weight / weight.sum()


@lru_cache(maxsize=32)
def _line_kernels(width: float, length: float) -> Tensor:
    """Return minus the second derivative across of a long Gaussian, in `DIRECTIONS` directions: mean 0, absolute sum 2."""
    reach = math.ceil(max(3 * width, 2 * length))
    grid = torch.arange(-reach, reach + 1, dtype=torch.float32)
    down, right = torch.meshgrid(grid, grid, indexing="ij")
    kernels = []
    for step in range(DIRECTIONS):
        angle = math.pi * step / DIRECTIONS
        across = right * math.cos(angle) + down * math.sin(angle)
        along = down * math.cos(angle) - right * math.sin(angle)
        kernel = (across.square() / width**2 - 1) * torch.exp(
            -across.square() / (2 * width**2) - along.square() / (2 * length**2)
        )
        kernel = kernel - kernel.mean()
        kernels.append(2 * kernel / kernel.abs().sum())
    return torch.stack(kernels)[:, None]


def blurred(images: Float[Tensor, "n channels height width"], scale: float) -> Float[Tensor, "n channels height width"]:
    """Return images under a Gaussian of this standard deviation in pixels; beyond the border the edge's value goes on."""
    kernel = _gaussian(scale)
    reach, channels = len(kernel) // 2, images.shape[1]
    wide = functional.pad(images, (reach, reach, reach, reach), mode="replicate")
    wide = functional.conv2d(wide, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return functional.conv2d(wide, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def _blurred_inside(images: Tensor, inside: Tensor, scale: float) -> Tensor:
    return blurred(images * inside, scale) / (blurred(inside, scale) + _LEAST)


def against_surroundings(
    grey: Float[Tensor, "n 1 height width"], inside: Float[Tensor, "n 1 height width"], scale: float
) -> Float[Tensor, "n 1 height width"]:
    """Return brightness less its mean in the surroundings, over its standard deviation there; 0 outside of the region."""
    mean = _blurred_inside(grey, inside, scale)
    spread = _blurred_inside((grey - mean).square(), inside, scale).sqrt()
    return (grey - mean) / (spread + 10 * _LEAST) * inside


def standardised(
    images: Float[Tensor, "n channels height width"], regions: Bool[Tensor, "n height width"]
) -> Float[Tensor, "n channels height width"]:
    """Return images less the median of each channel, over the root mean squared distance of all channels; 0 outside of the region.

    In most images the median is the background, so that colours are told as differences from it; one scale for all channels keeps their hue.
    """
    found = torch.zeros_like(images)
    for at, (image, region) in enumerate(zip(images, regions, strict=True)):
        values = image[:, region]
        middle = values.median(dim=1).values[:, None]
        spread = (values - middle).square().mean().sqrt().clamp(min=_LEAST)
        found[at][:, region] = (values - middle) / spread
    return found


def _hessian(grey: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the greater and the smaller eigenvalue of the Hessian, the gradient's length, all per scale, and the blurred image."""
    smooth = blurred(grey, scale)
    wide = functional.pad(smooth, (1, 1, 1, 1), mode="replicate")
    left, right, up, down = wide[..., 1:-1, :-2], wide[..., 1:-1, 2:], wide[..., :-2, 1:-1], wide[..., 2:, 1:-1]
    across, along = left + right - 2 * smooth, up + down - 2 * smooth
    mixed = (wide[..., 2:, 2:] + wide[..., :-2, :-2] - wide[..., 2:, :-2] - wide[..., :-2, 2:]) / 4
    root = ((across - along).square() + 4 * mixed.square()).sqrt()
    slope = ((right - left).square() + (down - up).square()).sqrt() / 2
    return scale**2 * (across + along + root) / 2, scale**2 * (across + along - root) / 2, scale * slope, smooth


def line_responses(
    grey: Float[Tensor, "n 1 height width"], width: float, length: float
) -> Float[Tensor, "n 2 height width"]:
    """Return the response to a dark line of this half width and half length: the greatest over directions, and its spread over them."""
    kernels = _line_kernels(width, length)
    reach = kernels.shape[-1] // 2
    found = functional.conv2d(functional.pad(grey, (reach, reach, reach, reach), mode="replicate"), kernels)
    return torch.cat([found.amax(1, keepdim=True), found.std(1, keepdim=True)], dim=1)


def _from_centre(n: int, height: int, width: int) -> Tensor:
    down, right = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return (2 * (down.square() + right.square()).sqrt() - 1).expand(n, 1, height, width)


def _grounds(images: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return standardised colours (three channels), brightness, the region, and brightness with the rim of the region filled in."""
    grey = images if images.shape[1] == 1 else (images * images.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
    inside = regions[:, None].to(images.dtype)
    around = _blurred_inside(grey, inside, 12.0)
    filled = against_surroundings(grey * inside + (1 - inside) * around, torch.ones_like(inside), 16.0)
    colours = standardised(images, regions).expand(len(images), 3, *images.shape[2:])
    return colours, grey, inside, filled


def network_channels(
    images: Float[Tensor, "n channels height width"], regions: Bool[Tensor, "n height width"]
) -> Float[Tensor, "n features height width"]:
    """Return what a network is given of images of one size, grey or colour alike: `NETWORK_CHANNELS` features.

    Standardised colours (grey: three times), brightness against two surroundings, ridges and blobs at three scales, dark lines at three, and the
    distance from the centre.
    """
    colours, grey, inside, filled = _grounds(images, regions)
    found = [colours, *(against_surroundings(grey, inside, scale) for scale in SURROUNDINGS[1:])]
    for scale in (1.0, 2.2, 5.0):
        found += _hessian(filled, scale)[:2]
    found += [line_responses(filled, *line) for line in (LINES[1], LINES[4], LINES[5])]
    found.append(_from_centre(len(images), *images.shape[2:]))
    return torch.cat(found, dim=1).clamp(-_RANGE, _RANGE)


NETWORK_CHANNELS = 3 + 2 + 6 + 6 + 1


def dense_features(
    images: Float[Tensor, "n channels height width"], regions: Bool[Tensor, "n height width"]
) -> Float[Tensor, "n features height width"]:
    """Return what a head is given of each pixel of images of one size: 48 features, for colour the standardised colours at three scales more.

    Args:
        images: 0 ... 1; 1 channel for grey, 3 for colour.
        regions: pixels that count.
    """
    colours, grey, inside, filled = _grounds(images, regions)
    found = [against_surroundings(grey, inside, scale) for scale in SURROUNDINGS]
    for scale in SCALES:
        found += _hessian(filled, scale)
    found += [line_responses(filled, *line) for line in LINES]
    around = colours[:, :1] if images.shape[1] == 1 else colours
    found += [around, *(blurred(around, scale) for scale in (2.2, 5.0))]
    found.append(_from_centre(len(images), *images.shape[2:]))
    return torch.cat(found, dim=1).clamp(-_RANGE, _RANGE)
