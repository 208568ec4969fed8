"""The parts of a row: each column's number, levels and missing flag move together, own columns too."""

import pytest
import torch

from metamedica.errors import InputError
from metamedica.modalities.tables.modality import Tables
from metamedica.modalities.tables.parts import owners, shown_cells

SCHEMA = {
    "age": {"type": "numeric", "unit": "years", "typical": [40, 80]},
    "site": {"type": "categorical", "levels": ["a", "b", "c"]},
    "smoker": {"type": "boolean", "levels": ["no", "yes"]},
    "marker": {"type": "numeric", "typical": [0, 2], "own": True},
    "mood": {"type": "categorical", "levels": ["low", "high"], "own": True},
}
ROWS = [
    {"age": 50, "site": "b", "smoker": "yes", "marker": 1.5, "mood": "low"},
    {"age": None, "site": "c", "smoker": "no", "marker": None, "mood": "high"},
    {"age": 70, "site": None, "smoker": None, "marker": 0.1, "mood": None},
]


@pytest.fixture
def tables() -> Tables:
    return Tables(SCHEMA)


def test_every_column_of_every_block_has_the_owner_that_the_blocks_names_say(tables: Tables) -> None:
    found, names = owners(tables.schema), list(SCHEMA)
    for block, columns in tables.block_columns().items():
        assert [names[at] for at in found[block]] == [column.split(" ")[0] for column in columns]
    assert [names[at] for at in found["own"]] == ["marker", "mood", "mood", "marker", "mood"]


def test_a_row_with_columns_away_is_the_row_with_those_cells_of_another(tables: Tables) -> None:
    prepared = tables.prepare(ROWS)
    first = tables.parts(prepared.canonical, prepared.features, prepared.features)[0]
    assert first.versions == 3
    kept = torch.tensor([[True, False, True, False, True]])
    mixed = [{**other, **{name: ROWS[0][name] for name in ("age", "smoker", "mood")}} for other in ROWS]
    want = tables.prepare(mixed).features
    for block, rows in first.without(kept).items():
        assert bool((rows == want[block]).all()), block


def test_without_other_rows_the_typical_row_stands_for_what_is_away(tables: Tables) -> None:
    prepared = tables.prepare(ROWS)
    first = tables.parts(prepared.canonical, prepared.features, {})[0]
    assert first.versions == 1
    assert all(not rows.any() for rows in first.without(torch.zeros(1, 5, dtype=torch.bool)).values())


def test_cells_are_shown_with_their_unit_and_missing_ones_as_missing(tables: Tables) -> None:
    canonical = tables.prepare(ROWS).canonical
    assert shown_cells(tables.schema, canonical[0]) == ("50 years", "b", "yes", "1.5", "low")
    assert shown_cells(tables.schema, canonical[1])[0] == "missing"


def test_a_drawn_row_has_the_largest_contribution_first_and_text_escaped() -> None:
    tables = Tables({"a<b": "numeric", "c": {"type": "categorical", "levels": ["<i>", "d"]}})
    canonical = tables.prepare([{"a<b": 1, "c": "<i>"}]).canonical[0]
    drawn = tables.draw_parts(canonical, [0.1, -0.4])
    assert drawn.index("&lt;i&gt;") < drawn.index("a&lt;b")
    assert "33,102,172,1.00" in drawn
    assert "230,97,0,0.25" in drawn


def test_contributions_that_do_not_fit_the_columns_are_refused(tables: Tables) -> None:
    with pytest.raises(InputError, match="got 2 contributions for a row of 5 columns"):
        tables.draw_parts(tables.prepare(ROWS).canonical[0], [1.0, 2.0])
