"""What a verb prints with: results on stdout, progress and notes on stderr; with `--json` one object on stdout and nothing else."""

import json
import math
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from metamedica.ranks import Ranks
    from metamedica.types import Progress


_BETWEEN = 2
"""Characters between two columns of a table."""
_LEAST = 6
_REMARKS = 8
"""Narrowest column that gives way."""


def one_line(text: str) -> str:
    """Return text on one line in which a terminal finds no command: what came from a file may hold anything."""
    return "".join(mark if mark.isprintable() else "?" for mark in " ".join(text.split()))


def complain(sentence: str) -> None:
    """Write one error to stderr."""
    sys.stderr.write(f"error: {sentence}\n")


def plain(value: Any) -> Any:
    """Return a value as JSON has it: numpy scalars as numbers, what is not a finite number as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


class Session:
    """One run of the program: its arguments, what it prints, and the options that every verb has."""

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self.arguments = tuple(arguments)
        self.json = False
        self.debug = False
        self._after_table = False
        self._open = ExitStack()
        self._ranks: Ranks | None = None

    @staticmethod
    def of(ctx: typer.Context) -> "Session":
        """Return the session that `main` gave to this run."""
        session = ctx.obj
        if not isinstance(session, Session):
            raise TypeError(f"got a context with {type(session).__name__}; run verbs through metamedica.cli.main")
        return session

    def join(self) -> None:
        """Join the processes that torchrun started, if it did: only the first one prints from now on, and one of them tells an error."""
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from metamedica.ranks import joined

            self._ranks = self._open.enter_context(joined())
            self.json = self.json or self.muted

    def leave(self, error: BaseException | None = None) -> None:
        """Part from the processes that `join` joined; an error must have been told before, as the others find out by it."""
        self._open.__exit__(None if error is None else type(error), error, None)

    @property
    def muted(self) -> bool:
        """Whether another process prints for this one."""
        return self._ranks is not None and not self._ranks.first

    def tells_errors(self) -> bool:
        """Return whether this process is the one to tell how the run ended."""
        if self._ranks is None:  # alone, or stopped before the processes met
            return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK") == "0"
        return self._ranks.first_to_speak()

    def say(self, text: str = "") -> None:
        """Print a line for a person, folded between words only, so that a path stays whole; nothing with `--json`."""
        if not self.json:
            from rich.console import Console

            self._after_table = False
            console = Console()
            for line in text.split("\n"):
                folded = textwrap.wrap(_line(line), console.width, break_long_words=False, break_on_hyphens=False)
                console.print("\n".join(folded), markup=False, highlight=False, emoji=False, soft_wrap=True)

    def heading(self, text: str) -> None:
        """Print a heading for a person; nothing with `--json`."""
        if not self.json:
            from rich.console import Console
            from rich.text import Text

            Console().print(Text(one_line(text), style="bold"))

    def left_out(self, counts: Mapping[str, int]) -> None:
        """Print what was left out, and how many; nothing with `--json`."""
        if counts:
            self.say(f"Left out: {', '.join(f'{count:,} {what}' for what, count in counts.items())}.")

    def remarks(self, told: Sequence[str]) -> None:
        """Print the first remarks on how cells were read, and how many more there are; nothing with `--json`."""
        for remark in told[:_REMARKS]:
            self.say(f"Remark: {remark}.")
        if len(told) > _REMARKS:
            self.say(f"And {len(told) - _REMARKS:,} more remarks (--json shows all).")

    def note(self, text: str) -> None:
        """Write a remark to stderr, also with `--json`."""
        if not self.muted:
            sys.stderr.write(f"note: {one_line(text)}\n")

    def markdown(self, text: str) -> None:
        """Print Markdown for a person; nothing with `--json`."""
        if not self.json:
            from rich.console import Console
            from rich.markdown import Markdown

            Console().print(Markdown("\n".join(_line(line) for line in text.split("\n"))))

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, wide: Sequence[str] = ()
    ) -> None:
        """Print a table for a person; nothing with `--json`.

        Args:
            title: above it.
            columns: headings.
            rows: cells; numbers are set to the right, three digits after the point.
            wide: columns that give way (are cut with …) where the terminal is too narrow.
        """
        if self.json:
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        headings = [one_line(column) for column in columns]
        cells = [[_cell(value) for value in row] for row in rows]
        needs = [max(len(line[index]) for line in [headings, *cells]) for index in range(len(columns))]
        console = Console()
        widths = _shared(needs, [column in wide for column in columns], console.width - _BETWEEN * (len(columns) - 1))
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
        for index, heading in enumerate(headings):
            number = any(isinstance(row[index], int | float) for row in rows)
            gives_way = columns[index] in wide
            grid.add_column(
                Text(heading),
                justify="right" if number else "left",
                overflow="ellipsis" if gives_way else "fold",
                no_wrap=gives_way or number,
                width=widths[index] if gives_way else None,
                min_width=needs[index] if number else None,
            )
        for line in cells:
            grid.add_row(*(Text(cell) for cell in line))
        if not self._after_table:
            console.print()
        self.heading(title)
        console.print(grid)
        console.print()
        self._after_table = True

    @contextmanager
    def progress(self, title: str) -> "Iterator[Progress | None]":
        """Give a progress callback that draws a bar on stderr; None with `--json` or where stderr is no terminal."""
        from rich.console import Console

        console = Console(stderr=True)
        if self.json or not console.is_terminal:
            yield None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.text import Text

        below = ""

        class Bar(Progress):
            """A bar, and what the work says of itself on the line below."""

            def get_renderables(self) -> "Iterator[RenderableType]":
                yield self.make_tasks_table(self.tasks)
                yield Text(below, style="dim")

        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=40), MofNCompleteColumn())
        with Bar(*columns, console=console, transient=True) as bar:
            task = bar.add_task(title, total=None)
            stage: list[float] = []

            def report(done: int, total: int, message: str) -> None:
                nonlocal below
                now = time.monotonic()
                if stage[2:] != [
                    total
                ]:  # a new stage, or a resumed one: what was done before says nothing of the speed
                    stage[:] = [now, done, total]
                below = one_line(message)
                if " left" not in below and stage[1] < done < total:
                    below += f", {(now - stage[0]) / (done - stage[1]) * (total - done):,.0f} s left"
                bar.update(task, total=total, completed=done)

            yield report

    def result(self, value: Mapping[str, Any]) -> None:
        """Print the machine's view of what was done: one JSON object, with `--json` only."""
        if self.json and not self.muted:
            sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, allow_nan=False) + "\n")


def _line(line: str) -> str:
    """Return a line with its indentation and without control characters."""
    return "".join(mark if mark.isprintable() else "?" for mark in line.rstrip())


def _shared(needs: Sequence[int], gives_way: Sequence[bool], room: int) -> list[int]:
    """Return column widths: those that give way share the room that the others leave, none taking more than it needs."""
    widths = list(needs)
    left = room - sum(need for need, soft in zip(needs, gives_way, strict=True) if not soft)
    soft = sorted((index for index, each in enumerate(gives_way) if each), key=lambda index: needs[index])
    for taken, index in enumerate(soft):
        widths[index] = min(needs[index], max(_LEAST, left // (len(soft) - taken)))
        left -= widths[index]
    return widths


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return one_line(str(value))
