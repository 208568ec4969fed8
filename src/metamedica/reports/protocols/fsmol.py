"""FS-Mol's protocol (Stanley et al. 2021, NeurIPS Datasets and Benchmarks): small supports of many tasks, all other cases as query.

Supports of 16, 32, 64 and 128 cases in total, stratified for classes; 10 draws; the query is every other case of the task. The draws of a
task depend on the seed and its name only, and a larger support contains the smaller one of the same draw.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from metamedica.data.collection import IntArray, Task, TaskCollection
from metamedica.errors import InputError, TaskError
from metamedica.reports.evaluation import Evaluation
from metamedica.reports.judging import DRAWS, Mask, Method, Protocol, judge, order_of
from metamedica.types import Progress

SHOTS = (16, 32, 64, 128)
LEAST_QUERY = 16


def support_positions(task: Task, shots: int, *, draw: int, seed: int) -> IntArray:
    """Return the positions of a support within its task: nested over `shots`, stratified for classes.

    Raises:
        TaskError: the task has fewer than `shots` cases and `LEAST_QUERY` query cases, or a class would have no case in the support.
    """
    if len(task) < shots + LEAST_QUERY:
        raise TaskError(f"task {task.name!r} has {len(task)} cases; {shots} shots need at least {shots + LEAST_QUERY}")
    order = order_of(task, draw=draw, seed=seed)
    if task.kind == "regression":
        return order[:shots]
    labels = task.targets[order]
    rank = np.zeros(len(order))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    chosen = order[np.argsort(rank, kind="stable")][:shots]
    if len(np.unique(task.targets[chosen])) < len(np.unique(labels)):
        raise TaskError(f"task {task.name!r} has a class too rare for {shots} stratified shots")
    return chosen


class FSMol(Protocol):
    """Supports in total, stratified and nested; all other cases as query."""

    name: ClassVar[str] = "FS-Mol"

    def support(self, task: Task, shots: int, *, draw: int, seed: int) -> IntArray:
        """Return `support_positions`."""
        return support_positions(task, shots, draw=draw, seed=seed)


class FixedQuery(Protocol):
    """FS-Mol's supports with one query for all sizes: what lies outside the largest support of the draw that the task is large enough for.

    So a difference between two support sizes of a task is one of the supports alone.

    Args:
        sizes: the support sizes that are compared.

    Raises:
        InputError: no size.
    """

    name: ClassVar[str] = "FS-Mol, fixed query"

    def __init__(self, sizes: Sequence[int] = SHOTS) -> None:
        if not sizes:
            raise InputError("got no support size; give those that are compared")
        self.sizes = tuple(sorted(sizes))

    def support(self, task: Task, shots: int, *, draw: int, seed: int) -> IntArray:
        """Return `support_positions`.

        Raises:
            TaskError: as `support_positions`.
            InputError: another size than those that are compared, some of whose cases would be in the query too.
        """
        if shots not in self.sizes:
            sizes = ", ".join(map(str, self.sizes))
            raise InputError(
                f"got {shots} shots with a query that is fixed for {sizes}; name every size that is compared"
            )
        return support_positions(task, shots, draw=draw, seed=seed)

    def query(self, task: Task, support: IntArray, *, draw: int, seed: int) -> Mask:
        """Return which cases lie outside the largest support of this draw."""
        for size in reversed(self.sizes):
            try:
                support = support_positions(task, size, draw=draw, seed=seed)
                break
            except TaskError:
                continue
        return super().query(task, support, draw=draw, seed=seed)

    def settings(self) -> dict[str, Any]:
        """Return the sizes that share a query."""
        return {"fixed_query": list(self.sizes)}


def evaluate(
    methods: Mapping[str, Method],
    collection: TaskCollection,
    *,
    names: Sequence[str] | None = None,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
    seed: int = 0,
    parts: str | Path | None = None,
    version: str = "",
    progress: Progress | None = None,
) -> Evaluation:
    """Return how methods do on tasks of one kind under `FSMol`.

    The arguments are those of `judging.judge`; `shots` counts cases in total.

    Raises:
        TaskError: no task, tasks of several kinds, or none that any method could be judged on.
        InputError: no method, shots below 2, or draws below 1.
    """
    if shots and min(shots) < 2:
        raise InputError(f"got shots {tuple(shots)}; a support of this protocol has at least 2 cases in total")
    return judge(
        FSMol(),
        methods,
        collection,
        names=names,
        shots=shots,
        draws=draws,
        seed=seed,
        parts=parts,
        version=version,
        progress=progress,
    )
