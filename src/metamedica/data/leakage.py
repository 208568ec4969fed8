"""What meta-test tasks have in common with the tasks that were learned from, and how much that alone would tell.

A few-shot figure means little where the same cases occur in meta-train and meta-test tasks: the sum (+1, -1) of a
molecule's own meta-train labels, with no support at all, ranks the standard Tox21 and SIDER meta-test tasks at a
ROC-AUC of 0.855 and 0.844.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from metamedica.data.collection import Task, TaskCollection
from metamedica.data.splits import membership, rows_of
from metamedica.errors import InputError
from metamedica.types import META_SPLITS, MetaSplit, TaskKind

LEAST_SCORED = 10
"""A task with fewer overlapping, labelled cases gets no no-support score."""
_CLOSEST = 10
_SHOWN = 10
_METRIC: dict[TaskKind, Literal["ROC-AUC", "Spearman"]] = {"binary": "ROC-AUC", "regression": "Spearman"}


@dataclass(frozen=True)
class Shared:
    """Distinct cases (and groups, None where not asked for) that two meta-splits have in common."""

    left: MetaSplit
    right: MetaSplit
    cases: int
    groups: int | None


@dataclass(frozen=True)
class TaskOverlap:
    """What one judged task has in common with the tasks it is compared with.

    Args:
        name: of the task.
        kind: of the task.
        cases: number of its cases.
        shared: how many of them occur in the others too.
        shared_groups: how many of them have a group that occurs in the others; None where groups were not asked for.
        metric: of the scores: "ROC-AUC" (binary) or "Spearman" (regression); None without a score.
        scored: how many cases have a label in other tasks of the same kind and unit.
        score: how well the mean of a case's own labels there ranks those cases; None for fewer than 10, or one target.
        sum_score: the same for the sum of its own labels as +1 and -1; None for regression.
    """

    name: str
    kind: TaskKind
    cases: int
    shared: int
    shared_groups: int | None
    metric: Literal["ROC-AUC", "Spearman"] | None
    scored: int
    score: float | None
    sum_score: float | None


@dataclass(frozen=True)
class NoSupport:
    """The no-support row: the mean score over the judged tasks of one metric, by one rule."""

    metric: Literal["ROC-AUC", "Spearman"]
    rule: Literal["mean", "sum"]
    score: float
    tasks: int


@dataclass(frozen=True)
class Pair:
    """Two tasks that share cases; `share` is relative to the smaller one."""

    left: str
    right: str
    cases: int
    share: float


@dataclass(frozen=True)
class LeakageReport:
    """What `leakage_report` found.

    Args:
        modality: of the collection.
        split: whether there is a meta-split. Without one every task is judged against all others.
        tasks: number of tasks of each meta-split ("all" without one).
        cases: number of distinct cases of each meta-split ("all" without one).
        shared: overlap of each pair of meta-splits; empty without one.
        judged: each meta-test task (every task without a meta-split) against the meta-train tasks (the other tasks).
        no_support: the no-support row, one entry per metric and rule.
        closest: the pairs of a judged task and one it is compared with that share most.
    """

    modality: str
    split: bool
    tasks: dict[str, int]
    cases: dict[str, int]
    shared: list[Shared]
    judged: list[TaskOverlap]
    no_support: list[NoSupport]
    closest: list[Pair]

    @property
    def share(self) -> float:
        """Mean over the judged tasks of the share of their cases that occur in the others too."""
        return float(np.mean([task.shared / task.cases for task in self.judged if task.cases] or [0.0]))

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a JSON value."""
        return {**asdict(self), "share": self.share}

    def as_text(self) -> str:
        """Return the report as lines of text."""
        judged, others = ("meta-test", "meta-train tasks") if self.split else ("each", "the other tasks")
        lines = [f"{where}: {count:,} tasks, {self.cases[where]:,} cases" for where, count in self.tasks.items()]
        if not self.split:
            lines.append("no meta-split: each task is compared with the other tasks")
        for both in self.shared:
            groups = "" if both.groups is None else f", {both.groups:,} shared groups"
            lines.append(f"{both.left} and {both.right}: {both.cases:,} shared cases{groups}")
        if self.judged:
            lines.append(f"mean share of {judged} task's cases that occur in {others} too: {self.share:.1%}")
            grouped = [task.shared_groups / task.cases for task in self.judged if task.shared_groups is not None]
            if grouped:
                lines.append(f"mean share whose group occurs in {others} too: {np.mean(grouped):.1%}")
        for row in self.no_support:
            lines.append(
                f"no-support row: {row.metric} {row.score:.3f}, mean of {row.tasks:,} tasks: what the {row.rule} of a "
                f"case's own labels in {others} tells with no support at all"
            )
        most = sorted((task for task in self.judged if task.shared), key=lambda task: (-task.shared, task.name))
        for task in most[:_SHOWN]:
            score = (
                ""
                if task.score is None
                else f"; {task.metric} {task.score:.3f} with no support ({task.scored:,} cases)"
            )
            lines.append(f"  {task.name}: {task.shared:,} of {task.cases:,} cases shared{score}")
        if len(most) > _SHOWN:
            lines.append(f"  and {len(most) - _SHOWN:,} more tasks")
        if self.split and any(task.shared for task in self.judged):
            lines.append("to judge on unseen cases, take shared cases out of meta-training (molecule_disjoint)")
        return "\n".join(lines)


