"""A predictor judged: figures that another way of computing confirms, the unadapted model beside it, and what is refused in a sentence."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tests.made_up_hospitals import hospital, hospitals
from torch.distributions import Categorical

from metamedica.data.collection import TaskCollection
from metamedica.errors import InputError, TaskError
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor
from metamedica.reports.assessing import assess
from metamedica.reports.assessment import Asked, Assessment
from metamedica.reports.population import unadapted
from metamedica.types import Features

CELLS = ["age", "marker", "sex"]
SCHEMA = {"age": {"type": "numeric", "missing": [-1]}, "sex": {"type": "categorical", "sensitive": True}}


def _sexed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(sex=np.where(np.arange(len(frame)) % 2, "f", "m"))


def _fitted(learner: str, schema: dict = SCHEMA) -> MetaLearner:
    sites = TaskCollection.from_table(
        _sexed(hospitals()), modality="tables", case=CELLS, kind="binary", target="died", task="site", positive="yes", schema=schema,
        cache=False,
    )  # fmt: skip
    settings = {"trees": 4} if learner == "hierarchical_bayes" else None
    return MetaLearner(learner, settings=settings, steps=2, guard=False).fit(sites)


@pytest.fixture(scope="module")
def model() -> MetaLearner:
    return _fitted("hierarchical_bayes")


@pytest.fixture(scope="module")
def new() -> pd.DataFrame:
    return _sexed(hospital("new", 0.25, 140, seed=77))


@pytest.fixture(scope="module")
def predictor(model: MetaLearner, new: pd.DataFrame) -> Predictor:
    return model.adapt(new[CELLS][:30], new["died"][:30].tolist(), positive="yes")


@pytest.fixture(scope="module")
def judged(predictor: Predictor, new: pd.DataFrame) -> Assessment:
    return assess(predictor, new[CELLS][30:], new["died"][30:].tolist())


def test_figures_are_those_of_the_predictor_on_the_judged_cases(
    predictor: Predictor, judged: Assessment, new: pd.DataFrame
) -> None:
    truth = (new["died"][30:] == "yes").to_numpy()
    risk = predictor.predict_proba(new[CELLS][30:])[:, 1]
    assert judged.figures["roc_auc"].value == pytest.approx(roc_auc_score(truth, risk))
    assert judged.figures["sensitivity"].value == pytest.approx((risk[truth] >= 0.5).mean())
    assert judged.figures["specificity"].value == pytest.approx((risk[~truth] < 0.5).mean())
    for each in judged.figures.values():
        assert each.low <= each.value <= each.high
    sets = predictor.predict_set(new[CELLS][30:])
    assert judged.cover.held.value == pytest.approx(sets[np.arange(110), truth.astype(int)].mean())
    assert judged.cover.size == pytest.approx(sets.sum(1).mean())
    asks = predictor.asks(new[CELLS][30:])
    assert judged.abstention.asked == pytest.approx(asks.mean())
    wrong = (risk >= 0.5) != truth
    assert judged.abstention.curve.error == pytest.approx(wrong.mean())
    assert judged.abstention.answered_error == pytest.approx(wrong[~asks].mean())


def test_adapting_sets_right_the_level_that_the_unadapted_model_has_wrong(judged: Assessment) -> None:
    assert judged.calibrated is not None
    assert judged.calibrated_before is not None
    assert abs(judged.calibrated.in_the_large.value) < abs(judged.calibrated_before.in_the_large.value)
    assert judged.calibrated_before.in_the_large.value > 0.05


def test_the_unadapted_answer_knows_nothing_of_the_site(
    model: MetaLearner, predictor: Predictor, new: pd.DataFrame
) -> None:
    other = model.adapt(new[CELLS][60:90], new["died"][60:90].tolist(), positive="yes")
    prepared = predictor.model.prepare(new[CELLS][30:])
    first, second = (unadapted(each, prepared.features).probs for each in (predictor, other))
    torch.testing.assert_close(first, second)
    assert not torch.allclose(first, predictor.law(prepared.features).probs, atol=0.02)


@pytest.mark.parametrize(
    ("learner", "said"),
    [
        ("linear", "linear starts from scratch with every task"),
        ("prototypical", "prototypical has no answer before the first labelled cases"),
        ("logistic_head", "logistic_head says the same of every case"),
    ],
)
def test_a_method_without_an_answer_before_adapting_says_so_and_the_rest_stands(
    learner: str, said: str, new: pd.DataFrame
) -> None:
    predictor = _fitted(learner).adapt(new[CELLS][:30], new["died"][:30].tolist(), positive="yes")
    of = assess(predictor, new[CELLS][30:80], new["died"][30:80].tolist(), asked=Asked(patient=None))
    assert of.reasons["before"].startswith(said)
    assert not of.before
    assert of.calibrated_before is None
    assert of.figures["roc_auc"].defined


def test_declared_sensitive_columns_are_told_apart_as_the_schema_reads_them(
    predictor: Predictor, new: pd.DataFrame
) -> None:
    cases = new[CELLS][30:].copy()
    cases.loc[cases.index[:12], "age"] = -1
    of = assess(predictor, cases, new["died"][30:].tolist(), asked=Asked(sensitive=["sex", "age"], patient=None))
    assert of.fairness is not None
    assert [audit.column for audit in of.fairness.columns] == ["sex", "age"]
    assert of.fairness.columns[1].subgroups[-1].name == "not recorded"
    assert of.fairness.columns[1].subgroups[-1].cases == 12
    assert of.missing["age"] == pytest.approx(12 / 110)


def test_without_a_sensitive_column_the_audit_is_a_remark_or_where_it_was_asked_an_error(new: pd.DataFrame) -> None:
    plain = _fitted("hierarchical_bayes", {"sex": {"type": "categorical"}}).adapt(
        new[CELLS][:30], new["died"][:30].tolist(), positive="yes"
    )
    rest = (new[CELLS][30:], new["died"][30:].tolist())
    of = assess(plain, *rest, asked=Asked(patient=None))
    assert of.fairness is None
    assert "no sensitive column is declared" in of.reasons["fairness"]
    with pytest.raises(InputError, match=r"no sensitive column is declared, so fairness cannot be audited; mark"):
        assess(plain, *rest, asked=Asked(fairness=True))
    with pytest.raises(InputError, match="no sensitive column 'income'"):
        assess(plain, *rest, asked=Asked(sensitive=["income"]))


def test_judged_cases_that_taught_the_predictor_are_told(predictor: Predictor, new: pd.DataFrame) -> None:
    of = assess(predictor, new[CELLS][25:], new["died"][25:].tolist(), asked=Asked(patient=None))
    assert any("5 of the judged cases equal one that the predictor was adapted to" in note for note in of.notes)


def test_sites_of_the_judged_cases_are_told_apart(predictor: Predictor, new: pd.DataFrame) -> None:
    sites = ["small" if number < 6 else "large" for number in range(110)]
    of = assess(predictor, new[CELLS][30:], new["died"][30:].tolist(), sites=sites, asked=Asked(patient=None))
    assert [(row.name, row.reason) for row in of.sites] == [("small", "too small to judge (n=6)"), ("large", "")]


class _Says(Predictor):
    """A predictor whose learner returns what it is told to."""

    def __init__(self, of: Predictor, probability: float) -> None:
        super().__init__(of.model, of.support)
        self.probability = probability

    def law(self, features: Features) -> Categorical:
        size = len(next(iter(features.values())))
        probs = torch.tensor([1 - self.probability, self.probability], dtype=torch.float64).expand(size, 2)
        return Categorical(probs=probs, validate_args=False)


def test_what_no_report_can_be_made_of_is_refused_in_a_sentence(predictor: Predictor, new: pd.DataFrame) -> None:
    cases, labels = new[CELLS][30:], new["died"][30:].tolist()
    no = [number for number, label in enumerate(labels) if label == "no"]
    refusals = [
        (_Says(predictor, float("nan")), cases, labels, "hierarchical_bayes returned predictions that are not numbers"),
        (_Says(predictor, 0.3), cases, labels, r"predicts the same \(0.3\) for all 110 judged cases"),
        (predictor, cases.iloc[no], ["no"] * len(no), f"all {len(no)} judged cases are 'no'"),
        (predictor, cases, [None, *labels[1:]], "the target of case 1 is missing"),
        (
            predictor,
            cases,
            ["perhaps", *labels[1:]],
            "the label of case 1 is none of the predictor's, which are 'no', 'yes'",
        ),
        (predictor, cases, labels[1:], "got 110 cases and 109 targets"),
        (predictor, cases.iloc[:0], [], "got 0 cases"),
    ]
    for who, some, targets, said in refusals:
        with pytest.raises(TaskError, match=said) as told:
            assess(who, some, targets)
        assert "perhaps" not in str(told.value)


@pytest.mark.parametrize("coverage", [0.0, 1.0])
def test_a_coverage_that_nothing_can_hold_is_refused(predictor: Predictor, new: pd.DataFrame, coverage: float) -> None:
    with pytest.raises(TaskError, match="between 0 and 1"):
        assess(predictor, new[CELLS][30:], new["died"][30:].tolist(), asked=Asked(coverage=coverage))


def test_a_threshold_or_a_patient_that_cannot_be_is_refused(predictor: Predictor, new: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"threshold 1\.0"):
        assess(predictor, new[CELLS][30:], new["died"][30:].tolist(), asked=Asked(threshold=1.0))
    with pytest.raises(InputError, match="there is no judged case 111; there are 110"):
        assess(predictor, new[CELLS][30:], new["died"][30:].tolist(), asked=Asked(patient=111))
