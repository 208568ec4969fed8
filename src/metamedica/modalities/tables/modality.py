"""The modality `tables`: a case is a row, and a schema says what its columns hold."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from metamedica import cells, registry
from metamedica.blocks import OWN_BLOCK
from metamedica.errors import CaseError, InputError
from metamedica.measured import Measured, Measures
from metamedica.modalities.tables.columns import Read, Remark, plain_values, read_columns, scaled
from metamedica.modalities.tables.encoding import RowEncoder
from metamedica.modalities.tables.inference import inferred
from metamedica.modalities.tables.parts import drawn_parts, owners, row_parts
from metamedica.modalities.tables.schema import Column, ColumnType, Schema
from metamedica.parts import CaseParts, NamesParts
from metamedica.types import CaseProblem, Encoder, Features, Modality, PreparedCases, Progress, RawEncoder

_NUMBERS: tuple[ColumnType, ...] = ("numeric", "ordinal", "boolean")
_MOST_DRAWN = 12
_MOST_NAMED = 20
_FEWEST_FOR_LEAKS = 30
_FEWEST_OF_A_CLASS = 5
_LEAST_MEASURED = 0.5


class Tables(Modality, Measures, NamesParts):
    """Rows of a table: typed columns, missing values kept as information, nothing imputed.

    A case is a mapping from column to cell, its JSON text, or a row of a data frame; two rows with equal cells are two cases. Blocks:

    - `numbers` (float32): numbers, ordinals and booleans on the scale of the schema, 0 where missing;
    - `levels` (uint8): one column a level of each category, all 0 where missing or never seen;
    - `missing` (uint8): one column a column of the table, 1 where nothing was measured;
    - `own` (float32): the same three for the columns that only the task at hand has (`with_own`); absent where there are none.

    Args:
        schema: of the columns (`schema.Schema`, or plain values that it reads); None before any table was seen: `fitted` then infers it.
    """

    name: ClassVar[str] = "tables"
    version: ClassVar[str] = "1"
    from_scratch: ClassVar[tuple[str, ...]] = ("linear",)
    default_learner: str = "bayesian_model_averaging"
    leaning: ClassVar[float] = 3.0  # one pooled model is hard to beat at a new site (Johnson et al. 2018)
    distinct: ClassVar[bool] = False
    legible: ClassVar[bool] = False
    same_parts: ClassVar[bool] = True
    recipe: ClassVar[Mapping[str, str]] = {
        "numbers": "numbers, ordinals and booleans in the order of the schema, scaled by its `typical` numbers, 0 where missing",
        "levels": "1 at the level of each category, in the order of the schema",
        "missing": "1 where nothing was measured, a column of the schema each",
    }

    def __init__(self, schema: Schema | Mapping[str, Any] | Sequence[Any] | None = None) -> None:
        self._schema = None if schema is None else Schema.of(schema)

    @property
    def schema(self) -> Schema:
        """What the columns hold.

        Raises:
            InputError: no table was seen and no schema given.
        """
        if self._schema is None:
            raise InputError("the columns of the tables are not known yet; give a schema, or a table to infer it from")
        return self._schema

    def settings(self) -> dict[str, Any]:
        """Return the schema as a JSON value: pairs, whose order a file keeps."""
        return (
            {} if self._schema is None else {"schema": [[name, told] for name, told in self._schema.as_dict().items()]}
        )

    def fitted(self, cases: Any, *, others: Any = None, source: str = "the table") -> "Tables":
        """Return the modality with a schema of all columns of these cases; declared columns stay as they are.

        Args:
            cases: that its scales and levels are read from.
            others: of tasks that are judged, with the same columns: one that these alone have measured becomes their own.
            source: named in errors.

        Raises:
            InputError: a column that is neither numbers nor levels, or a declared column that the cases do not have.
        """
        frame = _frame(cases)
        told = {} if self._schema is None else self._schema.columns
        absent = [name for name in told if name not in frame.columns]
        if absent:
            raise InputError(
                f"the schema names the column {absent[0]!r} and {source} does not have it; it has: {', '.join(map(str, frame.columns[:20]))}"
            )
        if others is None:
            return Tables(inferred(frame, given=self._schema, source=source))
        asked = _frame(others)
        own = [name for name in frame.columns if not _measured(frame[name]) and _measured(asked[name])]
        shared = [name for name in frame.columns if name not in own]
        if not shared:
            raise InputError(f"{source}: no column is measured outside the tasks that are judged; give at least one")
        found = inferred(frame[shared], given=_some(told, shared), source=source).columns
        if own:
            theirs = {name: told[name].model_copy(update={"own": True}) for name in own if name in told}
            found = found | inferred(asked[own], given=_some(theirs, own), own=True, source=source).columns
        return Tables(Schema({name: found[name] for name in frame.columns}))

    def with_own(self, cases: Any, *, source: str = "the table") -> "Tables":
        """Return the modality that also reads the columns of these cases which its schema does not know, as the task's own.

        Raises:
            InputError: the cases have no column of the schema, or a new one that is neither numbers nor levels.
        """
        frame = _frame(cases)
        self._check_shared(frame, source)
        new = [name for name in frame.columns if name not in self.schema.columns]
        if not new:
            return self
        found = inferred(frame[new], own=True, source=source)
        return Tables(Schema({**self.schema.columns, **found.columns}))

    def prepare(self, cases: Any, *, n_jobs: int | None = None, progress: Progress | None = None) -> PreparedCases:
        """Read and check rows; every row is a case of its own.

        Args:
            cases: a data frame, mappings from column to cell, or JSON texts of such.
            n_jobs: not used: a hundred thousand rows take seconds.
            progress: called once.

        Returns:
            The blocks, one canonical JSON text a row, and remarks on cells that are not as declared (which were read as missing).
        """
        frame = _frame(cases).reset_index(drop=True)
        self._check_shared(frame, "the table")
        read = read_columns(frame, self.schema)
        remarks = [*read.remarks, *self._unknown(frame)]
        bad = sorted({remark.row for remark in remarks if remark.unusable and remark.row is not None})
        keep = np.setdiff1d(np.arange(len(frame)), np.array(bad, dtype=np.int64))
        place = np.full(len(frame), -1, dtype=np.int64)
        place[keep] = np.arange(len(keep))
        read = Read({name: values[keep] for name, values in read.values.items()})
        told = plain_values(read, self.schema)
        canonical = (
            told.to_json(orient="records", lines=True, force_ascii=False, double_precision=12).splitlines()
            if len(told)
            else []
        )
        if progress is not None:
            progress(len(frame), len(frame), "reading rows")
        return PreparedCases(
            place.tolist(),
            canonical,
            self._blocks(read, len(keep)),
            _problems(remarks),
            [_told(r) for r in remarks if not r.unusable],
        )

    def _check_shared(self, frame: pd.DataFrame, source: str) -> None:
        shared = [name for name, column in self.schema.columns.items() if not column.own]
        if len(frame.columns) and not any(name in frame.columns for name in shared):
            raise InputError(
                f"{source} has none of the columns {', '.join(shared[:_MOST_NAMED])}{', ...' if len(shared) > _MOST_NAMED else ''}; "
                f"rename its own, which are: {', '.join(frame.columns[:_MOST_NAMED])}{', ...' if len(frame.columns) > _MOST_NAMED else ''}"
            )

    def _unknown(self, frame: pd.DataFrame) -> list[Remark]:
        return [
            Remark(None, str(name), "the schema does not know this column, and it is not used")
            for name in frame.columns
            if name not in self.schema.columns
        ]

    def _blocks(self, read: Read, n_cases: int) -> Features:
        shared = {
            "numbers": self._numbers(read, n_cases, own=False),
            "levels": self._levels(read, n_cases, own=False).to(torch.uint8),
            "missing": self._missing(read, n_cases, own=False).to(torch.uint8),
        }
        blocks = {name: shared[name] for name in self._sizes()}
        if self.schema.own:
            parts = [made(read, n_cases, own=True) for made in (self._numbers, self._levels, self._missing)]
            blocks[OWN_BLOCK] = torch.cat(parts, dim=1)
        return blocks

    def _numbers(self, read: Read, n_cases: int, *, own: bool) -> Float[Tensor, "cases numbers"]:
        names = self.schema.named(*_NUMBERS, own=own)
        found = [np.nan_to_num(scaled(read.values[name], self.schema.columns[name])) for name in names]
        return torch.from_numpy(np.stack(found, axis=1) if found else np.zeros((n_cases, 0))).to(torch.float32)

    def _levels(self, read: Read, n_cases: int, *, own: bool) -> Float[Tensor, "cases levels"]:
        found = [torch.zeros(n_cases, 0)]
        for name in self.schema.named("categorical", own=own):
            places = torch.arange(len(self.schema.columns[name].levels), dtype=torch.float64)
            found.append((torch.from_numpy(read.values[name])[:, None] == places).to(torch.float32))
        return torch.cat(found, dim=1)

    def _missing(self, read: Read, n_cases: int, *, own: bool) -> Float[Tensor, "cases columns"]:
        names = [name for name, column in self.schema.columns.items() if column.own == own]
        found = [np.isnan(read.values[name]) for name in names]
        return torch.from_numpy(np.stack(found, axis=1) if found else np.zeros((n_cases, 0))).to(torch.float32)

    def _sizes(self) -> dict[str, int]:
        """Return the size of every shared block that has a column."""
        shared = [column for column in self.schema.columns.values() if not column.own]
        sizes = {
            "numbers": sum(column.type != "categorical" for column in shared),
            "levels": sum(len(column.levels) for column in shared if column.type == "categorical"),
            "missing": len(shared),
        }
        return {name: size for name, size in sizes.items() if size}

    def block_columns(self) -> dict[str, list[str]]:
        """Return what each column of each shared block is, as a person would name it."""
        schema = self.schema
        names = {
            "numbers": schema.named(*_NUMBERS),
            "levels": [
                f"{name} = {level}" for name in schema.named("categorical") for level in schema.columns[name].levels
            ],
            "missing": [f"{name} missing" for name, column in schema.columns.items() if not column.own],
        }
        return {block: names[block] for block in self._sizes()}

    def measured(self, features: Features) -> Measured:
        """Return the numbers and levels of the shared columns, and where the column was measured."""
        schema, names = self.schema, self.block_columns()
        shared = [name for name, column in schema.columns.items() if not column.own]
        sources = {
            "numbers": schema.named(*_NUMBERS),
            "levels": [name for name in schema.named("categorical") for _ in schema.columns[name].levels],
        }
        blocks = [block for block in ("numbers", "levels") if block in names]
        of = [source for block in blocks for source in sources[block]]
        missing = features["missing"][:, [shared.index(source) for source in of]]
        values = torch.cat([features[block].to(torch.float32) for block in blocks], dim=1)
        return Measured(values, missing == 0, [name for block in blocks for name in names[block]], of)

    def encoder(self, name: str, **settings: Any) -> Encoder:
        """Return a new learned encoder over the blocks.

        Raises:
            InputError: an unknown encoder or setting, or one that reads what tables do not have.
        """
        offered = {"blocks": self._sizes()}
        return registry.build_encoder(name, offered, settings=settings, cases="tables", fitting=["mlp"])

    def raw_encoder(self) -> RawEncoder:
        """Return the encoder that puts the shared blocks side by side."""
        return RowEncoder(self._sizes(), n_columns=self._sizes()["missing"])

    def groups(self, canonical: Sequence[str]) -> list[str]:
        """Return the rows themselves: only equal rows belong together where no patient is named."""
        return list(canonical)

    def draw(self, canonical: str, *, width: int = 220, height: int = 160) -> str:
        """Return the row as an HTML list of columns and cells, the first twelve that are not missing.

        Args:
            canonical: a text that `prepare` returned.
            width: in CSS pixels.
            height: not used: a list is as high as it is long.
        """
        row = {name: cell for name, cell in json.loads(canonical).items() if cell is not None}
        lines = "".join(
            f"<dt>{escape(str(name))}</dt><dd>{escape(str(cell))}</dd>"
            for name, cell in list(row.items())[:_MOST_DRAWN]
        )
        more = f"<dt>and {len(row) - _MOST_DRAWN} more</dt><dd></dd>" if len(row) > _MOST_DRAWN else ""
        return f'<dl class="row" style="max-width:{width}px">{lines}{more}</dl>'

    def parts(self, canonical: Sequence[str], features: Features, background: Features) -> list[CaseParts]:
        """Return the columns of each row, the task's own among them; one that is away is replaced by that of each background row."""
        return row_parts(self.schema, owners(self.schema), canonical, features, background)

    def draw_parts(self, canonical: str, contributions: Sequence[float], *, width: int = 320, height: int = 240) -> str:
        """Return the row as an HTML list, the columns that contribute most first, shaded by what they contribute."""
        return drawn_parts(self.schema, canonical, contributions, width=width)

    def read_file(self, path: str) -> tuple[list[str], list[str]] | None:
        """Return None: tables have no format beside the usual ones."""
        return None

    def leaks(self, cases: Any, labels: Sequence[int]) -> list[str]:
        """Return the columns that tell two classes apart without error: each is the label under another name, or was written after it.

        A column that the schema declares to do so (`separates`) is not among them; by chance one may do so where there are fewer
        than 30 cases, or 5 of a class, and none is told.

        Args:
            cases: as `prepare` takes them.
            labels: class 0 or 1 of each case.
        """
        label = np.asarray(labels, dtype=np.int64)
        found: list[str] = []
        if len(label) < _FEWEST_FOR_LEAKS or np.bincount(label, minlength=2).min() < _FEWEST_OF_A_CLASS:
            return found
        for name, values in read_columns(_frame(cases), self.schema).values.items():
            column = self.schema.columns[name]
            there = ~np.isnan(values)
            if column.separates or there.mean() < _LEAST_MEASURED or len(np.unique(label[there])) < 2:
                continue
            if _tells_apart(values[there], label[there], ordered=column.type != "categorical"):
                found.append(name)
        return found


