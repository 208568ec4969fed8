"""One task: a question with labelled cases."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from metamedica.errors import InputError, TaskError
from metamedica.functional.descriptions import LETTERS
from metamedica.types import TaskKind

IntArray: TypeAlias = NDArray[np.int64]
TargetArray: TypeAlias = NDArray[np.float64] | NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """One question with labelled cases.

    Args:
        name: unique in its collection.
        kind: binary, multiclass or regression.
        rows: int64 `[n]`, rows of the collection's cases, each at most once.
        targets: `[n]`: float64 in `unit` for regression, int64 class index for classes.
        classes: label by class index; None for regression.
        unit: of regression targets; None where not known.
        family: tasks of one family (a protein family, a hospital) are alike; None where not known.
        groups: one per case; support and query never share a group. None: every case stands alone.
        about: a description: the amino acids of a target, the words of an assay; learners that read it compare tasks by it
            (`functional/descriptions`). None: not known.

    Raises:
        TaskError: the parts do not fit together.
    """

    name: str
    kind: TaskKind
    rows: IntArray
    targets: TargetArray
    classes: tuple[str, ...] | None = None
    unit: str | None = None
    family: str | None = None
    groups: tuple[str, ...] | None = None
    about: str | None = None

    def __post_init__(self) -> None:
        where = f"task {self.name!r}"
        if self.rows.ndim != 1 or self.rows.shape != self.targets.shape:
            raise TaskError(
                f"{where} has rows of shape {self.rows.shape} and targets of shape {self.targets.shape}; "
                "give one target per case"
            )
        if len(np.unique(self.rows)) != len(self.rows):
            raise TaskError(f"{where} names the same case twice; merge its targets")
        if self.groups is not None and len(self.groups) != len(self.rows):
            raise TaskError(
                f"{where} has {len(self.groups)} groups for {len(self.rows)} cases; give one group per case"
            )
        if self.about is not None and len(self.about.strip()) < LETTERS:
            raise TaskError(
                f"{where} is described by {self.about!r}; give at least {LETTERS} letters (amino acids, words), or leave it empty"
            )
        if self.kind == "regression":
            if self.classes is not None or self.targets.dtype != np.float64:
                raise TaskError(f"{where} is a regression: give float64 targets and no classes")
            if not np.isfinite(self.targets).all():
                raise TaskError(f"{where} has a target that is not a finite number; leave that case out")
            return
        if self.classes is None or self.targets.dtype != np.int64:
            raise TaskError(f"{where} has classes: give their labels and int64 class indices")
        if self.kind == "binary" and len(self.classes) != 2:
            raise TaskError(
                f"{where} is binary and has {len(self.classes)} labels; give two, or name kind='multiclass'"
            )
        if len(self.targets) and (self.targets.min() < 0 or self.targets.max() >= len(self.classes)):
            raise TaskError(
                f"{where} has a class index outside 0 to {len(self.classes) - 1}; give a label for each class"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: IntArray) -> "Task":
        """Return the task with the cases at `index` (positions within the task) only, in that order."""
        groups = None if self.groups is None else tuple(self.groups[int(i)] for i in index)
        return replace(self, rows=self.rows[index], targets=self.targets[index], groups=groups)

    def binarised(self, threshold: float | Literal["median"], *, within: tuple[float, float] | None = None) -> "Task":
        """Return a regression task as a binary one, class 1 strictly above the threshold; a task with classes as it is.

        Args:
            threshold: in the task's unit, or "median" for its own median.
            within: lowest and highest threshold: one beyond is moved there. None: anywhere.

        Raises:
            InputError: a threshold that is not a number, or a lowest one above the highest.
        """
        if threshold != "median" and np.isnan(threshold):
            raise InputError(f"got the threshold {threshold}; give a number in the task's unit, or median")
        low, high = within or (-np.inf, np.inf)
        if not low <= high:
            raise InputError(f"got thresholds within {within}; give the lower one first")
        if self.kind != "regression":
            return self
        cut = float(np.median(self.targets)) if threshold == "median" else float(threshold)
        above = (self.targets > np.clip(cut, low, high)).astype(np.int64)
        return replace(self, kind="binary", targets=above, classes=("0", "1"), unit=None)
