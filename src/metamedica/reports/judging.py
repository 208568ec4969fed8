"""What all protocols share: methods run over tasks, support sizes and draws, with finished parts that are used again."""

import hashlib
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.distributions import Categorical, Normal

from metamedica.data.collection import IntArray, Task, TaskCollection
from metamedica.data.episodes import gather, labelled
from metamedica.errors import InputError, TaskError
from metamedica.functional.leaning import WeighsItself
from metamedica.predictors.guard import AdaptedMixture
from metamedica.predictors.method import Adapted, AdaptedLearner
from metamedica.predictors.method import Method as AdaptingMethod
from metamedica.reports import metrics
from metamedica.reports.evaluation import Evaluation
from metamedica.storage import replace_file
from metamedica.types import CaseBatch, LabelledBatch, Law, Progress, TaskKind

Method: TypeAlias = AdaptingMethod | Callable[[LabelledBatch, CaseBatch], Law]
TRUST = "trust"
"""The figure of a guarded method, or of one that weighs itself: how far it leans on what was learned from earlier tasks, 0 to 1."""
Mask: TypeAlias = NDArray[np.bool_]
DRAWS = 10
_CHUNK = 2048
_BINS = 10


class Protocol(ABC):
    """What a published protocol decides: which cases are the support, which the query, and what is counted beside the usual figures."""

    name: ClassVar[str]

    @abstractmethod
    def support(self, task: Task, shots: int, *, draw: int, seed: int) -> IntArray:
        """Return the positions of a support within its task, a function of (seed, name of the task, draw).

        Raises:
            TaskError: the task is too small for it; `judge` leaves it out at this size.
            InputError: the protocol cannot judge the task at all; `judge` ends.
        """

    def query(self, task: Task, support: IntArray, *, draw: int, seed: int) -> Mask:
        """Return which cases of the task are the query of this support: by default every other case."""
        rest = np.ones(len(task), dtype=bool)
        rest[support] = False
        return rest

    def figures(self, task: Task, query: Mask, predicted: NDArray[np.float64]) -> dict[str, float]:
        """Return the protocol's own figures: by default none.

        Args:
            task: in its own unit.
            query: which of its cases.
            predicted: for each of them, the probability of class 1 (of the likeliest class with more than two) or the mean.
        """
        return {}

    def cases(
        self, task: Task, queries: Sequence[Mask], predicted: Sequence[NDArray[np.float64]]
    ) -> dict[str, NDArray[Any]]:
        """Return what the protocol keeps of each case over all draws, columns of one length: by default none.

        Args:
            task: in its own unit.
            queries: which of its cases each draw asks.
            predicted: for each draw, as `figures` gets it.
        """
        return {}

    def settings(self) -> dict[str, Any]:
        """Return what a finished part and a report must know of the protocol, as JSON values."""
        return {}


def order_of(task: Task, *, draw: int, seed: int) -> IntArray:
    """Return the task's cases in the random order of a draw, a function of (seed, name of the task, draw)."""
    name = int.from_bytes(hashlib.sha256(f"{seed}\0{task.name}".encode()).digest()[:8], "little")
    return np.random.default_rng([name, draw]).permutation(len(task))


