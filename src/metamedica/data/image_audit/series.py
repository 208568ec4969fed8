"""Labelled scans: which patients and series there are, whether one stands on both sides, folders that mix series, distances that differ, writing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from metamedica.errors import InputError

_FEWEST = 3
_SAME = 0.01
"""Share of the usual distance by which two distances of one series may differ; and at least `_LEAST_MM`."""
_LEAST_MM = 0.01


@dataclass(frozen=True)
class Slices:
    """What headers say of labelled scans; everything has one entry an image.

    Args:
        patients: what stands for the patient, such as a hash; None where it is not told.
        series: what stands for the series; None where it is not told.
        folders: the folder below its class's that a file lies in; "" where it lies in the class's own.
        heights_mm: where it lies across its plane; None where it is not told.
        writing: whether text may stand in its pixels.

    Raises:
        InputError: one has another number of entries.
    """

    patients: Sequence[str | None]
    series: Sequence[str | None]
    folders: Sequence[str]
    heights_mm: Sequence[float | None]
    writing: Sequence[bool]

    def __post_init__(self) -> None:
        for name in ("series", "folders", "heights_mm", "writing"):
            if len(getattr(self, name)) != len(self.patients):
                raise InputError(
                    f"got {len(self.patients):,} patients and {len(getattr(self, name)):,} {name}; give one for each image"
                )

    def groups(self) -> list[str] | None:
        """Return what belongs together, named by the order of first appearance; None where headers say nothing of it.

        The patient, unless all images have the same one (a set that was made anonymous so); else the series; else the image itself.
        """
        told = {each for each in self.patients if each is not None}
        patients: Sequence[str | None] = self.patients if len(told) > 1 else [None] * len(self.patients)
        if all(each is None for each in (*patients, *self.series)):
            return None
        # a series belongs to whoever any of its slices is said to be of
        owner = {series: patient for patient, series in zip(patients, self.series, strict=True) if patient and series}
        keys = []
        for at, (patient, series) in enumerate(zip(patients, self.series, strict=True)):
            whose = patient or (owner.get(series) if series else None)
            keys.append(f"patient {whose}" if whose else f"series {series}" if series else f"image {at}")
        number = {key: f"group {place}" for place, key in enumerate(dict.fromkeys(keys), 1)}
        return [number[key] for key in keys]


@dataclass(frozen=True)
class Series:
    """What `look_at_series` found.

    Args:
        scans: images whose headers were read.
        patients: that are told apart.
        without_patient: images that do not say whose they are.
        one_patient: whether all that say so name the same patient.
        series: that are told apart.
        split_series: series with images in more than one part of the split.
        split_images: images of those.
        mixed_folders: folders below a class's that hold images of several series.
        two_labels: series with images of more than one label.
        measured: series of at least 3 images with a place.
        uneven: of those, how many have distances that differ by more than 1 %.
        writing: images that may have text in their pixels, by label.
    """

    scans: int
    patients: int
    without_patient: int
    one_patient: bool
    series: int
    split_series: int
    split_images: int
    mixed_folders: int
    two_labels: int
    measured: int
    uneven: int
    writing: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON value."""
        return asdict(self)


def look_at_series(slices: Slices, labels: Sequence[str], *, split: Sequence[str] | None = None) -> Series:
    """Return what headers say of patients, series and their slices.

    Args:
        slices: of each image.
        labels: of each image.
        split: the part that each belongs to; None without one.

    Raises:
        InputError: another number of labels or parts.
    """
    for name, given in (("labels", labels), ("parts", split)):
        if given is not None and len(given) != len(slices.patients):
            raise InputError(f"got {len(slices.patients):,} images and {len(given):,} {name}; give one for each image")
    rows: dict[str, list[int]] = {}
    for at, each in enumerate(slices.series):
        if each is not None:
            rows.setdefault(each, []).append(at)
    divided = [own for own in rows.values() if split is not None and len({split[at] for at in own}) > 1]
    folders: dict[tuple[str, str], set[str]] = {}
    for label, folder, own_series in zip(labels, slices.folders, slices.series, strict=True):
        if folder and own_series is not None:
            folders.setdefault((label, folder), set()).add(own_series)
    even = [flat for own in rows.values() if (flat := _even([slices.heights_mm[at] for at in own])) is not None]
    told = [each for each in slices.patients if each is not None]
    return Series(
        scans=len(slices.patients),
        patients=len(set(told)),
        without_patient=len(slices.patients) - len(told),
        one_patient=len(told) > 1 and len(set(told)) == 1,
        series=len(rows),
        split_series=len(divided),
        split_images=sum(map(len, divided)),
        mixed_folders=sum(len(each) > 1 for each in folders.values()),
        two_labels=sum(len({labels[at] for at in own}) > 1 for own in rows.values()),
        measured=len(even),
        uneven=even.count(False),
        writing=dict(sorted(Counter(label for label, has in zip(labels, slices.writing, strict=True) if has).items())),
    )


def _even(heights: Sequence[float | None]) -> bool | None:
    """Return whether the slices of one series lie at even distances; None where fewer than 3 say where they lie."""
    known = np.sort([each for each in heights if each is not None])
    if len(known) < _FEWEST:
        return None
    gaps = np.diff(known)
    usual = float(np.median(gaps))
    return bool(np.abs(gaps - usual).max() <= max(_SAME * usual, _LEAST_MM))
