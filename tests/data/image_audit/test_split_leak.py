"""What a random split flatters: nothing where images stand alone, much where patients repeat."""

import numpy as np
import pytest
from generated_images import image_set, pictures, series

from metamedica.data.image_audit import split_leak as module
from metamedica.data.image_audit.split_leak import split_leak


def test_labels_that_only_patients_tell_are_at_chance_once_patients_are_held_out() -> None:
    images = series(40, 6, 0)
    labels = np.repeat(np.random.default_rng(0).permutation(["a", "b"] * 20), 6)
    nearest, linear = split_leak(image_set(images, labels), np.repeat(np.arange(40), 6))
    assert nearest.random.value > 0.95
    assert nearest.blocked.value < 0.75
    assert nearest.gain.low > 0.1
    assert linear.gain.value > 0
    assert nearest.gain.value == pytest.approx(nearest.random.value - nearest.blocked.value)
    for each in (nearest.random, nearest.blocked, nearest.gain):
        assert each.low <= each.value <= each.high


def test_where_every_image_stands_alone_both_splits_agree() -> None:
    images = pictures(200, 1).astype(float)
    labels = np.arange(200) % 2
    images[labels == 1, :20] += 60
    made = image_set(images.clip(0, 255).astype(np.uint8), labels)
    for each in split_leak(made, np.arange(200)):
        assert each.gain.low <= 0 <= each.gain.high
        assert each.random.value > 0.7


def test_a_class_in_too_few_blocks_is_left_out_and_one_class_alone_says_nothing() -> None:
    images, blocks = pictures(60, 2), np.arange(60)
    blocks[40:] = 40
    made = image_set(images, ["a"] * 20 + ["b"] * 20 + ["c"] * 20)
    assert split_leak(made, blocks)[0].images == 40
    assert split_leak(image_set(images[20:], ["b"] * 20 + ["c"] * 20), blocks[20:]) == []


def test_of_many_images_whole_blocks_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 50)
    found = split_leak(image_set(pictures(120, 3), np.arange(120) % 2), np.arange(120) // 4)
    assert 44 <= found[0].images <= 50
    assert found[0].images == 4 * found[0].blocks
