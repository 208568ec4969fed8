"""A row a site: how well each is served, and which is served worst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metamedica.reports import metrics
from metamedica.reports.estimates import RANKED_DRAWS, Estimate, estimated, mean_estimated
from metamedica.reports.fairness import LEAST_CASES, LEAST_OF_A_CLASS
from metamedica.types import TaskKind

LEADING: Mapping[TaskKind, str] = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "spearman"}
"""The figure by which sites are ranked; larger is better."""


@dataclass(frozen=True)
class SiteRow:
    """One site.

    Args:
        name: of the site.
        cases: that it was judged on.
        positives: of class 1; None but for binary tasks.
        figure: the leading one.
        large: mean predicted risk minus observed share (binary), or mean error of the expected value in the task's unit.
        reason: why there is no figure; empty where there is one.
    """

    name: str
    cases: int
    positives: int | None
    figure: Estimate
    large: Estimate
    reason: str = ""


def site_row(
    name: str,
    truth: NDArray[np.float64],
    answer: NDArray[np.float64],
    *,
    kind: TaskKind,
    right: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> SiteRow:
    """Return the row of one site.

    Args:
        name: of the site.
        truth: class index or value, `[cases]`.
        answer: probability of class 1 (binary) or the expected value, `[cases]`.
        kind: of the task.
        right: whether the most probable class is the true one, `[cases]`; for tasks of several classes.
        seed: of the bootstrap samples.
    """
    labels = truth.astype(np.int64)
    positives = int(labels.sum()) if kind == "binary" else None
    reason = ""
    if len(truth) < LEAST_CASES:
        reason = f"too small to judge (n={len(truth)})"
    elif positives is not None and min(positives, len(truth) - positives) < LEAST_OF_A_CLASS:
        reason = f"too small to judge (n={len(truth)}, {min(positives, len(truth) - positives)} of the rarer class)"
    if reason:
        return SiteRow(name, len(truth), positives, Estimate.missing(reason), Estimate.missing(reason), reason)
    if kind == "binary":
        figure = estimated(
            lambda at: metrics.roc_auc(labels[at], answer[at]), len(truth), strata=labels, draws=RANKED_DRAWS, seed=seed
        )
        large = mean_estimated(answer - truth, seed=seed)
    elif kind == "regression":
        figure = estimated(
            lambda at: metrics.spearman(truth[at], answer[at]), len(truth), draws=RANKED_DRAWS, seed=seed
        )
        large = mean_estimated(answer - truth, seed=seed)
    else:
        hit = np.zeros(len(truth), dtype=bool) if right is None else right
        figure = mean_estimated(hit.astype(np.float64), seed=seed)
        large = Estimate.missing("of two classes only")
    return SiteRow(name, len(truth), positives, figure, large)


def told_apart(
    sites: Sequence[str],
    truth: NDArray[np.float64],
    answer: NDArray[np.float64],
    *,
    kind: TaskKind,
    right: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> tuple[SiteRow, ...]:
    """Return a row a site, in order of appearance; arguments as those of `site_row`, and the site of each case."""
    names = np.array([str(site) for site in sites], dtype=object)
    found = []
    for name in dict.fromkeys(names.tolist()):
        at = names == name
        found.append(
            site_row(name, truth[at], answer[at], kind=kind, right=None if right is None else right[at], seed=seed)
        )
    return tuple(found)


def worst(rows: Sequence[SiteRow]) -> SiteRow | None:
    """Return the site whose leading figure is lowest, None where none has one."""
    judged = [row for row in rows if row.figure.defined]
    return min(judged, key=lambda row: row.figure.value) if judged else None
