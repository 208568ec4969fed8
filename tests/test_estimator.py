"""The estimators that scikit-learn's users expect: its own checks pass, and they go into pipelines, searches and calibration."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

import tiny_predictors
from metamedica import estimator
from metamedica.errors import InputError
from metamedica.estimator import AdaptedClassifier, AdaptedEstimator, AdaptedRegressor
from metamedica.meta_learner import MetaLearner, model_folder

SKIPPED = {"check_array_api_input"}
"""Checks that scikit-learn skips by itself where no array API is asked for."""


@pytest.fixture(scope="module")
def of_numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of any table for regression, saved: ridge regression from scratch."""
    folder = tmp_path_factory.mktemp("models") / "ridge"
    MetaLearner("linear").fit(tiny_predictors.tasks("any_table", "regression")).save(folder)
    return folder


@pytest.fixture
def made(request: pytest.FixtureRequest, of_numbers: Path) -> AdaptedEstimator:
    return request.param(of_numbers)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "made",
    [
        lambda _: AdaptedClassifier(guard=False),
        lambda folder: AdaptedRegressor(folder),
    ],
    ids=["classifier", "regressor"],
    indirect=True,
)
def test_every_check_of_scikit_learn_passes_without_an_exception(made: AdaptedEstimator) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the column 'x. tells the two classes apart")
        told = check_estimator(made, on_skip=None)
    status = {each["check_name"]: each["status"] for each in told}
    assert len(status) > 40
    assert {name for name, how in status.items() if how != "passed"} <= SKIPPED


def test_a_guarded_classifier_learns_iris_from_half_of_it() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    fitted = AdaptedClassifier().fit(X[::6], names[::6])
    assert fitted.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert fitted.feature_names_in_.tolist() == X.columns.tolist()
    assert fitted.n_features_in_ == 4
    assert fitted.predictor_.classes == ("setosa", "versicolor", "virginica")
    assert fitted.score(X[1::2], names[1::2]) > 0.85
    assert "eans" in fitted.predictor_.trust.verdict


def test_the_probabilities_are_those_of_the_predictor_and_the_same_to_the_bit_in_any_company() -> None:
    random = np.random.default_rng(0)
    X, y = random.normal(size=(150, 3)), random.integers(0, 2, 150)
    fitted = AdaptedClassifier(guard=False).fit(X[:20], y[:20])
    found = fitted.predict_proba(X)
    frame = pd.DataFrame(X, columns=["x0", "x1", "x2"])
    np.testing.assert_allclose(found, fitted.predictor_.predict_proba(frame), atol=1e-6)
    order = random.permutation(150)
    np.testing.assert_array_equal(fitted.predict_proba(X[order]), found[order])
    np.testing.assert_array_equal(fitted.predict_proba(X[7:8]), found[7:8])
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[found.argmax(1)])


def test_more_than_ten_classes_keep_the_order_of_their_labels() -> None:
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(12), 3)
    X = np.column_stack([y, y % 3, random.normal(size=36)])
    fitted = AdaptedClassifier(guard=False).fit(X, y)
    assert fitted.classes_.tolist() == list(range(12))
    assert fitted.predictor_.classes == tuple(map(str, range(12)))
    near = abs(fitted.predict(X) - y)
    assert near.mean() < 1


def test_texts_categories_and_missing_cells_of_a_data_frame_are_read() -> None:
    random = np.random.default_rng(0)
    ill = np.arange(40) % 2
    frame = pd.DataFrame(
        {
            "ward": pd.Categorical(np.where((ill == 1) ^ (random.random(40) < 0.1), "intensive", "general")),
            "age": np.where(random.random(40) < 0.2, np.nan, random.normal(60, 9, 40)),
        }
    )
    fitted = AdaptedClassifier(guard=False).fit(frame, ill)
    assert fitted.score(frame, ill) > 0.8
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame.rename(columns={"age": "years"}))