def case_groups(collection: TaskCollection) -> list[str]:
    """Return the group (the scaffold of a molecule) of every case of the collection, from its modality."""
    return collection.reader().groups(collection.canonical)


def leakage_report(collection: TaskCollection, *, groups: Sequence[str] | None = None) -> LeakageReport:
    """Return what the judged tasks have in common with the others.

    The no-support row: each case of a judged task that has labels in the tasks it is compared with is scored by the
    mean of those labels (0/1 of binary tasks; raw values of tasks with the same unit for regression), and the scores are
    held against the task's own labels: ROC-AUC or Spearman correlation, over overlapping cases only. Binary tasks have a
    second row with the sum of labels as +1 and -1 in place of the mean.

    Args:
        collection: with a meta-split (meta-test tasks are judged against meta-train tasks), or without one (every task is
            judged against all others).
        groups: one per case of the collection, for instance `case_groups(collection)`; None leaves groups out.

    Raises:
        InputError: not one group per case.
    """
    if groups is not None and len(groups) != len(collection.canonical):
        raise InputError(f"got {len(groups)} groups for {len(collection.canonical)} cases; give one group per case")
    group = None if groups is None else np.unique(np.array(groups, dtype=str), return_inverse=True)[1]
    has_split = bool(collection.split)
    judged = collection.names("meta_test") if has_split else collection.names()
    source = collection.names("meta_train") if has_split else collection.names()
    others = _Others(collection, source, group)
    found = [others.overlap(collection[name]) for name in judged]
    sides = [split for split in META_SPLITS if collection.names(split)]
    rows = {split: rows_of(collection, collection.names(split)) for split in sides}
    return LeakageReport(
        collection.modality,
        has_split,
        {split: len(collection.names(split)) for split in sides} if has_split else {"all": len(collection)},
        {split: len(rows[split]) for split in sides}
        if has_split
        else {"all": len(rows_of(collection, collection.names()))},
        [
            Shared(
                left,
                right,
                len(np.intersect1d(rows[left], rows[right])),
                None if group is None else len(np.intersect1d(group[rows[left]], group[rows[right]])),
            )
            for number, left in enumerate(sides)
            for right in sides[number + 1 :]
        ],
        found,
        _no_support(found),
        _closest(collection, judged, source),
    )


