"""A new hospital whose labelled patients are all of one class: the other class is that of the earlier tasks, where they agree on it."""

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from tests.made_up_hospitals import COLUMNS, hospital, hospitals

from metamedica import registry
from metamedica.data.collection import TaskCollection
from metamedica.errors import TaskError
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.held_out import held_out
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.questions import Question
from metamedica.predictors.support import read_support
from metamedica.types import CaseBatch, ClosedForm, LabelledBatch

NEW = hospital("new", 0.5, 200, seed=99)
ROWS = NEW[COLUMNS]
DEAD, ALIVE = (ROWS[NEW["died"] == label][:8] for label in ("yes", "no"))
LATER = ROWS[100:]


def _fitted(learner: str, settings: dict[str, Any] | None = None) -> MetaLearner:
    tasks = TaskCollection.from_table(
        hospitals(), modality="tables", case=COLUMNS, target="died", task="site", kind="binary", positive="yes"
    )
    return MetaLearner(learner, settings=settings, guard=False, steps=2).fit(tasks)


@pytest.fixture(scope="module")
def bayes() -> MetaLearner:
    return _fitted("hierarchical_bayes", {"trees": 4})


def _mean(predictor: Predictor) -> float:
    return float(predictor.predict_proba(LATER)[:, 1].mean())


def test_the_prediction_moves_towards_the_class_that_was_seen_and_further_with_more_cases(bayes: MetaLearner) -> None:
    dead = [_mean(bayes.adapt(DEAD[:n], ["yes"] * n)) for n in (2, 8)]
    alive = [_mean(bayes.adapt(ALIVE[:n], ["no"] * n)) for n in (2, 8)]
    assert dead[1] > dead[0] > alive[0] > alive[1]
    for predictor in (bayes.adapt(DEAD, ["yes"] * 8), bayes.adapt(ALIVE, ["no"] * 8)):
        assert predictor.classes == ("no", "yes")
        probability = predictor.predict_proba(LATER)[:, 1]
        assert 0 < probability.min() < probability.max() < 1


@pytest.mark.parametrize(("rows", "label", "index"), [(DEAD, "yes", 1), (ALIVE, "no", 0)])
def test_the_answer_is_the_learners_own_law_for_that_class(
    bayes: MetaLearner, rows: pd.DataFrame, label: str, index: int
) -> None:
    model = bayes.model_

    def batch(cases: pd.DataFrame) -> CaseBatch:
        features = {name: block.float()[None] for name, block in model.prepare(cases).features.items()}
        return CaseBatch(features, torch.ones(1, len(cases), dtype=torch.bool))

    targets = torch.full((1, 8), index, dtype=torch.int64)
    with torch.no_grad():
        state = model.learner.adapt(LabelledBatch(batch(rows), targets, "binary", 2))
        law = model.learner.predict(state, batch(LATER))
    found = bayes.adapt(rows, [label] * 8).predict_proba(LATER)
    np.testing.assert_allclose(found, law.probs[0].double().numpy(), atol=1e-6)


def test_labelled_cases_of_one_class_vouch_for_sets_as_any_others_do(bayes: MetaLearner) -> None:
    predictor = bayes.adapt(ALIVE, ["no"] * 8)
    single = predictor.predict_set(LATER, 0.8).sum(1) == 1
    assert single.mean() > 0.5
    assert predictor.predict_set(LATER, 0.95).all()  # eight cases vouch for 8 / 9 at most


@pytest.mark.parametrize(
    "learner",
    [
        name
        for name in registry.learners_that(ClosedForm)
        if cast(type[ClosedForm], registry.learner_class(name)).least_classes == 1
    ],
)
def test_whoever_learns_a_level_from_one_class_is_asked_of_each_case_of_it_while_hidden(learner: str) -> None:
    model = _fitted(learner).model_
    support = read_support(model, ALIVE, ["no"] * 8, kind="binary", asked=model.asked)
    found = held_out(model.method("binary", guard=False), support.batch)
    assert found.known.all()
    assert torch.isfinite(found.law.log_prob(found.targets)).all()


def test_all_ways_to_write_a_label_and_the_positive_one_by_name_are_the_same_class(bayes: MetaLearner) -> None:
    usual = bayes.adapt(DEAD, ["yes"] * 8).predict_proba(LATER)
    for more in ({"positive": "yes"}, {"kind": "binary"}):
        named = bayes.adapt(DEAD, np.array(["yes"] * 8), **more)  # type: ignore[arg-type]
        assert np.array_equal(named.predict_proba(LATER), usual)
    numbers = copy.copy(bayes)
    numbers.model_ = copy.copy(bayes.model_)
    numbers.model_.asked = (Question("binary", ("0", "1")),)
    for label in (1, 1.0, True, "1"):
        assert np.array_equal(numbers.adapt(DEAD, [label] * 8).predict_proba(LATER), usual)


