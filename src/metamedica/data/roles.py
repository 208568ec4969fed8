"""Which column of a table holds what."""

from dataclasses import dataclass

from metamedica.errors import InputError


@dataclass(frozen=True)
class Columns:
    """Which column holds what: `target` in the long form (a row a measurement), `targets` in the wide form (a column a
    task).

    Raises:
        InputError: neither or both of `target` and `targets`, a column that the wide form does not have, or a case column with another role.
    """

    case: str | tuple[str, ...]
    target: str | None = None
    task: str | None = None
    targets: tuple[str, ...] | None = None
    group: str | None = None
    family: str | None = None
    split: str | None = None
    about: str | None = None

    def __post_init__(self) -> None:
        if (self.target is None) == (self.targets is None):
            raise InputError("name one target column (a row a measurement) or several (a column a task), not both")
        if self.targets is not None:
            if not self.targets or len({*self.targets}) != len(self.targets):
                raise InputError(f"got the target columns {list(self.targets)}; name at least one, each once")
            for what in ("task", "family", "split", "about"):
                if getattr(self, what) is not None:
                    raise InputError(f"a table with a column a task has no {what} column; leave {what} out")

        for name in self.roles():
            if not isinstance(self.case, str) and name in self.case:
                raise InputError(
                    f"the column {name!r} is named as part of the cases and has another role; take it out of the case columns"
                )

    @property
    def of_case(self) -> tuple[str, ...]:
        """Names of the columns that a case is made of."""
        return (self.case,) if isinstance(self.case, str) else self.case

    def roles(self) -> list[str]:
        """Return the names of the columns that say something about a case and are no part of it."""
        every = [self.target, self.task, *(self.targets or ()), self.group, self.family, self.split, self.about]
        return [name for name in every if name is not None]

    def named(self) -> list[str]:
        """Return the names of all columns that are used."""
        return [*self.of_case, *self.roles()]
