"""The schema of a table: what each column holds, in which unit and range, and how a missing value is written. One YAML file, made to be edited."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from metamedica.cells import NUMBER
from metamedica.errors import FileFormatError, InputError
from metamedica.storage import replace_file

_MOST_SPELLINGS = 8
"""Ways to write yes and no in one column (Yes, yes, YES ...) beyond which it is none of both."""
LIMIT_BYTES = 5_000_000
"""Largest schema file that is read: some 20,000 columns."""
ColumnType = Literal["numeric", "ordinal", "categorical", "boolean"]
BOOLEANS = (("no", "yes"), ("false", "true"), ("0", "1"), ("absent", "present"), ("negative", "positive"), ("n", "y"), ("f", "t"))  # fmt: skip


class Column(BaseModel):
    """What one column holds.

    Args:
        type: a number; levels in an order (ordinal) or without one (categorical); or two levels, the second of which means yes.
        unit: of a number.
        range: lowest and highest number that can be true; what is beyond is reported and read as missing.
        levels: as they are written; of an ordinal, lowest first. Of a category or a boolean, none are filled in from the first table that is read.
        missing: what is written where nothing was measured, beside an empty cell, `NaN`, `NA`, `n/a` and `null`; compared as numbers where
            they are numbers (-1 is -1.0).
        sensitive: whether results must be told apart by it (sex, age, origin).
        typical: two numbers between which nine of ten lie; they set the column's scale. Of a log scale, both above 0.
        scale: "log" where ratios matter more than differences (most laboratory values).
        separates: declares that the column may tell the classes apart without error all by itself; undeclared, that is taken for a leak of the label.
        own: whether only the task at hand has this column: no earlier task taught anything of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: ColumnType
    unit: str | None = None
    range: tuple[float, float] | None = None
    levels: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    sensitive: bool = False
    typical: tuple[float, float] | None = None
    scale: Literal["linear", "log"] = "linear"
    separates: bool = False
    own: bool = False

    @field_validator("levels", "missing", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        """YAML reads `-1`, `no` and `1.0` as a number, a truth and a number; they are meant as written."""
        if isinstance(value, str | int | float | bool):
            value = [value]
        return tuple(_written(each) for each in value) if isinstance(value, Iterable) else value

    @model_validator(mode="after")
    def _fits_together(self) -> "Column":
        levels = len(self.levels)
        if self.type == "boolean" and levels not in (0, 2):
            raise ValueError(f"a boolean has two levels, the second of which means yes; {levels} came")
        if self.type == "ordinal" and levels < 2:
            raise ValueError(f"an ordinal names its levels, lowest first; {levels} came")
        if self.type == "numeric" and levels:
            raise ValueError("a number has no levels; leave them out, or name type ordinal or categorical")
        if len(set(self.levels)) != levels:
            raise ValueError("a level is named twice; name each once")
        for name in ("range", "typical"):
            pair = getattr(self, name)
            if pair is not None and (self.type != "numeric" or not pair[0] < pair[1]):
                raise ValueError(f"{name} is for numbers, the lower one first; {list(pair)} came for type {self.type}")
        if self.scale == "log" and (self.typical is None or self.typical[0] <= 0):
            raise ValueError("a log scale needs typical numbers above 0")
        return self


class Schema:
    """The columns of a table of cases, in their order.

    Args:
        columns: name -> what it holds.

    Raises:
        InputError: no column at all.
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        if not columns:
            raise InputError("a schema without a column came; name at least one")
        self.columns = dict(columns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.columns == other.columns

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of(cls, told: "Schema | Mapping[str, Any] | Sequence[Any]", *, source: str = "the schema") -> "Schema":
        """Return a schema from plain values: column name -> settings of `Column` (a type alone may stand for them), or pairs of these.

        Args:
            told: as YAML or JSON gives it.
            source: named in errors.

        Raises:
            InputError: a setting that a column does not have, or that does not fit; the column and setting are named.
        """
        if isinstance(told, Schema):
            return told
        columns = {}
        for name, settings in told.items() if isinstance(told, Mapping) else told:
            if isinstance(settings, str):
                settings = {"type": settings}
            try:
                columns[str(name)] = Column.model_validate(settings)
            except ValidationError as error:
                raise InputError(f"{source}, column {str(name)!r}: {_first(error)}") from None
        return cls(columns)

    @classmethod
    def read(cls, path: str | Path) -> "Schema":
        """Return the schema in a YAML file.

        Raises:
            FileFormatError: the file is missing, too large, or no YAML mapping of columns.
            InputError: a column's settings do not fit together.
        """
        path = Path(path)
        try:
            if path.stat().st_size > LIMIT_BYTES:
                raise FileFormatError(
                    f"{path.name} is larger than the {LIMIT_BYTES:,} bytes of a schema; give a schema file"
                )
            told = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise FileFormatError(
                f"the schema {str(path)!r} cannot be read ({_reason(error)}); check the path"
            ) from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark is not None else ""
            raise FileFormatError(
                f"{path.name}{where} is not well-formed YAML; mend it, or write it again with 'metamedica data schema'"
            ) from None
        if isinstance(told, dict) and set(told) == {"columns"}:
            told = told["columns"]
        if not isinstance(told, dict) or not told:
            raise FileFormatError(
                f"{path.name} holds no columns; a schema is a mapping 'columns:' from name to type, unit, range, levels"
            )
        return cls.of(told, source=path.name)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values that `of` reads back; settings at their defaults are left out."""
        return {name: column.model_dump(mode="json", exclude_defaults=True) for name, column in self.columns.items()}

    def as_yaml(self) -> str:
        """Return the schema as the text of a YAML file."""
        head = (
            "# type: numeric, boolean (second level = yes), ordinal (lowest level first) or categorical.\n"
            "# To add by hand: unit, range (what can be true), missing (codes such as -1), sensitive: true, scale: log.\n"
        )
        told = {"columns": self.as_dict()}
        return head + yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)

    def write(self, path: str | Path) -> None:
        """Write the schema as YAML, whole or not at all."""
        replace_file(Path(path), self.as_yaml().encode())

    def named(self, *types: ColumnType, own: bool = False) -> list[str]:
        """Return the names of the columns of these types, shared ones or those that only the task at hand has."""
        return [name for name, column in self.columns.items() if column.type in types and column.own == own]

    @property
    def own(self) -> list[str]:
        """Names of the columns that only the task at hand has."""
        return [name for name, column in self.columns.items() if column.own]

    @property
    def sensitive(self) -> list[str]:
        """Names of the columns by which results must be told apart."""
        return [name for name, column in self.columns.items() if column.sensitive]


def boolean_levels(texts: Iterable[str]) -> tuple[str, str] | None:
    """Return (no, yes) as they are written where two texts mean that, None otherwise."""
    some = list(islice(texts, _MOST_SPELLINGS + 1))
    if len(some) > _MOST_SPELLINGS:
        return None
    found = {plain(text): text for text in some}
    for pair in BOOLEANS:
        if set(found) == set(pair):
            return found[pair[0]], found[pair[1]]
    return None


def plain(text: str) -> str:
    """Return what two spellings of a level have in common: the case of letters and `1` / `1.0` do not count."""
    text = text.strip().lower()
    return str(int(float(text))) if NUMBER.fullmatch(text) and float(text).is_integer() else text


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"  # YAML 1.1 takes the words yes and no for truths
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        return f"there is no setting {place!r}; a column has {', '.join(Column.model_fields)}"
    message = found["msg"].removeprefix("Value error, ")
    came = "" if found["type"] == "value_error" else f" ({str(found['input'])[:40]!r} came)"
    return f"{f'{place}: ' if place else ''}{message}{came}"
