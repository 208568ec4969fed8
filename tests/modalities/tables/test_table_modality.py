"""Rows to blocks: scales, levels and gaps by hand-computed values; types inferred; units, leaks and new columns found; nothing said of a patient."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng

from metamedica import registry
from metamedica.errors import CaseError, InputError
from metamedica.modalities.tables import Tables
from metamedica.modalities.tables.schema import Schema

SCHEMA: dict[str, Any] = {
    "age": {"type": "numeric", "range": [0, 120], "typical": [40.0, 80.0]},
    "lactate": {"type": "numeric", "typical": [1.0, 4.0], "scale": "log", "missing": ["-1", "?"]},
    "smoker": {"type": "boolean", "levels": ["no", "yes"]},
    "stage": {"type": "ordinal", "levels": ["I", "II", "III"]},
    "ward": {"type": "categorical", "levels": ["A", "B"]},
}


def _rows(**changes: Any) -> dict[str, Any]:
    return {"age": 60, "lactate": 2.0, "smoker": "yes", "stage": "II", "ward": "B", **changes}


def test_blocks_hold_scaled_numbers_levels_and_gaps() -> None:
    made = Tables(SCHEMA).prepare(
        [_rows(), _rows(age=80, lactate=4, smoker="No", stage="III", ward="A"), {"ward": "C"}]
    )
    numbers = made.features["numbers"]
    half = 3.29 / 2
    assert torch.allclose(numbers[0], torch.tensor([0.0, 0.0, 1.0, 0.0]), atol=1e-6)
    assert torch.allclose(numbers[1], torch.tensor([half, half, -1.0, 1.5]), atol=1e-6)
    assert numbers[2].tolist() == [0, 0, 0, 0]
    assert made.features["levels"].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert made.features["missing"].tolist() == [[0] * 5, [0] * 5, [1, 1, 1, 1, 0]]
    assert made.row == [0, 1, 2]
    assert Tables(SCHEMA).block_columns()["levels"] == ["ward = A", "ward = B"]


def test_declared_codes_are_missing_as_texts_and_as_numbers() -> None:
    made = Tables(SCHEMA).prepare(pd.DataFrame({"lactate": ["-1", "-1.0", "?", "", "NA", None, "2"], "ward": "A"}))
    assert made.features["missing"][:, 1].tolist() == [1, 1, 1, 1, 1, 1, 0]
    typed = Tables(SCHEMA).prepare(pd.DataFrame({"lactate": [-1.0, np.nan, 2.0]}))
    assert typed.features["missing"][:, 1].tolist() == [1, 1, 0]


@given(st.lists(st.fixed_dictionaries({}, optional={
    "age": st.floats(0, 120, allow_nan=False), "lactate": st.floats(0.1, 30), "smoker": st.sampled_from(["no", "yes"]),
    "stage": st.sampled_from(["I", "II", "III"]), "ward": st.sampled_from(["A", "B"]),
}), min_size=1, max_size=6))  # fmt: skip
def test_canonical_texts_read_back_to_the_same_blocks(rows: list[dict[str, Any]]) -> None:
    modality = Tables(SCHEMA)
    made = modality.prepare(rows)
    again = modality.prepare(made.canonical)
    for name, block in made.features.items():
        assert torch.allclose(block.float(), again.features[name].float(), atol=1e-5)
    frame = modality.prepare(pd.DataFrame(rows, index=range(len(rows))))
    assert all(torch.equal(made.features[name], frame.features[name]) for name in made.features)


def test_the_settings_build_the_same_modality_again_through_json() -> None:
    modality = Tables(SCHEMA)
    again = registry.modality("tables", json.loads(json.dumps(modality.settings(), sort_keys=True)))
    assert isinstance(again, Tables)
    assert list(again.schema.columns) == list(SCHEMA)
    assert again.schema == modality.schema


def test_types_are_inferred_from_the_cells() -> None:
    random = default_rng(0)
    frame = pd.DataFrame(
        {
            "numeric": random.normal(size=50),
            "lab": np.exp(random.normal(0, 1.5, 50)),
            "flag": ["0", "1"] * 25,
            "sex": ["male", "female"] * 25,
            "empty": [None] * 50,
            "constant": [3] * 50,
        }
    )
    columns = Tables().fitted(frame).schema.columns
    assert {name: column.type for name, column in columns.items()} == {
        "numeric": "numeric", "lab": "numeric", "flag": "boolean", "sex": "categorical", "empty": "numeric", "constant": "numeric"
    }  # fmt: skip
    assert (columns["lab"].scale, columns["numeric"].scale) == ("log", "linear")
    low, high = columns["numeric"].typical or (0, 0)
    assert np.mean((frame["numeric"] >= low) & (frame["numeric"] <= high)) == pytest.approx(0.9, abs=0.03)
    features = Tables().fitted(frame).prepare(frame).features
    assert all(torch.isfinite(block.float()).all() for block in features.values())
    assert features["numbers"][:, 0].std() == pytest.approx(1.0, abs=0.3)


def test_levels_that_a_declaration_leaves_out_are_filled_in() -> None:
    frame = pd.DataFrame({"ward": ["A", "B", "?"] * 4, "flag": ["1", "?", "1"] * 4, "score": [1, 2, 3] * 4})
    told = {
        "ward": {"type": "categorical", "missing": "?"},
        "flag": {"type": "boolean", "missing": "?"},
        "score": "categorical",
    }
    columns = Tables(told).fitted(frame).schema.columns
    assert columns["ward"].levels == ("A", "B")
    assert columns["flag"].levels == ("0", "1")
    assert columns["score"].levels == ("1", "2", "3")
    with pytest.raises(
        InputError, match="column 'ward' is declared boolean and it is not clear which of its 3 levels means yes"
    ):
        Tables({"ward": "boolean"}).fitted(frame[["ward"]])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([f"2020-01-{day:02d}" for day in range(1, 31)], "look like dates; give the time since some event as a number"),
        (["2020-01-01", "2020-02-01"] * 15, "holds dates; give the time since"),
        ([f"patient {i}" for i in range(30)], "look like identifiers or free text; leave the column out"),
        (
            ["1"] * 14 + ["2"] * 14 + ["unknown"] * 2,
            "28 of 30 cells are numbers and the others are not, the first of them in case 29",
        ),
    ],
)
def test_columns_that_are_neither_numbers_nor_levels_are_refused_by_name(cells: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Tables().fitted(pd.DataFrame({"strange": cells}), source="t.csv")
    assert "t.csv, column 'strange'" in str(caught.value)
    assert not any(text in str(caught.value) for text in ("patient 3", "unknown", "2020"))


@pytest.mark.parametrize(
    ("name", "factor", "unit", "limits", "words"),
    [
        ("glucose", 18.016, "mmol/L", [1, 50], "divided by 18.016: this looks like mg/dL where mmol/L was declared"),
        ("chol", 1 / 38.67, "mg/dL", [60, 700], "multiplied by 38.67: this looks like mmol/L where mg/dL was declared"),
        ("height", 0.01, "cm", [100, 220], "multiplied by 100: this looks like m where cm was declared"),
        ("creatinine", 88.42, "mg/dL", [0.2, 20], "divided by 88.42: this looks like umol/L where mg/dL was declared"),
    ],
)
def test_a_column_in_another_unit_is_told_whether_all_of_it_or_one_hospital(
    name: str, factor: float, unit: str, limits: list[float], words: str
) -> None:
    modality = Tables({name: {"type": "numeric", "unit": unit, "range": limits}})
    middle = float(np.sqrt(limits[0] * limits[1]))
    values = default_rng(0).uniform(middle * 0.9, middle * 1.1, 40)
    assert modality.prepare(pd.DataFrame({name: values})).remarks == []
    some = np.where(np.arange(40) < 10, values * factor, values)
    for odd, share in ((values * factor, "100%"), (some, "25%")):
        whole, *rest = modality.prepare(pd.DataFrame({name: odd})).remarks
        assert whole.position == -1
        assert whole.reason.startswith(f"{share} of the numbers are outside")
        assert words in whole.reason
        assert whole.reason.endswith("convert them")
        assert len(rest) == 2  # the first cell and the count of the others, which were read as missing


def test_a_few_extreme_numbers_are_not_taken_for_another_unit() -> None:
    modality = Tables({"glucose": {"type": "numeric", "unit": "mmol/L", "range": [1, 50]}})
    values = np.r_[default_rng(0).uniform(4, 12, 200), [55, 60, 70, 80, 90]]
    told = modality.prepare(pd.DataFrame({"glucose": values})).remarks
    assert [remark.position for remark in told] == [200, 201, 202, 203, 204]


def test_levels_never_seen_and_columns_not_known_are_remarked_and_used_as_such() -> None:
    made = Tables(SCHEMA).prepare([_rows(ward="Z", stage="IV", pet="cat")])
    told = {(remark.position, remark.text): remark.reason for remark in made.remarks}
    assert told[0, "ward"] == "not one of the levels A, B, and read as a level that was never seen"
    assert told[0, "stage"] == "not one of the levels I, II, III, and read as missing"
    assert told[-1, "pet"] == "the schema does not know this column, and it is not used"
    assert made.features["levels"].tolist() == [[0, 0]]


def test_many_odd_cells_are_counted_and_not_listed_one_by_one() -> None:
    made = Tables(SCHEMA).prepare(pd.DataFrame({**{k: [v] * 500 for k, v in _rows().items()}, "age": [999] * 500}))
    of_age = [remark for remark in made.remarks if remark.text == "age"]
    assert len(of_age) == 21
    assert of_age[-1].reason == "480 more cells outside 0 to 120, and read as missing"


def test_a_text_where_a_number_belongs_makes_the_case_unusable_and_is_not_repeated() -> None:
    made = Tables(SCHEMA).prepare([_rows(), _rows(age="Jane"), _rows(age="1,5")])
    assert made.row == [0, -1, -1]
    assert [(problem.position, problem.text) for problem in made.problems] == [(1, "age"), (2, "age")]
    assert "decimal point" in made.problems[1].reason
    assert all("Jane" not in problem.reason for problem in made.problems)
    assert len(made.features["numbers"]) == 1


def test_own_columns_of_a_task_stand_in_a_block_of_their_own() -> None:
    cases = pd.DataFrame([_rows(troponin=t, site=s) for t, s in zip(range(10), "ab" * 5, strict=True)])
    modality = Tables(SCHEMA).with_own(cases)
    assert modality.schema.own == ["troponin", "site"]
    made = modality.prepare(cases)
    assert made.features["own"].shape == (10, 1 + 2 + 2)
    assert made.features["numbers"].shape == (10, 4)
    assert made.remarks == []
    assert Tables(SCHEMA).with_own(cases[["age"]]).schema == Tables(SCHEMA).schema
    assert modality.raw_encoder().dim == Tables(SCHEMA).raw_encoder().dim
    lacking = modality.prepare(cases[["age"]])
    assert lacking.features["own"][:, -2:].tolist() == [[1, 1]] * 10


def test_the_raw_encoder_puts_blocks_side_by_side_and_compares_rows() -> None:
    modality = Tables(SCHEMA)
    raw = modality.raw_encoder()
    features = modality.prepare([_rows(), _rows(age=75), {"age": 20}]).features
    rows = raw(features)
    assert rows.shape == (3, raw.dim) == (3, 4 + 2 + 5)
    assert torch.equal(raw.flat(features), rows)
    kernel = raw.similarity(rows, rows)
    assert torch.allclose(kernel.diagonal(), torch.ones(3))
    assert kernel[0, 1] > kernel[0, 2] > 0
    assert torch.linalg.eigvalsh(kernel.double()).min() > -1e-8
    distance = (rows[0] - rows[1]).square().sum()
    assert kernel[0, 1] == pytest.approx(float(torch.exp(-distance / 10)))


def test_leaks_are_columns_that_separate_the_classes_without_error() -> None:
    random = default_rng(0)
    label = random.integers(0, 2, 60)
    frame = pd.DataFrame(
        {
            "copy": label * 2.0,
            "above": label + random.uniform(0, 0.9, 60),
            "noise": random.normal(size=60),
            "word": np.where(label, "x", "y"),
        }
    )
    modality = Tables().fitted(frame)
    assert modality.leaks(frame, label.tolist()) == ["copy", "above", "word"]
    assert modality.leaks(frame[:20], label[:20].tolist()) == []  # too few to say
    assert modality.leaks(frame, [1] * 60) == []
    rare = np.arange(60) < 4
    assert modality.leaks(frame.assign(copy=rare * 2.0), rare.astype(int).tolist()) == []  # too few of a class


def test_learned_encoders_are_built_over_the_blocks() -> None:
    modality = Tables(SCHEMA)
    encoder = modality.encoder("mlp", hidden=[8], dim=3)
    assert encoder(modality.prepare([_rows()]).features).shape == (1, 3)
    with pytest.raises(InputError, match="which tables do not have"):
        modality.encoder("message_passing")
    with pytest.raises(InputError, match="has no setting 'wide'"):
        modality.encoder("mlp", wide=3)


def test_a_row_is_drawn_as_escaped_html() -> None:
    drawn = Tables(Schema.of({"a<b": "numeric"})).draw('{"a<b": 3, "empty": null}')
    assert "<dt>a&lt;b</dt><dd>3</dd>" in drawn
    assert "empty" not in drawn


@pytest.mark.parametrize("cases", [[3], ["not json"], ["[1, 2]"], [None]])
def test_what_is_no_row_is_refused(cases: list[Any]) -> None:
    with pytest.raises(CaseError, match="case 1 is no table row; give a data frame, mappings"):
        Tables(SCHEMA).prepare(cases)


def test_without_a_schema_nothing_can_be_read() -> None:
    with pytest.raises(InputError, match="the columns of the tables are not known yet"):
        Tables().raw_encoder()
    assert Tables().settings() == {}
    assert Tables(SCHEMA).prepare([]).canonical == []
    assert Tables(SCHEMA).read_file("x.csv") is None
    assert Tables(SCHEMA).groups(["{}"]) == ["{}"]
