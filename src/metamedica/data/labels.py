"""Texts -> class labels and the order of classes."""

import re

import numpy as np

from metamedica.cells import NUMBER
from metamedica.errors import TaskError
from metamedica.types import TaskKind

NEGATIVE_POSITIVE = (
    ("0", "1"),
    ("false", "true"),
    ("no", "yes"),
    ("inactive", "active"),
    ("negative", "positive"),
)
"""Pairs of labels, in lower case, whose positive one is clear."""

MOST_LABELS = 10
"""More different texts are not shown in errors: they are probably no labels."""
_WHOLE = re.compile(r"([+-]?\d+)\.0*")


def class_label(text: str) -> str:
    """Return a label as text; "1.0" and "1" are the same."""
    whole = _WHOLE.fullmatch(text)
    return whole.group(1) if whole else text


def classes_of(
    found: list[str], kind: TaskKind, positive: str | None, *, elsewhere: list[str], where: str
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return (label by class index, class index by label) of one task.

    Args:
        found: the labels of the task.
        kind: binary or multiclass.
        positive: the label that is class 1 of a binary task; None where the labels say it themselves.
        elsewhere: all labels of the table; they name the other class of a task that shows one only.
        where: file and task, for the error.

    Raises:
        TaskError: the labels are not those of a binary task, or it is not clear which is the positive one.
    """
    if kind == "multiclass":
        ordered = sorted(found, key=_natural)
        return tuple(ordered), {label: index for index, label in enumerate(ordered)}
    if positive is None:
        lower = {label.lower() for label in found}
        pair = next((pair for pair in NEGATIVE_POSITIVE if lower <= {*pair}), None)
        if pair is not None:
            index = {label: pair.index(label.lower()) for label in found}
            spelled = {place: label for label, place in reversed(index.items())}
            return (spelled.get(0, pair[0]), spelled.get(1, pair[1])), index
    if len(found) > 2:
        raise TaskError(
            f"{where} has {len(found)} labels{_in_brackets(found)} and a binary task has two; "
            "name kind multiclass or another target column"
        )
    if positive is None:
        raise TaskError(
            f"{where} has the label{'s' if len(found) > 1 else ''} {_listed(found)}, and which one is positive is not "
            "clear; name it (positive)"
        )
    others = [label for label in found if label != positive]
    if len(others) > 1:
        raise TaskError(
            f"{where} has the labels {_listed(found)}, neither is the positive one {positive!r}; name one of them"
        )
    rest = [label for label in elsewhere if label != positive]
    negative = others[0] if others else rest[0] if len(rest) == 1 else f"not {positive}"
    return (negative, positive), {negative: 0, positive: 1}


def _natural(label: str) -> tuple[float, str]:
    return (float(label) if NUMBER.fullmatch(label) else np.inf, label)


def _in_brackets(labels: list[str]) -> str:
    """Return the first labels; nothing of very many, which are no labels and may name patients."""
    return f" ({_listed(labels)})" if len(labels) <= MOST_LABELS else ""


def _listed(labels: list[str]) -> str:
    return ", ".join(repr(label[:30]) for label in labels[:4]) + (", ..." if len(labels) > 4 else "")
