"""What becomes of accuracy and calibration when labels are wrong, columns are missing or cells hold slips: methods side by side, paired draws.

Supports and queries are those of `protocols.sites`. Label noise spoils the support only and is judged on true labels; missing columns and outliers
spoil support and query alike, in the raw cells, so that what the reader refuses or mends counts too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.distributions import Categorical

from metamedica.data.collection import IntArray, Task, TaskCollection
from metamedica.data.episodes import gather
from metamedica.errors import InputError, TaskError
from metamedica.functional.descriptions import stacked
from metamedica.functional.leaning import WeighsItself
from metamedica.meta_learner import MetaLearner
from metamedica.modalities.tables import Tables
from metamedica.predictors.method import LearnerMethod, Method
from metamedica.predictors.model import LearnerSpec
from metamedica.reports import metrics
from metamedica.reports.evaluation import LOWER_IS_BETTER
from metamedica.reports.protocols.sites import Sites
from metamedica.types import CaseBatch, Features, LabelledBatch, Law, Progress, TaskKind

Harm = Literal["label noise", "missing columns", "outliers x10", "outliers 10 sd"]
SHARES: Mapping[Harm, tuple[float, ...]] = {
    "label noise": (0.1, 0.2, 0.3),
    "missing columns": (0.1, 0.3, 0.5),
    "outliers x10": (0.05, 0.1),
    "outliers 10 sd": (0.05, 0.1),
}
"""What is spoilt, and the shares of it that are: of the labels (of a regression, noise of this share of their standard deviation), of the columns,
of the cells that hold numbers."""
FIGURES: Mapping[TaskKind, tuple[str, ...]] = {
    "binary": ("roc_auc", "log_loss", "brier", "ece"),
    "multiclass": ("accuracy", "roc_auc", "log_loss"),
    "regression": ("r2", "rmse", "coverage", "log_loss"),
}
CLEAN = "none"
_BOOTSTRAP = 1000


@dataclass(frozen=True)
class Robustness:
    """How methods did on spoilt tasks.

    Args:
        rows: one a task, draw, method, `harm` and `share` (0 for `none`), with the kind's figures.
        kind: of the tasks.
        notes: what was left out, and why.
    """

    rows: pd.DataFrame
    kind: TaskKind
    notes: tuple[str, ...] = ()

    def summary(self, figure: str | None = None) -> pd.DataFrame:
        """Return, a harm, share and method: `clean`, `spoilt`, `loss` (how much worse; positive is worse) with its 95 % interval `low` and `high`,
        and `tasks`.

        Intervals are of a bootstrap that draws tasks and, within each, draws; methods are paired in it.

        Raises:
            InputError: an unknown figure.
        """
        figure = figure or FIGURES[self.kind][0]
        if figure not in self.rows.columns:
            raise InputError(f"there is no figure {figure!r}; there are: {', '.join(FIGURES[self.kind])}")
        sign = 1.0 if figure in LOWER_IS_BETTER else -1.0
        clean = self._wide(CLEAN, 0.0, figure)
        found = []
        tried = self.rows.loc[self.rows["harm"] != CLEAN, ["harm", "share"]].drop_duplicates()
        for harm, share in zip(tried["harm"], tried["share"], strict=True):
            spoilt = self._wide(str(harm), float(share), figure)
            for method in spoilt.columns:
                loss = sign * (spoilt[method] - clean[method])
                low, high = _two_level(loss)
                found.append(
                    {
                        "harm": harm, "share": share, "method": method, "clean": clean[method].mean(), "spoilt": spoilt[method].mean(),
                        "loss": loss.mean(), "low": low, "high": high, "tasks": int(loss.dropna().index.get_level_values("task").nunique()),
                    }
                )  # fmt: skip
        return pd.DataFrame(found)

    def ratio(
        self, harm: Harm, share: float, *, method: str, rival: str, figure: str | None = None
    ) -> tuple[float, float, float]:
        """Return the method's mean loss as a part of the rival's, with a 95 % interval; NaN where the rival loses nothing."""
        figure = figure or FIGURES[self.kind][0]
        losses = self._wide(CLEAN, 0.0, figure) - self._wide(harm, share, figure)
        both = losses[[method, rival]].dropna()
        sums = _samples(both)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = sums[:, 0] / sums[:, 1]
        mean = both.groupby(level="task").mean().mean()
        if not mean[rival] * (1 if figure not in LOWER_IS_BETTER else -1) > 0:
            return float("nan"), float("nan"), float("nan")
        low, high = np.nanquantile(values, [0.025, 0.975])
        return float(mean[method] / mean[rival]), float(low), float(high)

    def _wide(self, harm: str, share: float, figure: str) -> pd.DataFrame:
        part = self.rows[(self.rows["harm"] == harm) & (self.rows["share"] == share)]
        return part.pivot(index=["task", "draw"], columns="method", values=figure)


def default_methods(model: MetaLearner, kind: TaskKind, *, unit: str | None = None) -> dict[str, Method]:
    """Return the product's answer for a model (guarded, or weighing itself) and the plain local method beside it."""
    fitted = model.model_
    local = fitted.modality.from_scratch[0]
    name = fitted.spec.learner if isinstance(fitted.learner, WeighsItself) else f"{fitted.spec.learner}, guarded"
    if not fitted.learner.learns_from_tasks():
        name = fitted.spec.learner
    methods: dict[str, Method] = {name: model.method(kind, unit=unit)}
    if local != fitted.spec.learner:
        methods[f"{local}, local"] = LearnerMethod(LearnerSpec(local, fitted.spec.encoder).build(fitted.modality))
    return methods


