"""MoleculeACE in few shots (van Tilborg et al. 2022, doi:10.1021/acs.jcim.2c01073): 30 potency sets, activity cliffs apart.

The paper learns each set from its own 80 %. Here a set is a task of which 64 compounds are known: RMSE over all other compounds, and over those
among them that have an activity cliff. Its target is left out of what is learned from: all sets of that target, and in the others every
compound that they hold.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metamedica.data.catalogue import moleculeace
from metamedica.data.collection import IntArray, Task, TaskCollection
from metamedica.data.splits import molecule_disjoint
from metamedica.errors import InputError
from metamedica.reports import metrics
from metamedica.reports.judging import Mask, Protocol
from metamedica.reports.protocols.fsmol import support_positions
from metamedica.types import MetaSplit

SHOTS = (64,)
FIGURE = "rmse"
CLIFF_FIGURE = "cliff_rmse"


class MoleculeACE(Protocol):
    """A random support in total, all other compounds as query; `cliff_rmse` beside the usual figures.

    Args:
        cliffs: task -> which of its cases have an activity cliff (`catalogue.moleculeace.cliffs`).
    """

    name: ClassVar[str] = "MoleculeACE, few shots"

    def __init__(self, cliffs: Mapping[str, Mask]) -> None:
        self.cliffs = cliffs

    def settings(self) -> dict[str, Any]:
        """Return a hash of the flags, so that no finished part of others is used."""
        digest = hashlib.sha256()
        for name, flags in sorted(self.cliffs.items()):
            digest.update(f"{name}\0{len(flags)}\0".encode() + np.packbits(flags).tobytes())
        return {"cliffs": digest.hexdigest()[:12]}

    def support(self, task: Task, shots: int, *, draw: int, seed: int) -> IntArray:
        """Return random positions.

        Raises:
            TaskError: the task is too small.
            InputError: its cliffs are not known, or it is no regression.
        """
        if task.kind != "regression":
            raise InputError(
                f"task {task.name!r} is {task.kind} and this protocol judges values; give the sets as they are"
            )
        if task.name not in self.cliffs or len(self.cliffs[task.name]) != len(task):
            raise InputError(
                f"the activity cliffs of task {task.name!r} are not known case by case; give one flag per case"
            )
        return support_positions(task, shots, draw=draw, seed=seed)

    def figures(self, task: Task, query: Mask, predicted: NDArray[np.float64]) -> dict[str, float]:
        """Return the RMSE over the query's compounds with an activity cliff, in the task's unit."""
        cliff = self.cliffs[task.name][query]
        return {CLIFF_FIGURE: metrics.rmse(task.targets[query][cliff].astype(np.float64), predicted[cliff])}


def target_of(name: str) -> str:
    """Return the target of a set: "CHEMBL237" of "CHEMBL237_Ki"."""
    return name.partition("_")[0]


def leave_out(collection: TaskCollection, targets: Sequence[str], *, valid: float = 0.15) -> TaskCollection:
    """Return the collection with the sets of these targets as meta-test and everything else, without their compounds, to learn from.

    Args:
        collection: sets named as in the catalogue.
        targets: such as "CHEMBL237", with both of its sets.
        valid: share of the other targets whose sets are meta-valid, at most half; drawn evenly over their sorted names, one at least.

    Raises:
        InputError: a target without a set, fewer than two others, or a share outside 0 to 1/2.
    """
    if not 0 < valid <= 0.5:
        raise InputError(f"got valid={valid}; give a share above 0 and up to 0.5")
    known = {target_of(name) for name in collection.names()}
    unknown = sorted(set(targets) - known)
    if unknown or not targets:
        raise InputError(
            f"the collection has no set of {', '.join(unknown) or 'no target'}; give targets of some of its sets"
        )
    test = [name for name in collection.names() if target_of(name) in targets]
    others = sorted(known - set(targets))
    if len(others) < 2:
        raise InputError(
            f"without the targets {', '.join(targets)} there are {len(others)} others, and one to learn from and one to select on are wanted; "
            "leave out fewer"
        )
    step = min(round(1 / valid), len(others))
    selected = set(others[step - 1 :: step])
    side: dict[str, MetaSplit] = {
        name: "meta_test" if name in test else "meta_valid" if target_of(name) in selected else "meta_train"
        for name in collection.names()
    }
    return molecule_disjoint(collection.with_split(side))


def folds(collection: TaskCollection, number: int, *, seed: int = 0) -> list[list[str]]:
    """Return the targets dealt into folds, so that meta-training for `leave_out` is done once a fold and not once a target.

    Raises:
        InputError: fewer than 2 folds, or more than targets.
    """
    targets = sorted({target_of(name) for name in collection.names()})
    if not 2 <= number <= len(targets):
        raise InputError(f"got {number} folds for {len(targets)} targets; give 2 to {len(targets)}")
    order = np.random.default_rng(seed).permutation(len(targets))
    return [sorted(targets[at] for at in order[start::number]) for start in range(number)]


def load() -> tuple[TaskCollection, MoleculeACE]:
    """Return the 30 sets and their protocol; errors as those of `catalogue.moleculeace.load`."""
    collection = moleculeace.load()
    return collection, MoleculeACE(moleculeace.cliffs(collection))
