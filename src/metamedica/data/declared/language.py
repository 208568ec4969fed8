"""What a declaration of clinical tasks may say: its keys, their types, and which of them go together. Nothing is read here."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from metamedica.types import TaskKind

Scalar = bool | int | float | str
"""A cell's value as YAML has it. Numbers are compared as numbers, so that -1 is also the cell `-1.0`; texts as they stand."""

ROLES = ("case", "label", "task", "group", "time")
"""Columns of the frame that a declaration makes; no column of cases may be called so."""


def _one_as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


LIMITS = ("above", "at_least", "below", "at_most")
"""Keys that compare a cell with a number."""

Scalars = Annotated[tuple[Scalar, ...], BeforeValidator(_one_as_list)]
"""Values; one alone need not be written as a list."""

Names = Annotated[tuple[str, ...], BeforeValidator(_one_as_list)]


class Part(BaseModel):
    """A part of a declaration: unknown keys are refused, and a number where a text is wanted counts as its text."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, hide_input_in_errors=True)

    def _one_of(self, *keys: str) -> None:
        """Refuse the part where it has none or more than one of these keys."""
        given = [key for key in keys if getattr(self, key) is not None]
        if len(given) != 1:
            wanted = ", ".join(key.rstrip("_") for key in keys)
            raise ValueError(f"got {' and '.join(key.rstrip('_') for key in given) or 'none'} of {wanted}; give one")


class Span(Part):
    """A length of time, in one unit. A year is 365.25 days."""

    hours: float | None = Field(default=None, gt=0)
    days: float | None = Field(default=None, gt=0)
    years: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "Span":
        self._one_of("hours", "days", "years")
        return self

    @property
    def total_hours(self) -> float:
        """The span in hours."""
        return self.hours or (self.days or 0) * 24 or (self.years or 0) * 24 * 365.25


class Condition(Part):
    """What a cell must be: one of some values, or a number on one side of a limit. An empty cell never is."""

    column: str
    in_: Scalars | None = Field(default=None, alias="in")
    not_in: Scalars | None = None
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    @property
    def tests(self) -> tuple[str, ...]:
        """The keys of which one says what the cell must be."""
        return ("in_", "not_in", *LIMITS)


class Exclusion(Condition):
    """Rows that are left out, and why. `not_after_index` leaves out rows whose time is not after the index time."""

    not_after_index: Literal[True] | None = None
    because: str = Field(min_length=3)

    @model_validator(mode="after")
    def _check(self) -> "Exclusion":
        self._one_of(*self.tests, "not_after_index")
        return self


class Within(Part):
    """The label is whether the time in the column comes after the index time and within this span of it.

    Where no event came and `until` (the last time that the case was seen) lies before the span's end, the label is not
    known. A case whose event came before the index time is left out.
    """

    span: Span
    until: str | None = None


class Followed(Condition):
    """The label is whether an event (`column` and its test) came by the horizon; `duration` holds the time to it.

    Without the event, a case followed for less than the horizon has no known label. Both are in the unit of the file.
    """

    duration: str
    horizon: float = Field(gt=0)

    @model_validator(mode="after")
    def _check(self) -> "Followed":
        self._one_of(*self.tests)
        return self


class Label(Part):
    """How a label comes from the columns: a column and a test, or a column as it stands, or an event within a time.

    `positive` names the positive one of the two values that a column has; `in` takes values against all others.
    """

    column: str | None = None
    positive: Scalar | None = None
    in_: Scalars | None = Field(default=None, alias="in")
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    within: Within | None = None
    event: Followed | None = None
    missing: Scalars = ()
    absent: Literal["refuse", "drop"] = "refuse"

    @model_validator(mode="after")
    def _check(self) -> "Label":
        if (self.column is None) == (self.event is None):
            raise ValueError("got column and event, or neither; give one of them")
        given = [key for key in (*self.tests, "event") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"got {' and '.join(key.rstrip('_') for key in given)}; give one of them")
        return self

    @property
    def tests(self) -> tuple[str, ...]:
        """The keys of which at most one turns the column into a label."""
        return ("positive", "in_", *LIMITS, "within")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the label is made of; none of them may be a column of the cases."""
        event = () if self.event is None else (self.event.column, self.event.duration)
        until = () if self.within is None or self.within.until is None else (self.within.until,)
        return (*(() if self.column is None else (self.column,)), *event, *until)


