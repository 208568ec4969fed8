"""Images and masks as a segmenter takes them: checked, in single precision, at a working size.

A mask holds whole numbers: 0 background, 1 ... classes - 1 structures, and -1 where nobody has labelled the pixel. A pixel outside of the region
(what lies beyond the rim of an eye fundus, say) counts nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from metamedica.applications.segmentation.features import dense_features
from metamedica.errors import CaseError, TaskError

UNLABELLED = -1
WORKING_SIDE = 320
"""Longest side in pixels at which images are segmented; larger ones are averaged down to it, and the answer is drawn at their own size."""
LEAST_SIDE = 16


@dataclass(frozen=True)
class Picture:
    """An image as a segmenter reads it.

    Args:
        pixels: `[channels, height, width]` at the working size, from 0 to 1, 3 channels for colour and 1 for grey.
        region: pixels that count, `[height, width]`.
        size: height and width of the image as it came.
    """

    pixels: Float[Tensor, "channels height width"]
    region: Bool[Tensor, "height width"]
    size: tuple[int, int]

    @property
    def colour(self) -> bool:
        """Whether the image has three channels."""
        return len(self.pixels) == 3

    @cached_property
    def dense(self) -> Float[Tensor, "features height width"]:
        """The dense features in half precision (12 MB at most), computed once: every head that is tried asks for them."""
        return dense_features(self.pixels[None], self.region[None])[0].half()


@dataclass(frozen=True)
class LabelledPicture:
    """An image and the class of each pixel.

    Args:
        picture: the image.
        classes: `[height, width]` at the working size; `UNLABELLED` where nobody has labelled the pixel or it lies outside of the region.
    """

    picture: Picture
    classes: Int[Tensor, "height width"]


def read_picture(
    image: NDArray[np.generic], *, region: NDArray[np.generic] | None = None, name: str = "image"
) -> Picture:
    """Return an image at the working size.

    Args:
        image: `[height, width]` or `[height, width, 3]`; whole numbers of 8 or 16 bits, or finite numbers, which are drawn out to 0 ... 1.
        region: `[height, width]`, true where pixels count; everywhere by default.
        name: of the image, in errors.

    Raises:
        CaseError: another shape, fewer than 16 pixels a side, NaN or infinity, one value everywhere, or a region that is of another size or empty.
    """
    values = np.asarray(image)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3):
        raise CaseError(f"{name} has shape {values.shape}; give height x width, or height x width x 3")
    if min(values.shape[:2]) < LEAST_SIDE:
        raise CaseError(
            f"{name} is {values.shape[0]} x {values.shape[1]} pixels; give images of at least {LEAST_SIDE} pixels a side"
        )
    if values.dtype.kind not in "uif":
        raise CaseError(f"{name} holds values of type {values.dtype}; give numbers")
    if not np.isfinite(values).all():
        raise CaseError(
            f"{name} holds {int((~np.isfinite(values)).sum())} values that are NaN or infinite; give finite numbers"
        )
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise CaseError(f"{name} has one value in every pixel; give an image that shows something")
    if values.dtype == np.uint8:
        low, high = 0.0, 255.0
    pixels = torch.from_numpy((values.astype(np.float32) - low) / (high - low))
    pixels = pixels.movedim(2, 0) if pixels.dim() == 3 else pixels[None]
    inside = np.ones(values.shape[:2], dtype=bool) if region is None else np.asarray(region)
    if inside.shape != values.shape[:2]:
        raise CaseError(
            f"the region of {name} is {' x '.join(map(str, inside.shape))}, the image {values.shape[0]} x {values.shape[1]}; give both at one size"
        )
    if not (inside != 0).any():
        raise CaseError(f"the region of {name} holds no pixel; leave it out, or mark the pixels that count")
    size = working_size(values.shape[0], values.shape[1])
    counted = torch.from_numpy(inside != 0)[None, None].float()
    return Picture(
        functional.interpolate(pixels[None], size=size, mode="area")[0],
        functional.interpolate(counted, size=size, mode="nearest-exact")[0, 0] > 0,
        (values.shape[0], values.shape[1]),
    )


def working_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width at which an image is segmented."""
    scale = min(1.0, WORKING_SIDE / max(height, width))
    return max(LEAST_SIDE, round(height * scale)), max(LEAST_SIDE, round(width * scale))