def robustness(
    methods: Mapping[str, Method],
    collection: TaskCollection,
    names: Sequence[str],
    *,
    shots: int = 20,
    draws: int = 20,
    harms: Mapping[Harm, Sequence[float]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Robustness:
    """Return how methods do on spoilt tasks.

    Args:
        methods: name -> method; the same draws and the same spoilt cells for all.
        collection: raw units. Where cases are no rows of columns (molecules), only labels are spoilt, and `notes` says so.
        names: of the tasks, all of one kind.
        shots: support size in total.
        draws: supports a task.
        harms: what is spoilt -> the shares; None takes `SHARES`.
        seed: of draws and of what is spoilt.
        progress: called once a task and harm.

    Raises:
        InputError: no method or no draw, or a share that is not above 0 and below 1.
        TaskError: tasks of several kinds or none large enough, or a method that returns numbers that are none.
    """
    asked = {harm: tuple(shares) for harm, shares in (SHARES if harms is None else harms).items()}
    odd = [share for shares in asked.values() for share in shares if not 0 < share < 1]
    if not methods or draws < 1 or shots < 1 or odd:
        raise InputError(
            f"got {len(methods)} methods, {draws} draws of {shots} cases and shares {odd or 'between 0 and 1'}; give at least one "
            "of each, and shares above 0 and below 1"
        )
    tasks = [collection[name] for name in names]
    kinds: set[TaskKind] = {task.kind for task in tasks}
    if len(kinds) != 1:
        raise TaskError(
            f"tasks of one kind are audited together, got {', '.join(sorted(kinds)) or 'no task'}; choose the tasks"
        )
    notes = []
    if not isinstance(collection.reader(), Tables):
        left = [harm for harm in asked if harm != "label noise"]
        asked = {harm: shares for harm, shares in asked.items() if harm == "label noise"}
        if left:
            notes.append(
                f"Of {collection.modality} only labels are spoilt: columns are left out and cells spoilt of the modality tables alone "
                f"({', '.join(left)})."
            )
    spoils: list[tuple[str, float]] = [(CLEAN, 0.0)]
    spoils += [(harm, share) for harm, shares in asked.items() for share in shares]
    protocol, rows = Sites((shots,)), []
    for number, task in enumerate(tasks):
        try:
            supports = [protocol.support(task, shots, draw=draw, seed=seed) for draw in range(draws)]
        except TaskError as error:
            notes.append(f"Left out: {error}.")
            continue
        queries = [protocol.query(task, each, draw=draw, seed=seed) for draw, each in enumerate(supports)]
        for at, (harm, share) in enumerate(spoils):
            support, query = _spoilt(collection, task, supports, harm, share, seed=seed)
            for name, method in methods.items():
                with torch.no_grad():
                    law = method(support, query)
                for draw, mask in enumerate(queries):
                    rows.append(
                        {
                            "task": task.name,
                            "draw": draw,
                            "method": name,
                            "harm": harm,
                            "share": share,
                            **_figures(law, draw, mask, task, name),
                        }
                    )
            if progress is not None:
                progress(number * len(spoils) + at + 1, len(tasks) * len(spoils), f"{task.name}, {harm}")
    if not rows:
        raise TaskError(f"no task has the {shots} cases of a support and enough to be judged on; lower the shots")
    (kind,) = kinds
    return Robustness(pd.DataFrame(rows), kind, tuple(notes))


def _spoilt(
    collection: TaskCollection, task: Task, supports: Sequence[IntArray], harm: str, share: float, *, seed: int
) -> tuple[LabelledBatch, CaseBatch]:
    """Return spoilt supports and all cases of the task, one a draw."""
    random = np.random.default_rng([seed, len(task), sum(map(ord, task.name))])
    draws = len(supports)
    if harm in (CLEAN, "label noise"):
        one = gather(collection, [task.rows])
        features = {name: block.expand(draws, *block.shape[1:]) for name, block in one.features.items()}
    else:
        features = _read_again(collection, task, harm, share, random, draws)
    index = torch.from_numpy(np.stack(supports))
    rows = torch.arange(draws)[:, None]
    chosen = CaseBatch(
        {name: block[rows, index] for name, block in features.items()}, torch.ones(index.shape, dtype=torch.bool)
    )
    targets = np.stack([task.targets[each] for each in supports])
    if harm == "label noise":
        targets = np.stack([noisy_labels(each, share, task, random) for each in targets])
    n_classes = None if task.classes is None else len(task.classes)
    labels = torch.from_numpy(targets)
    labels = labels if n_classes is not None else labels.to(torch.get_default_dtype())
    every = CaseBatch(features, torch.ones(draws, len(task), dtype=torch.bool))
    return LabelledBatch(chosen, labels, task.kind, n_classes, stacked([task.about] * draws)), every


def noisy_labels(targets: NDArray[Any], share: float, task: Task, random: np.random.Generator) -> NDArray[Any]:
    """Return the targets with so large a share of the labels replaced by another class, at random; of a regression with Normal noise of this share
    of their standard deviation."""
    if task.kind == "regression":
        return np.asarray(targets + random.standard_normal(len(targets)) * share * targets.std())
    wrong = random.permutation(len(targets))[: round(share * len(targets))]
    changed = targets.copy()
    classes = len(task.classes or ())
    changed[wrong] = (targets[wrong] + random.integers(1, classes, size=len(wrong))) % classes
    return changed


def _read_again(
    collection: TaskCollection, task: Task, harm: str, share: float, random: np.random.Generator, draws: int
) -> Features:
    """Return the blocks `[draws, cases, size]` of the task's cases, read again from spoilt cells."""
    reader = collection.reader()
    cases = pd.DataFrame([json.loads(collection.canonical[int(row)]) for row in task.rows], dtype=object)
    parts = []
    for _ in range(draws):
        prepared = reader.prepare(spoilt_cells(cases, harm, share, random))
        if prepared.problems:
            raise TaskError(
                f"spoilt cells of task {task.name!r} cannot be read: {prepared.problems[0].reason}; choose other harms"
            )
        parts.append({name: block[torch.tensor(prepared.row)] for name, block in prepared.features.items()})
    return {
        name: torch.stack([torch.as_tensor(part[name]) for part in parts]).to(torch.get_default_dtype())
        for name in collection.features
    }


def spoilt_cells(cases: pd.DataFrame, harm: str, share: float, random: np.random.Generator) -> pd.DataFrame:
    """Return the table with a share of its columns empty, or of its cells that hold numbers ten times as large or ten standard deviations off."""
    spoilt = cases.copy()
    if harm == "missing columns":
        count = min(max(1, round(share * cases.shape[1])), cases.shape[1] - 1)
        for column in random.permutation(cases.shape[1])[:count]:
            spoilt.isetitem(int(column), np.full(len(cases), None, dtype=object))
        return spoilt
    for place, name in enumerate(cases.columns):
        hit = random.random(len(cases)) < share
        numbers = np.array([isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cases[name]])
        if not numbers.any():
            continue
        values = np.array([float(cell) if there else np.nan for cell, there in zip(cases[name], numbers, strict=True)])
        sign = random.choice([-1.0, 1.0], size=len(cases))
        changed = values * 10 if harm == "outliers x10" else values + 10 * sign * np.nanstd(values)
        cells: list[Any] = [
            new if there and chosen else old
            for new, there, chosen, old in zip(changed, numbers, hit, cases[name], strict=True)
        ]
        spoilt.isetitem(place, np.array(cells, dtype=object))
    return spoilt


def _figures(law: Law, draw: int, query: NDArray[np.bool_], task: Task, method: str) -> dict[str, float]:
    targets = task.targets[query]
    if isinstance(law, Categorical):
        probability = law.probs[draw].double().numpy()[query]
        _check_finite(probability, method)
        labels = targets.astype(np.int64)
        told = (
            metrics.binary_figures(labels, probability[:, 1])
            if task.kind == "binary"
            else metrics.multiclass_figures(labels, probability)
        )
    else:
        mean, deviation = law.mean[draw].double().numpy()[query], law.stddev[draw].double().numpy()[query]
        _check_finite(np.stack([mean, deviation]), method)
        told = metrics.regression_figures(targets.astype(np.float64), mean, deviation)
    return {name: told[name] for name in FIGURES[task.kind]}


def _check_finite(values: NDArray[np.float64], method: str) -> None:
    if not np.isfinite(values).all():
        raise TaskError(
            f"{method} returned predictions that are not numbers (NaN or infinite), so nothing is judged; mend the learner"
        )


def _two_level(values: "pd.Series[Any]") -> tuple[float, float]:
    """Return the 95 % interval of the mean over tasks of a value a task and draw."""
    there = values.dropna()
    if there.empty:
        return float("nan"), float("nan")
    low, high = np.quantile(_samples(there.to_frame())[:, 0], [0.025, 0.975])
    return float(low), float(high)


def _samples(values: pd.DataFrame) -> NDArray[np.float64]:
    """Return bootstrap means `[samples, columns]` of a row a task and draw: tasks are drawn, and draws within each."""
    random = np.random.default_rng(0)
    groups = [part.to_numpy(dtype=np.float64) for _, part in values.groupby(level="task", sort=False)]
    means = np.stack([part[random.integers(0, len(part), size=(_BOOTSTRAP, len(part)))].mean(1) for part in groups])
    chosen = random.integers(0, len(groups), size=(_BOOTSTRAP, len(groups)))
    return np.asarray(means[chosen, np.arange(_BOOTSTRAP)[:, None]].mean(1))
