"""Davis and KIBA at 16 labels, as models of FS-Mol were transferred to them (Formont et al. 2024, arXiv:2404.02314): AUPRC a kinase.

Supports, draws and query are FS-Mol's. A compound is active where it binds more strongly than the kinase's median, the median of Davis
being kept within 10 µM and 1 nM. The median of KIBA scores, which have no unit, is taken as it is: the published threshold for them is
not on record. Davis is judged on its kinases by name (442, mutants included), the published table on 358 of them.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from metamedica.data.catalogue import davis, kiba
from metamedica.data.collection import IntArray, Task, TaskCollection
from metamedica.data.splits import rows_of
from metamedica.errors import InputError
from metamedica.reports import metrics
from metamedica.reports.judging import Mask, Protocol
from metamedica.reports.protocols.fsmol import support_positions

SHOTS = (16,)
FIGURE = "auprc"
DAVIS_WITHIN = (5.0, 9.0)
"""Lowest and highest threshold of Davis, -log10 M."""


class Kinases(Protocol):
    """FS-Mol's supports and queries; `auprc` beside the usual figures of binary tasks."""

    name: ClassVar[str] = "FS-Mol's transfer to kinases"

    def support(self, task: Task, shots: int, *, draw: int, seed: int) -> IntArray:
        """Return FS-Mol's `support_positions`."""
        return support_positions(task, shots, draw=draw, seed=seed)

    def figures(self, task: Task, query: Mask, predicted: NDArray[np.float64]) -> dict[str, float]:
        """Return the average precision of a binary task."""
        if task.kind != "binary":
            return {}
        labels = task.targets[query].astype(np.int64)
        return {FIGURE: metrics.delta_auprc(labels, predicted) + float(labels.mean())}


def load(name: str) -> TaskCollection:
    """Return "davis" or "kiba" as regression tasks; errors as those of the catalogue.

    Raises:
        InputError: another name.
    """
    _check(name)
    return davis.load() if name == "davis" else kiba.load()


def active(collection: TaskCollection, *, name: str) -> TaskCollection:
    """Return the kinases of "davis" or "kiba" as binary tasks: 1 binds more strongly than the kinase's median.

    Raises:
        InputError: another name.
    """
    _check(name)
    return collection.binarised("median", within=DAVIS_WITHIN if name == "davis" else None)


def _check(name: str) -> None:
    if name not in ("davis", "kiba"):
        raise InputError(f"there is no kinase panel {name!r}; choose davis or kiba")


def without_kinases(earlier: TaskCollection, panel: TaskCollection) -> TaskCollection:
    """Return the tasks to learn from without those that measure a compound of the panel.

    The names of two collections do not say which of their targets are the same. A task that measures a panel's kinase inhibitor may be
    that of one of its kinases (or of a kinase close to one), so it goes; one that measures none of them stays.

    Args:
        earlier: tasks to learn from; its compounds are compared by canonical text.
        panel: the kinases.
    """
    ours = {panel.canonical[row] for row in rows_of(panel, panel.names()).tolist()}
    theirs = {row for row, text in enumerate(earlier.canonical) if text in ours}
    kinases = [name for name, task in earlier.tasks.items() if not theirs.isdisjoint(task.rows.tolist())]
    return earlier.without_tasks(kinases, note="tasks that measure a compound of the panel")
