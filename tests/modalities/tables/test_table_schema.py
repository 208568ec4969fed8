"""A schema is a file that a person edits: it reads back what it wrote, means what stands there, and names the setting that does not fit."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.errors import FileFormatError, InputError
from metamedica.modalities.tables.schema import Column, Schema, boolean_levels

HOSPITAL: dict[str, Any] = {
    "age": {"type": "numeric", "unit": "years", "range": [0, 120], "typical": [30, 80]},
    "creatinine": {"type": "numeric", "unit": "mg/dL", "typical": [0.5, 4], "scale": "log", "missing": [-1, "?"]},
    "sex": {"type": "boolean", "levels": ["female", "male"], "sensitive": True},
    "stage": {"type": "ordinal", "levels": ["I", "II", "III"]},
    "ward": {"type": "categorical", "levels": ["A", "B", "no"]},
}


def test_a_schema_reads_back_what_it_wrote(tmp_path: Path) -> None:
    schema = Schema.of(HOSPITAL)
    schema.write(tmp_path / "s.yaml")
    again = Schema.read(tmp_path / "s.yaml")
    assert again == schema
    assert list(again.columns) == list(HOSPITAL)
    assert Schema.of(schema.as_dict()) == schema
    assert Schema.of([[name, told] for name, told in schema.as_dict().items()]) == schema
    assert again.sensitive == ["sex"]


LEVELS = st.lists(
    st.text("abcé:#'-0123456789 ", min_size=1, max_size=8).map(str.strip).filter(bool),
    min_size=1,
    max_size=5,
    unique=True,
)


@given(st.dictionaries(st.text("abc :#é", min_size=1, max_size=6), LEVELS, min_size=1, max_size=4))
def test_any_names_and_levels_survive_yaml(told: dict[str, list[str]]) -> None:
    import yaml

    schema = Schema.of({name: {"type": "categorical", "levels": levels} for name, levels in told.items()})
    assert Schema.of(yaml.safe_load(schema.as_yaml())["columns"]) == schema


def test_words_that_yaml_takes_for_truths_and_numbers_are_meant_as_written(tmp_path: Path) -> None:
    smoker, stage = "{type: boolean, levels: [no, yes], missing: -1}", "{type: ordinal, levels: [1, 2.0, 3]}"
    (tmp_path / "s.yaml").write_text(f"columns:\n  smoker: {smoker}\n  stage: {stage}\n")
    schema = Schema.read(tmp_path / "s.yaml")
    assert schema.columns["smoker"].levels == ("no", "yes")
    assert schema.columns["smoker"].missing == ("-1",)
    assert schema.columns["stage"].levels == ("1", "2", "3")


def test_a_type_alone_may_stand_for_the_settings() -> None:
    assert Schema.of({"age": "numeric"}).columns["age"] == Column(type="numeric")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"type": "float"}, r"column 'x': type: .*\('float' came\)"),
        ({"type": "numeric", "units": "mm"}, "there is no setting 'units'; a column has type, unit, range"),
        ({"type": "numeric", "levels": ["a"]}, "a number has no levels"),
        ({"type": "boolean", "levels": ["a"]}, "a boolean has two levels, the second of which means yes; 1 came"),
        ({"type": "ordinal"}, "an ordinal names its levels, lowest first; 0 came"),
        ({"type": "categorical", "levels": ["a", "a"]}, "a level is named twice"),
        ({"type": "numeric", "range": [5, 1]}, "range is for numbers, the lower one first"),
        ({"type": "categorical", "levels": ["a"], "range": [1, 5]}, "range is for numbers"),
        ({"type": "numeric", "scale": "log"}, "a log scale needs typical numbers above 0"),
        ({"type": "numeric", "scale": "log", "typical": [0, 5]}, "a log scale needs typical numbers above 0"),
        ({}, "type: Field required"),
        (3, "column 'x'"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(told: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Schema.of({"x": told}, source="s.yaml")
    assert str(caught.value).startswith("s.yaml, column 'x'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no columns"),
        ("[a, b]", "holds no columns"),
        ("columns: {}", "holds no columns"),
        ("a: {type: number\nb:", "s.yaml, line 2 is not well-formed YAML"),
        ("!!python/object/apply:os.system ['true']", "is not well-formed YAML"),
        ("x" * 6_000_000, "larger than the 5,000,000 bytes"),
    ],
)
def test_a_file_that_is_no_schema_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(FileFormatError, match=message):
        Schema.read(tmp_path / "s.yaml")


def test_a_schema_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="check the path"):
        Schema.read(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="without a column"):
        Schema({})


@pytest.mark.parametrize(
    ("texts", "levels"),
    [
        (["1", "0"], ("0", "1")),
        (["Yes", "No"], ("No", "Yes")),
        (["m", "f"], None),
        (["a"], None),
        (["f", "T"], ("f", "T")),
    ],
)
def test_two_levels_are_a_boolean_where_they_say_so(texts: list[str], levels: tuple[str, str] | None) -> None:
    assert boolean_levels(texts) == levels
