"""One draw from a task: which of its cases are support and which query."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from metamedica.data.collection import IntArray, TargetArray, Task
from metamedica.errors import TaskError

_QUANTILES = (0.3, 0.7)
LEAST_CASES = 4
"""Of a task that a support and a query are drawn from."""
_LEAST_GROUPS = 3


def group_codes(task: Task) -> IntArray | None:
    """Return the group of each case as a number from 0, None where every case stands alone."""
    if task.groups is None:
        return None
    number = {group: code for code, group in enumerate(dict.fromkeys(task.groups))}
    return np.array([number[group] for group in task.groups], dtype=np.int64)


def why_not_drawn(task: Task, codes: IntArray | None, min_cases: int) -> str | None:
    """Return why no episode can be drawn from the task, None where one can."""
    if len(task) < min_cases:
        return f"has {len(task)} case{'' if len(task) == 1 else 's'}, at least {min_cases} are needed"
    if bool((task.targets == task.targets[0]).all()):
        return "has one target value only, at least two are needed"
    if codes is not None and codes.max() + 1 < _LEAST_GROUPS:
        return f"has {codes.max() + 1} group(s), at least {_LEAST_GROUPS} are needed to keep support and query apart"
    return None


def _first_of_each(labels: IntArray) -> IntArray:
    """Return the positions, ascending, at which each label is first seen."""
    return np.sort(np.unique(labels, return_index=True)[1])


def _in_proportion(labels: IntArray, size: int, rng: Generator) -> NDArray[np.bool_]:
    """Return which `size` of the shuffled cases to take: classes in their shares, one of each where the size allows."""
    key = np.empty(len(labels))
    for label in np.unique(labels):
        at = np.flatnonzero(labels == label)
        key[at] = (np.arange(len(at)) + rng.random()) / len(at)  # systematic sampling: a class has k cases below k / n
    key[_first_of_each(labels)[:size]] -= 1.0
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[np.argsort(key, kind="stable")[:size]] = True
    return chosen


def _support_groups(labels: IntArray | None, codes: IntArray, size: int, rng: Generator) -> NDArray[np.bool_]:
    """Return, per case, whether its group goes to the support side: groups at random until they hold `size` cases.

    The groups that bring a new class go first, and at least one group stays for the query side.
    """
    n_groups = int(codes.max()) + 1
    rank = rng.permutation(n_groups)
    if labels is not None:
        order = np.argsort(rank[codes], kind="stable")
        bringers = rank[codes[order[_first_of_each(labels[order])[:size]]]]
        position = np.arange(n_groups) + n_groups
        position[np.unique(bringers)] -= n_groups
        rank = np.argsort(np.argsort(position, kind="stable"), kind="stable")[rank]
        least = len(np.unique(bringers))
    else:
        least = 1
    held = np.cumsum(np.bincount(rank[codes], minlength=n_groups))
    enough = int(np.searchsorted(held, size)) + 1
    taken = rank[codes] < min(max(enough, least), n_groups - 1)
    return taken.astype(bool)


def support_size(n: int, support: int, query: int) -> int:
    """Return the support size of a task of n cases: it gives way to the query, down to half of the cases."""
    return min(support, max(2, n - min(query, n // 2)))


def draw_positions(
    labels: IntArray | None, codes: IntArray | None, n: int, *, support: int, query: int, rng: Generator
) -> tuple[IntArray, IntArray]:
    """Return what `draw` returns, without its checks.

    Args:
        labels: of the cases; None for regression.
        codes: of their groups, as `group_codes` returns them.
        n: cases.
        support: support size in total.
        query: most query cases.
        rng: everything random.
    """
    size = support_size(n, support, query)
    order = rng.permutation(n)
    left, right = order, order[:0]
    if codes is not None:
        side = _support_groups(labels, codes, size, rng)[order]
        left, right = order[side], order[~side]
    if labels is None:
        chosen = np.arange(len(left)) < size
    else:
        chosen = _in_proportion(labels[left], size, rng)
    rest = left[~chosen] if codes is None else right
    return left[chosen], rest[:query]


def draw(task: Task, rng: Generator, *, support: int, query: int) -> tuple[IntArray, IntArray]:
    """Return positions within the task of a support and a query that share no case and no group.

    Where the task is too small for both sizes, the support gives way, down to half of the cases. Classes are in the
    support in their proportions, with at least one case of each where the size allows. Where the task has groups, whole
    groups go to one side, and each side is then cut down to its size.

    Args:
        task: the task.
        rng: everything random.
        support: support size in total.
        query: most query cases.

    Raises:
        TaskError: too few cases or groups, or one target value only.
    """
    codes = group_codes(task)
    if reason := why_not_drawn(task, codes, LEAST_CASES):
        raise TaskError(f"task {task.name!r} {reason}: leave it out or give more cases")
    labels = None if task.kind == "regression" else task.targets.astype(np.int64)
    return draw_positions(labels, codes, len(task), support=support, query=query, rng=rng)


def active_or_not(targets: TargetArray, rng: Generator) -> IntArray:
    """Return 1 for targets above a quantile drawn in [0.3, 0.7], else 0; both occur as long as two targets differ."""
    ordered = np.sort(targets)
    threshold = ordered[int(rng.uniform(*_QUANTILES) * len(ordered))]
    if threshold == ordered[-1]:
        threshold = ordered[int(np.searchsorted(ordered, threshold)) - 1]
    active: IntArray = (targets > threshold).astype(np.int64)
    return active