def test_columns_of_its_own_are_read_with_labels_of_one_class(bayes: MetaLearner) -> None:
    lactate = np.linspace(1, 4, 8)
    predictor = bayes.adapt(DEAD.assign(lactate=lactate), ["yes"] * 8)
    probability = predictor.predict_proba(LATER.assign(lactate=np.linspace(1, 4, len(LATER))))[:, 1]
    assert np.isfinite(probability).all()
    assert probability.mean() > _mean(bayes.adapt(ALIVE, ["no"] * 8))


def test_the_guard_leaves_methods_from_scratch_out_and_says_so() -> None:
    alone = _fitted("recalibrated")
    model = copy.copy(alone).set_params(guard=True)
    trust = model.adapt(DEAD, ["yes"] * 8).trust
    assert trust.candidates == {"recalibrated": 1.0, "linear": 0.0}
    assert (trust.weight, trust.compared) == (1.0, False)
    assert "the labels show fewer than two classes, so no method from scratch has a say" in trust.verdict
    left, right = (each.adapt(DEAD, ["yes"] * 8).predict_proba(LATER) for each in (model, alone))
    assert np.array_equal(left, right)
    both = model.adapt(pd.concat([DEAD, ALIVE]), ["yes"] * 8 + ["no"] * 8).trust
    assert both.compared
    assert both.candidates["linear"] > 0
    assert "from scratch has a say" not in both.verdict


def test_a_learner_from_scratch_answers_with_a_probability_that_is_sure_of_nothing() -> None:
    predictor = _fitted("linear").set_params(guard=True).adapt(DEAD, ["yes"] * 8)
    probability = predictor.predict_proba(LATER)[:, 1]
    assert (probability > 0.5).mean() > 0.9
    assert probability.max() < 1
    assert predictor.trust.weight == 0.0
    assert "from scratch has a say" not in predictor.trust.verdict


def test_a_saved_predictor_gives_the_same_numbers_and_its_card_names_the_one_class(
    bayes: MetaLearner, tmp_path: Path
) -> None:
    predictor = bayes.adapt(DEAD, ["yes"] * 8)
    predictor.save(tmp_path / "p")
    loaded = Predictor.load(tmp_path / "p")
    assert np.array_equal(loaded.predict_proba(LATER), predictor.predict_proba(LATER))
    assert (loaded.classes, loaded.support.only_class) == (("no", "yes"), "yes")
    assert "8 labelled cases; all labels are 'yes'" in (tmp_path / "p" / "CARD.md").read_text()
    assert bayes.adapt(ROWS[:20], NEW["died"][:20].tolist()).support.only_class is None


@pytest.mark.parametrize(
    ("labels", "more", "said"),
    [
        (["dead"] * 8, {}, "the label 'dead' came, and the classes of the earlier tasks are no, yes; give labelled cases of two"),
        (["1"] * 8, {}, "the label '1' came, and the classes of the earlier tasks are no, yes"),
        (["yes"] * 8, {"positive": "no"}, "the positive label 'no' came, and 'yes' is that of the earlier tasks"),
        (["yes"] * 8, {"kind": "multiclass"}, "the labels show fewer than two classes, and no earlier task is multiclass"),
        (["yes"] * 7 + [None], {}, "case 8 has no target"),
        (["yes"] * 7, {}, "got 8 cases and 7 targets"),
    ],
)  # fmt: skip
def test_labels_of_one_class_that_cannot_be_used_get_one_clear_sentence(
    bayes: MetaLearner, labels: list[Any], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(TaskError, match=said) as caught:
        bayes.adapt(DEAD, labels, **more)
    assert "\n" not in str(caught.value)


def test_one_labelled_case_is_still_too_few(bayes: MetaLearner) -> None:
    with pytest.raises(TaskError, match="got 1 labelled case; give at least 2"):
        bayes.adapt(DEAD[:1], ["yes"])


def test_earlier_tasks_that_asked_different_things_or_no_classes_do_not_answer(bayes: MetaLearner) -> None:
    torn = copy.copy(bayes)
    torn.model_ = copy.copy(bayes.model_)
    torn.model_.asked = (*bayes.model_.asked, Question("binary", ("ill", "well")))
    with pytest.raises(TaskError, match=r"earlier tasks disagree on them .binary: no, yes; binary: ill, well"):
        torn.adapt(DEAD, ["yes"] * 8)
    torn.model_.asked = ()
    with pytest.raises(TaskError, match="the labelled cases are all 'yes'; give at least one case of another class"):
        torn.adapt(DEAD, ["yes"] * 8)


def test_a_learner_that_compares_classes_says_that_it_needs_two() -> None:
    said = "the labelled cases are all 'yes': the support of task 0 has one class only; give at least one case of two classes"
    with pytest.raises(TaskError, match=said):
        _fitted("prototypical").adapt(DEAD, ["yes"] * 8)
