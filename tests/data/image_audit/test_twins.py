"""Twins: planted copies are found, whatever was done to them, and nothing else is."""

import numpy as np
import pytest
from generated_images import image_set, pictures
from scipy.ndimage import zoom

from metamedica.data.image_audit import twins
from metamedica.data.image_audit.twins import find_twins
from metamedica.errors import InputError


def test_in_different_pictures_no_twin_is_found() -> None:
    found = find_twins(image_set(pictures(200, 0), ["a", "b"] * 100), copies="turned")
    assert (found.exact_copies, found.near_pairs, found.with_twin, found.pairs) == (0, 0, 0, [])
    assert len(set(found.cluster.tolist())) == 200


def test_planted_copies_are_counted_over_labels_and_split() -> None:
    images = pictures(60, 1)
    images[40:45] = images[:5]  # five copies, one of them under another label
    labels = ["a"] * 60
    labels[40], labels[59] = "b", "b"
    split = ["train"] * 40 + ["test"] * 20
    found = find_twins(image_set(images, labels, split=split))
    assert (found.exact_copies, found.exact_by_class, found.near_pairs) == (5, {"a": 4, "b": 1}, 5)
    assert (found.exact_two_labels, found.two_labels, found.with_twin) == (2, 2, 10)
    test = next(each for each in found.crossings if each.part == "test")
    assert (test.other, test.images, test.exact, test.near) == ("train", 20, 5, 5)
    assert (found.pairs[0].left, found.pairs[0].right, found.pairs[0].exact) == (0, 40, True)
    assert [found.cluster[at] == found.cluster[at + 40] for at in range(5)] == [True] * 5


def test_a_scaled_noisy_or_brighter_copy_is_a_near_twin() -> None:
    images = list(pictures(30, 2))
    first = images[0].astype(float)
    noisy = first + np.random.default_rng(0).normal(0, 3, first.shape)
    copies = [zoom(images[0], 2, order=1), noisy.clip(0, 255).astype(np.uint8), (first * 0.7 + 20).astype(np.uint8)]
    found = find_twins(image_set([*images, *copies], ["a"] * 33))
    assert (found.exact_copies, found.near_pairs, found.with_twin) == (0, 6, 4)
    assert len({int(found.cluster[at]) for at in (0, 30, 31, 32)}) == 1


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_turned_and_mirrored_copies_are_found_where_they_are_asked_for(turns: int, flip: bool) -> None:
    images = list(pictures(20, 3, size=(40, 40)))
    copy = np.rot90(images[0][:, ::-1] if flip else images[0], turns)
    made = image_set([*images, copy], ["a"] * 21)
    assert find_twins(made, copies="turned").near_pairs == 1
    assert find_twins(made, copies="mirrored").near_pairs == int(
        (flip and turns in (0, 2)) or (turns, flip) == (0, False)
    )
    assert find_twins(made).near_pairs == int((turns, flip) == (0, False))


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(70, 4)
    images[50:60] = images[20:30]
    images[60:70] = images[20:30]
    made = image_set(images, ["a", "b"] * 35, split=["x", "y", "y", "x", "x"] * 14)
    whole = find_twins(made)
    monkeypatch.setattr(twins, "_ROWS", 13)
    parts = find_twins(made)
    assert parts.as_dict() | {"pairs": None} == whole.as_dict() | {"pairs": None}
    assert {(each.left, each.right) for each in parts.pairs} == {(each.left, each.right) for each in whole.pairs}
    np.testing.assert_array_equal(parts.cluster, whole.cluster)
    assert whole.near_pairs == 30


def test_twins_of_twins_are_one_cluster_and_blank_images_are_counted() -> None:
    images = pictures(10, 5)
    images[3] = images[7] = 9
    images[8] = 200
    found = find_twins(image_set(images, ["a"] * 10))
    assert (found.blank, found.exact_copies, found.near_pairs) == (3, 1, 1)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_a_threshold_that_is_no_correlation_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="give a number between 0 and 1"):
        find_twins(image_set(pictures(3, 0), ["a"] * 3), threshold=threshold)