def judge(
    protocol: Protocol,
    methods: Mapping[str, Method],
    collection: TaskCollection,
    *,
    shots: Sequence[int],
    names: Sequence[str] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    parts: str | Path | None = None,
    version: str = "",
    progress: Progress | None = None,
) -> Evaluation:
    """Return how methods do on tasks of one kind under a protocol.

    Args:
        protocol: supports and queries.
        methods: name -> method, or a function of support and query that returns the law; one that raises `TaskError` for the kind of
            task does not apply, and is named with its reason.
        collection: raw units.
        shots: support sizes as the protocol counts them; a task too small for one is skipped there and counted.
        names: the tasks; None takes meta-test tasks where there is a split, all tasks otherwise.
        draws: supports a task and size.
        seed: decides the draws.
        parts: folder for finished parts; a second run with the same settings goes on from them.
        version: of the methods, part of a part's key: parts of another version are not used.
        progress: called as `progress(done, total, message)`.

    Raises:
        TaskError: no task, tasks of several kinds, or none that any method could be judged on.
        InputError: no method, shots or draws below 1, or what `protocol.support` says of a task that it cannot judge.
    """
    if not methods or draws < 1 or not shots or min(shots) < 1:
        raise InputError(
            f"got {len(methods)} methods, shots {tuple(shots)}, {draws} draws; give at least one method, 1 shot and 1 draw"
        )
    names = list(names) if names is not None else collection.names("meta_test" if collection.split else None)
    tasks = [collection[name] for name in names]
    kinds: set[TaskKind] = {task.kind for task in tasks}
    if len(kinds) != 1:
        raise TaskError(
            f"tasks of one kind are evaluated together, got {', '.join(sorted(kinds)) or 'no task'}; choose the tasks"
        )
    rows: list[dict[str, Any]] = []
    tables: dict[tuple[str, int], NDArray[np.float64]] = {}
    cases: list[pd.DataFrame] = []
    skipped: dict[str, str] = {}
    too_small: dict[int, int] = {}
    total, done = len(methods) * len(shots) * len(tasks), 0
    for size in shots:
        for task in tasks:
            try:
                supports = [protocol.support(task, size, draw=draw, seed=seed) for draw in range(draws)]
            except TaskError:
                too_small[size] = too_small.get(size, 0) + 1
                done += len(methods)
                continue
            for name, method in methods.items():
                done += 1
                if name in skipped:
                    continue
                part = _part(parts, protocol, name, task, size, draws, seed, version)
                found = _read_part(part)
                if found is None:
                    try:
                        made, pairs, kept = _one_task(
                            protocol, method, collection, task, supports, shots=size, seed=seed
                        )
                    except TaskError as error:
                        skipped[name] = str(error)
                        continue
                    found = {"rows": made, "bins": _bins(pairs), "cases": kept}
                    if part is not None:
                        replace_file(part, json.dumps(found).encode())
                rows += [{"method": name, **row} for row in found["rows"]]
                if found["cases"]:
                    cases.append(pd.DataFrame({"method": name, "task": task.name, "shots": size, **found["cases"]}))
                tables[name, size] = tables.get((name, size), np.zeros((_BINS, 3))) + np.array(found["bins"])
                if progress is not None:
                    progress(done, total, f"{name} on {task.name}, {size} shots")
    frame = pd.DataFrame([row for row in rows if row["method"] not in skipped])
    if frame.empty:
        reason = (
            "; ".join(f"{name}: {why}" for name, why in skipped.items())
            or f"every task is too small for {min(shots)} shots"
        )
        raise TaskError(f"nothing could be evaluated: {reason}")
    about = {
        "name": protocol.name,
        "shots": list(shots),
        "draws": draws,
        "seed": seed,
        "tasks": len(tasks),
        "tasks_too_small": {str(size): count for size, count in too_small.items()},
        **protocol.settings(),
    }
    (kind,) = kinds
    whole = {key: table for key, table in tables.items() if key[0] not in skipped}
    kept_cases = [each for each in cases if each["method"].iloc[0] not in skipped]
    return Evaluation(
        kind,
        frame,
        about,
        skipped,
        _reliability(whole) if kind == "binary" else pd.DataFrame(),
        pd.concat(kept_cases, ignore_index=True) if kept_cases else pd.DataFrame(),
    )


def _one_task(
    protocol: Protocol,
    method: Method,
    collection: TaskCollection,
    task: Task,
    supports: Sequence[IntArray],
    *,
    shots: int,
    seed: int,
) -> tuple[list[dict[str, Any]], list[tuple[float, int]], dict[str, list[Any]]]:
    """Return a row a support, in the order of the draws; for a binary task the probability and label of every query case; what the protocol
    keeps of each case."""
    draws = len(supports)
    began = time.process_time()
    with torch.no_grad():
        adapted = _adapted(method, labelled(collection, [task] * draws, supports))
        law = _laws(adapted, draws, collection, task)
    seconds = (time.process_time() - began) / draws
    learned = _learned(adapted)
    rows, pairs, queries, scores = [], [], [], []
    for draw, support in enumerate(supports):
        query = protocol.query(task, support, draw=draw, seed=seed)
        figures, score = _figures(law, draw, query, task)
        figures |= protocol.figures(task, query, score)
        if learned is not None:
            figures[TRUST] = float(learned[draw])
        rows.append(
            {"task": task.name, "shots": shots, "draw": draw, "query": int(query.sum()), **figures, "seconds": seconds}
        )
        queries.append(query)
        scores.append(score)
        if task.kind == "binary":
            pairs += list(zip(score.tolist(), task.targets[query].tolist(), strict=True))
    kept = {name: values.tolist() for name, values in protocol.cases(task, queries, scores).items()}
    return rows, pairs, kept


