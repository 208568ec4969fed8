"""What of an image no rotation and no small shift changes: colours in rings, grey levels beside how they vary nearby, local binary patterns.

A handful of labelled images cannot teach a learner that a cell may lie any way round; numbers that do not change with it need not be taught.
"""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from scipy.ndimage import gaussian_filter
from torch import Tensor

from metamedica.errors import MissingExtraError

COLOURS, LEVELS, PATTERNS = 72, 80, 240
"""Sizes of the blocks."""
_RINGS = (0.0, 0.25, 0.5, 0.75, 1.0, 2.0)
"""Where rings begin and end, in half sides from the centre."""
_QUANTILES = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95)
_GREYS, _MEANS, _SPREADS = 32, 8, 6
_MOST_SPREAD = 6.5
"""Binary logarithm of one and the largest standard deviation of 8-bit greys nearby."""
_CIRCLES = ((8, 1.0), (16, 2.0), (24, 4.0), (24, 7.0))
"""Points and radius, in pixels of 64 a side."""
_ZONES = (0.0, 0.35, 0.7, 2.0)
_EQUAL = 1e-3
"""Greys that differ by less are equal: interpolation rounds."""
_AT_ONCE = 32


def colours(squares: UInt8[np.ndarray, "n side side 3"]) -> Float32[np.ndarray, "n 72"]:
    """Return mean and standard deviation of the CIELAB colours in five rings round the centre (30), and their quantiles within .6 half sides of
    the centre and in the whole image (42).

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    try:
        from skimage.color import rgb2lab
    except ImportError:
        raise MissingExtraError("scikit-image", "images") from None
    away = _away(squares.shape[1])
    found = np.empty((len(squares), COLOURS), np.float32)
    for at in range(0, len(squares), _AT_ONCE):
        lab = np.asarray(rgb2lab(squares[at : at + _AT_ONCE]), np.float32)
        told = []
        for low, high in pairwise(_RINGS):
            ring = lab[:, (away >= low) & (away < high)]
            told += [ring.mean(1), ring.std(1)]
        for within in (away < 0.6, away < 2):
            told += list(np.quantile(lab[:, within], _QUANTILES, axis=1))
        found[at : at + _AT_ONCE] = np.concatenate(told, axis=1)
    return found


def levels(grey: UInt8[np.ndarray, "n side side"]) -> Float32[np.ndarray, "n 80"]:
    """Return square roots of the shares of 32 grey levels, and of 8 x 6 pairs of the mean grey near a pixel and the logarithm of its spread there.

    Euclidean distance between square roots of shares is Hellinger's.
    """
    side = grey.shape[1]
    found = np.empty((len(grey), LEVELS), np.float32)
    for at in range(0, len(grey), _AT_ONCE):
        part = grey[at : at + _AT_ONCE].astype(np.float32)
        near = (0, side / 64, side / 64)
        mean = gaussian_filter(part, near)
        spread = np.sqrt(np.maximum(gaussian_filter(part * part, near) - mean * mean, 0))
        lightness = np.minimum(mean * (_MEANS / 256), _MEANS - 1).astype(np.int64)
        rough = np.minimum(np.log2(spread + 1) * (_SPREADS / _MOST_SPREAD), _SPREADS - 1).astype(np.int64)
        alone = (part * (_GREYS / 256)).astype(np.int64)
        found[at : at + _AT_ONCE, :_GREYS] = _shares(alone, _GREYS)
        found[at : at + _AT_ONCE, _GREYS:] = _shares(lightness * _SPREADS + rough, _MEANS * _SPREADS)
    return np.sqrt(found)


def patterns(grey: UInt8[np.ndarray, "n side side"]) -> Float32[np.ndarray, "n 240"]:
    """Return square roots of the shares of local binary patterns in three zones round the centre, for four circles.

    Uniform patterns that no rotation changes (Ojala, Pietikainen and Maenpaa 2002, IEEE Transactions on Pattern Analysis and Machine Intelligence
    24, eq. 9): the number of a circle's points that are no darker than its centre, where they lie side by side, else one code for all.
    Greys beyond the border are those at it.
    """
    side = grey.shape[1]
    zones = _zones(side)
    found = []
    for part in torch.split(torch.from_numpy(np.ascontiguousarray(grey)), _AT_ONCE):
        values = part.float()
        told = []
        for points, radius in _CIRCLES:
            codes = _codes(values, points, radius * side / 64).flatten(1)
            together = zones * (points + 2) + codes
            counts = torch.zeros(len(part), (len(_ZONES) - 1) * (points + 2))
            counts.scatter_add_(1, together, torch.ones((), dtype=counts.dtype).expand_as(together))
            shares = counts.reshape(len(part), len(_ZONES) - 1, points + 2)
            told.append((shares / shares.sum(2, keepdim=True)).sqrt().flatten(1))
        found.append(torch.cat(told, dim=1))
    return torch.cat(found).numpy() if found else np.zeros((0, PATTERNS), np.float32)


def _codes(values: Float[Tensor, "n side side"], points: int, radius: float) -> Tensor:
    """Return the pattern of each pixel, 0 to points + 1."""
    margin = math.ceil(radius) + 1
    side = values.shape[1]
    framed = torch.nn.functional.pad(values[:, None], (margin,) * 4, mode="replicate")[:, 0]
    first = before = None
    lighter = torch.zeros(values.shape, dtype=torch.int64)
    changes = torch.zeros(values.shape, dtype=torch.int64)
    for point in range(points):
        turn = 2 * math.pi * point / points
        seen = _moved(framed, -radius * math.sin(turn), radius * math.cos(turn), margin, side)
        bit = seen >= values - _EQUAL
        lighter += bit
        if before is None:
            first = bit
        else:
            changes += bit != before
        before = bit
    changes += before != first
    return lighter.where(changes <= 2, torch.full_like(lighter, points + 1))


def _moved(
    framed: Float[Tensor, "n whole whole"], down: float, right: float, margin: int, side: int
) -> Float[Tensor, "n side side"]:
    """Return each pixel's neighbour so far away, interpolated bilinearly."""
    down, right = round(down, 6), round(right, 6)  # a whole number of pixels is not interpolated
    top, left = math.floor(down), math.floor(right)
    rest_down, rest_right = down - top, right - left
    moved = torch.zeros((), dtype=framed.dtype)
    for below, weight in ((0, 1 - rest_down), (1, rest_down)):
        for beside, share in ((0, 1 - rest_right), (1, rest_right)):
            if weight * share > 0:
                row, column = margin + top + below, margin + left + beside
                moved = moved + weight * share * framed[:, row : row + side, column : column + side]
    return moved


@cache
def _zones(side: int) -> Tensor:
    """Return the zone of each pixel, `[side * side]`."""
    return torch.from_numpy(np.digitize(_away(side), _ZONES[1:-1])).flatten()


def _away(side: int) -> Float[np.ndarray, "side side"]:
    """Return how far each pixel is from the centre, in half sides."""
    axis = np.arange(side) - (side - 1) / 2
    return np.asarray(np.sqrt(axis[:, None] ** 2 + axis**2) / (side / 2))


def _shares(codes: Tensor | np.ndarray, count: int) -> Float[np.ndarray, "n count"]:
    """Return how often each code occurs in each image, as shares."""
    n = len(codes)
    flat = codes.reshape(n, -1)
    together = (np.arange(n)[:, None] * count + flat).ravel()
    return np.bincount(together, minlength=n * count).reshape(n, count) / flat.shape[1]
