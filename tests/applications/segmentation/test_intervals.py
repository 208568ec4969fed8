"""Intervals of area, diameter and margin: they hold the true measure as often as they say, on made-up fields of log-odds."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from metamedica.applications.segmentation.cases import LabelledPicture, Picture
from metamedica.applications.segmentation.intervals import Bands, measured, measured_margin, moved
from metamedica.applications.segmentation.judging import Calibration, Hidden
from metamedica.errors import TaskError

SIDE = 40


def _hidden(seed: int) -> Hidden:
    """Return a disc and a bar beside it, and log-probabilities that a smooth field of errors and a common bias have moved."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[:SIDE, :SIDE]
    disc = rng.uniform(6, 10) - np.hypot(down - 20, right - 13)
    bar = 4 - np.abs(right - rng.uniform(31, 34))
    truth = np.where(disc > 0, 1, np.where(bar > 0, 2, 0))
    scores = np.stack([np.zeros((SIDE, SIDE)), disc, bar])
    for at in (1, 2):
        noise = gaussian_filter(rng.standard_normal((SIDE, SIDE)), 3)
        scores[at] += 0.7 * noise / noise.std() + 0.7 * rng.standard_normal()
    said = torch.log_softmax(torch.from_numpy(scores), dim=0).float()
    inside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    return Hidden(
        LabelledPicture(Picture(torch.zeros(1, SIDE, SIDE), inside, (SIDE, SIDE)), torch.from_numpy(truth)), said
    )


def _area(mask: np.ndarray) -> float:
    return float(mask.sum())


def test_nine_in_ten_intervals_hold_the_true_area() -> None:
    inside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    held = []
    for group in range(10):
        bands = Bands.learned([_hidden(1000 * group + at) for at in range(12)], Calibration())
        for at in range(20):
            new = _hidden(1000 * group + 500 + at)
            found = measured(new.said, inside, bands, name="area", structure=1, measure=_area, coverage=0.9)
            assert found.coverage == 0.9
            assert found.low <= found.value <= found.high
            held.append(found.low <= float((new.pair.classes == 1).sum()) <= found.high)
    assert 0.86 <= np.mean(held) <= 0.99


def test_margins_between_structures_lie_in_their_intervals() -> None:
    inside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    bands = Bands.learned([_hidden(at) for at in range(19)], Calibration())
    held = []
    for at in range(100, 140):
        new = _hidden(at)
        found = measured_margin(new.said, inside, bands, between=(2, 1), spacing=(1.0, 1.0), coverage=0.9)
        truth = Bands.learned([new], Calibration()).scores["margin"]["1-2"][0]
        held.append(truth <= bands.reach("margin", "1-2", 0.9)[0])
        assert found.low <= found.value <= found.high
    assert np.mean(held) > 0.8


def test_one_hidden_image_vouches_for_half_and_the_interval_says_so() -> None:
    bands = Bands.learned([_hidden(0)], Calibration())
    reach, held = bands.reach("area", "1", 0.9)
    assert held == pytest.approx(0.5)
    assert reach == bands.scores["area"]["1"][0]


def test_without_hidden_images_no_interval_is_claimed() -> None:
    found = measured(
        _hidden(0).said,
        torch.ones(SIDE, SIDE, dtype=torch.bool),
        Bands({}),
        name="area",
        structure=1,
        measure=_area,
    )
    assert found.value > 0
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert found.coverage == 0


def test_masks_are_nested_in_the_shift() -> None:
    said, inside = _hidden(3).said, torch.ones(SIDE, SIDE, dtype=torch.bool)
    small, middle, large = (moved(said, 1, shift, inside) for shift in (-1.0, 0.0, 1.0))
    assert not (small & ~middle).any()
    assert not (middle & ~large).any()
    assert small.sum() < large.sum()


def test_scores_come_back_from_json_also_infinite_ones() -> None:
    bands = Bands({"area": {"1": [0.5, float("inf")]}})
    assert bands.as_dict() == {"area": {"1": [0.5, None]}}
    assert Bands.of(bands.as_dict()) == bands
    found = measured(
        _hidden(0).said, torch.ones(SIDE, SIDE, dtype=torch.bool), bands, name="area", structure=1, measure=_area
    )
    assert found.high == float("inf")


def test_a_coverage_of_one_is_refused() -> None:
    with pytest.raises(TaskError, match="between 0 and 1"):
        Bands({}).reach("area", "1", 1.0)
