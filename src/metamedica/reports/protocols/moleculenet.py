"""The few-shot protocol of MoleculeNet's Tox21, SIDER, MUV and ToxCast, as PAR's code has it (Wang et al. 2021, NeurIPS), in three rows.

K cases of each class are the support, all other labelled molecules of the task the query; ROC-AUC, mean over the meta-test tasks; 10 draws.
The sets measure the same molecules in meta-train and meta-test tasks, so one figure says little. The rows (`no_support`, `unseen`):

1. the published protocol: the test molecules' labels in the meta-train tasks are learned from;
2. the same with test molecules that occur in no meta-train or meta-valid task;
3. no support at all: a molecule is ranked by its own labels in the meta-train tasks.
"""

from typing import ClassVar

import numpy as np
import pandas as pd

from metamedica.data.collection import IntArray, Task, TaskCollection
from metamedica.data.leakage import leakage_report
from metamedica.data.splits import molecule_disjoint
from metamedica.errors import InputError, TaskError
from metamedica.reports.judging import Protocol, order_of
from metamedica.types import META_SPLITS

SHOTS = (1, 10)
FIGURE = "roc_auc"
_SELECTS = 5


class MoleculeNet(Protocol):
    """K cases of each class as support, nested over K; all other cases as query."""

    name: ClassVar[str] = "MoleculeNet, K of each class"

    def support(self, task: Task, shots: int, *, draw: int, seed: int) -> IntArray:
        """Return the positions of `shots` cases of each class.

        Raises:
            TaskError: a class has not one case more than `shots`.
            InputError: the task has no classes.
        """
        if task.classes is None:
            raise InputError(
                f"task {task.name!r} is a regression and this protocol takes K cases of each class; binarise it"
            )
        order = order_of(task, draw=draw, seed=seed)
        labels = task.targets[order]
        chosen = []
        for label in range(len(task.classes)):
            members = order[labels == label]
            if len(members) <= shots:
                raise TaskError(
                    f"task {task.name!r} has {len(members)} cases of a class; {shots} of each need at least {shots + 1}"
                )
            chosen.append(members[:shots])
        return np.concatenate(chosen)


def no_support(collection: TaskCollection) -> pd.DataFrame:
    """Return what a molecule's own labels in the meta-train tasks tell of its label in each meta-test task.

    One row a meta-test task, ROC-AUC over its molecules that have such labels: `task`, `sum` (labels as +1 and -1) and `mean`; NaN where
    fewer than ten molecules have one.

    Args:
        collection: binary tasks, with the published split: what meta-valid tasks would be drawn from still in meta-train.
    """
    judged = leakage_report(collection).judged
    return pd.DataFrame(
        {
            "task": [each.name for each in judged],
            "sum": pd.array([each.sum_score for each in judged], dtype=float),
            "mean": pd.array([each.score for each in judged], dtype=float),
        }
    )


def unseen(collection: TaskCollection, *, parts: int = 2, seed: int = 0) -> list[TaskCollection]:
    """Return collections in which no molecule of a meta-test task occurs in a meta-train or meta-valid task.

    The sets measure nearly every molecule in a meta-test task, so that `molecule_disjoint` leaves nothing to learn from. Here the
    molecules are dealt into parts; in each collection the meta-test tasks keep one part and the other tasks lose it. Of the
    other molecules the meta-valid tasks keep a fifth and the meta-train tasks the rest, so that selection too is on unseen molecules.

    Args:
        collection: with a meta-split.
        parts: into how many parts; 1 gives `molecule_disjoint` alone, for a set that has enough molecules (MUV).
        seed: of the deal.

    Raises:
        InputError: fewer than one part.
        TaskError: no meta-split.
    """
    if parts < 1:
        raise InputError(f"got {parts} parts; give at least one")
    if parts == 1:
        return [molecule_disjoint(collection)]
    if not collection.split:
        raise TaskError("the collection has no meta-split; draw one first (split_by_task, split_by_overlap)")
    order = np.random.default_rng(seed).permutation(len(collection.canonical))
    part, selects = order % parts, order // parts % _SELECTS == 0
    found = []
    for number in range(parts):
        test = part == number
        keeps = {"meta_train": ~test & ~selects, "meta_valid": ~test & selects, "meta_test": test}
        apart = collection
        for side in META_SPLITS:
            others = np.flatnonzero(~keeps[side])
            apart = apart.without_rows(others, tasks=apart.names(side), note=f"values of molecules outside {side}")
        found.append(molecule_disjoint(apart))  # leaves out what has become too small
    return found
