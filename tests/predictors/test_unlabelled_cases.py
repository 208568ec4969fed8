"""A new hospital with few labelled patients, or none, and many without label: read, used, kept and loaded."""

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss
from tests.made_up_hospitals import COLUMNS, hospital, hospitals

from metamedica.data.collection import TaskCollection
from metamedica.errors import CaseError, InputError, TaskError
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.questions import Question

NEW = hospital("new", 0.9, 400, seed=99)
ROWS, DIED = NEW[COLUMNS], NEW["died"].tolist()


ONE = {"unlabelled": ROWS[:9], "cases": ROWS[:1]}


def _tasks(frame: pd.DataFrame) -> TaskCollection:
    return TaskCollection.from_table(
        frame, modality="tables", case=COLUMNS, target="died", task="site", kind="binary", positive="yes"
    )


@pytest.fixture(scope="module")
def model() -> MetaLearner:
    return MetaLearner("label_shift", guard=False).fit(_tasks(hospitals()))


def _loss(predictor: Predictor) -> float:
    return float(log_loss([label == "yes" for label in DIED[200:]], predictor.predict_proba(ROWS[200:])[:, 1]))


def test_without_any_label_kind_and_classes_are_those_of_the_earlier_tasks(model: MetaLearner) -> None:
    predictor = model.adapt(unlabelled=ROWS[:200])
    assert predictor.kind == "binary"
    assert predictor.classes == ("no", "yes")
    assert predictor.trust.weight == 1.0
    assert predictor.as_dict()["labelled_cases"] == 0
    assert predictor.as_dict()["unlabelled_cases"] == 200
    table = predictor.predict_table(ROWS[200:203])
    assert table["nearest_labelled"].tolist() == [""] * 3
    assert table["similarity"].isna().all()
    prevalence = np.mean([label == "yes" for label in DIED])
    assert abs(predictor.predict_proba(ROWS[200:])[:, 1].mean() - prevalence) < 0.05


def test_cases_without_label_make_the_prediction_better(model: MetaLearner) -> None:
    labelled = model.adapt(ROWS[:8], [*DIED[:7], "no"], positive="yes")
    both = model.adapt(ROWS[:8], [*DIED[:7], "no"], unlabelled=ROWS[8:200], positive="yes")
    assert _loss(both) < _loss(labelled) - 0.01


def test_labels_of_one_class_and_one_case_are_enough_beside_cases_without(model: MetaLearner) -> None:
    dead = [i for i, label in enumerate(DIED) if label == "yes"][:5]
    for rows in (dead, dead[:1]):
        predictor = model.adapt(ROWS.iloc[rows], ["yes"] * len(rows), unlabelled=ROWS[100:200])
        assert predictor.classes == ("no", "yes")
        assert len(predictor.support.canonical) == len(rows)
    assert model.adapt(ROWS.iloc[dead], ["yes"] * 5).classes == ("no", "yes")
    with pytest.raises(TaskError, match="got 1 labelled case; give at least 2"):
        model.adapt(ROWS.iloc[dead[:1]], ["yes"])


@pytest.mark.parametrize("labelled", [0, 1, 20])
def test_a_saved_predictor_gives_the_same_numbers_and_says_what_it_holds(
    model: MetaLearner, labelled: int, tmp_path: Path
) -> None:
    predictor = model.adapt(ROWS[:labelled], DIED[:labelled], unlabelled=ROWS[100:200], positive="yes")
    predictor.save(tmp_path / "p")
    loaded = Predictor.load(tmp_path / "p")
    assert np.array_equal(loaded.predict_proba(ROWS[200:]), predictor.predict_proba(ROWS[200:]))
    assert loaded.trust == predictor.trust
    assert f"{labelled} labelled cases, 100 without label" in (tmp_path / "p" / "CARD.md").read_text()


