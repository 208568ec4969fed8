"""Runs: series of slices are found by their numbers, and pictures in random order are not."""

import numpy as np
from generated_images import image_set, pictures, series

from metamedica.data.image_audit.runs import find_runs, running_numbers


def test_the_last_number_of_a_name_counts_and_other_prefixes_are_other_series() -> None:
    names = ["a/case 2 (1).jpg", "a/case 2 (2).png", "a/case 2 (10).png", "b/x.png", "b/y.png"]
    numbers = running_numbers(names, ["a", "a", "a", "b", "b"])
    assert numbers is not None
    assert numbers.tolist() == [1, 2, 10, -1, -1]
    two = running_numbers(["p1.png", "p2.png", "q1.png", "q2.png"], ["a"] * 4)
    assert two is not None
    assert two[:2].tolist() == [1, 2]
    assert two[3] - two[2] == 1
    assert two[2] > 100


def test_names_without_a_running_number_give_none() -> None:
    assert running_numbers(["a.png", "b.png", "c.jp2"], ["x", "x", "y"]) is None
    assert running_numbers(["scan_512.png"] * 10, ["x"] * 10) is None


def test_series_of_slices_are_found_and_kept_whole_in_blocks() -> None:
    images = np.concatenate([series(12, 10, 0), series(12, 10, 50)])
    labels = ["a"] * 120 + ["b"] * 120
    order = np.random.default_rng(0).permutation(240)
    numbers = np.tile(np.arange(120), 2)[order]
    found = find_runs(image_set(images[order], [labels[at] for at in order], numbers=numbers))
    assert found is not None
    assert found.found
    for each in found.classes:
        assert each.neighbours - each.random > 0.5
        assert each.p <= 0.01
        assert each.runs == 12
        assert each.median_run == 10
        assert 5 <= each.lag <= 10
    patient = np.repeat(np.arange(24), 10)[order]
    for one in range(24):
        assert len(set(found.blocks[patient == one].tolist())) == 1
    assert len(set(found.blocks.tolist())) == 24


def test_pictures_in_random_order_show_no_runs_more_often_than_the_level() -> None:
    alarms = 0
    for seed in range(6):
        found = find_runs(image_set(pictures(30, seed), ["a"] * 30, numbers=np.arange(30)), seed=seed)
        assert found is not None
        alarms += found.found
        assert found.found or len(set(found.blocks.tolist())) == 30
    assert alarms <= 2


def test_without_numbers_there_is_nothing_to_say() -> None:
    assert find_runs(image_set(pictures(12, 0), ["a"] * 12)) is None
