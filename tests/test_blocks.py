"""Blocks laid out and blocks as rows of a table."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from metamedica.blocks import (
    Block,
    SparseRows,
    SparseTable,
    as_block,
    changed,
    followed,
    joined,
    laid_out,
    rows_of_table,
)
from metamedica.types import CaseBatch, LabelledBatch


def block(seed: int, rows: int = 9, size: int = 12) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.poisson(2, (rows, size)) * (rng.random((rows, size)) < 0.2)).to(torch.uint8)


def rows_of(known: torch.Tensor, index: torch.Tensor) -> Block:
    return as_block(SparseRows(SparseTable.of(known), index))


@given(st.integers(0, 1000), st.integers(1, 9))
def test_row_i_plus_one_of_a_table_is_row_i_of_the_block_and_row_0_is_empty(seed: int, n: int) -> None:
    known, rng = block(seed), np.random.default_rng(seed)
    index = torch.from_numpy(rng.integers(0, 10, (2, n)))
    found = laid_out(rows_of(known, index))
    assert found.dtype == torch.get_default_dtype()
    assert found.shape == (2, n, 12)
    for row, at in zip(found.flatten(0, 1), index.flatten().tolist(), strict=True):
        assert torch.equal(row, known[at - 1].float() if at else torch.zeros(12))


def test_floating_blocks_keep_their_type_and_a_block_without_entries_is_a_table_too() -> None:
    assert SparseTable.of(block(0).double()).values.dtype == torch.float64
    empty = SparseTable.of(torch.zeros(3, 5))
    assert empty.longest == 0
    assert torch.equal(SparseRows(empty, torch.arange(4)).laid_out(), torch.zeros(4, 5))


def test_what_changes_a_batch_changes_where_the_rows_stand() -> None:
    known = block(1)
    index = torch.arange(8).reshape(2, 4)
    batch = CaseBatch({"bits": rows_of(known, index), "x": torch.randn(2, 4, 3)}, torch.ones(2, 4, dtype=torch.bool))
    cut = batch.map(lambda value: value[1:, :3])
    assert torch.equal(laid_out(cut.features["bits"]), laid_out(batch.features["bits"])[1:, :3])
    assert torch.equal(changed(batch.features["x"], torch.neg), -batch.features["x"])
    longer = changed(batch.features["bits"], lambda value: torch.nn.functional.pad(value, (0, 2)))
    assert torch.equal(laid_out(longer)[:, 4:], torch.zeros(2, 2, 12))


def test_what_is_said_of_tasks_follows_them_where_their_cases_are_chosen_padded_or_dealt_anew() -> None:
    said, mask = torch.randn(3, 5), torch.ones(3, 4, dtype=torch.bool)
    rows, task = torch.tensor([[0, 2], [3, 1]]), torch.tensor([2, 0])
    same = [
        lambda value: value[:, [3, 0]],
        lambda value: torch.nn.functional.pad(value, (0, 2)),
        lambda value: value.double() if value.is_floating_point() else value,
        lambda value: value[:, :0],
    ]
    for change in same:
        assert torch.equal(followed(said, mask, change), said)
    assert torch.equal(followed(said, mask, lambda value: value[1:2]), said[1:2])
    assert torch.equal(followed(said, mask, lambda value: value[1][rows]), said[[1, 1]])
    assert torch.equal(followed(said, mask, lambda value: value[task[:, None], rows]), said[[2, 0]])
    batch = LabelledBatch(CaseBatch({"x": torch.randn(3, 4, 2)}, mask), torch.zeros(3, 4), "regression", about=said)
    assert torch.equal(batch.map(lambda value: value[[2, 1]]).about, said[[2, 1]])
    assert batch.with_targets(torch.ones(3, 4)).about is said


def test_blocks_are_joined_along_the_cases_and_rows_of_one_table_stay_so() -> None:
    known, index = block(2), torch.arange(6).reshape(2, 3)
    table = SparseTable.of(known)
    one, other = (as_block(SparseRows(table, each)) for each in (index, index + 3))
    both = joined(one, other)
    assert rows_of_table(both) is not None
    want = torch.cat([laid_out(one), laid_out(other)], 1)
    assert torch.equal(laid_out(both), want)
    for mixed in (joined(laid_out(one), other), joined(one, rows_of(known, index + 3))):
        assert rows_of_table(mixed) is None
        assert torch.equal(mixed, want)
