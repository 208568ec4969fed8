"""The audit of a labelled set of images: what was counted and measured, what that means, and what to do."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from metamedica.data.image_audit import findings as words
from metamedica.data.image_audit.balance import Balance, weigh
from metamedica.data.image_audit.findings import Finding
from metamedica.data.image_audit.pictures import ImageSet, coded
from metamedica.data.image_audit.runs import Runs, find_runs
from metamedica.data.image_audit.series import Series, look_at_series
from metamedica.data.image_audit.shortcuts import Shortcuts, find_shortcuts
from metamedica.data.image_audit.split_leak import SplitLeak, split_leak
from metamedica.data.image_audit.twins import THRESHOLD, Copies, Twins, find_twins
from metamedica.types import Progress

_TOGETHER = 0.05
"""Share of images in units of several below which the way to split hardly matters."""


@dataclass(frozen=True)
class ImageAudit:
    """What `audit` found.

    Args:
        images: number of them.
        balance: classes, parts and groups.
        twins: the same image twice.
        runs: neighbours in number; None where files carry none.
        leaks: what random folds flatter beside whole units, a model each; empty where fewer than 5 % of the images
            share their unit.
        unit: what a unit is, in words.
        units: the unit of each image: what no split should divide.
        shortcuts: whether facts of the files tell the label; None where that cannot be asked.
        series: what the headers of scans say of patients and series; None for other files.
        findings: what a person should know, the gravest first.
    """

    images: int
    balance: Balance
    twins: Twins
    runs: Runs | None
    leaks: list[SplitLeak]
    unit: str
    units: Int64[np.ndarray, " images"]
    shortcuts: Shortcuts | None
    series: Series | None
    findings: list[Finding]

    def as_dict(self) -> dict[str, Any]:
        """Return the audit as a JSON value, without what it says of each single image."""
        return {
            "images": self.images,
            "findings": [each.as_dict() for each in self.findings],
            "balance": self.balance.as_dict(),
            "twins": self.twins.as_dict(),
            "runs": None if self.runs is None else self.runs.as_dict(),
            "unit": self.unit,
            "units": len(np.unique(self.units)),
            "random_split": [each.as_dict() for each in self.leaks],
            "shortcuts": None if self.shortcuts is None else self.shortcuts.as_dict(),
            "series": None if self.series is None else self.series.as_dict(),
        }

    def as_text(self) -> str:
        """Return the findings as text: numbers and what to do, one paragraph each."""
        if not self.findings:
            return f"Nothing found in {self.images:,} images."
        return "\n\n".join(f"[{each.severity}] {each.says} {each.do}".rstrip() for each in self.findings)


def audit(
    images: ImageSet,
    *,
    threshold: float = THRESHOLD,
    copies: Copies = "plain",
    seed: int = 0,
    progress: Progress | None = None,
) -> ImageAudit:
    """Return what would make figures on this set too good, or its labels doubtful.

    Images that belong together (the same group; twins; where no groups are given, blocks of runs in number) form units; shortcuts are
    judged with whole units held out, and what a random split flatters is measured against them.

    Args:
        images: the set.
        threshold: of the correlation of thumbnails above which two are twins.
        copies: which copies count as twins beside plain ones: "plain", "mirrored" or "turned".
        seed: of shuffles, folds and resamples; the same seed gives the same audit.
        progress: called with (steps done, steps, message).

    Raises:
        InputError: a threshold that is not between 0 and 1.
    """

    def tell(done: int, message: str) -> None:
        if progress is not None:
            progress(done, 4, message)

    balance = weigh(images)
    tell(0, "comparing images")
    twins = find_twins(images, threshold=threshold, copies=copies)
    tell(1, "looking along running numbers")
    runs = find_runs(images, seed=seed)
    tell(2, "splitting at random and by units")
    unit, units = _units(images, twins, runs)
    together = float((np.bincount(units)[units] > 1).mean())
    leaks = split_leak(images, units, seed=seed) if together >= _TOGETHER else []
    tell(3, "predicting labels from files and borders")
    shortcuts = find_shortcuts(images, groups=units, seed=seed)
    slices = images.slices
    series = None if slices is None else look_at_series(slices, images.labels, split=images.split)
    tell(4, "done")
    found = [
        *words.of_twins(twins, len(images)),
        *words.of_groups(balance),
        *words.of_series(series),
        *words.of_leaks(leaks, unit),
        *(words.of_runs(runs) if images.groups is None else ()),  # who has the groups needs no guess at them
        *words.of_shortcuts(shortcuts, unit),
        *words.of_balance(balance),
        *words.of_pixels(images, twins),
    ]
    order = sorted(found, key=lambda each: words.SEVERITIES.index(each.severity))
    return ImageAudit(len(images), balance, twins, runs, leaks, unit, units, shortcuts, series, order)


def _units(images: ImageSet, twins: Twins, runs: Runs | None) -> tuple[str, Int64[np.ndarray, " images"]]:
    """Return what belongs together, in words and as a number an image."""
    if images.groups is not None:
        name, first = "groups and twins", coded(images.groups)
    elif runs is not None and runs.found:
        name, first = "blocks of neighbouring numbers and twins", runs.blocks
    else:
        name, first = "twins", np.arange(len(images), dtype=np.int64)
    n = len(images)
    rows = np.concatenate([np.arange(n), np.arange(n)])
    columns = np.concatenate([first, first.max() + 1 + twins.cluster])
    size = int(columns.max()) + 1
    graph = coo_matrix((np.ones(len(rows)), (rows, n + columns)), (n + size, n + size))
    return name, np.unique(connected_components(graph, directed=False)[1][:n], return_inverse=True)[1].astype(np.int64)
