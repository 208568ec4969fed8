"""Earlier tasks played as new ones with classes of unequal shares."""

import torch

from metamedica.functional.uneven_play import plays
from metamedica.testing import SIZE, vector_batch
from metamedica.types import LabelledBatch


def _task(labels: list[int]) -> LabelledBatch:
    vectors = torch.arange(len(labels), dtype=torch.float64)[None, :, None].expand(-1, -1, SIZE)
    return vector_batch(vectors, torch.tensor(labels)[None], n_classes=3)


def test_support_and_others_share_no_case_and_every_class_has_its_shots() -> None:
    for play, shots in zip(plays(_task([0, 1, 2] * 20)), (1, 5), strict=True):
        assert play.support.targets.sort(1).values.tolist() == [[0] * shots + [1] * shots + [2] * shots] * 4
        for support, others in zip(play.support.features["vector"], play.others.features["vector"], strict=True):
            rows = [*support[:, 0].tolist(), *others[:, 0].tolist()]  # type: ignore[union-attr]
            assert len(set(rows)) == len(rows)


def test_shares_are_unequal_and_the_same_every_time() -> None:
    task = _task([0, 1, 2] * 60)
    found = [play.others.targets for play in plays(task)]
    again = [play.others.targets for play in plays(task)]
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
    counts = torch.stack([torch.bincount(draw, minlength=3) for draws in found for draw in draws])
    assert int(counts.max()) > 30 > 20 > int(counts.min())


def test_a_task_of_one_class_or_of_single_cases_is_not_played() -> None:
    assert list(plays(_task([1, 1, 1, 1]))) == []
    assert list(plays(_task([0, 1, 2]))) == []