def _learned(adapted: Adapted) -> torch.Tensor | None:
    """Return how far the answer for each support leans on earlier tasks, `[draws]`; None for a method that does not weigh that."""
    if isinstance(adapted, AdaptedMixture):
        return adapted.weighed.weights[:, 0]
    if isinstance(adapted, AdaptedLearner) and isinstance(adapted.learner, WeighsItself):
        return adapted.learner.leaning(adapted.state).learned
    return None


@dataclass(frozen=True)
class _Function:
    """A function of support and query as what knows its support."""

    method: Callable[[LabelledBatch, CaseBatch], Law]
    support: LabelledBatch

    def predict(self, query: CaseBatch) -> Law:
        return self.method(self.support, query)


def _adapted(method: Method, support: LabelledBatch) -> Adapted:
    return method.adapt(support) if isinstance(method, AdaptingMethod) else _Function(method, support)


def _laws(adapted: Adapted, draws: int, collection: TaskCollection, task: Task) -> Law:
    """Return the law of every case of the task under every draw; the query goes through in chunks, so memory is bounded."""
    laws = []
    for start in range(0, len(task), _CHUNK):
        rows = task.rows[start : start + _CHUNK]
        one = gather(collection, [rows])
        query = one.map(lambda block: block.expand(draws, *block.shape[1:]))
        laws.append(adapted.predict(query))
    if all(isinstance(law, Categorical) for law in laws):
        return Categorical(
            logits=torch.cat([law.logits for law in laws if isinstance(law, Categorical)], dim=1), validate_args=False
        )
    mean, deviation = torch.cat([law.mean for law in laws], 1), torch.cat([law.stddev for law in laws], 1)
    return Normal(mean, deviation, validate_args=False)


def _figures(law: Law, draw: int, query: Mask, task: Task) -> tuple[dict[str, float], NDArray[np.float64]]:
    targets = task.targets[query]
    if isinstance(law, Categorical):
        probability = law.probs[draw].double().numpy()[query]
        labels = targets.astype(np.int64)
        if task.kind == "binary":
            return metrics.binary_figures(labels, probability[:, 1]), probability[:, 1]
        return metrics.multiclass_figures(labels, probability), probability.max(1)
    mean, deviation = law.mean[draw].double().numpy()[query], law.stddev[draw].double().numpy()[query]
    return metrics.regression_figures(targets.astype(np.float64), mean, deviation), mean


def _bins(pairs: Sequence[tuple[float, int]]) -> list[list[float]]:
    """Return `[sum of probability, sum of labels, cases]` of ten fixed bins."""
    table = np.zeros((_BINS, 3))
    if pairs:
        values = np.array(pairs, dtype=float)
        at = np.minimum((values[:, 0] * _BINS).astype(int), _BINS - 1)
        for column, weight in enumerate((values[:, 0], values[:, 1], np.ones(len(values)))):
            table[:, column] = np.bincount(at, weights=weight, minlength=_BINS)
    return table.tolist()


def _reliability(tables: Mapping[tuple[str, int], NDArray[np.float64]]) -> pd.DataFrame:
    rows = [
        {
            "method": name,
            "shots": size,
            "probability": line[0] / line[2],
            "frequency": line[1] / line[2],
            "cases": int(line[2]),
        }
        for (name, size), table in tables.items()
        for line in table
        if line[2] > 0
    ]
    return pd.DataFrame(rows)


def _part(
    parts: str | Path | None,
    protocol: Protocol,
    name: str,
    task: Task,
    size: int,
    draws: int,
    seed: int,
    version: str,
) -> Path | None:
    if parts is None:
        return None
    about = json.dumps([protocol.name, protocol.settings()], sort_keys=True)
    digest = hashlib.sha256(f"{name}\0{task.name}\0{task.kind}\0{size}\0{draws}\0{seed}\0{version}\0{about}".encode())
    digest.update(task.rows.tobytes())
    digest.update(task.targets.tobytes())
    return Path(parts) / re.sub(r"\W+", "_", name) / f"{digest.hexdigest()[:32]}.json"


def _read_part(path: Path | None) -> dict[str, Any] | None:
    """Return a finished part; None where there is none, or where it is damaged (then it is made again)."""
    if path is None or not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"rows", "bins", "cases"} <= found.keys() else None
