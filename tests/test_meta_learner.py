"""The facade: its usual learner is that of the cases, and of patients it remembers nothing that is one of them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

from metamedica.data.collection import TaskCollection
from metamedica.errors import InputError
from metamedica.meta_learner import MetaLearner


@pytest.fixture(scope="module")
def sites() -> TaskCollection:
    """Three sites of 30 patients, and one of 4."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"age": random.normal(60, 9, 94), "ill": [0, 1] * 47})
    frame["glucose"] = random.normal(6, 1, 94) + frame["ill"]
    frame["site"] = ["north"] * 30 + ["south"] * 30 + ["west"] * 30 + ["tiny"] * 4
    return TaskCollection.from_table(
        frame, modality="tables", case=["age", "glucose"], target="ill", task="site", kind="binary"
    )


def test_the_usual_learner_is_that_of_the_cases_and_a_named_one_stays(sites: TaskCollection, tmp_path: Path) -> None:
    unnamed = MetaLearner(settings={"trees": 3}, guard=False, seed=1)
    assert unnamed.learner is None
    fitted = clone(unnamed).fit(sites)
    assert fitted.learner is None
    assert fitted.model_.spec.learner == "bayesian_model_averaging"
    fitted.save(tmp_path / "m")
    assert MetaLearner.load(tmp_path / "m").learner == "bayesian_model_averaging"
    assert clone(MetaLearner("deep_kernel")).get_params()["learner"] == "deep_kernel"
    assert MetaLearner("linear").fit(sites).model_.spec.learner == "linear"


def test_of_patients_no_hash_is_remembered_and_no_mean_of_a_few(sites: TaskCollection) -> None:
    model = MetaLearner("pooled_linear", guard=False).fit(sites).model_
    assert len(model.earlier.known) == 0
    assert model.earlier.names == ["north", "south", "west"]
    rows = [model.raw({name: block[sites[each].rows].float() for name, block in sites.features.items()}) for each in model.earlier.names]  # fmt: skip
    for centroid, vectors in zip(model.earlier.centroids, rows, strict=True):
        assert np.allclose(centroid, vectors.mean(0))
        assert not np.isclose(centroid[None], vectors).all(-1).any()


def test_a_learner_that_knows_cases_again_does_not_do_so_with_patients(sites: TaskCollection) -> None:
    learner = MetaLearner("common_mean_gp", guard=False).fit(sites).model_.learner
    assert learner.rich.distinct is False
    assert len(learner.known) == len(learner.profiles) == 0


def test_a_site_too_small_to_judge_teaches_the_model_and_stops_nobody(sites: TaskCollection) -> None:
    made = MetaLearner("pooled_linear").fit(sites)
    assert made.n_tasks_ == 4
    gate = made.model_.gates["binary"]
    assert gate.shape == made.model_.starting_gate().shape
    assert not np.allclose(gate, made.model_.starting_gate())
    three = MetaLearner("pooled_linear").fit(sites.without_tasks(["tiny"])).model_.gates["binary"]
    assert not np.allclose(gate, three)


def test_a_column_of_the_new_task_that_gives_its_labels_away_is_refused_and_an_honest_one_is_read(
    sites: TaskCollection,
) -> None:
    model = MetaLearner("pooled_linear", guard=False).fit(sites)
    random = np.random.default_rng(1)
    ill = np.array([0, 1] * 20)
    cases = pd.DataFrame({"age": random.normal(60, 9, 40), "glucose": random.normal(6, 1, 40) + ill})
    honest = cases.assign(troponin=random.normal(10, 3, 40) + ill)
    assert model.adapt(honest, ill).model.modality.settings()["schema"][-1][0] == "troponin"
    with pytest.raises(InputError, match="the column 'outcome' of the labelled cases tells the two classes apart"):
        model.adapt(honest.assign(outcome=np.where(ill, "dead", "alive")), ill)
    few = cases.assign(marker=np.r_[9.0, np.zeros(39)])
    assert model.adapt(few, np.r_[1, np.zeros(39, dtype=int)]).classes == ("0", "1")


FOR_ANY_ESTIMATOR = (
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_estimators_unfitted",
)
"""Checks of scikit-learn that fit no array: the others do, and a MetaLearner learns from a TaskCollection."""


def test_meta_valid_tasks_teach_a_learner_in_closed_form_once_they_have_chosen(sites: TaskCollection) -> None:
    every = dict.fromkeys(sites.tasks, "meta_train")
    split = sites.with_split(every | {"west": "meta_valid"})
    chosen, whole = MetaLearner("pooled_linear").fit(split), MetaLearner("pooled_linear").fit(sites.with_split(every))
    assert chosen.n_tasks_ == 4
    assert sorted(chosen.model_.earlier.names) == ["north", "south", "west"]
    weights, wanted = chosen.model_.learner.state_dict(), whole.model_.learner.state_dict()
    assert weights
    for name, value in wanted.items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-4, atol=1e-6)
    assert MetaLearner("linear").fit(split).n_tasks_ == 3


@pytest.mark.parametrize("check", FOR_ANY_ESTIMATOR)
def test_a_check_of_scikit_learn_that_fits_no_array_passes(check: str) -> None:
    getattr(estimator_checks, check)("MetaLearner", MetaLearner())


def test_an_unfitted_meta_learner_is_told_from_a_fitted_one_as_scikit_learn_does(sites: TaskCollection) -> None:
    unfitted = MetaLearner("linear")
    with pytest.raises(NotFittedError):
        check_is_fitted(unfitted)
    with pytest.raises(NotFittedError, match="this MetaLearner is not fitted yet") as told:
        unfitted.adapt(["C"], [1])
    assert isinstance(told.value, InputError)
    fitted = clone(unfitted).fit(sites)
    check_is_fitted(fitted)
    with pytest.raises(NotFittedError):
        check_is_fitted(clone(fitted))
    assert repr(fitted) == "MetaLearner(learner='linear')"
    assert "linear" in fitted._repr_html_()
    assert unfitted.set_params(steps=7).get_params()["steps"] == 7


PLAIN = """
import numpy as np
from sklearn.utils import estimator_checks
from metamedica.errors import InputError
from metamedica.meta_learner import MetaLearner
estimator_checks.check_do_not_raise_errors_in_init_or_set_params("MetaLearner", MetaLearner())
try:
    MetaLearner("linear").fit(np.zeros((4, 2)), [0, 1, 0, 1])
except InputError as error:
    print(error)
"""


def test_without_types_checked_any_setting_is_taken_and_an_array_in_place_of_tasks_is_refused_with_the_way_to_go() -> (
    None
):
    done = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    wanted = "got a ndarray; fit learns from a TaskCollection, and metamedica.estimator adapts to one table X, y"
    assert done.stdout.strip() == wanted
