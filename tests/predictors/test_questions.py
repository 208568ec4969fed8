"""What earlier tasks asked, and when it answers for a new one."""

import pytest

from metamedica.errors import TaskError
from metamedica.predictors.questions import Question, agreed, questions, read_questions
from metamedica.types import TaskKind

DEATH = Question("binary", ("alive", "dead"))
STAGE = Question("multiclass", ("I", "II", "III"))


def test_different_questions_are_listed_once_whatever_the_order_and_numbers_have_no_classes() -> None:
    asked: list[tuple[TaskKind, tuple[str, ...] | None]] = [STAGE, DEATH, ("regression", None), DEATH]
    assert questions(asked) == questions(asked[::-1]) == (DEATH, STAGE)
    assert read_questions([[kind, list(classes)] for kind, classes in questions(asked)]) == (DEATH, STAGE)


def test_the_one_question_of_a_kind_is_taken() -> None:
    assert agreed([DEATH], None) == DEATH
    assert agreed([DEATH, STAGE], "multiclass") == STAGE


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ([DEATH, STAGE], None, "earlier tasks disagree on them \\(binary: alive, dead; multiclass: I, II, III\\)"),
        ([DEATH, Question("binary", ("dead", "alive"))], "binary", "disagree"),
        ([], None, "no earlier task has classes"),
        ([DEATH], "multiclass", "no earlier task is multiclass"),
        ([DEATH], "regression", "give at least 2 labelled cases"),
    ],
)
def test_a_question_that_is_not_clear_is_refused(asked: list[Question], kind: TaskKind | None, said: str) -> None:
    with pytest.raises(TaskError, match=said):
        agreed(asked, kind)
