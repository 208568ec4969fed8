"""A new site with few labelled patients: random supports of 5, 10, 20, 50 in total, nested, and one query for all sizes.

A support is drawn as patients come: it may be of one class. Cases of one patient never stand on both sides. The draws of a task depend on the
seed and its name only, and a larger support contains the smaller one of the same draw.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from metamedica.data.collection import IntArray, Task
from metamedica.data.draws import group_codes
from metamedica.errors import InputError, TaskError
from metamedica.reports.judging import Mask, Protocol, order_of

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

    def settings(self) -> dict[str, Any]:
        """Return the sizes that share a query."""
        return {"fixed_query": list(self.sizes)}
