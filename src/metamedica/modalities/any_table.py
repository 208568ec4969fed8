"""The modality `any_table`: a case is a row of a table whose columns nobody has seen before; what they hold is read from the task's own cases."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.blocks import OWN_BLOCK
from metamedica.errors import InputError
from metamedica.modalities.tables.modality import Tables
from metamedica.modalities.tables.parts import owners, row_parts
from metamedica.modalities.tables.schema import Schema
from metamedica.parts import CaseParts, NamesParts
from metamedica.types import Encoder, Features, Modality, PreparedCases, Progress, RawEncoder

BLOCK = "cells"
_COALITIONS = 128
"""Of columns that an explanation asks about: a transformer reads each row anew."""


class CellsEncoder(RawEncoder):
    """The cells as they are; rows are compared by an RBF whose width grows with the number of columns in which any of them is not 0."""

    distinct: ClassVar[bool] = False
    dim = 1

    def forward(self, features: Features) -> Float[Tensor, "*batch columns"]:
        """Return the cells in floating point, as many as the table has."""
        cells: Tensor = features[BLOCK]
        return cells if cells.is_floating_point() else cells.to(torch.get_default_dtype())

    def similarity(
        self, left: Float[Tensor, "*batch n columns"], right: Float[Tensor, "*batch m columns"]
    ) -> Float[Tensor, "*batch n m"]:
        """Return exp(-|x - y|^2 / (2 columns))."""
        columns = ((right != 0).any(-2) | (left != 0).any(-2)).sum(-1).clamp(min=1)
        return torch.exp(-torch.cdist(left, right).square() / (2 * columns[..., None, None]))

    flat = forward


class AnyTable(Modality, NamesParts):
    """Rows of any table. Their types, scales and levels are inferred from the cases of the task, and one block `cells` (float32) holds all that
    `tables` makes of them, side by side: numbers, levels, and what is missing.

    Only learners that read columns without knowing them (`prior_fitted_network`) carry anything from one table to another.

    Args:
        schema: of the columns (`tables/schema.Schema`, or plain values that it reads); None before any table was seen.
    """

    name: ClassVar[str] = "any_table"
    version: ClassVar[str] = "1"
    from_scratch: ClassVar[tuple[str, ...]] = ("linear",)
    default_learner: str = "prior_fitted_network"
    leaning: ClassVar[float] = 0.0
    distinct: ClassVar[bool] = False
    legible: ClassVar[bool] = False
    same_parts: ClassVar[bool] = True
    comparable: ClassVar[bool] = False
    recipe: ClassVar[Mapping[str, str]] = {
        BLOCK: "the blocks `numbers`, `levels`, `missing` and `own` of the modality `tables`, side by side, by the schema of the predictor"
    }

    def __init__(self, schema: Schema | Mapping[str, Any] | Sequence[Any] | None = None) -> None:
        self._tables = Tables(schema)

    @property
    def schema(self) -> Schema:
        """What the columns hold.

        Raises:
            InputError: no table was seen and no schema given.
        """
        return self._tables.schema

    def settings(self) -> dict[str, Any]:
        """Return the schema, where there is one."""
        return self._tables.settings()

    def fitted(self, cases: Any, *, others: Any = None, source: str = "the table") -> "AnyTable":
        """Return the modality with a schema of all columns of these cases; see `Tables.fitted`."""
        return AnyTable(self._tables.fitted(cases, others=others, source=source).schema)

    def with_own(self, cases: Any, *, source: str = "the table") -> "AnyTable":
        """Return the modality as it reads these cases: by their schema, or by the one it has and their further columns."""
        if not self.settings():
            return self.fitted(cases, source=source)
        tables = self._tables.with_own(cases, source=source)
        return self if tables is self._tables else AnyTable(tables.schema)

    def prepare(self, cases: Any, *, n_jobs: int | None = None, progress: Progress | None = None) -> PreparedCases:
        """Read and check rows; see `Tables.prepare`."""
        found = self._tables.prepare(cases, n_jobs=n_jobs, progress=progress)
        parts = [
            found.features[name].to(torch.float32)
            for name in (*self._tables.block_columns(), OWN_BLOCK)
            if name in found.features
        ]
        cells = torch.cat(parts, dim=1) if parts else torch.zeros(len(found.canonical), 0)
        return PreparedCases(found.row, found.canonical, {BLOCK: cells}, found.problems, found.remarks)

    def encoder(self, name: str, **settings: Any) -> Encoder:
        """Refuse: the weights of an encoder belong to columns.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"encoder {name!r} learns what columns mean, and any_table has other columns in every task; choose a learner without an encoder, "
            f"such as {self.default_learner}"
        )

    def raw_encoder(self) -> RawEncoder:
        """Return the cells as they are."""
        return CellsEncoder()

    def groups(self, canonical: Sequence[str]) -> list[str]:
        """Return the rows themselves."""
        return self._tables.groups(canonical)

    def draw(self, canonical: str, *, width: int = 220, height: int = 160) -> str:
        """Return the row as an HTML list of columns and cells."""
        return self._tables.draw(canonical, width=width, height=height)

    def parts(self, canonical: Sequence[str], features: Features, background: Features) -> list[CaseParts]:
        """Return the columns of each row; one that is away is replaced by that of each background row."""
        found = owners(self.schema)
        blocks = [found[name] for name in (*self._tables.block_columns(), OWN_BLOCK) if name in found]
        parts = row_parts(self.schema, {BLOCK: torch.cat(blocks)}, canonical, features, background)
        return [replace(each, coalitions=_COALITIONS) for each in parts]

    def draw_parts(self, canonical: str, contributions: Sequence[float], *, width: int = 320, height: int = 240) -> str:
        """Return the row as an HTML list, the columns that contribute most first, shaded by what they contribute."""
        return self._tables.draw_parts(canonical, contributions, width=width, height=height)

    def read_file(self, path: str) -> tuple[list[str], list[str]] | None:
        """Return None: tables have no format beside the usual ones."""
        return None

    def leaks(self, cases: Any, labels: Sequence[int]) -> list[str]:
        """Return the columns that tell two classes apart without error; see `Tables.leaks`. Before any table was seen it knows none."""
        if not self.settings():
            return []
        return self._tables.leaks(cases, labels)
