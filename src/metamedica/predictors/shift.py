"""Does the new task look unlike everything seen? Its values, what it misses and its labels, against how earlier tasks differ among themselves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from scipy.stats import binom
from torch import Tensor

from metamedica.functional.surprise import combined, mean_p_values, spread_of
from metamedica.measured import Measured, Measures
from metamedica.types import Features, LabelledBatch, Modality, TaskKind

ALARM = 0.01
"""Below this p-value, and below those of earlier tasks that the others were asked about, a task counts as unlike all of them."""
FEW = 0.05
"""Share of a column's cells that a task like the earlier ones may miss where those never did, or have outside what is declared."""
_USUAL = 0.05
"""Share of the earlier tasks that may be as unlike the others as a task that counts as unlike."""
_FEWEST_CASES = 10
"""Of a task of patients with fewer, nothing is kept: it would tell of one."""
_FEWEST_TASKS = 2
_SHOWN = 5


@dataclass(frozen=True)
class ShiftedPart:
    """One column that the new task's cases have otherwise than earlier tasks' cases.

    Args:
        name: of the column.
        what: "values", "missing" or "unread" (cells that came and are not as declared: beyond the range, a level never seen).
        here: mean over the new task's cases (share of them, for a level or for what is missing or unread), on the scale that learners see.
        earlier: mean over earlier tasks of theirs.
        p_value: two-sided, of this column alone.
    """

    name: str
    what: str
    here: float
    earlier: float
    p_value: float


