"""What a user holds: numbers, intervals, tables; saved and loaded to the same numbers; nothing shared between tasks."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from metamedica.data.collection import TaskCollection
from metamedica.errors import BundleError, CaseError, InputError, TaskError
from metamedica.meta_learner import MetaLearner, model_folder, shipped_models
from metamedica.predictors.predictor import Predictor

ALKANES = ["C" * n for n in range(2, 14)]
ACIDS = ["C" * n + "C(=O)O" for n in range(1, 13)]
RINGS = ["c1ccccc1" + "C" * n for n in range(12)]
LIBRARY = ["CCOCC", "CCCCN", "c1ccncc1", "CC(C)C(=O)O", "ClCCCl"]


def _collection(*, noise: float) -> TaskCollection:
    rows, random = [], np.random.default_rng(0)
    for t in range(6):
        for i, smiles in enumerate([*ALKANES, *ACIDS, *RINGS]):
            rows.append((smiles, f"task{t}", 5 + 0.1 * (i % 12) + 0.3 * t * (i >= 24) + noise * random.normal()))
    frame = pd.DataFrame(rows, columns=["smiles", "task", "y"])
    return TaskCollection.from_table(
        frame, modality="molecules", case="smiles", target="y", task="task", kind="regression", unit="x"
    )


@pytest.fixture(scope="module")
def collection() -> TaskCollection:
    return _collection(noise=0.0)


@pytest.fixture(scope="module")
def model(collection: TaskCollection) -> MetaLearner:
    learner = MetaLearner(
        "deep_kernel",
        encoder_settings={"hidden": [16], "dim": 8},
        steps=6,
        validate_every=3,
        tasks_per_batch=3,
        support=(8,),
        query=8,
    )
    return learner.fit(collection)


def test_a_regression_predictor_gives_numbers_intervals_and_a_table(model: MetaLearner) -> None:
    predictor = model.adapt(ALKANES, np.linspace(4, 8, 12), unit="x")
    predicted = predictor.predict(LIBRARY)
    assert predicted.shape == (5,)
    inner, outer = predictor.predict_interval(LIBRARY, coverage=0.5), predictor.predict_interval(LIBRARY, coverage=0.95)
    assert (outer[:, 0] < inner[:, 0]).all()
    assert (inner[:, 1] < outer[:, 1]).all()
    np.testing.assert_allclose(inner.mean(1), predicted, rtol=1e-5)
    table = predictor.predict_table(LIBRARY)
    assert list(table["case"]) == LIBRARY
    np.testing.assert_allclose(table["prediction"], predicted, rtol=1e-5)
    assert set(table["nearest_labelled"]) <= set(predictor.support.canonical)
    with pytest.raises(TaskError, match="no class probabilities"):
        predictor.predict_proba(LIBRARY)
    assert predictor.score(ALKANES, np.linspace(4, 8, 12)) > 0.5


@pytest.mark.parametrize("learner", ["deep_kernel", "common_mean_gp"])
def test_blocks_of_bytes_get_the_law_of_the_same_numbers_in_floating_point(model: MetaLearner, learner: str) -> None:
    if learner != model.learner:
        model = MetaLearner(learner, support=(8,), query=8, guard=False).fit(_collection(noise=1.0))
    predictor = model.adapt(ALKANES, np.linspace(4, 8, 12), unit="x")
    features = model.model_.prepare([*LIBRARY, *ACIDS, *RINGS]).features
    many = {name: block.repeat(10, 1) for name, block in features.items()}
    assert any(block.dtype == torch.uint8 for block in many.values())
    law = predictor.law(many)
    wanted = predictor.law({name: block.float() for name, block in many.items()})
    torch.testing.assert_close(law.mean, wanted.mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(law.stddev, wanted.stddev, atol=1e-5, rtol=0)


def test_a_binary_predictor_gives_probabilities_that_sum_to_one(model: MetaLearner) -> None:
    predictor = model.adapt([*ALKANES[:4], *ACIDS[:4]], ["no"] * 4 + ["yes"] * 4)
    probability = predictor.predict_proba(LIBRARY)
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
    assert set(predictor.predict(LIBRARY)) <= {"no", "yes"}
    assert predictor.score(ACIDS[4:8], ["yes"] * 4) == 1.0
    with pytest.raises(TaskError, match="no intervals"):
        predictor.predict_interval(LIBRARY)


def test_two_predictors_never_answer_for_each_other(model: MetaLearner) -> None:
    first = model.adapt(ALKANES, np.linspace(4, 8, 12), unit="x")
    before = first.predict(LIBRARY)
    weights = {name: value.clone() for name, value in model.model_.learner.state_dict().items()}
    model.adapt(ACIDS, np.linspace(9, 2, 12), unit="x").predict(LIBRARY)
    assert np.array_equal(first.predict(LIBRARY), before)
    for name, value in model.model_.learner.state_dict().items():
        assert torch.equal(value, weights[name])


@pytest.mark.parametrize("kind", ["regression", "binary"])
def test_a_saved_predictor_gives_the_same_numbers(model: MetaLearner, tmp_path: Path, kind: str) -> None:
    targets = np.linspace(4, 8, 12).tolist() if kind == "regression" else ["a"] * 6 + ["b"] * 6
    predictor = model.adapt(
        ALKANES, targets, unit="x" if kind == "regression" else None, positive=None if kind == "regression" else "b"
    )
    predictor.save(tmp_path / "saved")
    again = Predictor.load(tmp_path / "saved")
    assert (again.predict(LIBRARY) == predictor.predict(LIBRARY)).all()
    assert again.trust == predictor.trust
    assert again.classes == predictor.classes
    assert "Personal data" in (tmp_path / "saved" / "CARD.md").read_text(encoding="utf-8")


def test_a_changed_predictor_file_is_refused(model: MetaLearner, tmp_path: Path) -> None:
    model.adapt(ALKANES, np.linspace(4, 8, 12)).save(tmp_path / "saved")
    path = tmp_path / "saved" / "support.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(BundleError, match="changed or damaged"):
        Predictor.load(tmp_path / "saved")


def test_a_saved_model_adapts_to_the_same_numbers_and_keeps_its_parameters(model: MetaLearner, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    again = MetaLearner.load(tmp_path / "model")
    targets = np.linspace(4, 8, 12)
    assert (
        again.adapt(ALKANES, targets, unit="x").predict(LIBRARY)
        == model.adapt(ALKANES, targets, unit="x").predict(LIBRARY)
    ).all()
    assert again.get_params()["steps"] == 6
    with pytest.raises(BundleError, match="holds a model, a predictor was wanted"):
        Predictor.load(tmp_path / "model")


def test_trust_counts_the_cases_that_earlier_tasks_have_measured(model: MetaLearner) -> None:
    seen = model.adapt(ALKANES, np.linspace(4, 8, 12), unit="x").trust
    new = model.adapt(
        ["CC#N", "CC#CC", "N#CC#N", "CSSC", "CSC", "CS(C)=O", "CBr", "CI"], np.arange(8.0), unit="x"
    ).trust
    assert (seen.seen, new.seen) == (1.0, 0.0)
    assert seen.weight > new.weight
    assert new.weight < 0.1
    assert "nothing learned" in new.verdict
    assert len(seen.nearest) == 5
    json.dumps(seen.as_dict())


def test_cases_that_cannot_be_read_are_named_or_skipped(model: MetaLearner) -> None:
    predictor = model.adapt(ALKANES, np.linspace(4, 8, 12))
    with pytest.raises(CaseError, match=r"case 2 \('junk'\)"):
        predictor.predict(["CCO", "junk"])
    table = predictor.predict_table(["CCO", "junk"], skip_invalid=True)
    assert np.isnan(table["prediction"][1])
    assert table["problem"][1]
    assert not table["problem"][0]


def test_the_guard_can_be_left_out(collection: TaskCollection, model: MetaLearner) -> None:
    alone = MetaLearner.load
    assert alone
    parameters = {**model.get_params(), "guard": False}
    unguarded = MetaLearner(**parameters).fit(collection)
    assert unguarded.adapt(ALKANES, np.linspace(4, 8, 12)).trust.weight == 1.0


def test_the_same_seed_gives_the_same_model_to_the_bit(collection: TaskCollection, model: MetaLearner) -> None:
    again = MetaLearner(**model.get_params()).fit(collection)
    for name, value in again.model_.learner.state_dict().items():
        assert torch.equal(value, model.model_.learner.state_dict()[name]), name
    for kind, gate in again.model_.gates.items():
        assert torch.equal(gate, model.model_.gates[kind])


def test_an_unfitted_learner_and_an_unknown_model_say_so() -> None:
    with pytest.raises(InputError, match="not fitted"):
        MetaLearner().adapt(ALKANES, range(12))
    with pytest.raises(BundleError, match="there is no model 'nowhere'"):
        model_folder("nowhere")


def test_a_method_from_scratch_needs_no_training_and_no_guard(collection: TaskCollection) -> None:
    scratch = MetaLearner("tanimoto_gp").fit(collection)
    trust = scratch.adapt(ALKANES, np.linspace(4, 8, 12)).trust
    assert trust.weight == 0.0
    assert scratch.history_ == []


@pytest.mark.parametrize("name", shipped_models())
def test_every_shipped_model_adapts_and_is_small(name: str) -> None:
    folder = model_folder(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 25_000_000
    model = MetaLearner.load(name)
    if model.model_.modality.name == "images":
        images = list(np.random.default_rng(0).integers(0, 256, (12, 64, 64), dtype=np.uint8))
        predicted = model.adapt(images, [0, 1] * 6).predict_proba(images)
    elif model.model_.modality.distinct:
        predicted = model.adapt(ALKANES, np.linspace(4, 8, 12), unit="-log10 M").predict(LIBRARY)
    else:
        patients = pd.DataFrame({"age": np.linspace(40, 80, 12), "sex": ["male", "female"] * 6})
        predicted = model.adapt(patients, [0, 1] * 6).predict_proba(patients)
    assert np.isfinite(predicted).all()
    assert (folder / "CARD.md").is_file()
