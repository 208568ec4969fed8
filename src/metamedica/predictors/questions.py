"""What earlier tasks asked, for a new task whose labels are too few to tell."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from metamedica.errors import TaskError
from metamedica.types import TaskKind

_SHOWN = 3


class Question(NamedTuple):
    """A kind of task with classes, and its labels by class index."""

    kind: TaskKind
    classes: tuple[str, ...]


def questions(asked: Iterable[tuple[TaskKind, Sequence[str] | None]]) -> tuple[Question, ...]:
    """Return the different questions with classes, sorted.

    Args:
        asked: kind and labels of each earlier task; None for regression.
    """
    return tuple(sorted({Question(kind, tuple(classes)) for kind, classes in asked if classes is not None}))


def read_questions(document: Sequence[Sequence[Any]]) -> tuple[Question, ...]:
    """Return the questions of a saved model."""
    return questions((kind, classes) for kind, classes in document)


def agreed(asked: Sequence[Question], kind: TaskKind | None) -> Question:
    """Return the one question that all earlier tasks of a kind asked.

    Args:
        asked: what `questions` returned.
        kind: of the new task; None where it is not known.

    Raises:
        TaskError: there is none, or earlier tasks disagree.
    """
    if kind == "regression":
        raise TaskError(
            "the level and the spread of a regression task come from its labels alone; give at least 2 labelled cases"
        )
    found = [question for question in asked if kind in (None, question.kind)]
    if not found:
        raise TaskError(
            f"the labels show fewer than two classes, and no earlier task {'has classes' if kind is None else f'is {kind}'}; "
            "give labelled cases of at least two classes"
        )
    if len(found) > 1:
        shown = "; ".join(f"{each.kind}: {', '.join(each.classes[:5])}" for each in found[:_SHOWN])
        raise TaskError(
            f"the labels show fewer than two classes, and earlier tasks disagree on them ({shown}); "
            "give labelled cases of at least two classes"
        )
    return found[0]
