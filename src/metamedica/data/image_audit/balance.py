"""How many images each class has, in all and in each part of a split, and which groups stand on both sides of it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from metamedica.data.image_audit.pictures import ImageSet

LEAST = 5
"""Images of a class below which a support and a query can hardly be drawn."""
UNEVEN = 10.0


@dataclass(frozen=True)
class Shared:
    """Two parts of a split: how many groups stand in both, and how many of each one's images belong to those."""

    left: str
    right: str
    groups: int
    left_images: int
    right_images: int


@dataclass(frozen=True)
class Balance:
    """What `weigh` counted.

    Args:
        classes: images of each class.
        parts: images of each class in each part of the split; empty without one.
        small: classes with fewer than 5 images.
        absent: part by part, the classes that it lacks.
        unevenness: images of the largest class for one of the smallest.
        groups: number of groups; None where they are not known.
        shared: pairs of parts with a group in common.
        groups_with_labels: groups whose images have more than one label.
    """

    classes: dict[str, int]
    parts: dict[str, dict[str, int]]
    small: list[str]
    absent: dict[str, list[str]]
    unevenness: float
    groups: int | None
    shared: list[Shared]
    groups_with_labels: int

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as a JSON value."""
        return asdict(self)


def weigh(images: ImageSet) -> Balance:
    """Count classes, parts and groups."""
    labels = np.asarray(images.labels, dtype=str)
    counts = {name: int((labels == name).sum()) for name in images.classes}
    parts: dict[str, dict[str, int]] = {}
    if images.split is not None:
        table = pd.crosstab(np.asarray(images.split, dtype=str), labels)
        parts = {str(part): {str(name): int(n) for name, n in row.items()} for part, row in table.iterrows()}
    absent = {part: [name for name, n in row.items() if n == 0] for part, row in parts.items()}
    groups = None if images.groups is None else np.asarray(images.groups, dtype=str)
    mixed = 0 if groups is None else int((pd.Series(labels).groupby(groups).nunique() > 1).sum())
    return Balance(
        counts,
        parts,
        [name for name, n in counts.items() if n < LEAST],
        {part: names for part, names in absent.items() if names},
        max(counts.values()) / min(counts.values()),
        None if groups is None else len(np.unique(groups)),
        _shared(images),
        mixed,
    )


def _shared(images: ImageSet) -> list[Shared]:
    if images.groups is None or images.split is None:
        return []
    table = pd.crosstab(np.asarray(images.groups, dtype=str), np.asarray(images.split, dtype=str))
    found = []
    for at, left in enumerate(table.columns):
        for right in table.columns[at + 1 :]:
            both = (table[left] > 0) & (table[right] > 0)
            if both.any():
                sums = (int(table.loc[both, part].sum()) for part in (left, right))
                found.append(Shared(str(left), str(right), int(both.sum()), *sums))
    return found
