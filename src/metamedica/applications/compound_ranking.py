"""Rank the compounds of a new assay from a handful of measured ones: the main job, measured against what a chemist does today.

A scene holds one task out, draws small supports, ranks all other compounds with every method, and compares with what was measured.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.distributions import Normal

from metamedica.data.collection import Task, TaskCollection
from metamedica.data.episodes import gather, labelled
from metamedica.errors import TaskError
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.method import LearnerMethod
from metamedica.predictors.model import LearnerSpec
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.support import Support
from metamedica.reports import metrics
from metamedica.types import Law, Progress

METHODS: Mapping[str, str] = {
    "random_forest": "Random forest",
    "tanimoto_gp": "Tanimoto Gaussian process",
    "similarity_search": "Similarity search",
}
"""What a chemist fits from scratch today: learner -> name for people."""
DEFAULT = "Metamedica"
TOP = 50
HIT_SHARE = 0.1
COVERAGE = 0.9


@dataclass(frozen=True)
class Scene:
    """One held-out task, ranked from small supports.

    Args:
        name: of the task.
        shots: labelled compounds a draw.
        rows: one row a draw and method: `method`, `draw`, `spearman`, `hits` (of the top 50, how many are among the best tenth), `coverage`
            (share of measured values inside the 90 % interval; NaN where a method has none), `seconds` (adapt and rank).
        trust: one row a draw: `weight` on earlier tasks, `gain`, `cohesion`.
        verdict: of the predictor of the first draw.
        nearest: its nearest earlier tasks: (name, similarity).
        best: its highest-ranked compounds: `canonical`, `prediction`, `low`, `high`, `measured`, `nearest_labelled`, `similarity`.
        expected_hits: hits among the top 50 that chance would give.
    """

    name: str
    shots: int
    rows: pd.DataFrame
    trust: pd.DataFrame
    verdict: str
    nearest: tuple[tuple[str, float], ...]
    best: pd.DataFrame
    expected_hits: float
    notes: tuple[str, ...] = field(default=())

    def summary(self) -> pd.DataFrame:
        """Return one row a method, the default first: mean and standard error over draws of every figure."""
        grouped = self.rows.groupby("method", sort=False)[["spearman", "hits", "coverage", "seconds"]]
        mean, error = grouped.mean(), grouped.sem()
        return mean.join(error, rsuffix="_se").reset_index()

    def against(self, method: str) -> tuple[float, float, float]:
        """Return the mean difference in Spearman of the default against a method over draws, with a 95 % bootstrap interval."""
        wide = self.rows.pivot(index="draw", columns="method", values="spearman")
        gap = (wide[DEFAULT] - wide[method]).to_numpy()
        rng = np.random.default_rng(0)
        means = gap[rng.integers(0, len(gap), size=(4000, len(gap)))].mean(1)
        low, high = np.quantile(means, [0.025, 0.975])
        return float(gap.mean()), float(low), float(high)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value."""
        return {
            "task": self.name,
            "shots": self.shots,
            "draws": int(self.rows["draw"].nunique()),
            "methods": self.summary().to_dict(orient="records"),
            "against_tanimoto_gp": self.against(METHODS["tanimoto_gp"]),
            "weight_on_earlier_tasks": {
                "mean": float(self.trust["weight"].mean()),
                "largest": float(self.trust["weight"].max()),
            },
            "verdict": self.verdict,
            "nearest_earlier_tasks": [{"name": name, "similarity": value} for name, value in self.nearest],
            "notes": list(self.notes),
        }


def _figures(law: Law, measured: NDArray[np.float64]) -> dict[str, float]:
    predicted = law.mean[0].double().numpy()
    inside = float("nan")
    if isinstance(law, Normal):
        inside = metrics.interval_coverage(measured, predicted, law.stddev[0].double().numpy(), coverage=COVERAGE)
    return {
        "spearman": metrics.spearman(measured, predicted),
        "hits": metrics.hits_in_top(measured, predicted, top=TOP, share=HIT_SHARE),
        "coverage": inside,
    }


