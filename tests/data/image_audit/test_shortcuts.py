"""Shortcuts: planted ones are found and named, and in sets without any the alarm goes off as rarely as its level says."""

import numpy as np
import pandas as pd
import pytest
from generated_images import image_set, pictures
from sklearn.metrics import roc_auc_score

from metamedica.data.image_audit import shortcuts as module
from metamedica.data.image_audit.pictures import ImageSet
from metamedica.data.image_audit.shortcuts import find_shortcuts, with_ratios


def made(facts: pd.DataFrame, labels: np.ndarray) -> ImageSet:
    n = len(facts)
    return ImageSet(
        np.zeros((n, 32, 32), dtype=np.float32), [str(each) for each in labels], [str(at) for at in range(n)], facts
    )


def facts(n: int, random: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "bytes": random.normal(1e5, 1e4, n),
            "format": random.choice(["PNG", "JPEG"], n),
            "width": random.choice([256.0, 300.0, 512.0], n),
            "height": 256.0,
            "border_level": random.random(n),
        }
    )


def test_without_a_shortcut_the_alarm_goes_off_as_rarely_as_its_level_says() -> None:
    alarms, small = 0, 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        found = find_shortcuts(made(facts(60, random), random.choice(["a", "b", "c"], 60)), seed=seed)
        assert found is not None
        alarms += found.predicts
        small += found.every.p <= 0.05
    assert alarms <= 6  # of 40 at a level of 0.05: more than 6 once in two hundred
    assert small <= 6


def test_with_groups_of_one_label_the_alarm_keeps_its_level() -> None:
    alarms = 0
    for seed in range(25):
        random = np.random.default_rng(1000 + seed)
        table = (
            facts(30, random).loc[np.repeat(np.arange(30), 5)].reset_index(drop=True)
        )  # a patient's files look the same
        labels, groups = np.repeat(random.choice(["a", "b"], 30), 5), np.repeat(np.arange(30), 5)
        found = find_shortcuts(made(table, labels), groups=groups, seed=seed)
        assert found is not None
        assert found.groups == 30
        alarms += found.predicts
    assert alarms <= 4


def test_a_format_that_follows_the_label_is_found_and_named() -> None:
    random = np.random.default_rng(0)
    labels = random.choice(["a", "b"], 120)
    table = facts(120, random)
    table["format"] = np.where((labels == "a") & (random.random(120) < 0.6), "JPEG", "PNG")
    found = find_shortcuts(made(table, labels))
    assert found is not None
    assert found.predicts
    assert found.families[0].p == 1 / (1 + module.PERMUTATIONS)
    assert found.single[0].fact == "format"
    assert {each.facts: each.auc > 0.7 for each in found.families} == {
        "file": True,
        "size": False,
        "borders": False,
        "file and size": True,
    }
    (mark,) = found.marks
    assert (mark.fact, mark.value, mark.label, mark.images) == (
        "format",
        "JPEG",
        "a",
        int((table["format"] == "JPEG").sum()),
    )
    assert mark.certain


def test_a_file_size_that_follows_the_label_is_found() -> None:
    random = np.random.default_rng(1)
    labels = random.choice(["a", "b", "c"], 150)
    table = facts(150, random)
    table["bytes"] += 15_000 * (labels == "c")
    found = find_shortcuts(made(table, labels))
    assert found is not None
    assert found.predicts
    assert found.single[0].fact in ("bytes", "bytes_per_pixel")
    assert found.every.low > 0.55


def test_a_black_frame_round_one_class_is_found_in_the_pixels() -> None:
    images, labels = pictures(80, 0), np.arange(80) % 2
    images[labels == 1, :6] = 0
    found = find_shortcuts(image_set(images, labels))
    assert found is not None
    assert found.predicts
    assert "borders" in {each.facts for each in found.families if each.auc > 0.95}


def test_a_size_of_one_patient_alone_is_told_as_uncertain() -> None:
    random = np.random.default_rng(2)
    table = facts(90, random)
    labels = np.repeat(["a", "b", "c"], 30)
    table.loc[:9, "width"] = 623.0
    found = find_shortcuts(made(table, labels), groups=np.concatenate([np.zeros(10, dtype=int), np.arange(1, 81)]))
    assert found is not None
    (mark,) = found.marks
    assert (mark.fact, mark.value, mark.images, mark.groups, mark.certain) == ("size", "623x256", 10, 1, False)


def test_the_auc_is_that_of_scikit_learn_and_weights_count_as_repeats() -> None:
    random = np.random.default_rng(3)
    labels, scores = random.integers(0, 3, 80), random.integers(0, 9, (80, 3)) / 10
    own = module._aucs(scores[None], labels[None], 3)[0]
    assert own == pytest.approx(np.mean([roc_auc_score(labels == code, scores[:, code]) for code in range(3)]))
    weights = random.integers(0, 4, (5, 80))
    repeated = [np.repeat(np.arange(80), each) for each in weights]
    expected = [np.mean([roc_auc_score(labels[at] == code, scores[at, code]) for code in range(3)]) for at in repeated]
    np.testing.assert_allclose(module._weighted_aucs(scores, labels, weights.astype(float)), expected)


def test_shuffled_labels_stay_whole_in_their_groups_and_keep_their_number_of_groups() -> None:
    labels, groups = np.repeat([0, 1, 1, 2], [3, 2, 2, 3]), np.repeat(np.arange(4), [3, 2, 2, 3])
    for seed in range(20):
        shuffled = module._shuffled(labels, groups, np.random.default_rng(seed))
        of_group = [set(shuffled[groups == at].tolist()) for at in range(4)]
        assert sorted(each.pop() for each in of_group) == [0, 1, 1, 2]


def test_ratios_are_made_where_their_parts_are_known_and_gaps_do_not_break_it() -> None:
    table = with_ratios(pd.DataFrame({"width": [4, 8], "height": [2, 2], "bytes": [16, 8]}))
    assert table["aspect"].tolist() == [2, 4]
    assert table["bytes_per_pixel"].tolist() == [2, 0.5]
    random = np.random.default_rng(4)
    gaps = pd.DataFrame({"jpeg_quality": np.where(random.random(60) < 0.5, np.nan, 90.0), "format": [None, "PNG"] * 30})
    found = find_shortcuts(made(gaps, np.array(["a", "b"] * 30)))
    assert found is not None
    assert found.predicts  # only class b has a format


def test_where_nothing_varies_or_one_class_is_left_there_is_nothing_to_ask() -> None:
    same = pd.DataFrame({"format": ["PNG"] * 20})
    assert find_shortcuts(made(same, np.array(["a", "b"] * 10))) is None
    assert find_shortcuts(made(facts(20, np.random.default_rng(0)), np.array(["a"] * 17 + ["b"] * 3))) is None


def test_of_many_images_whole_groups_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 100)
    random = np.random.default_rng(5)
    found = find_shortcuts(made(facts(300, random), random.choice(["a", "b"], 300)), groups=np.arange(300) // 3)
    assert found is not None
    assert 100 <= found.images <= 102
    assert found.images == 3 * found.groups
