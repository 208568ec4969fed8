"""A user's labelled cases -> a checked support of one task."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metamedica.errors import CaseError, InputError, TaskError
from metamedica.functional.descriptions import described
from metamedica.predictors.questions import Question, agreed
from metamedica.types import CaseBatch, CaseProblem, Features, LabelledBatch, Modality, PreparedCases, TaskKind

_SHOWN = 3
_LONGEST = 200
"""Characters of a case that an error quotes; a longer one (an image) is told by its number alone."""


@runtime_checkable
class Reader(Protocol):
    """What makes raw cases ready: a modality, or a fitted model, whose encoder may read more."""

    def prepare(self, cases: Any, /) -> PreparedCases:
        """Return the cases featurised."""


@dataclass(frozen=True)
class Support:
    """The labelled cases of one task.

    Args:
        canonical: one canonical text per distinct case.
        batch: the same, featurised, a batch of one task in the task's own units.
        classes: label by class index; None for regression.
        unit: of the targets; None where not given.
        remarks: what was read otherwise than it stands in the cases, and how.
        unlabelled: further cases of the task, without label, a batch of one task; None: there are none.
        unread: column -> cells of all these cases that came and are not as declared, so that they count as missing.
    """

    canonical: list[str]
    batch: LabelledBatch
    classes: tuple[str, ...] | None
    unit: str | None
    remarks: list[str] = field(default_factory=list)
    unlabelled: CaseBatch | None = None
    unread: dict[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> TaskKind:
        return self.batch.kind

    @property
    def compares(self) -> bool:
        """Whether a method from scratch can learn from the labels: there are two classes, or two numbers."""
        shown = self.batch.targets if self.kind == "regression" else torch.unique(self.batch.targets)
        return shown.numel() > 1

    @property
    def only_class(self) -> str | None:
        """The label of all labelled cases where they show one class; None where they show more, there are none, or they are numbers."""
        if self.classes is None or self.compares or self.batch.targets.numel() == 0:
            return None
        return self.classes[int(self.batch.targets[0, 0])]

    def described_as(self, about: str) -> "Support":
        """Return the same cases of a task that is about this.

        Raises:
            TaskError: a description of fewer than three letters.
        """
        return replace(self, batch=replace(self.batch, about=described(about)[None]))

    @property
    def rows(self) -> Features:
        """Blocks `[cases, size]` of all cases of the task, labelled or not."""
        labelled = {name: block[0] for name, block in self.batch.features.items()}
        if self.unlabelled is None:
            return labelled
        return {name: torch.cat([block, self.unlabelled.features[name][0]]) for name, block in labelled.items()}


def _label(value: Any) -> str:
    """Return a class label as text; 1, 1.0, True and "1" are the same label."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def infer_kind(targets: Sequence[Any]) -> TaskKind:
    """Return the kind that the targets speak of: only 0 and 1, or two labels: binary; other labels: multiclass; numbers: regression."""
    labels = {_label(value) for value in targets}
    if labels <= {"0", "1"}:
        return "binary"
    if all(_number(value) is not None for value in targets):
        return "regression"
    return "binary" if len(labels) == 2 else "multiclass"


def _one_class(targets: Sequence[Any], kind: TaskKind | None) -> bool:
    return (kind or infer_kind(targets)) != "regression" and len({_label(value) for value in targets}) == 1


def _classes(labels: list[str], kind: TaskKind, positive: str | None) -> tuple[str, ...]:
    present = sorted(set(labels))
    if len(present) < 2:
        raise TaskError(f"the labelled cases are all {present[0]!r}; give at least one case of another class")
    if kind == "multiclass":
        return tuple(present)
    if len(present) > 2:
        raise TaskError(
            f"a binary task has two labels, {len(present)} came ({', '.join(present[:5])}); name kind='multiclass'"
        )
    if positive is not None:
        if positive not in present:
            raise TaskError(
                f"the positive label {positive!r} does not occur; the labels are {present[0]!r} and {present[1]!r}"
            )
        return (next(label for label in present if label != positive), positive)
    lower = {label.lower(): label for label in present}
    for negative, affirmative in (
        ("0", "1"),
        ("false", "true"),
        ("no", "yes"),
        ("inactive", "active"),
        ("negative", "positive"),
    ):
        if {negative, affirmative} == set(lower):
            return (lower[negative], lower[affirmative])
    raise TaskError(
        f"it is not clear which of the labels {present[0]!r} and {present[1]!r} is the positive one; name it (positive=...)"
    )


