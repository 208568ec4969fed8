"""The declared clinical collections: the figures of their sources, patients whole, and what a wrong folder is told."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metamedica import registry
from metamedica.data import catalogue
from metamedica.data.catalogue import diabetes130, eicu_demo, garvan_thyroid, heart, impact, scottish_survey
from metamedica.data.declared import read_declaration
from metamedica.errors import FileFormatError

MODULES = {
    module.NAME: module for module in (diabetes130, eicu_demo, garvan_thyroid, heart, impact, scottish_survey)
}  # fmt: skip
FOLDER = Path(catalogue.__file__).parent


def _by_task(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby("task", sort=False)["label"].agg(["size", "sum", "mean"])


@pytest.mark.parametrize("name", MODULES)
def test_a_declaration_reads_exactly_the_files_that_are_checked(name: str) -> None:
    spec = read_declaration(FOLDER / f"{name}.yaml")
    tables = [spec.table, *(join.table for join in spec.joins), *(each.table for each in spec.events)]
    assert {f"{spec.folder}/{table}" for table in tables} == set(MODULES[name].files())
    assert spec.name == name
    assert spec.about.endswith(("?", "."))
    assert spec.origin
    for variant in spec.variants:
        assert read_declaration(FOLDER / f"{name}.yaml", variant=variant) != spec


def test_every_declaration_beside_the_catalogue_has_its_collection() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(MODULES)


@pytest.mark.mirror
def test_an_unknown_variant_gives_those_that_are_there() -> None:
    with pytest.raises(FileFormatError, match=r"eicu_demo\.yaml has no variant 'city'; choose one of: region"):
        eicu_demo.table("city")


@pytest.mark.mirror
def test_heart_has_four_hospitals_with_their_known_prevalence() -> None:
    declared = heart.declared()
    sites = _by_task(declared.frame)
    assert sites["size"].to_dict() == {"cleveland": 303, "hungarian": 294, "switzerland": 123, "va": 200}
    assert (100 * sites["mean"]).round().astype(int).tolist() == [46, 36, 93, 74]  # 93.5 and 74.5
    swiss = declared.frame[declared.frame["task"] == "switzerland"]
    assert swiss["chol"].isna().all()
    assert (declared.frame["task"] == "va").sum() - declared.frame["chol"][declared.frame["task"] == "va"].count() == 56
    assert (declared.frame[["chol", "trestbps"]].min() > 0).all()
    assert len(declared.columns) == 13
    assert not declared.left_out
    assert set(declared.frame["thal"].dropna()) == {"normal", "fixed defect", "reversible defect"}


@pytest.mark.mirror
def test_impact_has_fifteen_studies_and_2874_deaths() -> None:
    declared = impact.declared()
    studies = _by_task(declared.frame)
    assert (len(declared.frame), int(declared.frame["label"].sum()), len(studies)) == (11_022, 2_874, 15)
    assert (studies["size"].min(), studies["size"].max()) == (126, 1_510)
    assert (round(100 * studies["mean"].min(), 1), round(100 * studies["mean"].max(), 1)) == (15.5, 45.4)
    assert len(declared.columns) == 8
    assert not declared.frame.isna().any().any()
    levels = (declared.schema or {})["pupil"]["levels"]
    assert set(declared.frame["pupil"]) == set(levels) == {"Both", "One", "None"}


@pytest.mark.mirror
def test_the_stays_of_eicu_are_those_of_its_tables_with_each_patient_in_one_hospital() -> None:
    declared = eicu_demo.declared()
    frame, left_out = declared.frame, dict(declared.left_out or {})
    assert left_out.pop("without a row in apacheApsVar.csv.gz") == 315
    assert left_out == {"without a label": 26, "cases of a patient who is in an earlier task": 20}
    assert len(frame) + sum(left_out.values()) == 2_205
    assert (frame["task"].nunique(), int(frame["label"].sum())) == (186, 196)
    assert (frame.groupby("group")["task"].nunique() == 1).all()
    path = Path(os.environ["METAMEDICA_DATA"]) / "clinical" / "eicu_demo_v2.0.1" / "derived_apache_stay_level.csv.gz"
    joined = pd.read_csv(path, dtype=str).set_index("patientunitstayid").reindex(frame["case"])
    assert joined["hospitalid"].tolist() == frame["task"].tolist()
    assert (joined["hospitaldischargestatus"] == "Expired").astype(int).tolist() == frame["label"].tolist()
    numeric = [name for name in declared.columns if frame[name].dtype == np.float64 and name != "age"]
    assert len(numeric) > 30
    for name in numeric:  # the join that was made by hand
        wanted = joined[name].astype(float).replace(-1, np.nan).to_numpy()
        np.testing.assert_array_equal(frame[name].to_numpy(), wanted, err_msg=name)
    old = (joined["age"] == "> 89").to_numpy()
    assert old.sum() > 50
    assert set(frame["age"][old]) == {90}


@pytest.mark.mirror
def test_eicu_by_region_leaves_out_the_stays_without_one() -> None:
    declared = eicu_demo.declared("region")
    assert set(declared.frame["task"]) == {"Midwest", "Northeast", "South", "West"}
    assert (declared.left_out or {})["without a task"] == 200
    assert declared.columns == eicu_demo.declared().columns


@pytest.mark.mirror
@pytest.mark.slow
def test_diabetes_has_its_known_readmissions_with_each_patient_in_one_specialty() -> None:
    declared = diabetes130.declared()
    frame, left_out = declared.frame, dict(declared.left_out or {})
    assert left_out.pop("died or went to a hospice (exclusion 1)") == 2_423
    assert left_out.pop("without a task") == 48_616
    assert left_out.pop("tasks with fewer than 50 cases or 2 of a class") == 42
    assert len(frame) + 2_423 + 48_616 + sum(left_out.values()) == 101_766
    assert (len(frame), int(frame["label"].sum()), frame["task"].nunique()) == (44_645, 4_627, 28)
    assert (frame.groupby("group")["task"].nunique() == 1).all()
    assert frame["group"].duplicated().any()
    assert frame["case"].is_unique
    assert not (frame["race"] == "?").any()
    assert {"11", "13", "14", "19", "20", "21"}.isdisjoint(frame["discharge_disposition_id"])
    assert diabetes130.table("any_readmission")["label"].mean() == pytest.approx(0.435, abs=0.001)


@pytest.mark.mirror
def test_the_scottish_survey_has_312_areas() -> None:
    frame = scottish_survey.table()
    areas = _by_task(frame)
    assert (len(frame), int(frame["label"].sum()), len(areas)) == (8_804, 2_415, 312)
    assert (areas["size"].min(), areas["size"].max()) == (12, 43)


@pytest.mark.mirror
def test_the_garvan_laboratory_has_seven_diagnoses_of_the_same_patients() -> None:
    declared = garvan_thyroid.declared()
    tasks = _by_task(declared.frame)
    assert tasks["size"].to_dict() == {
        "hypothyroid": 3_772, "primary hypothyroid": 3_770, "hyperthyroid": 3_771, "sick": 3_772, "binding protein": 3_772,
        "replacement therapy": 3_772, "discordant": 3_772,
    }  # fmt: skip
    assert tasks["sum"].tolist() == [291, 95, 101, 231, 163, 124, 58]
    assert not any(name.startswith("y_") for name in declared.columns)
    assert set(declared.frame["group"]) == {str(row) for row in range(3_772)}
    sources = garvan_thyroid.table("referral_source")
    assert set(sources["task"].str.partition(" at ")[2]) <= {"other", "SVI", "SVHC", "STMW", "SVHD"}
    assert (_by_task(sources)["size"] >= 30).all()


@pytest.mark.mirror
@pytest.mark.skipif("tables" not in registry.names("modalities"), reason="there is no modality of tables")
@pytest.mark.parametrize("name", MODULES)
def test_a_collection_is_loaded_with_its_tasks_and_patients(name: str) -> None:
    frame = MODULES[name].table()
    tasks = catalogue.load(name, n_jobs=1)
    assert set(tasks.tasks) == set(frame["task"])
    assert {task.kind for task in tasks.tasks.values()} == {"binary"}
    sizes = frame["task"].value_counts()
    for task in tasks.tasks.values():
        assert 0 < len(task) <= sizes[task.name]
