"""The bench of cases without label: shares that are unequal, a table that keeps kernels, and rows that compare a learner with itself."""

import numpy as np
import pytest
import torch
from benchmarks._images_classification import featurised
from benchmarks._images_episodes import Judged, drawn

from benchmarks import _images_transductive as bench
from metamedica.modalities.images import Images


def _judged(episodes: int = 4) -> Judged:
    random = np.random.default_rng(0)
    labels = np.arange(24) % 2
    pixels = [random.integers(0, 90, (16, 16, 3), dtype=np.uint8) for _ in labels]
    for square, label in zip(pixels, labels, strict=True):
        square[4 + 2 * label : 9, 4:12] = 220
    return drawn("made up", pixels, labels, np.arange(24), shots=2, episodes=episodes, seed=0)


def test_the_commonest_class_keeps_its_queries_and_each_keeps_one() -> None:
    labels, random = np.repeat(np.arange(3), 15), np.random.default_rng(1)
    counts = np.array([np.bincount(labels[bench.uneven(labels, random)], minlength=3) for _ in range(50)])
    assert (counts.max(1) == 15).all()
    assert counts.min() >= 1
    assert 3 < counts.min(1).mean() < 9


def test_a_table_keeps_kernels_and_inner_products() -> None:
    task, reader = _judged(), Images(side=16)
    features, rich = featurised(reader, task), reader.rich_encoder()
    table = bench.Table(reader, features)
    row = {"row": torch.tensor([[3], [7]])}
    every = {"row": torch.arange(24)[:, None]}
    some = {name: block[[3, 7]] for name, block in features.items()}
    torch.testing.assert_close(table.kernels(row, every), rich.kernels(some, features), atol=1e-3, rtol=0.0)
    flat, wanted = table.flat(every), rich.flat(features)
    torch.testing.assert_close(flat @ flat.mT / rich.dim, wanted @ wanted.mT / rich.dim, atol=1e-3, rtol=1e-3)


def test_rows_tell_each_method_and_how_far_the_queries_helped() -> None:
    found = bench.rows([(Images(side=16), _judged())])
    assert len(found) == len(bench.QUERIES) * (len(bench.INDUCTIVE) + 1)
    for queries in bench.QUERIES:
        here = {row["method"]: row for row in found if row["queries"] == queries}
        with_them, without = here[bench.LEARNER], here[f"{bench.LEARNER}, labels alone"]
        assert with_them["minus_labels_alone"][0] == pytest.approx(with_them["accuracy"] - without["accuracy"])
        assert with_them["log_loss_minus_labels_alone"][0] == pytest.approx(with_them["log_loss"] - without["log_loss"])
        assert without["minus_labels_alone"] is None
        assert (with_them["shots"], with_them["episodes"]) == (2, 4)
