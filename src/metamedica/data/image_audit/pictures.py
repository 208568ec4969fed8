"""What the audit keeps of an image: a small grey copy, a hash of its pixels, and what its borders look like."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Int64, Shaped
from numpy.typing import NDArray

from metamedica.data.image_audit.series import Slices
from metamedica.errors import InputError

SIDE = 32
"""Of a thumbnail, in pixels."""
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_CORNER = 16
"""A corner is this part of the shorter side."""
_FLAT = 1.5 / 255
"""A row or column whose grey levels spread no more than this belongs to a frame round the picture."""
CORNERS = ("corner_top_left", "corner_top_right", "corner_bottom_left", "corner_bottom_right")
PADDING = ("padding_top", "padding_bottom", "padding_left", "padding_right")


@dataclass(frozen=True)
class Look:
    """What is kept of one image.

    Args:
        thumbnail: `[32, 32]`, grey from 0 to 1, each point the mean of the area that it covers.
        sha256: of shape, type and values.
        facts: of its borders and size, by name.
    """

    thumbnail: Float32[np.ndarray, "side side"]
    sha256: str
    facts: dict[str, float]


def look(pixels: Shaped[np.ndarray, "height width *channels"]) -> Look:
    """Return what the audit keeps of an image of integers, grey or RGB.

    Raises:
        InputError: other than `[height, width]` or `[height, width, 3]`, no pixel, or no unsigned integers.
    """
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or 0 in pixels.shape or pixels.dtype.kind != "u":
        raise InputError(
            f"got an image of shape {pixels.shape} and type {pixels.dtype}; give unsigned integers as [height, width] or [height, width, 3]"
        )
    grey = (pixels @ _LUMA if pixels.ndim == 3 else pixels.astype(np.float64)) / np.iinfo(pixels.dtype).max
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    head = f"{little.dtype.itemsize * 8} {'x'.join(map(str, little.shape))}\n".encode()
    facts = {"width": float(grey.shape[1]), "height": float(grey.shape[0])}
    facts["channels"] = float(1 if pixels.ndim == 2 else 3)
    return Look(thumbnail(grey), hashlib.sha256(head + little.tobytes()).hexdigest(), facts | borders(grey))


def thumbnail(grey: Float64[np.ndarray, "height width"], *, side: int = SIDE) -> Float32[np.ndarray, "side side"]:
    """Return the image at `side` x `side` points, each the mean over the area that it covers."""
    down, across = (_overlaps(length, side) for length in grey.shape)
    small: Float32[np.ndarray, "side side"] = (down @ grey @ across.T).astype(np.float32)
    return small


def _overlaps(length: int, parts: int) -> Float64[np.ndarray, "parts length"]:
    """Return how much of each of `parts` equal stretches each pixel fills; rows sum to one."""
    edges = np.linspace(0, length, parts + 1)
    starts = np.arange(length)
    low = np.maximum(edges[:-1, None], starts[None, :])
    high = np.minimum(edges[1:, None], starts[None, :] + 1.0)
    shares: Float64[np.ndarray, "parts length"] = np.maximum(high - low, 0.0) * (parts / length)
    return shares


def borders(grey: Float64[np.ndarray, "height width"]) -> dict[str, float]:
    """Return what the edge of an image looks like: grey from 0 to 1, widths as shares of the side."""
    height, width = grey.shape
    rim = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    size = max(1, min(height, width) // _CORNER)
    rows, columns = np.ptp(grey, axis=1) <= _FLAT, np.ptp(grey, axis=0) <= _FLAT
    found = {"border_level": float(rim.mean()), "border_spread": float(rim.std())}
    for name, flat in zip(PADDING, (rows, rows[::-1], columns, columns[::-1]), strict=True):
        found[name] = float(flat.argmin() / len(flat)) if not flat.all() else 1.0
    for name, down, across in zip(CORNERS, (0, 0, 1, 1), (0, 1, 0, 1), strict=True):
        part = grey[-size:] if down else grey[:size]
        found[name] = float((part[:, -size:] if across else part[:, :size]).mean())
    return found


@dataclass(frozen=True)
class ImageSet:
    """A labelled set of images as the audit sees it; everything has one entry an image.

    Args:
        thumbnails: `[images, 32, 32]`, grey from 0 to 1.
        labels: the class of each.
        hashes: of its pixels.
        facts: what files and borders say, a column a fact: numbers or texts; NaN or None where it has none.
        split: the part that each belongs to; None without one.
        groups: patient or series; None where it is not known.
        numbers: the running number of its file within its class; None where there is none.
        slices: what the headers of scans say; None for other files.

    Raises:
        InputError: there is no image, or something has another number of entries.
    """

    thumbnails: Float32[np.ndarray, "images side side"]
    labels: Sequence[str]
    hashes: Sequence[str]
    facts: pd.DataFrame
    split: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    numbers: Int64[np.ndarray, " images"] | None = field(default=None)
    slices: Slices | None = None

    def __post_init__(self) -> None:
        if not len(self):
            raise InputError("got no image; give at least one")
        for name in ("labels", "hashes", "facts", "split", "groups", "numbers"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self):
                raise InputError(f"got {len(self):,} images and {len(given):,} {name}; give one for each image")

    def __len__(self) -> int:
        return len(self.thumbnails)

    @property
    def classes(self) -> list[str]:
        """The labels that occur, sorted."""
        return sorted(set(self.labels))

    @property
    def codes(self) -> Int64[np.ndarray, " images"]:
        """The class of each image as its place in `classes`."""
        return coded(self.labels)


def coded(texts: Sequence[str]) -> Int64[np.ndarray, " entries"]:
    """Return each text's place among the sorted distinct ones."""
    return np.unique(np.asarray(texts, dtype=str), return_inverse=True)[1].astype(np.int64)


def gathered(
    looks: Sequence[Look],
    labels: Sequence[str],
    *,
    facts: Sequence[Mapping[str, Any]] | pd.DataFrame | None = None,
    split: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    numbers: Int64[np.ndarray, " images"] | None = None,
    slices: Slices | None = None,
) -> ImageSet:
    """Return the set of images that were looked at one by one; `facts` (of their files) go before those of their pixels.

    Raises:
        InputError: there is no image, or something has another number of entries.
    """
    if not looks:
        raise InputError("got no image; give at least one")
    told = pd.DataFrame([each.facts for each in looks])
    if facts is not None:
        files = pd.DataFrame(facts).reset_index(drop=True)
        if len(files) != len(looks):
            raise InputError(f"got {len(looks):,} images and {len(files):,} facts; give one row for each image")
        told = pd.concat([files, told.drop(columns=[name for name in told if name in files])], axis=1)
    thumbnails = np.stack([each.thumbnail for each in looks])
    return ImageSet(
        thumbnails,
        [str(each) for each in labels],
        [each.sha256 for each in looks],
        told,
        None if split is None else [str(each) for each in split],
        None if groups is None else [str(each) for each in groups],
        numbers,
        slices,
    )


def unit_thumbnails(
    thumbnails: Float32[np.ndarray, "images side side"],
) -> tuple[Float32[np.ndarray, "images points"], NDArray[np.bool_]]:
    """Return thumbnails without their mean and with length 1, so that products are correlations, and which have no contrast (all zero)."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    flat = flat - flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1)
    blank = length <= 1e-6 * np.sqrt(flat.shape[1])
    return (flat / np.where(blank, np.inf, length)[:, None]).astype(np.float32), blank
