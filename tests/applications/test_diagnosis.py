"""A site is adapted to on its own patients, nobody is on both sides, the other sites stand beside it, and what cannot be is said."""

import numpy as np
import pandas as pd
import pytest
from tests.made_up_hospitals import COLUMNS, hospital, hospitals

from metamedica.applications.diagnosis import Diagnosis, Question, diagnose
from metamedica.data.collection import TaskCollection
from metamedica.errors import InputError, TaskError
from metamedica.meta_learner import MetaLearner
from metamedica.reports.assessment import Asked
from metamedica.reports.metrics import roc_auc

YES = Question(positive="yes")


@pytest.fixture(scope="module")
def model() -> MetaLearner:
    sites = TaskCollection.from_table(
        hospitals(),
        modality="tables",
        case=COLUMNS,
        kind="binary",
        target="died",
        task="site",
        positive="yes",
        cache=False,
    )
    return MetaLearner("hierarchical_bayes", settings={"trees": 4}).fit(sites)


def _new(*, small: int = 60) -> pd.DataFrame:
    """Return three new hospitals; the last has so many patients."""
    each = [hospital("N1", 0.3, 90, seed=21), hospital("N2", 0.5, 90, seed=22), hospital("N3", 0.4, small, seed=23)]
    return pd.concat(each, ignore_index=True)


def _diagnosed(model: MetaLearner, new: pd.DataFrame, **more: object) -> Diagnosis:
    settings = {"site": "N1", "question": YES, "asked": Asked(fairness=False)} | more
    return diagnose(model, new[COLUMNS], new["died"].tolist(), sites=new["site"].tolist(), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(model: MetaLearner) -> Diagnosis:
    return _diagnosed(model, _new())


def test_a_site_is_judged_on_the_patients_that_it_was_not_adapted_to(done: Diagnosis) -> None:
    new = _new()
    assert len(done.labelled) == 20
    assert set(done.labelled).isdisjoint(done.judged)
    assert sorted([*done.labelled, *done.judged]) == np.flatnonzero(new["site"] == "N1").tolist()
    of = done.assessment
    assert (of.labelled, of.judged) == (20, 70)
    truth = (new["died"].iloc[done.judged] == "yes").to_numpy(dtype=np.int64)
    risk = done.predictor.predict_proba(new[COLUMNS].iloc[done.judged])[:, 1]
    assert of.figures["roc_auc"].value == pytest.approx(roc_auc(truth, risk))
    assert of.positive == truth.sum()
    assert set(of.before) == set(of.figures)
    assert of.calibrated is not None
    assert of.calibrated_before is not None


def test_every_site_has_a_row_adapted_to_on_its_own_and_the_same_seed_says_the_same(model: MetaLearner) -> None:
    new = _new(small=25)
    first, again = _diagnosed(model, new), _diagnosed(model, new)
    rows = {row.name: row for row in first.assessment.sites}
    assert list(rows) == ["N1", "N2", "N3"]
    assert rows["N1"].figure.value == pytest.approx(first.assessment.figures["roc_auc"].value)
    assert rows["N3"].reason == "too small to judge (n=5 beside 20 labelled)"
    assert rows["N2"].figure.value == {row.name: row for row in again.assessment.sites}["N2"].figure.value
    other = _diagnosed(model, new, site="N2")
    assert other.assessment.figures["roc_auc"].value == pytest.approx(rows["N2"].figure.value)
    assert set(_diagnosed(model, new, seed=1).labelled) != set(first.labelled)


def test_a_patient_with_several_stays_is_on_one_side_only(model: MetaLearner) -> None:
    new = _new()
    people = [f"{site}-{number // 3}" for number, site in enumerate(new["site"])]
    done = _diagnosed(model, new, groups=people)
    assert {people[at] for at in done.labelled}.isdisjoint({people[at] for at in done.judged})
    assert len(done.judged) < 70


def test_the_card_is_that_of_the_patient_who_was_named(model: MetaLearner, done: Diagnosis) -> None:
    new, judged = _new(), done.judged
    named = int(judged[7]) + 1
    card = _diagnosed(model, new, asked=Asked(patient=named)).assessment.patient
    assert card is not None
    assert card.number == named
    assert str(new["age"].iloc[named - 1]) in card.drawing
    highest = done.assessment
    assert highest.patient is not None
    assert highest.patient.number == int(judged[int(np.argmax(highest.answer))]) + 1


def test_a_patient_who_is_not_there_or_taught_the_predictor_is_refused(model: MetaLearner, done: Diagnosis) -> None:
    new = _new()
    with pytest.raises(InputError, match="there is no case 999; there are 240"):
        _diagnosed(model, new, asked=Asked(patient=999))
    taught = int(done.labelled[0]) + 1
    with pytest.raises(InputError, match=f"case {taught} is among the labelled cases"):
        _diagnosed(model, new, asked=Asked(patient=taught))
    with pytest.raises(InputError, match="case 200 is not of this site"):
        _diagnosed(model, new, asked=Asked(patient=200))


def test_a_site_that_the_model_learned_from_is_told(model: MetaLearner) -> None:
    known = hospitals()
    done = diagnose(
        model, known[COLUMNS], known["died"].tolist(), sites=known["site"].tolist(), site="H2", question=YES
    )
    assert any("learned from, or was selected on, H0, H1, H2" in note for note in done.assessment.notes)


def test_the_site_is_spoilt_for_the_robustness_audit_where_that_is_asked(model: MetaLearner) -> None:
    audit = _diagnosed(model, _new(), robust=True).assessment.robust
    assert audit is not None
    assert set(audit.rows["method"]) == {"hierarchical_bayes", "linear, local"}


def test_what_cannot_be_reported_is_refused_in_a_sentence(model: MetaLearner) -> None:
    new = _new(small=25)
    with pytest.raises(InputError, match=r"3 sites came \(N1, N2, N3\); name the one"):
        _diagnosed(model, new, site=None)
    with pytest.raises(InputError, match="there is no site 'N9'; there are: N1, N2, N3"):
        _diagnosed(model, new, site="N9")
    with pytest.raises(TaskError, match="site 'N3' has 25 cases; 20 labelled ones and at least 10"):
        _diagnosed(model, new, site="N3")
    with pytest.raises(TaskError, match="give one target a case"):
        diagnose(model, new[COLUMNS], ["yes"], question=YES)
    blank = new.assign(died=new["died"].where(new.index != 5))
    with pytest.raises(TaskError, match=r"missing|no label|None|nan"):
        _diagnosed(model, blank)