def _tells_apart(values: NDArray[np.float64], label: NDArray[np.int64], *, ordered: bool) -> bool:
    if ordered:
        ones, zeros = values[label == 1], values[label == 0]
        return bool(ones.min() > zeros.max() or zeros.min() > ones.max())
    share = pd.Series(label).groupby(values).mean()
    return bool(share.isin([0.0, 1.0]).all() and len(share) <= len(label) / 5)


def _measured(cells_of: "pd.Series[Any]") -> bool:
    return bool((cells.texts(cells_of).codes >= 0).any())


def _some(columns: Mapping[str, Column], names: Sequence[str]) -> Schema | None:
    found = {name: columns[name] for name in names if name in columns}
    return Schema(found) if found else None


def _problems(remarks: list[Remark]) -> list[CaseProblem]:
    first: dict[int, Remark] = {}
    for remark in remarks:
        if remark.unusable and remark.row is not None:
            first.setdefault(remark.row, remark)
    return [CaseProblem(row, remark.column, remark.reason) for row, remark in sorted(first.items())]


def _told(remark: Remark) -> CaseProblem:
    return CaseProblem(-1 if remark.row is None else remark.row, remark.column, remark.reason, remark.cells)


def _frame(cases: Any) -> pd.DataFrame:
    """Return cases in any form that `Tables` takes as a frame with text column names; the index is theirs, or counts from 0.

    Raises:
        CaseError: a case is neither a mapping nor the JSON text of one.
    """
    if isinstance(cases, pd.DataFrame):
        return cases.set_axis([str(name) for name in cases.columns], axis=1)
    rows = []
    for position, case in enumerate(cases):
        if isinstance(case, str):
            try:
                case = json.loads(case)
            except ValueError:
                case = None
        if not isinstance(case, Mapping):
            raise CaseError(
                f"case {position + 1} is no table row; give a data frame, mappings from column to cell, or JSON texts of such"
            )
        rows.append({str(name): cell for name, cell in case.items()})
    return pd.DataFrame(rows, dtype=object) if rows else pd.DataFrame()