def test_a_saved_model_still_knows_what_its_tasks_asked(model: MetaLearner, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    loaded = MetaLearner.load(tmp_path / "m").adapt(unlabelled=ROWS[:50])
    assert np.array_equal(loaded.predict_proba(ROWS[200:]), model.adapt(unlabelled=ROWS[:50]).predict_proba(ROWS[200:]))


def test_the_order_of_the_cases_without_label_changes_nothing(model: MetaLearner) -> None:
    there = model.adapt(ROWS[:20], DIED[:20], unlabelled=ROWS[100:200], positive="yes")
    back = model.adapt(ROWS[:20], DIED[:20], unlabelled=ROWS[100:200][::-1], positive="yes")
    np.testing.assert_allclose(there.predict_proba(ROWS[200:]), back.predict_proba(ROWS[200:]), atol=1e-5)


def test_the_guard_judges_the_learned_method_with_the_cases_without_label(model: MetaLearner) -> None:
    model = copy.copy(model).set_params(guard=True)
    alone = model.adapt(unlabelled=ROWS[:20]).trust
    assert alone.candidates == {"label_shift": 1.0, "linear": 0.0}
    assert alone.verdict.endswith("the labels show fewer than two classes, so no method from scratch has a say.")
    without = model.adapt(ROWS[:20], DIED[:20], positive="yes").trust
    both = model.adapt(ROWS[:20], DIED[:20], unlabelled=ROWS[20:200], positive="yes").trust
    assert without.gain != both.gain
    assert set(both.candidates) == {"label_shift", "linear"}


def test_what_was_read_otherwise_in_cases_without_label_is_told(model: MetaLearner) -> None:
    told = model.adapt(unlabelled=ROWS[100:110].assign(ward="A")).support.remarks
    assert told == ["unlabelled column 'ward': the schema does not know this column, and it is not used"]
    odd = ROWS[100:110].assign(marker=["high", *ROWS["marker"][101:110]])
    with pytest.raises(CaseError, match=r"1 of 10 unlabelled cases cannot be read: case 1 \('marker'\)"):
        model.adapt(unlabelled=odd)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({}, InputError, "labelled cases are missing"),
        ({"cases": ROWS[:5]}, InputError, "labelled cases are missing"),
        ({"unlabelled": ROWS[:0]}, CaseError, "the unlabelled cases are none"),
        ({"unlabelled": ["no row"]}, CaseError, "no table row"),
        ({"unlabelled": ROWS[:9], "cases": ROWS[:2]}, TaskError, "got 2 cases and 0 targets"),
        (ONE | {"targets": ["dead"]}, TaskError, "the label 'dead' came, and the classes of the earlier tasks are no, yes"),
        ({"unlabelled": ROWS[:9], "positive": "no"}, TaskError, "'yes' is that of the earlier tasks"),
        ({"unlabelled": ROWS[:9], "kind": "regression"}, TaskError, "give at least 2 labelled cases"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_gets_one_clear_sentence(
    model: MetaLearner, given: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        model.adapt(**given)  # type: ignore[arg-type]


def test_a_learner_that_cannot_use_them_says_which_can() -> None:
    model = MetaLearner("pooled_linear", guard=False).fit(_tasks(hospitals()))
    with pytest.raises(
        InputError, match=r"PooledLinear does not learn from such.*coral.*importance_weighting.*label_shift"
    ):
        model.adapt(ROWS[:20], DIED[:20], unlabelled=ROWS[100:], positive="yes")


def test_earlier_tasks_that_asked_different_things_do_not_answer_for_a_new_one(model: MetaLearner) -> None:
    shared = model.model_
    torn = copy.copy(model)
    torn.model_ = copy.copy(shared)
    torn.model_.asked = (*shared.asked, Question("binary", ("ill", "well")))
    with pytest.raises(TaskError, match=r"disagree on them .binary: no, yes; binary: ill, well"):
        torn.adapt(unlabelled=ROWS[:50])


def test_a_model_that_holds_rows_of_earlier_patients_says_so_on_its_card(tmp_path: Path) -> None:
    model = MetaLearner("importance_weighting", guard=False).fit(_tasks(hospitals()))
    model.save(tmp_path / "m", card="# Six hospitals\n")
    card = (tmp_path / "m" / "CARD.md").read_text()
    assert card.startswith("# Six hospitals\n")
    assert "holds the features of 480 cases of earlier tasks" in card
    predictor = MetaLearner.load(tmp_path / "m").adapt(unlabelled=ROWS[:50])
    assert "480 cases" in predictor.card()


def test_coral_reads_regression_tasks_with_cases_without_label() -> None:
    frame = hospitals()
    tasks = TaskCollection.from_table(
        frame.assign(stay=frame["age"] / 10 + frame["marker"]),
        modality="tables", case=COLUMNS, target="stay", task="site", kind="regression", unit="days",
    )  # fmt: skip
    stay = (NEW["age"] / 10 + NEW["marker"]).tolist()
    model = MetaLearner("coral", guard=False).fit(tasks)
    predictor = model.adapt(ROWS[:10], stay[:10], unlabelled=ROWS[10:200], unit="days")
    assert predictor.score(ROWS[200:], stay[200:]) > 0.7
    with pytest.raises(TaskError, match="no earlier task has classes"):
        model.adapt(unlabelled=ROWS[:50])


def test_a_predictor_without_a_label_is_exported(model: MetaLearner, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    about = model.adapt(unlabelled=ROWS[:50]).export_onnx(tmp_path / "new.onnx")
    assert about["labelled_cases"] == 0
    assert (tmp_path / "new.onnx").is_file()
