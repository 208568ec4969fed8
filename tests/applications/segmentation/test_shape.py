"""What masks have in common: read off all of them, asked of new ones, and dropped where hidden images say so."""

import numpy as np
import torch
from tests.drawn_cells import drawn

from metamedica.applications.segmentation import Segmenter
from metamedica.applications.segmentation.cases import LabelledPicture, Picture
from metamedica.applications.segmentation.measures import dice
from metamedica.applications.segmentation.shape import Shape, opened

SIDE = 48


def _disc(down: float, right: float, radius: float) -> np.ndarray:
    at = np.mgrid[:SIDE, :SIDE]
    return np.hypot(at[0] - down, at[1] - right) <= radius


def _pair(mask: np.ndarray) -> LabelledPicture:
    region = torch.ones(SIDE, SIDE, dtype=torch.bool)
    return LabelledPicture(
        Picture(torch.zeros(1, SIDE, SIDE), region, (SIDE, SIDE)), torch.from_numpy(mask.astype(np.int64))
    )


def _chance(*masks: np.ndarray) -> torch.Tensor:
    found = torch.stack([torch.from_numpy(each).float() for each in masks])
    return torch.cat([1 - found.amax(0, keepdim=True), found]).clamp(1e-6, 1)


def test_discs_are_one_part_without_holes_and_thick() -> None:
    shape = Shape.learned([_pair(_disc(20 + at, 24, 11)) for at in range(3)])
    assert shape == Shape(one_part=True, no_holes=True, radius=10.0)


def test_one_mask_that_is_otherwise_is_enough_to_ask_nothing() -> None:
    discs = [_disc(20, 24, 11) for _ in range(3)]
    ring = _disc(20, 24, 11) & ~_disc(20, 24, 3)
    lines = np.zeros((SIDE, SIDE), dtype=bool)
    lines[10], lines[30] = True, True
    assert not Shape.learned([_pair(each) for each in (*discs, ring)]).no_holes
    assert Shape.learned([_pair(each) for each in (*discs, lines)]) == Shape(no_holes=True)
    assert Shape.learned([_pair(each) for each in (*discs, lines & False)]) == Shape()


def test_two_masks_or_partly_labelled_ones_tell_no_shape() -> None:
    pairs = [_pair(_disc(20, 24, 11)) for _ in range(3)]
    assert Shape.learned(pairs[:2]) == Shape()
    pairs[0].classes[0, 0] = -1
    assert Shape.learned(pairs) == Shape()


def test_opening_keeps_a_disc_and_takes_a_line() -> None:
    disc = _disc(24, 24, 9)
    line = np.zeros_like(disc)
    line[24, 30:46] = True
    assert dice(opened(disc | line, 5.0), disc) > 0.98
    assert not opened(line, 2.0).any()


def test_a_mask_is_filled_thinned_out_and_left_with_the_part_that_has_all_structures() -> None:
    cell, core, stray = _disc(24, 16, 11), _disc(24, 16, 4), _disc(24, 40, 6)
    hole = _disc(24, 23, 2)
    classes = torch.from_numpy(np.where(core, 2, np.where((cell & ~hole) | stray, 1, 0)))
    said = _chance((cell & ~core) | stray, core)
    found = Shape(one_part=True, no_holes=True, radius=3.0).tidied(classes, said).numpy()
    assert dice(found > 0, cell) > 0.98
    assert (found[core] == 2).all()
    assert (found[hole] == 1).all()
    assert not found[stray].any()
    assert torch.equal(Shape().tidied(classes, said), classes)


def test_a_mask_thinner_than_the_disc_is_not_wiped_out() -> None:
    small = _disc(24, 24, 3)
    found = Shape(radius=8.0).tidied(torch.from_numpy(small.astype(np.int64)), _chance(small))
    assert (found.numpy() == small).all()


def test_a_predictor_of_discs_answers_in_one_part_and_outside_of_the_region_in_none() -> None:
    pairs = [drawn(seed, side=48, radius=11) for seed in range(4)]
    predictor = Segmenter().adapt(
        [image for image, _ in pairs],
        [mask for _, mask in pairs],
        classes=("background", "disc", "core"),
        methods=["prototype"],
    )
    assert predictor.shape.one_part
    image, mask = drawn(9, side=48, radius=11)
    image[2:6, 2:6] = 0.3
    found = predictor.predict(image)
    assert not found.mask[2:6, 2:6].any()
    assert dice(found.mask > 0, mask > 0) > 0.9
    region = ~_disc(24, 24, 4)
    assert not predictor.predict(image, region=region).mask[~region].any()
