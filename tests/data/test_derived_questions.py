"""Questions from one table: its own or a column's, never with a copy of the answer among the columns."""

import numpy as np
import pytest
import torch

from metamedica.data.causal_tables import DrawnTable
from metamedica.data.derived_questions import derived_questions, own_question
from metamedica.errors import InputError


def _table(rows: int = 120) -> DrawnTable:
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(rows, 6))
    cells[:, 5] = -3 * cells[:, 4]  # a copy in another unit
    cells[:, 3] = cells[:, 3] > 0
    return DrawnTable(torch.from_numpy(cells).float(), torch.from_numpy((cells[:, 0] > 1).astype(np.int64)))


def test_no_question_holds_a_column_that_nearly_copies_its_answer() -> None:
    strange = 0
    for question in derived_questions(_table(), 80):
        alike = np.corrcoef(question.cells.T, question.labels)[-1, :-1]
        assert np.nanmax(np.abs(alike)) < 0.97
        strange += int(question.labels.sum() not in range(10, 60))
    assert strange > 0  # others than the table's own answer


def test_the_same_seed_gives_the_same_questions() -> None:
    left, right = (list(derived_questions(_table(), 10, seed=2)) for _ in range(2))
    assert all(
        torch.equal(a.cells, b.cells) and torch.equal(a.labels, b.labels) for a, b in zip(left, right, strict=True)
    )


def test_questions_are_as_large_as_asked_and_hold_only_columns_that_vary() -> None:
    for question in derived_questions(_table(), 30, cases=50, most_columns=3):
        assert len(question.labels) == 50
        assert question.cells.shape[1] <= 3
        assert (question.cells.std(0) > 0).all()


def test_a_rare_class_is_a_quarter_of_the_rows_as_far_as_it_goes() -> None:
    table = _table(400)
    rare = DrawnTable(table.cells, (torch.arange(400) < 15).long())
    (question,) = own_question(rare, 1, cases=40)
    assert int(question.labels.sum()) == 10
    (question,) = own_question(rare, 1, cases=100)
    assert int(question.labels.sum()) == 15


def test_a_table_of_few_rows_or_without_a_column_that_varies_is_refused() -> None:
    with pytest.raises(InputError, match="give one of 20 at least, with a column that varies"):
        list(derived_questions(_table(12), 1))
    with pytest.raises(InputError, match="with a column that varies"):
        list(derived_questions(DrawnTable(torch.ones(30, 2), torch.arange(30) % 2), 1))