class Column(Part):
    """A column of the cases. `schema` is handed on as it stands; of it only `type: numeric` is looked at here."""

    from_: str | None = Field(default=None, alias="from")
    missing: Scalars = ()
    replace: dict[Scalar, Scalar] = Field(default_factory=dict)
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")


class Join(Part):
    """Columns of another table, of which each case has one row at most."""

    table: str
    on: str | dict[str, str]
    take: tuple[str, ...] | dict[str, str] | None = None
    where: dict[str, Scalars] = Field(default_factory=dict)
    missing: Scalars = ()
    absent: Literal["keep", "drop", "refuse"] = "keep"

    @field_validator("on")
    @classmethod
    def _one_key(cls, on: str | dict[str, str]) -> str | dict[str, str]:
        if isinstance(on, dict) and len(on) != 1:
            raise ValueError(f"got {len(on)} pairs of keys; give one, as here: there")
        return on

    @property
    def keys(self) -> tuple[str, str]:
        """The key's column here and there."""
        return (self.on, self.on) if isinstance(self.on, str) else next(iter(self.on.items()))


How = Literal["last", "first", "min", "max", "mean", "count", "any", "code", "time", "years_since"]


class Take(Part):
    """One column made of events: of these codes, from a window that ends at the index time.

    `code` is the last event's code without the pattern's beginning, `time` the first event's time, `years_since` the
    years from the last event to the index time. `future` looks after the index time instead: a column for labels and
    exclusions only, never one of the cases.
    """

    codes: Names = ()
    how: How
    window: Span | None = None
    future: Span | Literal["any"] | None = None
    missing: Scalars = ()
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")

    @model_validator(mode="after")
    def _check(self) -> "Take":
        if self.window is not None and self.future is not None:
            raise ValueError("got window and future; give one of them")
        return self


class Events(Part):
    """A table with many rows a case, of which columns are made by `take`. In MEDS data only `take` is given."""

    table: str | None = None
    on: str | dict[str, str] | None = None
    time: str | None = None
    code: str | None = None
    value: str | None = None
    where: dict[str, Scalars] = Field(default_factory=dict)
    missing: Scalars = ()
    take: dict[str, Take] = Field(min_length=1)

    @property
    def keys(self) -> tuple[str, str]:
        """The key's column in the cases and in the events."""
        if self.on is None:
            return ("subject_id", "subject_id")
        return (self.on, self.on) if isinstance(self.on, str) else next(iter(self.on.items()))


class Index(Part):
    """When a prediction is made: a column's time, or in MEDS data an event's, with a span added to it."""

    time: str | None = None
    codes: Names | None = None
    which: Literal["first", "last", "every"] = "first"
    plus: Span | None = None
    absent: Literal["refuse", "drop"] = "refuse"

    @model_validator(mode="after")
    def _check(self) -> "Index":
        self._one_of("time", "codes")
        if self.time is not None and "which" in self.model_fields_set:
            raise ValueError("got which beside time; it chooses among events of codes")
        return self


class Smallest(Part):
    """The smallest task that is kept: how many cases in all, and of each class."""

    cases: int = Field(default=1, ge=1)
    per_class: int = Field(default=0, ge=0)


def _as_columns(value: Any) -> Any:
    """Return a list of names and of one-key mappings as one mapping, and refuse a name given twice."""
    if isinstance(value, list):
        pairs = [
            (key, kept) for each in value for key, kept in (each.items() if isinstance(each, dict) else [(each, {})])
        ]
        names = [str(name) for name, _ in pairs]
        if not all(isinstance(name, str | int | float) for name, _ in pairs):
            raise ValueError("got a list or nothing where the name of a column was wanted; give names")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"got the column {twice[0]!r} twice; give each column once")
        value = dict(zip(names, (kept for _, kept in pairs), strict=True))
    if isinstance(value, dict):
        return {str(key): {} if each is None else each for key, each in value.items()}
    return value


