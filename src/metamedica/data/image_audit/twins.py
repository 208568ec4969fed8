"""The same image twice: equal pixels, and copies that were scaled, compressed, mirrored or turned, over labels and over a split."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from metamedica.data.image_audit.pictures import ImageSet, coded, unit_thumbnails
from metamedica.errors import InputError
from metamedica.types import Progress

THRESHOLD = 0.995
"""Correlation of two thumbnails above which they count as one picture."""
Copies = Literal["plain", "mirrored", "turned"]
_ROWS = 1024
_KEPT = 60


@dataclass(frozen=True)
class Pair:
    """Two images that show the same: their places, and the correlation of their thumbnails (1 for equal pixels)."""

    left: int
    right: int
    correlation: float
    exact: bool


@dataclass(frozen=True)
class Crossing:
    """Images of one part of a split that have a twin in another part: of `images` in `part`, `exact` and `near` (exact ones included)."""

    part: str
    other: str
    images: int
    exact: int
    near: int


@dataclass(frozen=True)
class Twins:
    """What `find_twins` found.

    Args:
        threshold: of the correlation.
        copies: which copies were looked for beside the plain one.
        exact_copies: images whose pixels another one before them has: those that could be dropped.
        exact_by_class: the same for each class that has any.
        exact_two_labels: images whose pixels occur under another label too.
        near_pairs: pairs above the threshold, exact ones included.
        with_twin: images with at least one twin.
        two_labels: images with a twin of another label.
        crossings: for each ordered pair of parts of the split.
        blank: images without any contrast, which have no correlation.
        pairs: the most telling pairs, best first: over labels, then over the split, then the others.
        cluster: the number of the set of twins, direct and through others, that each image belongs to.
    """

    threshold: float
    copies: Copies
    exact_copies: int
    exact_by_class: dict[str, int]
    exact_two_labels: int
    near_pairs: int
    with_twin: int
    two_labels: int
    crossings: list[Crossing]
    blank: int
    pairs: list[Pair]
    cluster: Int64[np.ndarray, " images"]

    def as_dict(self) -> dict[str, Any]:
        """Return all but the clusters as a JSON value."""
        told = asdict(self)
        del told["cluster"]
        return told


def find_twins(
    images: ImageSet, *, threshold: float = THRESHOLD, copies: Copies = "plain", progress: Progress | None = None
) -> Twins:
    """Return the images that occur twice.

    Near twins are pairs whose thumbnails correlate above the threshold (Pearson, over 32 x 32 points). All pairs are
    compared, in blocks of matrix products: 20,000 images take some seconds, more copies as many times more.

    Args:
        images: the set.
        threshold: of the correlation.
        copies: "plain"; "mirrored" compares with the left-right and upside-down image too; "turned" with all eight symmetries
            of the square.
        progress: called with (rows done, rows, message).

    Raises:
        InputError: a threshold that is not between 0 and 1.
    """
    if not 0 < threshold < 1:
        raise InputError(
            f"got a correlation threshold of {threshold}; give a number between 0 and 1, such as {THRESHOLD}"
        )
    units, blank = unit_thumbnails(images.thumbnails)
    others = [_turned(units, turns, flip) for turns, flip in _symmetries(copies)]
    keys = coded(images.hashes)
    found = _Found(images, keys)
    for start in range(0, len(units), _ROWS):
        rows = slice(start, start + _ROWS)
        best = units[rows] @ units[start:].T
        for other in others:
            np.maximum(best, units[rows] @ other[start:].T, out=best)
        equal = keys[rows, None] == keys[None, start:]
        near = np.triu((best > threshold) | equal, 1)
        left, right = np.nonzero(near)
        found.add(left + start, right + start, np.where(equal[left, right], 1.0, best[left, right]))
        if progress is not None:
            progress(min(start + _ROWS, len(units)), len(units), "comparing images")
    return found.told(threshold, copies, int(blank.sum()))


def _symmetries(copies: Copies) -> list[tuple[int, bool]]:
    """Return the quarter turns and whether the image is mirrored, of every copy but the plain one."""
    if copies == "plain":
        return []
    if copies == "mirrored":
        return [(0, True), (2, True)]
    return [(turns, flip) for flip in (False, True) for turns in range(4) if turns or flip]


def _turned(
    units: Float32[np.ndarray, "images points"], turns: int, flip: bool
) -> Float32[np.ndarray, "images points"]:
    side = int(np.sqrt(units.shape[1]))
    square = units.reshape(-1, side, side)
    square = square[:, :, ::-1] if flip else square
    return np.ascontiguousarray(np.rot90(square, turns, axes=(1, 2)).reshape(units.shape))


class _Found:
    """Counts over pairs that come block by block, so that no list of all pairs is kept."""

    def __init__(self, images: ImageSet, keys: Int64[np.ndarray, " images"]) -> None:
        self.images, self.keys = images, keys
        self.labels, self.classes = images.codes, images.classes
        self.parts = [] if images.split is None else sorted(set(images.split))
        self.split = np.zeros(len(images), dtype=np.int64) if images.split is None else coded(images.split)
        self.pairs = 0
        self.twin, self.other_label = np.zeros(len(images), dtype=bool), np.zeros(len(images), dtype=bool)
        self.across = np.zeros((len(images), max(len(self.parts), 1)), dtype=bool)
        self.exact_across = self.across.copy()
        self.exact_label = self.twin.copy()
        self.cluster: NDArray[np.int64] = np.arange(len(images))
        self.kept: list[tuple[tuple[bool, bool, float], Pair]] = []

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64], correlation: NDArray[Any]) -> None:
        if not len(left):
            return
        self.pairs += len(left)
        equal = self.keys[left] == self.keys[right]
        labels = self.labels[left] != self.labels[right]
        for one, two in ((left, right), (right, left)):
            self.twin[one] = True
            self.other_label[one[labels]] = True
            self.exact_label[one[labels & equal]] = True
            self.across[one, self.split[two]] = True
            self.exact_across[one[equal], self.split[two[equal]]] = True
        n = len(self.cluster)
        edges = (np.concatenate([left, np.arange(n)]), np.concatenate([right, self.cluster]))
        self.cluster = self._named(
            connected_components(coo_matrix((np.ones(len(edges[0])), edges), (n, n)), directed=False)[1]
        )
        split = self.split[left] != self.split[right]
        order = np.lexsort((-correlation, equal, ~split, ~labels))[:_KEPT]
        self.kept += [
            (
                (not labels[at], not split[at], -float(correlation[at])),
                Pair(int(left[at]), int(right[at]), float(correlation[at]), bool(equal[at])),
            )
            for at in order
        ]
        self.kept = sorted(self.kept, key=lambda entry: entry[0])[:_KEPT]

    @staticmethod
    def _named(component: NDArray[Any]) -> NDArray[np.int64]:
        """Return each component by its first member, which keeps the numbers of edges to it valid."""
        _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
        return first[inverse].astype(np.int64)

    def told(self, threshold: float, copies: Copies, blank: int) -> Twins:
        _, first = np.unique(self.keys, return_index=True)
        extra = np.ones(len(self.keys), dtype=bool)
        extra[first] = False
        counts = np.bincount(self.labels[extra], minlength=len(self.classes))
        return Twins(
            threshold,
            copies,
            int(extra.sum()),
            {name: int(count) for name, count in zip(self.classes, counts, strict=True) if count},
            int(self.exact_label.sum()),
            self.pairs,
            int(self.twin.sum()),
            int(self.other_label.sum()),
            self._crossings(self.parts),
            blank,
            [pair for _, pair in self.kept],
            self.cluster,
        )

    def _crossings(self, parts: Sequence[str]) -> list[Crossing]:
        inside = [self.split == place for place in range(len(parts))]
        return [
            Crossing(
                part,
                other,
                int(inside[at].sum()),
                int(self.exact_across[inside[at], to].sum()),
                int(self.across[inside[at], to].sum()),
            )
            for at, part in enumerate(parts)
            for to, other in enumerate(parts)
            if at != to
        ]