def read_support(
    reader: Reader,
    cases: Any,
    targets: Sequence[Any] | NDArray[Any],
    *,
    kind: TaskKind | None = None,
    unit: str | None = None,
    positive: str | None = None,
    known: Question | None = None,
    asked: Sequence[Question] = (),
) -> Support:
    """Return the checked, featurised support of one task.

    Args:
        reader: makes cases ready.
        cases: raw.
        targets: one each.
        kind: None reads it from the targets.
        unit: of regression targets.
        positive: the label that counts as class 1 of a binary task.
        known: kind and classes, where they need not be read from the targets; one case is then enough.
        asked: what earlier tasks asked, which tells kind and classes where the targets show one class.

    Raises:
        CaseError: a case cannot be read, or the same case has different targets.
        TaskError: a target is missing or not of its kind, fewer than 2 distinct cases, or one class only, where earlier tasks do not tell
            the other: there are none with classes, they disagree, or the class is none of theirs.
    """
    least = 2 if known is None else 1
    values = list(targets)
    cases = as_cases(cases)
    if len(cases) != len(values):
        raise TaskError(f"got {len(cases)} cases and {len(values)} targets; give one target per case")
    if len(cases) < least:
        raise TaskError(
            f"got {len(cases)} labelled case{'' if len(cases) == 1 else 's'}; give at least 2 (16 or more is usual)"
        )
    missing = [
        i for i, value in enumerate(values) if value is None or _label(value).lower() in ("", "nan", "none", "<na>")
    ]
    if missing:
        raise TaskError(
            f"case {missing[0] + 1} has no target ({len(missing)} in all); a missing target is never guessed: leave the case out"
        )
    if known is None and asked and _one_class(values, kind):
        known = agreed(asked, kind)
    kind = known.kind if known is not None else kind or infer_kind(values)
    classes: tuple[str, ...] | None = None
    if kind == "regression":
        numbers = [_number(value) for value in values]
        for i, number in enumerate(numbers):
            if number is None:
                raise TaskError(f"the target of case {i + 1} is {str(values[i])[:40]!r}; a finite number was wanted")
        encoded: list[Any] = numbers
    else:
        labels = [_label(value) for value in values]
        classes = _classes(labels, kind, positive) if known is None else _known_classes(labels, known, positive)
        encoded = [classes.index(label) for label in labels]
    prepared = _readable(reader, cases, "labelled")
    merged: dict[int, int] = {}
    for i, row in enumerate(prepared.row):
        if row in merged and encoded[merged[row]] != encoded[i]:
            raise CaseError(
                f"cases {merged[row] + 1} and {i + 1} are the same{_told(prepared.canonical[row])} with different targets "
                f"({values[merged[row]]} and {values[i]}); keep one or give their mean"
            )
        merged.setdefault(row, i)
    if len(merged) < least:
        raise TaskError("all labelled cases are the same case; give at least 2 different ones")
    chosen = [encoded[i] for i in merged.values()]
    dtype = torch.float32 if kind == "regression" else torch.int64
    batch = LabelledBatch(
        _one_task(prepared, list(merged)),
        torch.tensor([chosen], dtype=dtype),
        kind,
        None if classes is None else len(classes),
    )
    told = [f"{case_number(remark)}column {remark.text!r}: {remark.reason}" for remark in prepared.remarks]
    return Support(
        [prepared.canonical[row] for row in merged], batch, classes, unit, told, unread=unread_cells(prepared)
    )


def _told(canonical: str) -> str:
    return f" ({canonical!r})" if len(canonical) <= _LONGEST else ""


def unread_cells(prepared: PreparedCases) -> dict[str, int]:
    """Return how many cells of each column are not as declared."""
    found: Counter[str] = Counter()
    for remark in prepared.remarks:
        found[remark.text] += remark.cells
    return {column: count for column, count in found.items() if count}


def _readable(reader: Reader, cases: Any, which: str) -> PreparedCases:
    prepared = reader.prepare(cases)
    if prepared.problems:
        shown = "; ".join(f"case {p.position + 1} ({p.text!r}): {p.reason}" for p in prepared.problems[:_SHOWN])
        raise CaseError(
            f"{len(prepared.problems)} of {len(cases)} {which} cases cannot be read: {shown}; mend or leave them out"
        )
    return prepared