def run_scene(
    model: MetaLearner,
    tasks: TaskCollection,
    name: str,
    *,
    shots: int = 16,
    draws: int = 20,
    seed: int = 0,
    methods: Sequence[str] = tuple(METHODS),
    clock: Callable[[], float],
    notes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Scene:
    """Return the scene of one held-out regression task: `draws` random supports of `shots` compounds, all others ranked.

    Args:
        model: fitted without this task.
        tasks: holds the task; its features are the modality's.
        name: of the task.
        clock: seconds, for the time a method takes.

    Raises:
        TaskError: the task has too few compounds, or is not a regression.
    """
    tasks = model.readable(tasks)
    task = tasks[name]
    if task.kind != "regression" or len(task) < shots + TOP:
        raise TaskError(
            f"task {name!r} is {task.kind} with {len(task)} compounds; a regression with at least {shots + TOP} was wanted"
        )
    fitted = model.model_
    scratch = {
        METHODS[each]: LearnerMethod(LearnerSpec(each, fitted.spec.encoder).build(tasks.reader())) for each in methods
    }
    rows: list[dict[str, Any]] = []
    trust: list[dict[str, float]] = []
    first: Predictor | None = None
    for draw in range(draws):
        support_at, query_at = _positions(task, shots, seed, draw)
        support = labelled(tasks, [task], [support_at])
        query = gather(tasks, [task.rows[query_at]])
        measured = task.targets[query_at].astype(np.float64)
        began = clock()
        predictor = Predictor(fitted, _support(tasks, task, support_at), guard=model.guard)
        law = predictor.law({block: values[0] for block, values in query.features.items()})
        wide = Normal(law.mean[None], law.stddev[None], validate_args=False)
        rows.append({"method": DEFAULT, "draw": draw, **_figures(wide, measured), "seconds": clock() - began})
        says = predictor.trust
        trust.append({"draw": draw, "weight": says.weight, "gain": says.gain, "cohesion": says.cohesion})
        first = first or predictor
        for label, method in scratch.items():
            began = clock()
            rows.append(
                {
                    "method": label,
                    "draw": draw,
                    **_figures(method(support, query), measured),
                    "seconds": clock() - began,
                }
            )
        if progress is not None:
            progress(draw + 1, draws, f"{name}: draw {draw + 1} of {draws}")
    if first is None:
        raise TaskError(f"got {draws} draws; give at least 1")
    says = first.trust
    return Scene(
        name,
        shots,
        pd.DataFrame(rows),
        pd.DataFrame(trust),
        says.verdict,
        tuple((near.name, near.similarity) for near in says.nearest),
        _best(first, tasks, task, seed, shots),
        TOP * HIT_SHARE,
        tuple(notes),
    )


def _positions(task: Task, shots: int, seed: int, draw: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng([seed, draw]).permutation(len(task))
    return order[:shots], np.sort(order[shots:])


def _support(tasks: TaskCollection, task: Task, positions: NDArray[np.int64]) -> Support:
    texts = [tasks.canonical[int(row)] for row in task.rows[positions]]
    return Support(texts, labelled(tasks, [task], [positions]), None, task.unit)


def _best(
    predictor: Predictor, tasks: TaskCollection, task: Task, seed: int, shots: int, *, count: int = 8
) -> pd.DataFrame:
    """Return the compounds that the first draw's predictor ranks highest, with what was measured."""
    _, query_at = _positions(task, shots, seed, 0)
    rows = torch.from_numpy(task.rows[query_at])
    law = predictor.law({block: values[rows] for block, values in tasks.features.items()})
    top = np.argsort(-law.mean.numpy(), kind="stable")[:count]
    texts = [tasks.canonical[int(task.rows[query_at][at])] for at in top]
    table = predictor.predict_table(texts, coverage=COVERAGE)
    table["measured"] = task.targets[query_at][top]
    return table
