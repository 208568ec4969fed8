"""Many questions from one real table: its own, on some of its columns and rows, and others that its columns answer of each other.

What a method for any table learns from few real tables: each is asked in many ways. A column that is taken as the answer, and what nearly copies
it, is no part of the question.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metamedica.data.causal_tables import DrawnTable
from metamedica.errors import InputError

_COPY = 0.92
"""Correlation from which a column counts as a copy of another."""
_FEWEST_ROWS = 20
_LEAST_SHARE = 0.1
_TRIES = 8
_OWN = 0.45
"""Share of the questions that are the table's own."""


def derived_questions(
    table: DrawnTable, count: int, *, cases: int = 160, most_columns: int = 32, seed: int = 0
) -> Iterator[DrawnTable]:
    """Yield questions on rows of a table, drawn anew for each; the same ones for the same arguments.

    Args:
        table: with the table's own question.
        count: how many.
        cases: rows of each at most.
        most_columns: of each at most.
        seed: decides all.

    Raises:
        InputError: the table has fewer than 20 rows, or none of its columns varies.
    """
    if len(table.cells) < _FEWEST_ROWS or not bool((table.cells.std(0) > 0).any()):
        raise InputError(
            f"got a table of {len(table.cells)} rows; give one of {_FEWEST_ROWS} at least, with a column that varies"
        )
    for number in range(count):
        random = np.random.default_rng([seed, number])
        answer = None if random.random() < _OWN else _other_answer(table.cells, random)
        cells, labels = (table.cells, table.labels) if answer is None else (_without(table, answer, random), answer)
        yield _part(cells, labels, random, cases=cases, most_columns=most_columns)


def own_question(
    table: DrawnTable, count: int, *, cases: int = 400, most_columns: int = 32, seed: int = 0
) -> Iterator[DrawnTable]:
    """Yield the table's own question on drawn rows and columns, as `derived_questions` does."""
    for number in range(count):
        yield _part(
            table.cells, table.labels, np.random.default_rng([seed, number]), cases=cases, most_columns=most_columns
        )


def _other_answer(cells: Float[Tensor, "rows columns"], random: np.random.Generator) -> Int64[Tensor, " rows"] | None:
    """Return a column, cut in two, as labels; None where no column that was tried divides the rows."""
    for column in random.integers(cells.shape[1], size=_TRIES):
        values = cells[:, int(column)]
        found = torch.unique(values)
        if len(found) < 2:
            continue
        limit = found.mean() if len(found) == 2 else torch.quantile(values, float(random.uniform(0.2, 0.8)))
        labels = (values > limit).long()
        if _LEAST_SHARE < float(labels.float().mean()) < 1 - _LEAST_SHARE:
            return labels
    return None


def _without(
    table: DrawnTable, answer: Int64[Tensor, " rows"], random: np.random.Generator
) -> Float[Tensor, "rows kept"]:
    """Return the columns that do not copy the answer; in half of the cases with the table's own answer among them."""
    cells = torch.cat([table.cells, table.labels[:, None].float()], dim=1) if random.random() < 0.5 else table.cells
    target = answer.float() - answer.float().mean()
    centred = cells - cells.mean(0)
    size = (centred.square().sum(0) * target.square().sum()).sqrt()
    alike = (centred * target[:, None]).sum(0).abs() / size.clamp(min=1e-9)
    return cells[:, alike < _COPY]


def _part(
    cells: Float[Tensor, "rows columns"],
    labels: Int64[Tensor, " rows"],
    random: np.random.Generator,
    *,
    cases: int,
    most_columns: int,
) -> DrawnTable:
    rows = _rows(labels, cases, random)
    cells = cells[rows]
    live = torch.nonzero(cells.std(0) > 0)[:, 0].numpy()
    least = min(2, len(live))
    wanted = max(least, round(len(live) * random.uniform(0.4, 1.0)))
    columns = random.choice(live, min(wanted, most_columns), replace=False) if len(live) else live
    return DrawnTable(cells[:, torch.from_numpy(columns)].contiguous(), labels[rows])


def _rows(labels: Int64[Tensor, " rows"], cases: int, random: np.random.Generator) -> Int64[Tensor, " chosen"]:
    """Return rows by chance; where a class is rare, a quarter of them from it, as far as it goes."""
    order = random.permutation(len(labels))
    chosen = order[:cases]
    rare = int(labels.float().mean() < 0.5)
    if int((labels[torch.from_numpy(chosen)] == rare).sum()) < cases // 4:
        of_rare = order[labels.numpy()[order] == rare][: cases // 4]
        others = order[labels.numpy()[order] != rare][: cases - len(of_rare)]
        chosen = random.permutation(np.concatenate([of_rare, others]))
    return torch.from_numpy(chosen)
