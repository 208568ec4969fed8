"""A new site with few labelled patients: random supports of 5, 10, 20, 50 in total, nested, and one query for all sizes.

A support is drawn as patients come: it may be of one class. Cases of one patient never stand on both sides. The draws of a task depend on the
seed and its name only, and a larger support contains the smaller one of the same draw.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metamedica.data.collection import IntArray, Task
from metamedica.data.draws import group_codes
from metamedica.errors import InputError, TaskError
from metamedica.reports.influence import mean_influence, roc_auc_influence
from metamedica.reports.judging import Mask, Protocol, order_of
from metamedica.reports.metrics import losses_of

SHOTS = (5, 10, 20, 50)
DRAWS = 50
LEAST_QUERY = 10


class Sites(Protocol):
    """Nested random supports; the query is what lies outside the largest one that the site is large enough for.

    Args:
        sizes: the support sizes that are compared.

    Raises:
        InputError: no size.
    """

    name: ClassVar[str] = "a new site, random supports, fixed query"

    def __init__(self, sizes: Sequence[int] = SHOTS) -> None:
        if not sizes:
            raise InputError("got no support size; give those that are compared")
        self.sizes = tuple(sorted(sizes))

    def support(self, task: Task, shots: int, *, draw: int, seed: int) -> IntArray:
        """Return the first cases of the draw.

        Raises:
            TaskError: the task has fewer than `shots` cases and `LEAST_QUERY` query cases.
            InputError: another size than those that are compared.
        """
        if shots not in self.sizes:
            raise InputError(
                f"got {shots} shots with a query that is fixed for {', '.join(map(str, self.sizes))}; name every size"
            )
        if len(task) < shots + LEAST_QUERY:
            raise TaskError(
                f"task {task.name!r} has {len(task)} cases; {shots} shots need at least {shots + LEAST_QUERY}"
            )
        return order_of(task, draw=draw, seed=seed)[:shots]

    def query(self, task: Task, support: IntArray, *, draw: int, seed: int) -> Mask:
        """Return which cases lie outside the largest support of this draw and belong to none of its patients."""
        largest = max(size for size in self.sizes if len(task) >= size + LEAST_QUERY)
        taken = order_of(task, draw=draw, seed=seed)[:largest]
        rest = np.ones(len(task), dtype=bool)
        rest[taken] = False
        codes = group_codes(task)
        if codes is not None:
            rest &= ~np.isin(codes, codes[taken])
        return rest

    def cases(
        self, task: Task, queries: Sequence[Mask], predicted: Sequence[NDArray[np.float64]]
    ) -> dict[str, NDArray[Any]]:
        """Return, of each case that was asked: its number, class and patient, and its influence on area, log-loss and Brier score, each averaged over
        the draws in which the figure is defined (`reports/influence`).
        """
        if task.kind != "binary":
            return {}
        labels = task.targets.astype(np.int64)
        total = {name: np.zeros(len(task)) for name in ("roc_auc", "log_loss", "brier")}
        ranked = 0
        for query, given in zip(queries, predicted, strict=True):
            here = labels[query]
            moved = roc_auc_influence(here, given)
            if not np.isnan(moved).any():
                total["roc_auc"][query] += moved
                ranked += 1
            total["log_loss"][query] += mean_influence(losses_of(here, given))
            total["brier"][query] += mean_influence((given - here) ** 2)
        codes = group_codes(task)
        asked = np.any(queries, axis=0)
        about = {
            "case": np.arange(len(task)),
            "label": labels,
            "patient": np.arange(len(task)) if codes is None else codes,
        }
        counts = {"roc_auc": ranked, "log_loss": len(queries), "brier": len(queries)}
        means = {name: np.round(values / max(counts[name], 1), 9) for name, values in total.items()}
        return {name: values[asked] for name, values in {**about, **means}.items()}

    def settings(self) -> dict[str, Any]:
        """Return the sizes that share a query."""
        return {"fixed_query": list(self.sizes)}