class _Others:
    """The source tasks: how many of them have each case and each group, and their labels apart for each kind and unit."""

    def __init__(self, collection: TaskCollection, source: Sequence[str], group: NDArray[np.int64] | None) -> None:
        self.number = {name: number for number, name in enumerate(source)}
        self.group = group
        self.times = np.zeros(len(collection.canonical), np.int64)
        parts: dict[tuple[TaskKind, str | None], list[tuple[NDArray[Any], ...]]] = {}
        for name, number in self.number.items():
            task = collection[name]
            self.times[task.rows] += 1
            if task.kind in _METRIC:
                owner = np.full(len(task), number)
                parts.setdefault((task.kind, task.unit), []).append((task.rows, task.targets, owner))
        self.labels: dict[tuple[TaskKind, str | None], sparse.csc_array] = {}  # [source tasks, cases]
        for key, each in parts.items():
            rows, targets, owner = (np.concatenate(column) for column in zip(*each, strict=True))
            shape = (len(self.number), len(self.times))
            self.labels[key] = sparse.csc_array((targets.astype(np.float64), (owner, rows)), shape=shape)
        self.group_times = None if group is None else np.bincount(group, weights=self.times)

    def overlap(self, task: Task) -> TaskOverlap:
        """Return what a task has in common with the source tasks other than itself."""
        own = int(task.name in self.number)
        shared = int((self.times[task.rows] > own).sum())
        shared_groups = None
        if self.group is not None and self.group_times is not None:
            here = self.group[task.rows]
            times = self.group_times - own * np.bincount(here, minlength=len(self.group_times))
            shared_groups = int((times[here] > 0).sum())
        metric = _METRIC.get(task.kind)
        total, count = self._labels(task)
        known = count > 0
        scored = int(known.sum())
        score = sum_score = None
        target = task.targets[known].astype(np.float64)
        if metric is not None and scored >= LEAST_SCORED and target.min() < target.max():
            score = _score(total[known] / count[known], target, metric)
            if task.kind == "binary":
                sum_score = _score(2 * total[known] - count[known], target, metric)
        metric = metric if score is not None else None
        return TaskOverlap(task.name, task.kind, len(task), shared, shared_groups, metric, scored, score, sum_score)

    def _labels(self, task: Task) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return sum and number of the labels that the task's cases have in other tasks of its kind and unit."""
        if (task.kind, task.unit) not in self.labels:
            return np.zeros(len(task)), np.zeros(len(task), np.int64)
        found = self.labels[task.kind, task.unit][:, task.rows]
        # its own labels are left out, not subtracted from a sum: the rounding would tell them
        other = found.indices != self.number.get(task.name, -1)
        place = np.repeat(np.arange(len(task)), np.diff(found.indptr))[other]
        total = np.bincount(place, weights=found.data[other], minlength=len(task))
        return total.astype(np.float64), np.bincount(place, minlength=len(task)).astype(np.int64)


def _score(guess: NDArray[np.float64], target: NDArray[np.float64], metric: Literal["ROC-AUC", "Spearman"]) -> float:
    rank = stats.rankdata(guess)
    if metric == "ROC-AUC":  # the Mann-Whitney statistic; ties count one half
        positive = target == 1
        n = int(positive.sum())
        return float((rank[positive].sum() - n * (n + 1) / 2) / (n * (len(target) - n)))
    if guess.min() == guess.max():
        return 0.0
    return float(np.corrcoef(rank, stats.rankdata(target))[0, 1])


def _no_support(found: Sequence[TaskOverlap]) -> list[NoSupport]:
    rows = []
    for metric in _METRIC.values():
        here = [task for task in found if task.metric == metric]
        scores = {"mean": [task.score for task in here], "sum": [task.sum_score for task in here]}
        for rule in ("mean", "sum"):
            known = [score for score in scores[rule] if score is not None]
            if known:
                rows.append(NoSupport(metric, rule, float(np.mean(known)), len(known)))
    return rows


def _closest(collection: TaskCollection, judged: Sequence[str], source: Sequence[str]) -> list[Pair]:
    both = (membership(collection, judged) @ membership(collection, source).T).tocoo()
    pairs = []
    for left, right, cases in zip(both.row.tolist(), both.col.tolist(), both.data.tolist(), strict=True):
        one, other = judged[left], source[right]
        if judged == source and left >= right:  # without a meta-split every pair would come twice
            continue
        smaller = min(len(collection[one]), len(collection[other]))
        pairs.append(Pair(one, other, int(cases), cases / smaller))
    pairs.sort(key=lambda pair: (-pair.share, -pair.cases, pair.left, pair.right))
    return pairs[:_CLOSEST]
