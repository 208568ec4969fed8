"""What is dark on an image and what is darkest: cytoplasm and nucleus of a stained cell, bright and brightest tissue of a scan.

Otsu's method for three classes (Liao, Chen and Chung 2001, Journal of Information Science and Engineering 17) on the distance from the background's
colour; both thresholds are described, wherever on the image something stands out.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from metamedica.errors import MissingExtraError
from metamedica.modalities.images.outline import away_from_background

_OF_PLACE = 8
SIZE = 2 * (_OF_PLACE + 3)
_LEAST_PIXELS = 0.003
"""Share of an image below which a part is a speck."""


def nuclei(squares: UInt8[np.ndarray, "n side side 3"]) -> Float32[np.ndarray, "n 22"]:
    """Return numbers that describe what lies over each of two thresholds of darkness; 0 where nothing stands out.

    For each threshold: share of the image, root of the number of parts; of the largest part solidity, eccentricity, extent, share of all, root of
    the area (as a share of the side), roundness. Then the mean CIELAB colour between the thresholds, and above both.

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    try:
        from skimage.color import rgb2lab
        from skimage.filters import threshold_multiotsu
    except ImportError:
        raise MissingExtraError("scikit-image", "images") from None
    found = np.zeros((len(squares), SIZE), np.float32)
    for at, square in enumerate(squares):
        dark = away_from_background(square.astype(np.float32) / 255)
        if len(np.unique(dark)) < 3:
            continue
        low, high = threshold_multiotsu(dark, 3)
        lab = np.asarray(rgb2lab(square), np.float32)
        places = np.concatenate([_place(dark > threshold) for threshold in (low, high)])
        shades = [_mean(lab, (dark > low) & (dark <= high)), _mean(lab, dark > high)]
        found[at] = np.concatenate([places, *shades])
    return found


def _place(inside: Bool[np.ndarray, "side side"]) -> Float[np.ndarray, " 8"]:
    from skimage.measure import label, regionprops

    parts = label(inside)
    if parts.max() == 0:
        return np.zeros(_OF_PLACE)
    areas = np.bincount(parts.ravel())[1:]
    (largest,) = regionprops((parts == 1 + int(areas.argmax())).astype(np.uint8))
    around = max(float(largest.perimeter), 1.0)
    return np.array(
        [
            inside.mean(),
            np.sqrt((areas > _LEAST_PIXELS * inside.size).sum()),
            largest.solidity,
            largest.eccentricity,
            largest.extent,
            areas.max() / areas.sum(),
            np.sqrt(largest.area) / len(inside),
            min(4 * np.pi * largest.area / around**2, 2.0),
        ]
    )


def _mean(lab: Float[np.ndarray, "side side 3"], here: Bool[np.ndarray, "side side"]) -> Float[np.ndarray, " 3"]:
    return lab[here].mean(0) if here.any() else np.zeros(3)
