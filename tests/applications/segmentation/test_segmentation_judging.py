"""Figures of hidden images: what is chosen by them is chosen without the image that is judged."""

import pytest
import torch
from tests.drawn_cells import drawn

from metamedica.applications.segmentation import Segmenter
from metamedica.applications.segmentation.cases import LabelledPicture, Picture
from metamedica.applications.segmentation.judging import OFFSETS, Hidden, dice_of_offsets, honest_dice

SIDE = 40


def _hidden(seed: int, *, noise: float = 1.5, shift: float = 0.0) -> Hidden:
    generator = torch.Generator().manual_seed(seed)
    logit = 1.5 * torch.randn(SIDE, SIDE, generator=generator)
    classes = (torch.rand(SIDE, SIDE, generator=generator) < torch.sigmoid(logit)).long()
    said = logit + shift + noise * torch.randn((), generator=generator)
    region = torch.ones(SIDE, SIDE, dtype=torch.bool)
    pair = LabelledPicture(Picture(torch.zeros(1, SIDE, SIDE), region, (SIDE, SIDE)), classes)
    return Hidden(pair, torch.log_softmax(torch.stack([torch.zeros(SIDE, SIDE), said]), dim=0))


def test_each_image_is_judged_with_the_offset_that_serves_the_others() -> None:
    hidden = [_hidden(seed) for seed in range(4)]
    table = dice_of_offsets(hidden)
    expected = []
    for at in range(4):
        others = [each for each in range(4) if each != at]
        means = [float(table[row, others].mean()) for row in range(len(OFFSETS))]
        expected.append(float(table[means.index(max(means)), at]))
    assert honest_dice(hidden) == pytest.approx(sum(expected) / 4)
    assert honest_dice(hidden) < float(table.mean(1).max())


def test_images_with_a_common_bias_are_set_right() -> None:
    hidden = [_hidden(seed, noise=0.0, shift=-2.0) for seed in range(4)]
    assert honest_dice(hidden) > float(dice_of_offsets(hidden)[0].mean()) + 0.05


def test_one_hidden_image_is_judged_as_it_is_and_none_gives_nothing() -> None:
    only = _hidden(0)
    assert honest_dice([only]) == pytest.approx(float(dice_of_offsets([only])[0, 0]))
    assert honest_dice([]) == 0
    blank = Hidden(
        LabelledPicture(only.pair.picture, only.pair.classes * 0), only.said + torch.tensor([[[9.0]], [[-9.0]]])
    )
    assert dice_of_offsets([blank]).isnan().any()
    assert honest_dice([blank]) == 0


def test_halves_of_one_image_vouch_for_no_interval_and_no_offset() -> None:
    image, mask = drawn(2)
    predictor = Segmenter().adapt([image], [mask], classes=("background", "disc", "core"), methods=["prototype"])
    assert predictor.dice["prototype"] > 0.5
    assert predictor.bands.reach("area", "1", 0.9)[1] == 0
    assert predictor.calibration.offset == 0
