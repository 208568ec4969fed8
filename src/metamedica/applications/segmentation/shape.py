"""What all masks of a support have in common: one part, no holes, nowhere thinner than a disc. New masks are tidied to it and no further.

A white cell is one body without holes; vessels are many, thin and looped. Which of these holds is read off the support's masks, never set, and only
what holds in every one of them is asked of a new mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import binary_fill_holes, distance_transform_edt, label
from torch import Tensor

from metamedica.applications.segmentation.cases import UNLABELLED, LabelledPicture
from metamedica.applications.segmentation.measures import dice

RADII = (10.0, 8.0, 6.0, 5.0, 4.0, 3.0, 2.0)
"""Of the discs that are tried, working pixels."""
KEPT = 0.98
"""Dice coefficient of every mask of the support with itself after opening by the disc."""
_LEAST_IMAGES = 3
"""Fewer images have too much in common by chance."""


@dataclass(frozen=True)
class Shape:
    """What every mask of the support shows, of all structures together.

    Args:
        one_part: it is connected (pixels that touch at a corner are).
        no_holes: it encloses no background.
        radius: of the disc that it is a union of, nearly (`KEPT`), in working pixels; 0 where thinner parts belong to it.
    """

    one_part: bool = False
    no_holes: bool = False
    radius: float = 0.0

    @classmethod
    def learned(cls, pairs: Sequence[LabelledPicture]) -> "Shape":
        """Return what the masks have in common; nothing where they are fewer than three, partly labelled, or one shows no structure."""
        masks = [(pair.classes > 0).numpy() for pair in pairs]
        partly = any(bool(((pair.classes == UNLABELLED) & pair.picture.region).any()) for pair in pairs)
        if len(pairs) < _LEAST_IMAGES or partly or not all(mask.any() for mask in masks):
            return cls()
        one_part = all(label(mask, structure=np.ones((3, 3)))[1] == 1 for mask in masks)
        no_holes = all((binary_fill_holes(mask) == mask).all() for mask in masks)
        kept = (each for each in RADII if all(dice(opened(mask, each), mask) >= KEPT for mask in masks))
        return cls(one_part, no_holes, next(kept, 0.0))

    def tidied(
        self, classes: Int[Tensor, "height width"], chance: Float[Tensor, "classes height width"], *, scale: float = 1.0
    ) -> Int[Tensor, "height width"]:
        """Return a mask with holes filled, thin parts taken off, and one part kept: that with most of all structures.

        Args:
            classes: of the pixels.
            chance: probability of each class at each pixel.
            scale: pixels of this mask for a working pixel.
        """
        whole: Bool[np.ndarray, "height width"] = (classes > 0).numpy()
        if self == Shape() or not whole.any():
            return classes
        if self.no_holes:
            whole = binary_fill_holes(whole)
        if self.radius:
            thick = opened(whole, self.radius * scale)
            whole = thick if thick.any() else whole
        if self.one_part:
            named, count = label(whole, structure=np.ones((3, 3)))
            if count > 1:
                # shares of each structure's own total: a stray blot of one structure does not outweigh a part that has them all
                shares = chance[1:].double() / chance[1:].double().sum((1, 2), keepdim=True).clamp(min=1e-12)
                weight = np.bincount(named.ravel(), weights=shares.sum(0).numpy().ravel())
                whole = named == 1 + int(weight[1:].argmax())
        structures = 1 + chance[1:].argmax(0)
        filled = torch.where(classes > 0, classes, structures)
        return torch.where(torch.from_numpy(whole), filled, torch.zeros_like(classes))


def opened(mask: Bool[np.ndarray, "height width"], radius: float) -> Bool[np.ndarray, "height width"]:
    """Return the union of all discs of this radius, in pixels, that lie in a mask.

    Beyond the border the mask counts as absent, as a structure that the border cuts is thinner by it than it seems.
    """
    wide = np.pad(mask, 1)
    within = distance_transform_edt(wide) > radius
    if not within.any():
        return np.zeros_like(mask)
    found: Bool[np.ndarray, "height width"] = (distance_transform_edt(~within) <= radius)[1:-1, 1:-1] & mask
    return found
