"""The sets of images that are learned from and those that are judged, as one protocol for the pre-training, the meta-training and the benchmark.

Learned from: mednist_subset, brain_tumor_mri (its training part), cxr_covid3, breast_us_busi, bccd_crops, wbc_stain1, common shapes of
chula_rbc12_cells. Never seen: covid_ct, iq_oth_nccd, the rare shapes, rbc_diseases, wbc_stain2.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamedica.functional.augmentation import Augmentation
from metamedica.modalities.images.pixels import square_of
from metamedica.modalities.images.rasters import ImageLimits
from metamedica.pretraining import ImageSet

COMMON, RARE = (0, 3, 4, 5, 6, 11, 12), (2, 7, 8, 9, 10)
"""Shapes of chula_rbc12_cells, by label."""
CELLS = ("bccd_crops", "wbc_stain1", "chula_rbc12_cells")
SCANS = ("mednist_subset", "brain_tumor_mri", "cxr_covid3", "breast_us_busi")
OF_CELLS = Augmentation(
    upside_down=0.5, quarters=1, degrees=45.0, scale=0.1, shift=0.08, saturation=0.3, hue=15.0, stain=0.05, blur=0.7
)
OF_SCANS = Augmentation(
    degrees=20.0, scale=0.1, shift=0.05, least=0.45, brightness=0.2, contrast=0.4, gamma=0.4, blur=1.0
)
_FEWEST = 16


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images of one set.

    Args:
        name: of the set in the catalogue.
        pixels: as stored.
        labels: from 0 on.
        classes: names of the labels.
    """

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def arrays(name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a set of the catalogue."""
    found: dict[str, NDArray[Any]] = importlib.import_module(f"metamedica.data.catalogue.{name}").arrays()
    return found


def chosen(name: str, here: NDArray[np.bool_]) -> Labelled:
    """Return these images of a set, labels numbered anew."""
    held = arrays(name)
    flat = held["images"].reshape(len(here), -1)
    here = here & (flat.min(1) < flat.max(1))  # nothing can be seen on an image of one value
    present, labels = np.unique(held["labels"][here], return_inverse=True)
    classes = tuple(str(held["class_names"][label]) for label in present)
    return Labelled(name, held["images"][here], labels.astype(np.int64), classes)


def learned_from(names: tuple[str, ...] = (*SCANS, *CELLS)) -> Iterator[Labelled]:
    """Yield the part of each set that is learned from; classes of fewer than 16 images are left out."""
    for name in names:
        held = arrays(name)
        here = np.isin(held["labels"], COMMON) if name == "chula_rbc12_cells" else np.ones(len(held["labels"]), bool)
        if name == "brain_tumor_mri":
            here = held["split"] == "train"
        counts = np.bincount(held["labels"][here], minlength=len(held["class_names"]))
        yield chosen(name, here & (counts[held["labels"]] >= _FEWEST))


def squares(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return images as the modality brings them to one side, `[n, side, side, 3]`."""
    limits = ImageLimits()
    return np.stack([square_of(each, side=side, window=None, limits=limits) for each in pixels])


def image_sets(names: tuple[str, ...], side: int) -> list[ImageSet]:
    """Return what the pre-training takes."""
    return [
        ImageSet(each.name, squares(each.pixels, side), each.labels, OF_CELLS if each.name in CELLS else OF_SCANS)
        for each in learned_from(names)
    ]
