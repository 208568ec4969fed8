"""Refined lungs: consolidations that a threshold misses are learned from corrected slices, and nothing is made worse."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from chest_phantom import chest

from metamedica.errors import InputError
from metamedica.modalities.images.lung_refinement import dice, refined_lungs

NUMBERS = (9, 13, 17, 21, 25)


def test_consolidations_that_the_threshold_misses_are_found_on_other_slices() -> None:
    volume, truth = chest(consolidations=3)
    true = truth["left"] | truth["right"]
    refined = refined_lungs(volume, [(number, true[number]) for number in NUMBERS])
    others = np.setdiff1d(np.arange(volume.shape[0]), NUMBERS)
    before, after = (dice(lungs.mask[others], true[others]) for lungs in (refined.classical, refined.lungs))
    assert refined.helped
    assert refined.refined_dice > refined.classical_dice
    assert before < 0.98
    assert after > before + 0.005
    missed = true & ~refined.classical.mask
    assert refined.lungs.mask[others][missed[others]].mean() > 0.5
    assert np.array_equal(refined.lungs.mask[13], true[13])
    assert dice(refined.lungs.left, truth["left"]) > 0.97
    assert dice(refined.lungs.right, truth["right"]) > 0.97


def test_where_nothing_is_missed_the_classical_lungs_are_kept_or_equalled() -> None:
    volume, truth = chest()
    true = truth["left"] | truth["right"]
    refined = refined_lungs(volume, [(number, true[number]) for number in (12, 20)])
    assert dice(refined.lungs.mask, true) > dice(refined.classical.mask, true) - 0.003


def test_masks_that_contradict_each_other_change_nothing() -> None:
    volume, truth = chest()
    true = truth["left"] | truth["right"]
    refined = refined_lungs(volume, [(9, true[9]), (21, ~true[21])])
    assert not refined.helped
    assert refined.refined_dice <= refined.classical_dice
    assert refined.lungs is refined.classical


@pytest.mark.parametrize(
    ("support", "message"),
    [
        ([], r"got 0 corrected slices; give two or more"),
        ([(3, np.zeros((64, 80)))], r"got 1 corrected slices"),
        ([(3, np.zeros((64, 80))), (3, np.zeros((64, 80)))], r"slice 3 is given twice or not there"),
        ([(3, np.zeros((64, 80))), (36, np.zeros((64, 80)))], r"slice 36 is given twice or not there; .* from 0 to 35"),
        ([(3, np.zeros((64, 80))), (4, np.zeros((4, 4)))], r"mask of slice 4 has shape \(4, 4\), the slice \(64, 80\)"),
        ([(3, np.zeros((64, 80))), (4, np.full((64, 80), 255))], r"other values than 0 and 1"),
    ],
)
def test_a_support_that_cannot_be_used_is_refused(support: list[tuple[int, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        refined_lungs(chest()[0], support)


def test_slices_away_from_the_lungs_teach_nothing_and_are_refused() -> None:
    volume, truth = chest()
    longer = replace(volume, values=np.concatenate([np.repeat(volume.values[:1], 8, axis=0), volume.values]))
    empty = np.zeros(truth["left"].shape[1:])
    with pytest.raises(InputError, match=r"lie away from every lung"):
        refined_lungs(longer, [(0, empty), (1, empty)])


def test_dice_of_two_empty_masks_is_one() -> None:
    empty, full = np.zeros(4, bool), np.ones(4, bool)
    assert (dice(empty, empty), dice(empty, full), dice(full, full)) == (1.0, 0.0, 1.0)
    assert dice(np.array([True, True, False]), np.array([False, True, True])) == 0.5
