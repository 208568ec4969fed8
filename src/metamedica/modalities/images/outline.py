"""The object in the middle of an image: its size, its outline, how dark it is from the middle to the rim. What a cell, a lesion or a lung is told by.

The object is found by Otsu's threshold (1979, IEEE Transactions on Systems, Man, and Cybernetics 9) on the distance from the background's colour; its
outline by the lengths of rays from its centre, as magnitudes of their Fourier series, which no rotation changes (Zahn and Roskies 1972, IEEE
Transactions on Computers C-21).
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.ndimage import binary_fill_holes, binary_opening, gaussian_filter, map_coordinates

from metamedica.errors import MissingExtraError

RAYS, HARMONICS, RINGS = 64, 12, 10
SIZE = 11 + HARMONICS + 2 * RINGS + 3 + 6
_LIGHTEST = 0.7
"""Pixels lighter than this share of all are background, by their median."""
_RIM = 1.3
"""Radii of a circle of the object's area that rings go out to."""
_SPREADS = np.array(
    [0.12] * 3 + [0.15] * 5 + [0.1] * 2 + [0.5]
    + [0.8] * HARMONICS
    + [0.1] * RINGS + [0.05] * RINGS
    + [0.1] * 3
    + [0.02, 0.1, 0.3, 0.25, 0.1, 0.1],
    np.float32,
)  # fmt: skip
"""Of each number between cells of one smear, roughly: what one unit of the block is."""


def outlines(squares: UInt8[np.ndarray, "n side side 3"]) -> Float32[np.ndarray, "n 52"]:
    """Return numbers that describe the object in the middle of each image; 0 where nothing stands out.

    Size (root of the area, axes, as shares of the side), shape (eccentricity, solidity, extent, roundness, ratio of the axes), darkness (mean,
    spread), whether it touches the border; 12 harmonics of the outline (logarithms); darkness and its spread in 10 rings; colour beside the
    background's; roughness and extent of the rays, and darkest and lightest tenth.

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    found = np.zeros((len(squares), SIZE), np.float32)
    for at, square in enumerate(squares):
        described = _described(square)
        if described is not None:
            found[at] = np.clip(described / _SPREADS, -20, 20)
    return found


def _described(square: UInt8[np.ndarray, "side side 3"]) -> Float32[np.ndarray, " 52"] | None:
    try:
        from skimage.measure import regionprops
    except ImportError:
        raise MissingExtraError("scikit-image", "images") from None
    side = square.shape[0]
    pixels = gaussian_filter(square.astype(np.float32) / 255, (side / 64, side / 64, 0))
    background = _background(pixels)
    dark = away_from_background(pixels)
    inside = _object(dark)
    if inside is None:
        return None
    (told,) = regionprops(inside.astype(np.uint8))
    low, left, high, right = told.bbox
    area, around = float(told.area), max(float(told.perimeter), 1.0)
    radius = np.sqrt(area / np.pi)
    within = dark[inside]
    rays = _rays(inside, told.centroid) / radius
    harmonics = np.abs(np.fft.rfft(rays))[1 : HARMONICS + 1] / RAYS
    rings = _rings(dark, told.centroid, radius)
    return np.concatenate(
        [
            [np.sqrt(area) / side, told.axis_major_length / side, around / (4 * side)],
            [told.eccentricity, told.solidity, told.extent, min(4 * np.pi * area / around**2, 2.0)],
            [told.axis_minor_length / max(told.axis_major_length, 1.0)],
            [within.mean(), within.std()],
            [float(min(low, left) == 0 or max(high, right) == side)],
            np.log(harmonics + 1e-3),
            rings.mean(1),
            rings.std(1),
            pixels[inside].mean(0) - background,
            [np.abs(np.diff(rays)).mean(), rays.std(), rays.max(), rays.min()],
            np.quantile(within, [0.1, 0.9]),
        ]
    ).astype(np.float32)


def away_from_background(pixels: Float[np.ndarray, "side side 3"]) -> Float[np.ndarray, "side side"]:
    """Return how far each pixel's colour is from the background's, which is the median of the lightest."""
    return np.asarray(np.sqrt(((pixels - _background(pixels)) ** 2).sum(2)))


def _background(pixels: Float[np.ndarray, "side side 3"]) -> Float[np.ndarray, " 3"]:
    light = pixels.mean(2)
    return np.asarray(np.median(pixels[light >= np.quantile(light, _LIGHTEST)], axis=0))


def _object(dark: Float[np.ndarray, "side side"]) -> Bool[np.ndarray, "side side"] | None:
    """Return where the object in the middle is; None where nothing stands out."""
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    if dark.max() - dark.min() < 1e-6:
        return None
    parts = label(binary_opening(binary_fill_holes(dark > threshold_otsu(dark))))
    if parts.max() == 0:
        return None
    side = len(dark)
    away = np.arange(side) - (side - 1) / 2
    central = np.exp(-(away[:, None] ** 2 + away**2) / (2 * (side / 6) ** 2))
    return np.asarray(parts == 1 + int(np.argmax(np.bincount(parts.ravel(), central.ravel())[1:])))


def _rays(inside: Bool[np.ndarray, "side side"], centre: tuple[float, float]) -> Float[np.ndarray, " 64"]:
    """Return how far from the centre the object goes in each direction, in pixels: what of a ray lies inside."""
    step = 0.5
    seen = _polar(inside.astype(np.float32), centre, np.arange(0, len(inside), step), outside=0.0)
    return np.asarray((seen > 0.5).sum(0) * step)


def _rings(
    dark: Float[np.ndarray, "side side"], centre: tuple[float, float], radius: float
) -> Float[np.ndarray, "10 64"]:
    return _polar(dark, centre, np.linspace(0, _RIM * radius, RINGS), outside=None)


def _polar(
    values: Float[np.ndarray, "side side"],
    centre: tuple[float, float],
    radii: Float[np.ndarray, " radii"],
    *,
    outside: float | None,
) -> Float[np.ndarray, "radii 64"]:
    turn = np.linspace(0, 2 * np.pi, RAYS, endpoint=False)
    places = [centre[0] + radii[:, None] * np.sin(turn), centre[1] + radii[:, None] * np.cos(turn)]
    mode = "nearest" if outside is None else "constant"
    return np.asarray(map_coordinates(values, places, order=1, mode=mode, cval=outside or 0.0))
