"""Tasks that a declaration names (`--config`), in place of a table and the options that say how to read one."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamedica.cli._console import Session
from metamedica.cli._tables import FullOptions, TableOptions
from metamedica.errors import InputError

if TYPE_CHECKING:
    from metamedica.data.collection import TaskCollection
    from metamedica.data.declared import Declared

MODALITY = "tables"
"""What every declaration speaks of."""


@dataclass(frozen=True)
class DeclaredTasks:
    """The tasks of a declaration; where a table's `FullOptions` are taken, so is this.

    Args:
        declared: its frame and roles.
        source: what a person calls it.
        known: what is known of a public collection: `source`, `licence`, `attribution`; nothing of a user's own.
    """

    declared: "Declared"
    source: str
    known: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return which columns were taken, as a JSON value."""
        roles = self.declared.roles()
        return {
            "case": roles["case"],
            "target": roles["target"],
            "targets": None,
            "task": roles["task"],
            "kind": roles["kind"],
        }

    @property
    def kind(self) -> str:
        """The kind of every task."""
        return self.declared.kind

    @property
    def cases_in(self) -> str:
        """Where the cases stand, for a person."""
        return f"{len(self.declared.columns)} columns"

    @property
    def targets_in(self) -> str:
        """What the targets are, for a person."""
        return "the declared label"

    def read(self, session: Session) -> "TaskCollection":
        """Return the tasks.

        Raises:
            InputError: a row, a column or a label cannot be used.
        """
        from metamedica.data.declared_tasks import declared_tasks

        with session.progress("reading cases") as progress:
            return declared_tasks(self.declared, progress=progress)


@dataclass(frozen=True)
class Config:
    """The options that name a declaration; None where the user left one out."""

    config: str | None = None
    root: Path | None = None
    variant: str | None = None

    def modality(self, named: str | None) -> str | None:
        """Return the modality of the cases, where the user named one or a declaration does.

        Raises:
            InputError: options of a declaration without one, or another modality than its own.
        """
        if self.config is None:
            if self.root is not None or self.variant is not None:
                raise InputError("--root and --variant are for a declaration; name it with --config, or leave them out")
            return named
        if named not in (None, MODALITY):
            raise InputError(f"--config declares {MODALITY} and --modality {named} came; leave out --modality")
        return MODALITY

    def complete(self, file: Path | None, options: TableOptions, *, many: bool) -> FullOptions | DeclaredTasks:
        """Return what the table and its options, or the declaration, say with nothing left open.

        Args:
            file: the table; None where a declaration is named.
            options: of a table.
            many: whether several tasks are wanted.

        Raises:
            FileFormatError: a file cannot be read, or lacks a column.
            TaskError: it is not clear what kind the targets are, or no case is left.
            InputError: not one of table and declaration, options that do not go together, or a declaration that does not fit its files.
        """
        if (file is None) == (self.config is None):
            raise InputError("give either the FILE of a table or a declaration (--config), one of the two")
        if file is not None:
            return options.complete(file, many=many)
        given = [
            field.name
            for field in fields(options)
            if field.name != "modality" and getattr(options, field.name) != field.default
        ]
        if given:
            raise InputError(
                f"--config came, which answers what these options say too: {', '.join(given)}; leave them out, or edit the declaration"
            )
        return self._declared()

    def _declared(self) -> DeclaredTasks:
        from metamedica.data import catalogue
        from metamedica.data.declared import read_declared

        assert self.config is not None
        path = Path(self.config)
        if path.suffix.lower() in (".yaml", ".yml") or path.exists():
            return DeclaredTasks(read_declared(path, root=self.root, variant=self.variant), path.name, {})
        public = catalogue.declared_names()
        if self.config not in public:
            raise InputError(
                f"--config {self.config!r} is neither a YAML file nor a declared public collection; those are: {', '.join(public)}"
            )
        if self.root is not None:
            raise InputError(
                f"--root came with the public collection {self.config!r}, which is read from the folder that METAMEDICA_DATA names; "
                "leave out --root"
            )
        known = catalogue.entry(self.config)
        declared = catalogue.declared(self.config, variant=self.variant)
        return DeclaredTasks(
            declared,
            self.config,
            {"source": known.source, "licence": known.licence, "attribution": known.attribution},
        )
