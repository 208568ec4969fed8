"""The network reads any columns in any order, starts as the mean of kernel regressions, and after meta-training is near the best there is."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metamedica.errors import TaskError
from metamedica.functional.kernel_scores import kernel_scores
from metamedica.functional.shown_columns import shown_columns
from metamedica.learners.prior_fitted_network import PriorFittedNetwork
from metamedica.modalities.any_table import CellsEncoder
from metamedica.types import CaseBatch, LabelledBatch, TaskKind

WIDTH = 8


def _learner(*, stirred: bool = True, most_columns: int = 16) -> PriorFittedNetwork:
    torch.manual_seed(0)
    made = PriorFittedNetwork(CellsEncoder(), width=WIDTH, heads=2, layers=2, most_columns=most_columns).double()
    if stirred:  # a new head is 0, and the layers before it would be tested for nothing
        torch.nn.init.normal_(made.head.weight, std=0.3)
    return made


def _cases(cells: Tensor) -> CaseBatch:
    return CaseBatch({"cells": cells}, torch.ones(cells.shape[:2], dtype=torch.bool))


def _support(cells: Tensor, labels: Tensor, kind: TaskKind = "binary") -> LabelledBatch:
    return LabelledBatch(_cases(cells), labels, kind, 2 if kind == "binary" else int(labels.max()) + 1)


def _task(columns: int = 5, n: int = 14, m: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    cells = torch.from_numpy(rng.normal(size=(1, n + m, columns)))
    labels = (cells[0, :n, 0] + 0.5 * cells[0, :n, 1] > 0).long()[None]
    return cells[:, :n], labels, cells[:, n:]


def _logits(
    learner: PriorFittedNetwork, known: Tensor, labels: Tensor, asked: Tensor, kind: TaskKind = "binary"
) -> Tensor:
    with torch.no_grad():
        law = learner.predict(learner.adapt(_support(known, labels, kind)), _cases(asked))
    logits: Tensor = law.logits
    return logits


def test_a_new_network_is_the_mean_of_the_kernel_regressions_and_the_log_odds_of_the_support() -> None:
    known, labels, asked = _task()
    learner = _learner(stirred=False)
    mask = torch.ones_like(labels, dtype=torch.bool)
    columns = shown_columns(known, mask, labels.double(), most=16)
    scores = kernel_scores(columns.every(known), mask, labels.double())(columns.every(asked))
    ones = labels.sum().double()
    odds = ((ones + 0.5) / (labels.shape[1] - ones + 0.5)).log()
    found = _logits(learner, known, labels, asked)
    torch.testing.assert_close(found[..., 1] - found[..., 0], 2 * scores.mean(-1) + 0.5 * odds)


def test_columns_may_come_in_any_order_unit_and_number() -> None:
    known, labels, asked = _task()
    learner = _learner()
    wanted = _logits(learner, known, labels, asked)
    order = torch.tensor([3, 0, 4, 2, 1])
    scale = torch.tensor([1.0, 18.0, 0.01, 5.0, 3.0]).double()
    torch.testing.assert_close(
        _logits(learner, (known * scale)[..., order], labels, (asked * scale)[..., order]), wanted
    )
    wider = torch.cat([known, torch.full_like(known, 7.0)], -1), torch.cat([asked, torch.randn_like(asked)], -1)
    torch.testing.assert_close(_logits(learner, wider[0], labels, wider[1]), wanted)


def test_a_table_is_read_by_the_columns_that_tell_most_and_the_regressions_read_all() -> None:
    known, labels, asked = _task(columns=9)
    few = _learner(most_columns=2)
    state = few.adapt(_support(known, labels))
    assert state.columns.index.shape == (1, 2)
    assert state.scores.cases.shape[-1] == 9
    assert state.memories[0].keys.shape == (1, 3, 2, 14, WIDTH // 2)
    assert torch.isfinite(few.predict(state, _cases(asked)).logits).all()


def test_other_names_of_the_classes_of_a_multiclass_task_give_the_same_law_under_those_names() -> None:
    known, _, asked = _task()
    labels = torch.arange(14)[None] % 3
    learner, other = _learner(), torch.tensor([2, 0, 1])
    wanted = _logits(learner, known, labels, asked, "multiclass")
    torch.testing.assert_close(_logits(learner, known, other[labels], asked, "multiclass")[..., other], wanted)


@pytest.mark.parametrize("labels", [[1], [1, 1, 1], [0, 1]])
def test_a_case_or_a_class_alone_gives_a_finite_law_that_leans_to_what_was_seen(labels: list[int]) -> None:
    known, _, asked = _task(n=len(labels))
    law = _logits(_learner(stirred=False), known, torch.tensor([labels]), asked)
    assert torch.isfinite(law).all()
    if set(labels) == {1}:
        assert (law[..., 1] > law[..., 0]).all()


def test_regression_is_refused() -> None:
    known, _, _ = _task()
    support = LabelledBatch(_cases(known), torch.zeros(known.shape[:2]).double(), "regression")
    with pytest.raises(
        TaskError, match="PriorFittedNetwork cannot learn a regression task; it allows binary, multiclass"
    ):
        _learner().adapt(support)
