"""Rows of two tasks that are equal in every cell: perhaps one patient twice, under two names."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from metamedica.data.collection import TaskCollection

LEAST_MEASURED = 5
"""Cells that a row must have for its twin to mean anything."""


@dataclass(frozen=True)
class EqualRows:
    """Two tasks and how many of their rows are equal."""

    left: str
    right: str
    rows: int


def equal_rows(collection: TaskCollection) -> list[EqualRows]:
    """Return the pairs of tasks with equal rows, most first; of equal counts, in order of their names.

    Rows with fewer than five measured cells are not compared. One row that stands in several tasks (a table with a column a task) is not counted.
    """
    held: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for task in collection.tasks.values():
        for row in task.rows.tolist():
            held[collection.canonical[row]].add((task.name, row))
    counts: Counter[tuple[str, str]] = Counter()
    for text, places in held.items():
        if len(places) < 2 or text.count(":") - text.count(":null") < LEAST_MEASURED:
            continue
        ordered = sorted(places)
        pairs = {(a, b) for a, row in ordered for b, other in ordered if a < b and row != other}
        counts.update(pairs)
    ordered_pairs = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [EqualRows(left, right, count) for (left, right), count in ordered_pairs]
