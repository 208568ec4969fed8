"""The parts of an image are the patches of a grid; one that is away shows what is left of it under a wide blur.

Occlusion by a blur and not by black or grey, which would itself be a sign (Fong and Vedaldi 2017, arXiv:1704.03296, section 4.1).
"""

from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from jaxtyping import Bool, UInt8
from scipy.ndimage import gaussian_filter
from torch import Tensor

from metamedica.errors import InputError
from metamedica.parts import CaseParts
from metamedica.types import Features

GRID = 8
COALITIONS = 400
"""Of patches that are asked about, each a further image to look at: some seconds."""
_BLUR = 1 / 8
"""Standard deviation of the blur, as a share of the side: one patch."""
_FOR, _AGAINST = "#e66100", "#2166ac"


def image_parts(
    square: UInt8[np.ndarray, "side side 3"], featurised: Callable[[UInt8[np.ndarray, "n side side 3"]], Features]
) -> CaseParts:
    """Return the patches of an image, row by row from the top left.

    Args:
        square: the image.
        featurised: makes blocks of images.
    """
    names = tuple(f"row {row + 1}, column {column + 1}" for row in range(GRID) for column in range(GRID))
    return CaseParts(names, ("",) * len(names), _Blurred(square, featurised), 1, separate=False, coalitions=COALITIONS)


class _Blurred:
    """An image with some of its patches blurred out."""

    def __init__(
        self,
        square: UInt8[np.ndarray, "side side 3"],
        featurised: Callable[[UInt8[np.ndarray, "n side side 3"]], Features],
    ) -> None:
        self._square, self._featurised = square, featurised
        width = square.shape[0] * _BLUR
        self._blur = np.rint(gaussian_filter(square.astype(np.float32), (width, width, 0), mode="nearest")).astype(
            np.uint8
        )
        place = np.arange(square.shape[0]) * GRID // square.shape[0]
        self._patch = place[:, None] * GRID + place[None]

    def __call__(self, present: Bool[Tensor, "coalitions parts"]) -> Features:
        there = present.numpy()[:, self._patch][..., None]
        return self._featurised(np.where(there, self._square, self._blur))


def shaded(canonical: str, contributions: Sequence[float], *, size: int) -> str:
    """Return an SVG of the image under a grid of shades, strongest at the largest contribution.

    Raises:
        InputError: as many contributions as patches were wanted.
    """
    if len(contributions) != GRID**2:
        raise InputError(f"got {len(contributions)} contributions for an image of {GRID**2} patches; give one a patch")
    most = max(abs(float(by)) for by in contributions) or 1.0
    step = size / GRID
    marks = [
        f'<rect x="{place % GRID * step:.2f}" y="{place // GRID * step:.2f}" width="{step:.2f}" height="{step:.2f}" '
        f'fill="{_FOR if by > 0 else _AGAINST}" fill-opacity="{0.6 * abs(by) / most:.3f}"/>'
        for place, by in enumerate(contributions)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="case" width="{size}" height="{size}" viewBox="0 0 {size} {size}" role="img">'
        f'<image href="{escape(canonical)}" width="{size}" height="{size}"/>{"".join(marks)}</svg>'
    )
