"""Made-up images with a known answer: smooth random pictures, series of slices, and sets in which nothing is to be found."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from metamedica.data.image_audit.pictures import ImageSet, gathered, look


def pictures(n: int, seed: int, *, size: tuple[int, int] = (48, 40), blur: float = 2.0) -> NDArray[np.uint8]:
    """Smooth random pictures, no two alike."""
    noise = np.random.default_rng(seed).normal(size=(n, *size))
    smooth = np.stack([gaussian_filter(each, blur) for each in noise])
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    return ((smooth - low) / (high - low) * 255).astype(np.uint8)


def series(patients: int, slices: int, seed: int) -> NDArray[np.uint8]:
    """Slices in order: each patient is a picture that changes slowly."""
    first, last = pictures(patients, seed), pictures(patients, seed + 1)
    share = np.linspace(0, 0.5, slices)[:, None, None]
    every = first[:, None] * (1 - share) + last[:, None] * share
    return every.reshape(-1, *first.shape[1:]).astype(np.uint8)


def image_set(images: Any, labels: Any, *, split: Any = None, groups: Any = None, **given: Any) -> ImageSet:
    texts = [None if each is None else [str(text) for text in each] for each in (labels, split, groups)]
    return gathered([look(each) for each in images], texts[0] or [], split=texts[1], groups=texts[2], **given)
