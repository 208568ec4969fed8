"""The benchmark of segmentation: its intervals, its rows, and its floor on drawn cells."""

import numpy as np
import pytest
from tests.drawn_cells import drawn

from benchmarks import _images_segmentation as bench
from metamedica.applications.segmentation.measures import dice


def test_an_interval_holds_the_mean_and_narrows_with_more_supports() -> None:
    rng = np.random.default_rng(0)
    few, many = (0.8 + 0.05 * rng.standard_normal((draws, 1)) + np.zeros((draws, 40)) for draws in (4, 64))
    widths = []
    for dices in (few, many):
        low, high = bench.interval(dices)
        assert low <= dices.mean() <= high
        widths.append(high - low)
    assert widths[1] < widths[0]
    assert bench.interval(np.full((3, 5), 0.7)) == pytest.approx([0.7, 0.7])


def test_a_row_tells_goal_floor_and_methods() -> None:
    draws = [
        {"task": bench.VESSELS, "shots": 1, "method": method, "dice": [0.6, 0.8], "forest": [0.5, 0.5], "seconds": 2.0}
        for method in ("network", "logistic")
    ]
    found = bench.row(draws)
    assert found["dice"] == pytest.approx(0.7)
    assert found["floor"] == pytest.approx(0.5)
    assert found["met"] is True
    assert found["methods"] == ["logistic", "network"]
    assert (found["supports"], found["judged"], found["goal"]) == (2, 2, 0.66)


def test_the_floor_learns_drawn_cells() -> None:
    pairs = [drawn(seed) for seed in range(3)]
    images, masks = (np.stack([pair[at] for pair in pairs]) for at in (0, 1))
    support = bench.Images(255 * images, masks, np.ones(masks.shape, dtype=bool))
    predict = bench._forest(support, 0)
    image, mask = drawn(9)
    assert dice(predict(255 * image, np.ones(mask.shape, dtype=bool)), mask > 0) > 0.85