class Declaration(Part):
    """Clinical tasks, declared: where the data are, what is a case, a label, a task and a patient, and what is left out."""

    name: str = Field(min_length=1)
    about: str = ""
    origin: str | None = None
    near_separable: str | None = None
    source: Literal["table", "meds"] = "table"
    folder: str = ""
    table: str | None = None
    case: Names = ()
    missing: Scalars = ()
    joins: tuple[Join, ...] = ()
    events: tuple[Events, ...] = ()
    index: Index | None = None
    time_format: str | None = None
    columns: Annotated[dict[str, Column], BeforeValidator(_as_columns)] = Field(default_factory=dict)
    other_columns: Literal["drop", "keep"] = "drop"
    drop: Names = ()
    exclude: tuple[Exclusion, ...] = ()
    duplicate_rows: Literal["keep", "drop"] = "keep"
    label: Label | None = None
    labels: dict[str, Label] | None = Field(default=None, min_length=1)
    kind: TaskKind = "binary"
    unit: str | None = None
    task: str | None = None
    group: str | None = None
    group_in_several_tasks: Literal["refuse", "keep", "first"] = "refuse"
    time: str | None = None
    smallest: Smallest = Smallest()
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Declaration":
        self._one_of("label", "labels")
        if self.source == "table" and self.table is None:
            raise ValueError("got no table; name the file with a row a case under the key table")
        if self.source == "meds":
            self._check_meds()
        elif not all(each.table and each.on for each in self.events):
            raise ValueError("got events without table or on; name the file and its key")
        if self.source == "table" and self.index is not None and self.index.codes is not None:
            raise ValueError("got index with codes; they are for source: meds, so give index a time")
        if self.drop and self.other_columns == "drop":
            raise ValueError(
                "got drop, and columns that are not named are dropped anyway; drop goes with other_columns: keep"
            )
        if self.index is None and self._needs_index():
            raise ValueError("got a window, future, within or not_after_index and no index; give index its time")
        if self.kind == "regression" and self.smallest.per_class:
            raise ValueError("got smallest.per_class for kind: regression, which has no classes; leave it out")
        if self.kind != "binary" and any(
            rule != "column" for label in self.every_label.values() for rule in _rules(label)
        ):
            raise ValueError(f"got a rule that gives two classes for kind: {self.kind}; name the label's column only")
        return self

    def _check_meds(self) -> None:
        if self.index is None or self.index.codes is None:
            raise ValueError("got source: meds and no index with codes; say which event makes a case")
        of_tables = ("table", "case", "missing", "joins", "time_format")
        of_files = ("table", "on", "time", "code", "value", "where", "missing")
        given = [key for key in of_tables if getattr(self, key)]
        given += [f"events.{key}" for key in of_files for each in self.events if getattr(each, key)]
        if given:
            raise ValueError(f"got source: meds and {given[0]}, which MEDS data say themselves; leave it out")

    @property
    def patient(self) -> str | None:
        """The column of patients: the group, or in MEDS data the subject."""
        return "subject_id" if self.group is None and self.source == "meds" else self.group

    def _needs_index(self) -> bool:
        takes = [take for each in self.events for take in each.take.values()]
        return (
            any(take.window or take.future or take.how == "years_since" for take in takes)
            or any(label.within for label in self.every_label.values())
            or any(each.not_after_index for each in self.exclude)
        )

    @property
    def every_label(self) -> dict[str, Label]:
        """The labels by the name of their task: one under the declaration's name, or several."""
        if self.labels is not None:
            return self.labels
        assert self.label is not None  # `_check` asks for one of both
        return {self.name: self.label}


def _rules(label: Label) -> list[str]:
    return [key for key in (*label.tests, "event") if getattr(label, key) is not None]
