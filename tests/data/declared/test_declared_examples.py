"""The declarations under examples/ read what they say they read."""

import os
from pathlib import Path

import pandas as pd
import pytest

from metamedica.data.declared import read_declared

EXAMPLES = Path(__file__).parents[3] / "examples"


def _mirror(folder: str) -> Path:
    return Path(os.environ["METAMEDICA_DATA"]) / "clinical" / folder


def test_the_made_up_clinic_is_two_wards_of_whole_patients() -> None:
    found = read_declared(EXAMPLES / "clinic.yaml")
    frame = found.frame
    assert found.columns == ("age", "sex", "glucose", "smoker", "frailty")
    assert frame.groupby("task").size().to_dict() == {"medicine": 13, "surgery": 26}
    assert frame.groupby("task")["label"].sum().to_dict() == {"medicine": 6, "surgery": 9}
    assert (frame.groupby("group")["task"].nunique() == 1).all()
    assert frame["glucose"].min() > 3
    assert frame["glucose"].isna().any()
    assert set(frame["smoker"].dropna()) == {"true", "false"}
    assert len(frame) + sum((found.left_out or {}).values()) == 48
    assert (found.schema or {})["age"] == {"type": "numeric", "unit": "years", "range": [0, 120]}


@pytest.mark.mirror
def test_hospital_mortality_by_hospital_is_about_twenty_lines() -> None:
    path = EXAMPLES / "eicu_mortality.yaml"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 22
    found = read_declared(path, root=_mirror("eicu_demo_v2.0.1"))
    sizes = found.frame.groupby("task")["label"].agg(["size", "sum"])
    assert len(found.frame) + 859 == 2159
    assert (sizes["size"] >= 10).all()
    assert (sizes["sum"] >= 1).all()
    assert found.frame["age"].max() == 90
    assert (found.frame["creatinine"].dropna() >= 0).all()


@pytest.mark.mirror
def test_the_laboratory_values_of_the_first_day_are_those_before_its_end() -> None:
    folder = _mirror("mimic_iv_demo_v2.2")
    frame = read_declared(EXAMPLES / "mimic_iv_mortality.yaml", root=folder).frame
    assert (len(frame), int(frame["label"].sum())) == (245, 14)
    labs = pd.read_csv(folder / "hosp" / "labevents.csv.gz", usecols=["hadm_id", "itemid", "charttime", "valuenum"])
    stays = pd.read_csv(folder / "hosp" / "admissions.csv.gz", usecols=["hadm_id", "admittime", "dischtime"])
    both = labs.merge(stays, on="hadm_id")
    after = (pd.to_datetime(both["charttime"]) - pd.to_datetime(both["admittime"])).dt.total_seconds() / 3600
    first_day = both[(after >= 0) & (after <= 24)].assign(hours=after)
    for item, column in ((50912, "creatinine"), (51222, "haemoglobin")):
        values = first_day[(first_day["itemid"] == item) & first_day["valuenum"].notna()].sort_values(
            "hours", kind="stable"
        )
        wanted = values.drop_duplicates("hadm_id").set_index("hadm_id")["valuenum"]
        found = frame.set_index(frame["case"].astype(int))[column]
        assert found.notna().sum() > 200
        pd.testing.assert_series_equal(found.dropna(), wanted.reindex(found.dropna().index), check_names=False)
    lactate = first_day[first_day["itemid"] == 50813].groupby("hadm_id")["valuenum"].max().dropna()
    highest = frame.set_index(frame["case"].astype(int))["lactate_max"].dropna()
    pd.testing.assert_series_equal(highest, lactate.reindex(highest.index), check_names=False)