def _one_task(prepared: PreparedCases, rows: list[int]) -> CaseBatch:
    """Return these rows of prepared cases as a batch of one task."""
    features: dict[str, Tensor] = {
        name: block[rows].to(torch.float32)[None] for name, block in prepared.features.items()
    }
    return CaseBatch(features, torch.ones(1, len(rows), dtype=torch.bool))


def _known_classes(labels: list[str], known: Question, positive: str | None) -> tuple[str, ...]:
    for label in labels if positive is None else [*labels, positive]:
        if label not in known.classes:
            raise TaskError(
                f"the label {label!r} came, and the classes of the earlier tasks are {', '.join(known.classes)}; "
                "give labelled cases of two classes, or name the labels as the earlier tasks do"
            )
    if positive is not None and positive != known.classes[-1]:
        raise TaskError(
            f"the positive label {positive!r} came, and {known.classes[-1]!r} is that of the earlier tasks; "
            "leave it out, or give labelled cases of both classes"
        )
    return known.classes


def read_support_with(
    reader: Reader,
    unlabelled: Any,
    cases: Any = None,
    targets: Sequence[Any] | NDArray[Any] | None = None,
    *,
    asked: Sequence[Question],
    kind: TaskKind | None = None,
    unit: str | None = None,
    positive: str | None = None,
) -> Support:
    """Return the support of one task that has cases without label too.

    Args:
        reader: makes cases ready.
        unlabelled: raw cases, at least one.
        cases: raw labelled cases; None: there are none.
        targets: one for each labelled case.
        asked: what earlier tasks asked: kind and classes where fewer than two labels are shown.
        kind: as that of `read_support`.
        unit: as that of `read_support`.
        positive: as that of `read_support`.

    Raises:
        CaseError: a case cannot be read, or there is no unlabelled one.
        TaskError: as `read_support`; or too few labels, and no earlier task tells the classes, or they disagree.
    """
    unlabelled = as_cases(unlabelled)
    if len(unlabelled) == 0:
        raise CaseError("the unlabelled cases are none; give at least one, or leave them out")
    values = [] if targets is None else list(targets)
    enough = len({_label(value) for value in values}) > 1
    known = None if enough else agreed(asked, kind)
    prepared = _readable(reader, unlabelled, "unlabelled")
    batch = _one_task(prepared, list(dict.fromkeys(prepared.row)))
    if values or (cases is not None and len(as_cases(cases))):
        support = read_support(
            reader, [] if cases is None else cases, values, kind=kind, unit=unit, positive=positive, known=known
        )
    else:
        assert known is not None
        nothing = LabelledBatch(
            batch.map(lambda value: value[:, :0]),
            torch.zeros(1, 0, dtype=torch.int64),
            known.kind,
            len(known.classes),
        )
        support = Support([], nothing, _known_classes([], known, positive), unit)
    told = [f"unlabelled {case_number(each)}column {each.text!r}: {each.reason}" for each in prepared.remarks]
    unread = Counter(support.unread) + Counter(unread_cells(prepared))
    return replace(support, unlabelled=batch, remarks=[*support.remarks, *told], unread=dict(unread))


def as_cases(cases: Any) -> Any:
    """Return raw cases as something with a length: a data frame as it is, anything else as a list."""
    return cases if hasattr(cases, "iloc") else list(cases)


def shown_cases(cases: Any) -> list[str]:
    """Return raw cases as texts for a table of predictions: a row of a data frame by its label."""
    return (
        [str(label) for label in cases.index]
        if hasattr(cases, "iloc")
        else [each if isinstance(each, str) else "" for each in cases]
    )


def case_number(problem: CaseProblem) -> str:
    """Return "case 3, " for the problem of one case, nothing for one of all cases."""
    return f"case {problem.position + 1}, " if problem.position >= 0 else ""


def check_own(modality: Modality, known: Modality, cases: Any, labels: list[int]) -> None:
    """Refuse a column of the cases' own that gives the label away; the model's own columns were looked at when it was fitted.

    Raises:
        InputError: there is one.
    """
    known_to = known.leaks(cases, labels)
    found = [name for name in modality.leaks(cases, labels) if name not in known_to]
    if found:
        raise InputError(
            f"the column {found[0]!r} of the labelled cases tells the two classes apart without error: it seems to be the label itself or "
            "something written after it; leave it out"
        )