@dataclass(frozen=True)
class Shift:
    """Whether a task looks like the earlier ones.

    Args:
        unlike: whether values or what is missing differ from earlier tasks by more than those among themselves.
        p_value: of values, what is missing and what is unread together; 1 where nothing can be told.
        values: p-value of the values of the cases.
        missing: p-value of what is missing.
        unread: p-value of the cells that came and are not as declared, of which earlier tasks had few.
        labels: p-value of the share of class 1, or of the targets' mean where earlier tasks have the same unit; None where there are none to compare.
        parts: the columns that differ most, most first.
        told: false where nothing can be told: fewer than two earlier tasks are known, or cases of different tasks cannot be compared.
    """

    unlike: bool
    p_value: float
    values: float
    missing: float
    unread: float
    labels: float | None
    parts: tuple[ShiftedPart, ...] = ()
    told: bool = True

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        if not self.told:
            return "Whether this task is like the earlier ones cannot be told: too few of them can be compared with it."
        labels = (
            " Its labels are unlike theirs, which adapting takes into account."
            if self.labels is not None and self.labels < ALARM
            else ""
        )
        if not self.unlike:
            return f"Its cases look like those of earlier tasks (p = {self.p_value:.2g}).{labels}"
        named = ", ".join(f"{part.name}{'' if part.what == 'values' else f' ({part.what})'}" for part in self.parts[:3])
        return (
            f"Its cases look unlike those of all earlier tasks (p = {self.p_value:.1g}), most in {named}: check the columns' meaning and units; "
            f"what earlier tasks taught may not hold here.{labels}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value; it holds means of the cases and no case."""
        return {**asdict(self), "verdict": self.verdict}


NOTHING_TOLD = Shift(False, 1.0, 1.0, 1.0, 1.0, None, told=False)


class Moments(NamedTuple):
    """Of each earlier task (row) and column."""

    mean: Float[Tensor, "tasks columns"]
    variance: Float[Tensor, "tasks columns"]
    cases: Float[Tensor, "tasks columns"]
    """That it was measured of."""

    @classmethod
    def stacked(cls, rows: Sequence["Moments"], columns: int) -> "Moments":
        """Return those of all tasks; none, of so many columns, where there is no task."""
        empty = torch.zeros(0, columns)
        return cls(*(torch.cat([empty, *(row[at] for row in rows)]) for at in range(3)))

    def but(self, task: int) -> "Moments":
        """Return those of all tasks but one."""
        rest = torch.arange(len(self.mean)) != task
        return Moments(*(value[rest] for value in self))

    def p_values(self, of: "Moments") -> Float[Tensor, " columns"]:
        """Return the p-value of each column of one further task."""
        return mean_p_values(spread_of(*self), of.mean[0], of.cases[0])


def _moments(values: Tensor, there: Tensor) -> Moments:
    """Return what one task's cases have, `[1, columns]`."""
    values, weight = values.double(), there.double()
    count = weight.sum(0)
    mean = (values * weight).sum(0) / count.clamp(min=1)
    square = ((values - mean).square() * weight).sum(0)
    variance = square / (count - 1).clamp(min=1)
    return Moments(*(each[None].to(torch.float32) for each in (mean, variance, count)))


def _missing(measured: Measured, sources: Sequence[str]) -> Moments:
    """Return the share of cases that miss each source, with at least the variance of a share of `FEW`: never missing so far is not never."""
    first = [measured.sources.index(source) for source in sources]
    lacks = (~measured.there[:, first]).double()
    share = lacks.mean(0)
    variance = (share * (1 - share)).clamp(min=FEW * (1 - FEW))
    count = torch.full_like(share, len(lacks))
    return Moments(*(each[None].to(torch.float32) for each in (share, variance, count)))


def _group(kind: TaskKind, unit: str | None) -> str | None:
    """Return which tasks' labels can be compared; None for those that cannot."""
    if kind == "binary":
        return "binary"
    return f"regression in {unit}" if kind == "regression" and unit is not None else None


@dataclass(frozen=True)
class EarlierCases:
    """What is remembered of the cases and labels of earlier tasks: means, variances and counts, a column each.

    Args:
        names, sources: of the columns.
        values: of what was measured.
        missing: of what was not, a column a source.
        labels: of the targets, a column a group of tasks whose targets can be compared.
        groups: names of these groups.
    """

    names: list[str]
    sources: list[str]
    values: Moments
    missing: Moments
    labels: Moments
    groups: list[str]

    @classmethod
    def of(cls, tasks: Iterable[tuple[LabelledBatch, str | None]], modality: Modality) -> "EarlierCases":
        """Return what is remembered of earlier tasks; nothing where cases of two tasks cannot be compared.

        Args:
            tasks: all cases as a batch of one task in its unit, and the unit.
            modality: of the cases.
        """
        names: list[str] = []
        sources: list[str] = []
        values, missing, labelled = [], [], []
        for batch, unit in tasks:
            if not modality.distinct and batch.targets.shape[1] < _FEWEST_CASES:
                continue
            group = _group(batch.kind, unit)
            if group is not None:
                targets = batch.targets[0, :, None]
                labelled.append((group, _moments(targets, torch.ones_like(targets, dtype=torch.bool))))
            if isinstance(modality, Measures):
                measured = modality.measured({name: block[0] for name, block in batch.features.items()})
                names, sources = list(measured.names), list(dict.fromkeys(measured.sources))
                values.append(_moments(measured.values, measured.there))
                missing.append(_missing(measured, sources))
        groups = sorted({group for group, _ in labelled})
        labels = [
            Moments(*(torch.where(_place(group, groups), each, torch.zeros(1, len(groups))) for each in found))
            for group, found in labelled
        ]
        return cls(
            names,
            sources,
            Moments.stacked(values, len(names)),
            Moments.stacked(missing, len(sources)),
            Moments.stacked(labels, len(groups)),
            groups,
        )

    @classmethod
    def nothing(cls) -> "EarlierCases":
        """Return the memory of no task."""
        empty = Moments.stacked([], 0)
        return cls([], [], empty, empty, empty, [])

    @cached_property
    def _usual(self) -> float:
        """Return the p-value that one earlier task in twenty is below (or of fewer the smallest), each asked of the others."""
        tasks = range(len(self.values.mean))
        found = [self._p_value(task) for task in tasks]
        return float(torch.tensor(found, dtype=torch.float64).quantile(_USUAL, interpolation="lower")) if found else 1.0

    def _p_value(self, task: int) -> float:
        each = [
            combined(kept.but(task).p_values(Moments(*(value[task : task + 1] for value in kept))))
            for kept in (self.values, self.missing)
        ]
        return float(combined(torch.stack(each)))

    def shift(
        self,
        features: Features,
        support: LabelledBatch,
        *,
        modality: Modality,
        unit: str | None,
        unread: Mapping[str, int] | None = None,
    ) -> Shift:
        """Return how unlike earlier tasks a new one is.

        Args:
            features: blocks `[cases, size]` of all its cases, labelled or not.
            support: its labelled cases, a batch of one task.
            modality: of the cases.
            unit: of its targets.
            unread: column -> cells that came and are not as declared.
        """
        labels = self._labels(support, unit)
        if not isinstance(modality, Measures) or len(self.values.mean) < _FEWEST_TASKS:
            return replace(NOTHING_TOLD, labels=labels)
        measured = modality.measured(features)
        known = [measured.names.index(name) for name in self.names]
        measured = Measured(
            measured.values[:, known], measured.there[:, known], self.names, [measured.sources[at] for at in known]
        )
        here, lacks = _moments(measured.values, measured.there), _missing(measured, self.sources)
        values, missing = self.values.p_values(here), self.missing.p_values(lacks)
        n = len(measured.values)
        strange = {name: float(binom.sf((unread or {}).get(name, 0) - 1, n, FEW)) for name in self.sources}
        three = torch.stack([combined(values), combined(missing), combined(torch.tensor(list(strange.values())))])
        p_value = float(combined(three))
        parts = [
            *self._parts(self.names, "values", here, self.values, values),
            *self._parts(self.sources, "missing", lacks, self.missing, missing),
            *(
                ShiftedPart(name, "unread", (unread or {}).get(name, 0) / max(n, 1), FEW, found)
                for name, found in strange.items()
            ),
        ]
        parts.sort(key=lambda part: part.p_value)
        return Shift(
            p_value < ALARM and p_value < self._usual,
            p_value,
            float(three[0]),
            float(three[1]),
            float(three[2]),
            labels,
            tuple(parts[:_SHOWN]),
        )

    @staticmethod
    def _parts(names: Sequence[str], what: str, here: Moments, kept: Moments, found: Tensor) -> list[ShiftedPart]:
        centre = spread_of(*kept).centre
        return [
            ShiftedPart(name, what, float(here.mean[0, at]), float(centre[at]), float(found[at]))
            for at, name in enumerate(names)
        ]

    def _labels(self, support: LabelledBatch, unit: str | None) -> float | None:
        group = _group(support.kind, unit)
        if group not in self.groups or support.targets.shape[1] == 0:
            return None
        at = self.groups.index(group)
        column = Moments(*(value[:, at : at + 1] for value in self.labels))
        targets = support.targets[0, :, None]
        here = _moments(targets, torch.ones_like(targets, dtype=torch.bool))
        return float(column.p_values(here)[0])

    def tensors(self) -> dict[str, Tensor]:
        """Return what is saved with a model."""
        return {
            f"{part}.{name}": value
            for part, kept in (("values", self.values), ("missing", self.missing), ("labels", self.labels))
            for name, value in kept._asdict().items()
        }

    def document(self) -> dict[str, Any]:
        """Return what is saved with a model, as JSON."""
        return {"names": self.names, "sources": self.sources, "groups": self.groups}

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> "EarlierCases":
        """Return what `tensors` and `document` said."""
        values, missing, labels = (
            Moments(*(tensors[f"{part}.{name}"] for name in Moments._fields))
            for part in ("values", "missing", "labels")
        )
        return cls(
            list(document["names"]), list(document["sources"]), values, missing, labels, list(document["groups"])
        )


def _place(group: str, groups: Sequence[str]) -> Tensor:
    return torch.tensor([[each == group for each in groups]])
