"""Tasks on the rows of a collection of `CASES` cases, for tests of what is drawn from tasks."""

from collections.abc import Sequence

import numpy as np

from metamedica.data.collection import Task

CASES = 400


def regression_task(name: str, n: int, *, seed: int = 0, groups: int | None = None) -> Task:
    rng = np.random.default_rng(seed)
    members = None if groups is None else tuple(f"g{int(i)}" for i in rng.integers(0, groups, n))
    return Task(name, "regression", rng.permutation(CASES)[:n], rng.normal(6, 1, n), unit="pIC50", groups=members)


def classes_task(
    name: str, labels: Sequence[int], *, groups: tuple[str, ...] | None = None, n_classes: int = 2
) -> Task:
    targets = np.array(labels, dtype=np.int64)
    rows = np.random.default_rng(len(labels)).permutation(CASES)[: len(labels)]
    kind = "binary" if n_classes == 2 else "multiclass"
    return Task(name, kind, rows, targets, classes=tuple(str(i) for i in range(n_classes)), groups=groups)
