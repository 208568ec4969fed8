"""The whole audit: planted faults come out as findings, clean sets as none, and real sets as their README says."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from generated_images import image_set, pictures, series

from metamedica.data.image_audit import split_leak as split_leak_module
from metamedica.data.image_audit.audit import audit
from metamedica.data.image_audit.balance import weigh
from metamedica.data.image_audit.pictures import coded
from metamedica.data.image_audit.runs import find_runs, running_numbers
from metamedica.data.image_audit.shortcuts import find_shortcuts
from metamedica.data.image_audit.split_leak import split_leak
from metamedica.data.image_audit.twins import find_twins


def of(found: Any, about: str) -> list[str]:
    return [each.says for each in found.findings if each.about == about and each.severity != "remark"]


def test_a_clean_set_has_no_grave_finding_and_no_warning() -> None:
    images = image_set(pictures(80, 0), ["a", "b"] * 40, split=["train"] * 60 + ["test"] * 20)
    found = audit(images)
    assert [each for each in found.findings if each.severity != "remark"] == []
    assert (found.unit, found.leaks, found.runs) == ("twins", [], None)
    assert "not shown to predict the label" in found.as_text()


def test_planted_faults_come_out_with_their_numbers_and_what_to_do() -> None:
    images = pictures(80, 1)
    images[70:74] = images[:4]
    images[1::2, :5] = 0  # class b has a black frame
    images[70:74] = images[:4]
    labels = ["a", "b"] * 40
    labels[71] = "a"
    groups = [f"p{at // 2}" for at in range(80)]
    groups[79] = groups[0]
    found = audit(image_set(images, labels, split=["train"] * 60 + ["test"] * 20, groups=groups))
    assert "2 images with the same pixels as one with another label." in of(found, "labels")
    assert any(
        "4 of 20 images in 'test' (20%) have a twin in 'train', 4 of them with equal pixels" in told
        for told in of(found, "split")
    )
    assert any(
        told.startswith("1 group (patients or series) on both sides: in 'test' (1 image) and in 'train' (2")
        for told in of(found, "groups")
    )
    assert "predict the label without the picture" in of(found, "shortcut")[0]
    assert found.findings[0].severity == "grave"
    assert all(each.do for each in found.findings if each.severity == "grave")
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert told["twins"]["exact_copies"] == 4
    assert told["balance"]["shared"] == [
        {"left": "test", "right": "train", "groups": 1, "left_images": 1, "right_images": 2}
    ]
    assert not any(group in found.as_text() or f'"{group}"' in json.dumps(told) for group in groups)


def test_units_join_groups_with_twins() -> None:
    images = pictures(40, 2)
    images[39] = images[0]
    found = audit(image_set(images, ["a", "b"] * 20, groups=[str(at // 4) for at in range(40)]))
    assert found.unit == "groups and twins"
    assert len(set(found.units.tolist())) == 9
    assert set(found.units[:4].tolist()) == set(found.units[36:].tolist())


def test_slices_without_groups_are_held_out_by_blocks_of_numbers() -> None:
    images = np.concatenate([series(8, 8, 0), series(8, 8, 60)])
    labels = ["a"] * 64 + ["b"] * 64
    found = audit(image_set(images, labels, numbers=np.tile(np.arange(64), 2)))
    assert found.unit == "blocks of neighbouring numbers and twins"
    assert any("A random split flatters by +" in told for told in of(found, "split"))
    assert any("Files with neighbouring numbers show much the same picture" in told for told in of(found, "runs"))
    again = audit(image_set(images, labels, numbers=np.tile(np.arange(64), 2)))
    assert again.as_dict() == found.as_dict()


def test_small_absent_and_uneven_classes_and_mixed_modes_are_told() -> None:
    images: list[Any] = list(pictures(70, 3))
    images[0] = np.repeat(images[0][..., None], 3, axis=2)
    images[1] = np.full((9, 9), 7, dtype=np.uint8)
    labels = ["a"] * 60 + ["b"] * 8 + ["c"] * 2
    made = image_set(images, labels, split=["train"] * 65 + ["valid"] * 3 + ["test"] * 2)
    found = audit(made)
    told = found.as_text()
    assert "Class 'c' has 2 images." in told
    assert "Part 'test' of the split has no image of 'a', 'b'." in told
    assert "'a' has 60 images, 'c' 2" in told
    assert "mixed: 69 grey and 1 RGB" in told
    assert "1 image of one grey all over." in told
    counted = weigh(made)
    assert (counted.small, counted.unevenness) == (["c"], 30.0)
    assert counted.parts["valid"] == {"a": 0, "b": 3, "c": 0}


def test_groups_with_several_labels_are_counted() -> None:
    counted = weigh(image_set(pictures(6, 0), list("aabbab"), groups=list("xxyyzz")))
    assert (counted.groups, counted.groups_with_labels, counted.shared) == (3, 1, [])


def archive(name: str) -> dict[str, Any]:
    with np.load(Path(os.environ["METAMEDICA_DATA"]) / "images" / name, allow_pickle=False) as stored:
        return dict(stored.items())


def named(stored: dict[str, Any], **given: Any) -> Any:
    table = pd.DataFrame({"format": [str(name).rsplit(".", 1)[-1].lower() for name in stored["names"]]})
    table["width"], table["height"] = stored["orig_wh"].T
    return image_set(stored["images"], stored["class_names"][stored["labels"]], facts=table, **given)


@pytest.mark.mirror
def test_of_brain_mri_the_test_twins_of_the_readme_are_found_one_by_one() -> None:
    stored = archive("brain_tumor_mri/brain_tumor_mri_64.npz")
    found = find_twins(image_set(stored["images"], stored["labels"], split=stored["split"]))
    test = next(each for each in found.crossings if each.part == "test")
    assert (test.near, test.images) == (259, 394)
    train = set(found.cluster[stored["split"] == "train"].tolist())
    with_twin = np.array([number in train for number in found.cluster]) & (stored["split"] == "test")
    np.testing.assert_array_equal(with_twin, stored["test_twin_in_train"])


@pytest.mark.mirror
def test_of_iq_oth_the_copies_the_runs_and_the_odd_sizes_of_the_readme_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(split_leak_module, "REPEATS", 1)
    stored = archive("iq_oth_nccd/iq_oth_nccd_160.npz")
    labels = [str(stored["class_names"][code]) for code in stored["labels"]]
    numbers = running_numbers([str(name) for name in stored["names"]], labels)
    assert numbers is not None
    np.testing.assert_array_equal(numbers, stored["number"])
    images = named(stored, numbers=numbers)
    assert find_twins(images).exact_by_class == {"benign": 17, "malignant": 14, "normal": 11}
    runs = find_runs(images)
    assert runs is not None
    assert runs.found
    assert all(each.neighbours > 0.5 and each.p < 0.01 for each in runs.classes)
    nearest, linear = split_leak(images, runs.blocks)
    assert nearest.random.value > 0.95 > 0.75 > nearest.blocked.value  # HOG and a linear model: 0.919 and 0.699
    assert linear.gain.low > 0.05
    shortcuts = find_shortcuts(images)
    assert shortcuts is not None
    sizes = {mark.value: (mark.label, mark.images) for mark in shortcuts.marks if mark.fact == "size"}
    assert sizes == {"623x512": ("malignant", 31), "801x512": ("malignant", 28)}  # the sixtieth, 511x404, is alone


@pytest.mark.mirror
def test_of_covid_ct_the_files_alone_tell_the_label_of_unseen_patients() -> None:
    stored = archive("covid_ct/covid_ct_192.npz")
    found = find_shortcuts(named(stored), groups=coded([str(each) for each in stored["patient"]]))
    assert found is not None
    assert found.predicts
    assert found.every.auc > 0.9
    jpg = next(mark for mark in found.marks if mark.fact == "format")
    assert (jpg.value, jpg.label, jpg.images, jpg.certain) == ("jpg", "NonCOVID", 202, True)
    counted = weigh(named(stored, split=stored["split"], groups=stored["patient"]))
    assert counted.shared == []
    assert {part: sum(row.values()) for part, row in counted.parts.items()} == {"train": 425, "val": 118, "test": 203}