def read_mask(
    mask: NDArray[np.generic], picture: Picture, n_classes: int, *, name: str = "mask"
) -> Int[Tensor, "height width"]:
    """Return the classes of an image's pixels at the working size.

    Args:
        mask: `[height, width]` of the image as it came; 0 ... `n_classes` - 1, and -1 where nobody has labelled.
        picture: the image.
        n_classes: declared classes with the background.
        name: of the mask, in errors.

    Raises:
        CaseError: another size, values that are no whole numbers or not declared, or no labelled pixel inside the region.
    """
    values = np.asarray(mask)
    if values.shape != picture.size:
        raise CaseError(
            f"{name} is {' x '.join(map(str, values.shape))}, its image {picture.size[0]} x {picture.size[1]}; give masks of their image's size"
        )
    if values.dtype.kind not in "buif" or not np.isfinite(values).all() or (values != np.round(values)).any():
        raise CaseError(f"{name} holds values that are no whole numbers; give the number of its class for each pixel")
    strange = sorted({int(value) for value in np.unique(values)} - set(range(UNLABELLED, n_classes)))
    if strange:
        raise CaseError(
            f"{name} holds the value {strange[0]}, declared are 0 ... {n_classes - 1} and {UNLABELLED} for not labelled; "
            "give masks with the declared values or declare more classes"
        )
    at = torch.from_numpy(values.astype(np.float32))[None, None]
    size = picture.region.shape
    classes = functional.interpolate(at, size=(size[0], size[1]), mode="nearest-exact")[0, 0].long()
    classes = classes.masked_fill(~picture.region, UNLABELLED)
    if not (classes != UNLABELLED).any():
        raise CaseError(f"{name} has no labelled pixel inside the region; give a mask with labels")
    return classes


def read_pairs(
    images: Sequence[NDArray[np.generic]],
    masks: Sequence[NDArray[np.generic]],
    n_classes: int,
    *,
    regions: Sequence[NDArray[np.generic]] | None = None,
) -> list[LabelledPicture]:
    """Return image and mask pairs as a segmenter reads them.

    Args:
        images: as `read_picture` takes them, all colour or all grey.
        masks: as `read_mask` takes them.
        n_classes: declared classes with the background, 2 or more.
        regions: of the images; everywhere by default.

    Raises:
        CaseError: an image or mask that cannot be read; its position is named.
        TaskError: no pair, not as many masks or regions as images, fewer than 2 classes, colour mixed with grey, or pixels of one class only.
    """
    if n_classes < 2:
        raise TaskError(f"got {n_classes} class; declare the background and at least one structure")
    if len(images) != len(masks) or (regions is not None and len(regions) != len(images)):
        told = f" and {len(regions)} regions" if regions is not None else ""
        raise TaskError(f"got {len(images)} images, {len(masks)} masks{told}; give one of each for an image")
    if not images:
        raise TaskError("got no image; give at least one image and its mask")
    pairs = []
    for at, (image, mask) in enumerate(zip(images, masks, strict=True)):
        region = None if regions is None else regions[at]
        picture = read_picture(image, region=region, name=f"image {at + 1}")
        pairs.append(LabelledPicture(picture, read_mask(mask, picture, n_classes, name=f"mask {at + 1}")))
    if len({pair.picture.colour for pair in pairs}) > 1:
        raise TaskError("got grey and colour images in one support; give all as grey or all as colour")
    seen = {int(value) for pair in pairs for value in torch.unique(pair.classes)} - {UNLABELLED}
    if len(seen) < 2:
        raise TaskError(
            f"every labelled pixel of the support is of class {seen.pop()}; give masks that show at least two classes"
        )
    return pairs
