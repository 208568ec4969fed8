"""Classical features of an image: histograms of oriented gradients, coarse pixels and a grey histogram. What a linear model from scratch gets.

Dalal and Triggs 2005, Histograms of Oriented Gradients for Human Detection (CVPR), as scikit-image has it: 9 orientations, 8 x 8 pixels a
cell, 2 x 2 cells a block, L2-Hys.
"""

import numpy as np
from jaxtyping import Float32, UInt8

from metamedica.errors import MissingExtraError

SIDE = 64
"""Pixels of a side that the gradients are taken on, whatever the images have."""
_COARSE, BINS = 16, 32
SIZE = 7 * 7 * 4 * 9 + _COARSE**2 + BINS


def classical(grey: UInt8[np.ndarray, "n side side"]) -> Float32[np.ndarray, "n 2052"]:
    """Return gradients (1,764), 16 x 16 pixels (256) and the shares of 32 grey levels of each image.

    Raises:
        MissingExtraError: scikit-image or Pillow is not installed.
    """
    try:
        from PIL import Image
        from skimage.feature import hog
    except ImportError:
        raise MissingExtraError("scikit-image", "images") from None
    found = np.empty((len(grey), SIZE), np.float32)
    for at, each in enumerate(grey):
        image = Image.fromarray(each)
        small = image if each.shape == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        values = np.asarray(small, np.float64) / 255
        gradients = hog(values, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
        coarse = np.asarray(small.resize((_COARSE, _COARSE), Image.Resampling.BOX)).ravel() / 255
        shares = np.histogram(np.asarray(small), BINS, (0, 256))[0] / SIDE**2
        found[at] = np.concatenate([gradients, coarse, shares])
    return found
