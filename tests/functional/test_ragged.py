"""Parts of a ragged batch: nothing is lost, little is padded."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from metamedica.functional.ragged import MOST_WASTE, part_of, parts_by_size
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch

SIZES = st.lists(st.tuples(st.integers(1, 130), st.integers(1, 130)), min_size=1, max_size=12)


def episodes(sizes: list[tuple[int, int]]) -> EpisodeBatch:
    def side(each: list[int]) -> LabelledBatch:
        n = max(each) + 3
        mask = torch.tensor(each)[:, None] > torch.arange(n)
        cases = CaseBatch({"x": torch.randn(len(each), n, 2)}, mask)
        return LabelledBatch(cases, torch.randn(len(each), n) * mask, "regression")

    return EpisodeBatch(
        side([own for own, _ in sizes]), side([asked for _, asked in sizes]), torch.arange(len(sizes)) + 100
    )


@given(SIZES)
def test_every_task_is_in_one_part_with_all_its_cases(sizes: list[tuple[int, int]]) -> None:
    batch = episodes(sizes)
    parts = parts_by_size(batch)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(sizes)))
    for rows in parts:
        part = part_of(batch, rows)
        assert part.task_index.tolist() == [100 + int(row) for row in rows]
        for own, whole in ((part.support, batch.support), (part.query, batch.query)):
            assert own.mask.shape[1] == int(own.counts().max())
            for at, row in enumerate(rows.tolist()):
                assert torch.equal(own.targets[at][own.mask[at]], whole.targets[row][whole.mask[row]])
                assert torch.equal(own.features["x"][at][own.mask[at]], whole.features["x"][row][whole.mask[row]])


def test_supports_of_different_sizes_are_parted_and_those_of_one_size_are_not() -> None:
    assert len(parts_by_size(episodes([(8, 16), (9, 16), (100, 16), (128, 16)]))) == 3
    assert [rows.tolist() for rows in parts_by_size(episodes([(30, 16), (17, 16), (32, 16)]))] == [[0, 1, 2]]
    assert len(parts_by_size(episodes([(120, 100), (130, 100)]))) == 1, "a part that saves less than it costs"


@given(SIZES)
def test_parts_have_fewer_padded_cells_or_there_is_one(sizes: list[tuple[int, int]]) -> None:
    batch = episodes(sizes)
    parts = [part_of(batch, rows) for rows in parts_by_size(batch)]
    cells = [part.support.mask.numel() + part.query.mask.numel() for part in parts]
    whole = len(sizes) * sum(max(each) for each in zip(*sizes, strict=True))
    assert len(parts) == 1 or MOST_WASTE * sum(cells) < whole