def test_it_goes_into_a_pipeline_a_search_a_cross_validation_and_a_calibration() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:60, :5], y[:60]
    made = AdaptedClassifier(guard=False)
    assert cross_val_score(make_pipeline(StandardScaler(), made), X, y, cv=3).mean() > 0.7
    search = GridSearchCV(made, {"guard": [False]}, cv=2).fit(X, y)
    assert search.best_params_ == {"guard": False}
    calibrated = CalibratedClassifierCV(made, cv=2).fit(X, y)
    assert calibrated.predict_proba(X).shape == (60, 2)


def test_a_regressor_gives_numbers_and_intervals_and_takes_a_fitted_model_frozen(of_numbers: Path) -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.1 * random.normal(size=60)
    fitted = AdaptedRegressor(of_numbers).fit(X[:30], y[:30])
    assert fitted.score(X[30:], y[30:]) > 0.9
    found = fitted.predict_interval(X[30:], 0.9)
    assert found.shape == (30, 2)
    assert ((found[:, 0] <= y[30:]) & (y[30:] <= found[:, 1])).mean() > 0.7
    model = MetaLearner.load(of_numbers)
    frozen = clone(AdaptedRegressor(FrozenEstimator(model))).fit(X[:30], y[:30])
    np.testing.assert_array_equal(frozen.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(AdaptedRegressor(model).fit(X[:30], y[:30]).predict(X), fitted.predict(X))
    with pytest.raises(InputError, match=r"is not fitted .*FrozenEstimator"):
        clone(AdaptedRegressor(model)).fit(X, y)


def test_a_model_is_read_once_and_again_where_its_folder_has_changed(of_numbers: Path, tmp_path: Path) -> None:
    assert estimator.fitted_model("any-table") is estimator.fitted_model(model_folder("any-table"))
    MetaLearner.load(of_numbers).save(tmp_path / "m")
    first = estimator.fitted_model(tmp_path / "m")
    MetaLearner("linear").fit(tiny_predictors.tasks("any_table", "binary")).save(tmp_path / "n")
    (tmp_path / "m").rename(tmp_path / "old")
    (tmp_path / "n").rename(tmp_path / "m")
    assert estimator.fitted_model(tmp_path / "m") is not first


def test_what_cannot_be_learned_is_refused_in_words(of_numbers: Path) -> None:
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    with pytest.raises(InputError, match="the model reads molecules, and a table came"):
        AdaptedClassifier("chembl-potency").fit(X, y)
    with pytest.raises(InputError, match="cannot learn a regression task"):
        AdaptedRegressor("any-table").fit(X, y / 3)
    with pytest.raises(InputError, match="give rows of at least two classes"):
        AdaptedClassifier().fit(X, np.ones(20))
    with pytest.raises(InputError, match="got a float as model"):
        AdaptedClassifier(1.5).fit(X, y)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"Found a data frame with 1 sample\(s\)"):
        AdaptedClassifier().fit(pd.DataFrame({"a": [1.0]}), [1])
    with pytest.raises(ValueError, match="infinity"):
        AdaptedClassifier().fit(np.full((20, 2), np.inf), y)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        AdaptedClassifier().predict(X)


def test_a_column_that_tells_the_classes_apart_is_warned_of() -> None:
    random = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = pd.DataFrame({"age": random.normal(60, 9, 40), "outcome": y + 0.1 * random.random(40)})
    with pytest.warns(UserWarning, match="the column 'outcome' tells the two classes apart without error"):
        AdaptedClassifier(guard=False).fit(X, y)


def test_targets_as_a_column_are_flattened_with_scikit_learns_warning() -> None:
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    with pytest.warns(DataConversionWarning):
        AdaptedClassifier(guard=False).fit(X, y[:, None])


def test_a_fitted_estimator_is_pickled_with_what_it_needs() -> None:
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    fitted = AdaptedClassifier(guard=False).fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    check_is_fitted(again)
