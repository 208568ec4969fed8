"""The number that is explained: log-odds of a class in double precision, a mean in the task's unit, and the class that is asked for."""

import pytest
import torch
from torch.distributions import Categorical

from metamedica.errors import TaskError
from metamedica.learners.linear import Linear
from metamedica.learners.tanimoto_gp import TanimotoGP
from metamedica.predictors.answers import Answer, class_index, law_of, log_odds, sum_of
from metamedica.predictors.method import AdaptedLearner, LearnerMethod
from metamedica.testing import VectorRaw, vector_episodes
from metamedica.types import CaseBatch, LabelledBatch, TaskKind


def test_log_odds_are_those_of_the_class_against_all_others() -> None:
    law = Categorical(probs=torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]))
    found = log_odds(law, 2)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([0.0, 1.3862943], abs=1e-6)


def test_log_odds_stay_finite_where_a_probability_rounds_to_one() -> None:
    law = Categorical(logits=torch.tensor([[0.0, 60.0]]))
    assert log_odds(law, 1).item() == pytest.approx(60.0)
    assert log_odds(law, 0).item() == pytest.approx(-60.0)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_sum_is_the_answer_of_the_law_in_the_tasks_unit(kind: TaskKind) -> None:
    episodes = vector_episodes(kind)
    one = episodes.support.map(lambda value: value[:1])
    if kind == "regression":
        one = one.with_targets(100 + 7 * one.targets)
    adapted = LearnerMethod(Linear(VectorRaw()).double()).adapt(one)
    features = {"vector": episodes.query.features["vector"][0]}
    for index in (0, 1) if kind == "binary" else (None,):
        told = sum_of(adapted, index=index)
        assert told is not None
        torch.testing.assert_close(told(features), _wide(adapted, features, index), atol=1e-8, rtol=1e-8)


def _wide(adapted: AdaptedLearner, features: dict[str, torch.Tensor], index: int | None) -> torch.Tensor:
    """Return the answer of the law in double precision."""
    law = adapted.predict(CaseBatch({"vector": features["vector"][None]}, torch.ones(1, 5, dtype=torch.bool)))
    return law.mean[0] if index is None else log_odds(law, index)[0]  # type: ignore[arg-type]


def test_an_answer_asks_its_law_unless_it_is_a_sum() -> None:
    adapted = LearnerMethod(Linear(VectorRaw())).adapt(_single(vector_episodes("binary").support))
    features = {"vector": vector_episodes("binary").query.features["vector"][0]}
    told = sum_of(adapted, index=1)
    answers = [Answer(law_of(adapted), 1, each)(features) for each in (told, None)]
    torch.testing.assert_close(answers[0], answers[1], atol=1e-4, rtol=1e-4)


def _single(support: LabelledBatch, dtype: torch.dtype = torch.float32) -> LabelledBatch:
    return support.map(lambda value: value[:1].to(dtype) if value.is_floating_point() else value[:1])


def test_what_is_no_sum_is_none() -> None:
    adapted = LearnerMethod(Linear(VectorRaw()).double()).adapt(vector_episodes("multiclass").support)
    assert sum_of(adapted, index=1) is None
    assert sum_of(adapted, index=2) is None
    other = LearnerMethod(TanimotoGP(VectorRaw()).double()).adapt(
        _single(vector_episodes("binary").support, torch.float64)
    )
    assert sum_of(other, index=1) is None


def test_the_class_that_is_explained_is_class_one_unless_named() -> None:
    assert class_index(("no", "yes"), None) == 1
    assert class_index(("no", "yes"), "no") == 0
    assert class_index(("a", "b", "c"), None) is None
    assert class_index(None, None) is None
    with pytest.raises(TaskError, match="a regression task has no classes"):
        class_index(None, "yes")
    with pytest.raises(TaskError, match="'maybe' is none of the task's, which are no, yes"):
        class_index(("no", "yes"), "maybe")
