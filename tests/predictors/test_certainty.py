"""A predictor's sets, intervals and questions to a person come from its own labelled cases, each hidden in turn."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Categorical, Normal

from made_up_hospitals import COLUMNS, hospital, hospitals
from metamedica.data.collection import TaskCollection
from metamedica.errors import TaskError
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor
from metamedica.types import CaseBatch, LabelledBatch, Law


def _tasks() -> TaskCollection:
    return TaskCollection.from_table(
        hospitals(), modality="tables", case=COLUMNS, target="died", task="site", kind="binary", positive="yes"
    )


@pytest.fixture(scope="module")
def model() -> MetaLearner:
    return MetaLearner("hierarchical_bayes", settings={"trees": 5}, seed=0).fit(_tasks())


def _adapted(model: MetaLearner, frame: pd.DataFrame, n: int, **more: object) -> Predictor:
    return model.adapt(frame[COLUMNS].iloc[:n], frame["died"].iloc[:n].tolist(), **more)  # type: ignore[arg-type]


def test_sets_of_many_new_hospitals_hold_the_true_class_as_often_as_they_say(model: MetaLearner) -> None:
    covered, sizes = [], []
    for seed in range(40):
        new = hospital("new", 0.5, 120, seed=100 + seed)
        predictor = _adapted(model, new, 20)
        inside = predictor.predict_set(new[COLUMNS].iloc[20:], coverage=0.8)
        truth = (new["died"].iloc[20:] == "yes").to_numpy().astype(int)
        covered.append(inside[np.arange(100), truth].mean())
        sizes.append(inside.sum(1).mean())
    assert 0.78 < np.mean(covered) < 0.88
    assert 1 <= np.mean(sizes) < 1.4


def test_beyond_what_the_labels_vouch_for_a_set_holds_every_class(model: MetaLearner) -> None:
    new = hospital("new", 0.5, 40, seed=7)
    predictor = _adapted(model, new, 8)
    assert predictor.certainty.reach() == pytest.approx(8 / 9)
    assert predictor.predict_set(new[COLUMNS], coverage=0.95).all()
    assert not predictor.predict_set(new[COLUMNS], coverage=0.5).all()


def test_asking_about_a_larger_share_asks_about_the_same_cases_and_more(model: MetaLearner) -> None:
    new = hospital("new", 0.4, 300, seed=3)
    predictor = _adapted(model, new, 40)
    rest = new[COLUMNS].iloc[40:]
    shares = (0.0, 0.1, 0.3, 0.6, 1.0)
    asked = [predictor.asks(rest, share=share) for share in shares]
    assert not asked[0].any()
    assert asked[-1].all()
    for fewer, more in itertools.pairwise(asked):
        assert (fewer <= more).all()
    assert asked[2].mean() == pytest.approx(0.3, abs=0.15)
    wrong = predictor.predict(rest) != new["died"].iloc[40:].to_numpy()
    assert wrong[~asked[3]].mean() < wrong.mean()


def test_sureness_is_the_probability_of_the_answer(model: MetaLearner) -> None:
    new = hospital("new", 0.4, 50, seed=3)
    predictor = _adapted(model, new, 20)
    np.testing.assert_allclose(predictor.sureness(new[COLUMNS]), predictor.predict_proba(new[COLUMNS]).max(1))


def test_cases_from_elsewhere_weigh_the_labelled_ones_that_are_like_them() -> None:
    tasks = TaskCollection.from_table(
        hospitals(), modality="tables", case=COLUMNS, target="died", task="site", kind="binary", positive="yes"
    )
    model = MetaLearner("importance_weighting", guard=False, seed=0).fit(tasks)
    new = hospital("new", 0.5, 400, seed=5)
    old = new[new["age"] > new["age"].iloc[:60].median()][COLUMNS].iloc[:150]
    plain = _adapted(model, new, 60)
    told = _adapted(model, new, 60, unlabelled=old)
    widths = [each.predict_set(old, coverage=0.9).sum(1).mean() for each in (plain, told)]
    assert widths[0] != widths[1]
    weight, own = told.certainty._weights(told.model.prepare(old).features)
    assert weight is not None
    assert own is not None
    ages = new["age"].iloc[:60].to_numpy()
    assert np.corrcoef(weight[0].numpy(), ages)[0, 1] > 0.5
    assert own.mean() > weight.mean()


@pytest.mark.parametrize("coverage", [0.0, 1.0])
def test_an_impossible_coverage_is_refused_everywhere(model: MetaLearner, coverage: float) -> None:
    new = hospital("new", 0.5, 40, seed=7)
    predictor = _adapted(model, new, 20)
    for ask in (
        predictor.predict_set,
        predictor.predict_interval,
        lambda cases, c: predictor.predict_table(cases, coverage=c),
    ):
        with pytest.raises(TaskError, match=f"got coverage {coverage}; give a number between 0 and 1"):
            ask(new[COLUMNS], coverage)


def test_an_impossible_share_and_too_few_labels_are_refused(model: MetaLearner) -> None:
    new = hospital("new", 0.5, 40, seed=7)
    with pytest.raises(TaskError, match=r"got a share of 1.5 to ask a person about; give a number from 0 to 1"):
        _adapted(model, new, 20).asks(new[COLUMNS], share=1.5)
    one_of_each = new.groupby("died").head(1)
    alone = MetaLearner("linear", guard=False, seed=0).fit(_tasks())
    with pytest.raises(TaskError, match="too few to tell which answers are unsure"):  # it wants both classes
        _adapted(alone, one_of_each, 2, kind="binary").asks(new[COLUMNS])


def test_a_calibrated_predictor_is_saved_and_loaded_to_the_same_numbers(model: MetaLearner, tmp_path: object) -> None:
    new = hospital("new", 0.5, 80, seed=9)
    support = _adapted(model, new, 60).support
    predictor = Predictor(model.model_, support, calibration="temperature")
    plain = Predictor(model.model_, support)
    assert not np.allclose(predictor.predict_proba(new[COLUMNS]), plain.predict_proba(new[COLUMNS]))
    predictor.save(f"{tmp_path}/saved")
    loaded = Predictor.load(f"{tmp_path}/saved")
    assert loaded.calibration == "temperature"
    np.testing.assert_array_equal(loaded.predict_proba(new[COLUMNS]), predictor.predict_proba(new[COLUMNS]))
    assert (predictor.predict_set(new[COLUMNS]) == plain.predict_set(new[COLUMNS])).all()


def test_a_map_that_was_asked_for_and_cannot_be_fitted_is_refused(model: MetaLearner) -> None:
    new = hospital("new", 0.5, 80, seed=9)
    one_class = new[new["died"] == "yes"]
    few = pd.concat([one_class.head(20), new[new["died"] == "no"].head(2)])
    with pytest.raises(
        TaskError, match=r"calibration 'temperature' needs 3 labelled cases of each class .* 2 of class 'no' came"
    ):
        _adapted(model, few, 22, calibration="temperature")
    with pytest.raises(TaskError, match="0 of class 'no' came"):
        _adapted(model, one_class, 20, kind="binary", calibration="beta")
    assert _adapted(model, one_class, 20, kind="binary", calibration="auto").predict_proba(new[COLUMNS]).shape == (
        80,
        2,
    )


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_what_is_no_number_is_refused_with_the_name_of_the_learner(
    model: MetaLearner, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    new = hospital("new", 0.5, 40, seed=7)
    predictor = _adapted(model, new, 20)

    class Broken:
        def predict(self, query: CaseBatch) -> Law:
            if kind == "binary":
                return Categorical(logits=torch.full((*query.mask.shape, 2), float("nan")), validate_args=False)
            return Normal(torch.zeros(query.mask.shape), torch.zeros(query.mask.shape), validate_args=False)

    monkeypatch.setattr(predictor, "_answers", Broken())
    if kind == "regression":
        batch = LabelledBatch(predictor.support.batch.cases, torch.rand(1, 20), "regression")
        monkeypatch.setattr(predictor, "support", replace(predictor.support, batch=batch, classes=None))
    with pytest.raises(
        TaskError, match=r"the learner 'hierarchical_bayes' gave a .* that is no number for 40 of 40 cases"
    ):
        predictor.predict(new[COLUMNS])


def test_a_calibrated_regression_has_the_intervals_of_the_law_that_its_hidden_cases_were_scored_by() -> None:
    random = np.random.default_rng(0)
    frame = pd.concat([hospital(f"H{at}", 0.5, 60, seed=at) for at in range(4)], ignore_index=True)
    frame["stay"] = frame["age"] / 10 + frame["marker"] + random.normal(size=len(frame))
    tasks = TaskCollection.from_table(
        frame, modality="tables", case=COLUMNS, target="stay", task="site", kind="regression"
    )
    model = MetaLearner("hierarchical_bayes", settings={"trees": 5}, seed=0).fit(tasks)
    new = hospital("new", 0.5, 60, seed=9)
    stay = (new["age"] / 10 + new["marker"] + 4 * random.normal(size=60)).tolist()
    plain = model.adapt(new[COLUMNS].iloc[:30], stay[:30])
    right = model.adapt(new[COLUMNS].iloc[:30], stay[:30], calibration="temperature")
    rest = new[COLUMNS].iloc[30:]
    assert not np.allclose(right.sureness(rest), plain.sureness(rest), rtol=1e-3)
    np.testing.assert_allclose(right.predict_interval(rest), plain.predict_interval(rest))
