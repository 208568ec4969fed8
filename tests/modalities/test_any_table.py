"""Rows of any table: read by what the task's own cases show, one block of cells, nothing carried by a column's name."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from metamedica.data.any_tables import any_tables
from metamedica.data.causal_tables import causal_tables
from metamedica.errors import CaseError, InputError
from metamedica.meta_learner import MetaLearner
from metamedica.modalities.any_table import AnyTable, CellsEncoder
from metamedica.modalities.tables import Tables
from metamedica.predictors.predictor import Predictor

SETTINGS = {"width": 8, "layers": 1}


@pytest.fixture(scope="module")
def model() -> MetaLearner:
    tables = {f"t{number}": table for number, table in enumerate(causal_tables(24, cases=40, most_columns=6))}
    split = {name: "meta_valid" if number > 19 else "meta_train" for number, name in enumerate(tables)}
    learner = MetaLearner(settings=SETTINGS, steps=3, support=(8,), query=8, tasks_per_batch=4)
    return learner.fit(any_tables(tables, split=split))  # type: ignore[arg-type]


def _patients(n: int = 24, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"lactate": rng.normal(2, 1, n), "ward": rng.choice(["A", "B"], n), "apgar": rng.integers(0, 10, n)}
    )
    frame.loc[3, "lactate"] = None
    return frame


def _labels(frame: pd.DataFrame) -> list[int]:
    return (frame["lactate"].fillna(2) + 0.1 * frame["apgar"] > 2.5).astype(int).tolist()


def test_the_cells_are_what_tables_makes_of_the_same_rows() -> None:
    frame = _patients()
    cells = AnyTable().fitted(frame).prepare(frame).features["cells"]
    theirs = Tables().fitted(frame).prepare(frame).features
    torch.testing.assert_close(
        cells, torch.cat([theirs[name].float() for name in ("numbers", "levels", "missing")], dim=1)
    )


def test_without_a_table_it_cannot_read_and_with_one_it_remembers_it() -> None:
    with pytest.raises(InputError, match="the columns of the tables are not known yet"):
        AnyTable().prepare(_patients())
    read = AnyTable().with_own(_patients())
    again = AnyTable(**json.loads(json.dumps(read.settings())))
    assert again.schema == read.schema
    assert again.with_own(_patients()) is again
    assert "spo2" in again.with_own(_patients().assign(spo2=np.linspace(80, 99, 24))).schema.columns


def test_an_encoder_that_learns_what_columns_mean_is_refused() -> None:
    with pytest.raises(
        InputError, match="any_table has other columns in every task; choose a learner without an encoder"
    ):
        AnyTable().encoder("mlp")


def test_similarity_is_one_for_equal_rows_and_does_not_see_columns_that_are_filled_up() -> None:
    raw, rows = CellsEncoder(), torch.randn(4, 3)
    kernel = raw.similarity(rows, rows)
    torch.testing.assert_close(kernel.diagonal(), torch.ones(4))
    wide = torch.cat([rows, torch.zeros(4, 5)], dim=1)
    torch.testing.assert_close(raw.similarity(wide, wide), kernel)


def test_a_model_adapts_to_a_table_whose_columns_no_earlier_task_had(model: MetaLearner) -> None:
    known, new = _patients(), _patients(40, seed=1)
    predictor = model.adapt(known, _labels(known))
    assert predictor.predict_proba(new).shape == (40, 2)
    other = pd.DataFrame({"x": np.arange(24.0), "y": ["u", "v", "w"] * 8})
    assert model.adapt(other, ["sick" if x > 11 else "well" for x in other["x"]], positive="sick").classes == (
        "well",
        "sick",
    )
    assert model.model_.modality.settings() == {}


def test_a_predictor_of_it_names_no_nearest_task_and_says_what_it_leans_on(model: MetaLearner) -> None:
    known = _patients()
    trust = model.adapt(known, _labels(known)).trust
    assert trust.nearest == ()
    assert set(trust.candidates) == {"prior_fitted_network", "linear"}
    assert "nearest" not in trust.verdict


def test_a_saved_predictor_knows_its_columns_and_gives_the_same_numbers(model: MetaLearner, tmp_path) -> None:  # type: ignore[no-untyped-def]
    known, new = _patients(), _patients(10, seed=1)
    predictor = model.adapt(known, _labels(known))
    predictor.save(tmp_path / "p")
    again = Predictor.load(tmp_path / "p")
    np.testing.assert_array_equal(again.predict_proba(new), predictor.predict_proba(new))
    np.testing.assert_allclose(again.predict_proba(new[["apgar", "ward", "lactate"]]), predictor.predict_proba(new))


def test_rows_of_another_table_are_refused_by_an_adapted_predictor(model: MetaLearner) -> None:
    known = _patients()
    predictor = model.adapt(known, _labels(known))
    with pytest.raises((InputError, CaseError), match="has none of the columns"):
        predictor.predict(pd.DataFrame({"z": [1.0]}))


def test_a_column_that_gives_the_label_away_is_refused(model: MetaLearner) -> None:
    known = pd.concat([_patients(), _patients(seed=5)], ignore_index=True)
    labels = _labels(known)
    leaked = known.assign(outcome_code=[10 + 3 * label for label in labels])
    with pytest.raises(InputError, match="the column 'outcome_code' of the labelled cases tells the two classes apart"):
        model.adapt(leaked, labels)
