"""The parts of a row are its columns: each one's number, levels and missing flag together are replaced by those of other rows."""

import json
from collections.abc import Mapping, Sequence
from html import escape

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from metamedica.blocks import OWN_BLOCK
from metamedica.errors import InputError
from metamedica.modalities.tables.schema import Schema
from metamedica.parts import CaseParts
from metamedica.types import Features

Owners = Mapping[str, Int64[Tensor, " size"]]
"""Block -> place in the schema of the column that each of the block's columns is of."""
_FOR, _AGAINST = "230,97,0", "33,102,172"
_MOST_DRAWN = 12


def owners(schema: Schema) -> dict[str, Int64[Tensor, " size"]]:
    """Return whose each column of the blocks `numbers`, `levels`, `missing` and `own` is; blocks without a column are left out."""
    place = {name: at for at, name in enumerate(schema.columns)}

    def of(own: bool) -> tuple[list[int], list[int], list[int]]:
        some = {name: column for name, column in schema.columns.items() if column.own == own}
        numbers = [place[name] for name, column in some.items() if column.type != "categorical"]
        levels = [place[name] for name, column in some.items() if column.type == "categorical" for _ in column.levels]
        return numbers, levels, [place[name] for name in some]

    numbers, levels, missing = of(False)
    found = {
        "numbers": numbers,
        "levels": levels,
        "missing": missing,
        OWN_BLOCK: [at for some in of(True) for at in some],
    }
    return {block: torch.tensor(places, dtype=torch.int64) for block, places in found.items() if places}


def row_parts(
    schema: Schema, owned: Owners, canonical: Sequence[str], features: Features, background: Features
) -> list[CaseParts]:
    """Return the columns of each row.

    A column that is away has what the rows of `background` have there, one version each; without any, what the typical row has: the
    middle of the typical range, no level, not missing (0 in every block).

    Args:
        schema: of the columns.
        owned: whose each column of each block is.
        canonical: JSON texts of the rows.
        features: their blocks.
        background: blocks of other rows.
    """
    others = {name: background[name] for name in owned} if background else {}
    if not others or not len(next(iter(others.values()))):
        others = {name: features[name].new_zeros(1, features[name].shape[1]) for name in owned}
    return [
        CaseParts(
            tuple(schema.columns),
            shown_cells(schema, text),
            _Replaced({name: features[name][at] for name in owned}, others, owned),
            len(next(iter(others.values()))),
            separate=True,
        )
        for at, text in enumerate(canonical)
    ]


class _Replaced:
    """A row with some of its columns replaced by those of each of several others."""

    def __init__(self, row: Features, others: Features, owned: Owners) -> None:
        self._row, self._others, self._owned = row, others, owned

    def __call__(self, present: Bool[Tensor, "coalitions parts"]) -> Features:
        made: Features = {}
        for name, owner in self._owned.items():
            there = present[:, owner][:, None]
            mixed = torch.where(there, self._row[name], self._others[name].to(self._row[name].dtype))
            made[name] = mixed.flatten(0, 1)
        return made


def shown_cells(schema: Schema, canonical: str) -> tuple[str, ...]:
    """Return what stands in each column of a row, with its unit; "missing" where nothing was measured."""
    row = json.loads(canonical)
    shown = []
    for name, column in schema.columns.items():
        cell = row.get(name)
        if cell is None:
            shown.append("missing")
        elif isinstance(cell, int | float) and not isinstance(cell, bool):
            shown.append(f"{cell:g}{f' {column.unit}' if column.unit else ''}")
        else:
            shown.append(str(cell))
    return tuple(shown)


def drawn_parts(schema: Schema, canonical: str, contributions: Sequence[float], *, width: int) -> str:
    """Return the row as an HTML list, the columns that contribute most first, shaded: orange above 0, blue below.

    Raises:
        InputError: as many contributions as columns were wanted.
    """
    if len(contributions) != len(schema.columns):
        raise InputError(
            f"got {len(contributions)} contributions for a row of {len(schema.columns)} columns; give one a column"
        )
    most = max((abs(each) for each in contributions), default=0.0) or 1.0
    told = list(zip(schema.columns, shown_cells(schema, canonical), contributions, strict=True))
    lines = []
    for name, cell, by in sorted(told, key=lambda each: -abs(each[2]))[:_MOST_DRAWN]:
        shade = f"rgba({_AGAINST if by < 0 else _FOR},{abs(by) / most:.2f})"
        lines.append(f'<dt>{escape(name)}</dt><dd style="background:{shade}">{escape(cell)}</dd>')
    return f'<dl class="row" style="max-width:{width}px">{"".join(lines)}</dl>'
