"""The facade: its usual learner is that of the cases, and of patients it remembers nothing that is one of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

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
    assert fitted.model_.spec.learner == "hierarchical_bayes"
    fitted.save(tmp_path / "m")
    assert MetaLearner.load(tmp_path / "m").learner == "hierarchical_bayes"
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
