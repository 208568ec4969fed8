"""The language and the page that explains it have the same keys."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from metamedica.data.declared import language
from metamedica.data.declared.files import declaration
from metamedica.errors import FileFormatError

PAGE = (Path(__file__).parents[3] / "docs" / "declaring-tasks.md").read_text(encoding="utf-8")
PARTS = [part for part in vars(language).values() if isinstance(part, type) and issubclass(part, language.Part)]


def _keys(part: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in part.model_fields.items()]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_key_of_the_language_is_on_its_page(part: type[BaseModel]) -> None:
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", PAGE, flags=re.M | re.S))
    words = set(re.findall(r"\w+", " ".join(inline)))
    assert [key for key in _keys(part) if key not in words] == []


def test_every_way_to_take_events_is_on_its_page() -> None:
    ways: tuple[Any, ...] = get_args(language.How)
    assert [how for how in ways if f"`{how}`" not in PAGE] == []


def test_the_rows_of_the_table_of_keys_are_the_keys_of_a_declaration() -> None:
    table = PAGE.partition("## Keys")[2].partition("## Labels")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(first))) == sorted(_keys(language.Declaration))


KEYS = sorted({key for part in PARTS for key in _keys(part)})
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.floats(), st.text(max_size=3), st.sampled_from(KEYS)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(KEYS), LEAVES), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from([*_keys(language.Declaration), "odd"]), TREES, max_size=5))
def test_whatever_a_file_says_is_understood_or_refused_in_one_sentence(content: dict[str, Any]) -> None:
    whole = {"name": "a", "table": "a.csv", "label": {"column": "y"}, **content}
    told = ""
    try:
        assert declaration(whole, where="d.yaml").name
    except FileFormatError as error:
        told = str(error)
    assert told == "" or told.startswith("d.yaml")
    assert "pydantic" not in told
