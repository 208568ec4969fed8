"""The language and the page that explains it have the same keys."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from metamedica.data.declared import language

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
