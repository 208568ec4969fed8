"""Patients and series of labelled scans: who belongs together, what stands on both sides, what is mixed, uneven or written upon."""

from typing import Any

import pytest

from metamedica.data.image_audit.findings import of_series
from metamedica.data.image_audit.series import Series, Slices, look_at_series
from metamedica.errors import InputError


def _slices(n: int, **given: Any) -> Slices:
    usual = {"patients": [None] * n, "series": [None] * n, "folders": [""] * n, "heights_mm": [None] * n}
    return Slices(**{**usual, "writing": [False] * n, **given})


def _told(found: Series) -> str:
    return " ".join(f"[{each.severity}] {each.says}" for each in of_series(found))


def test_images_of_a_patient_belong_together_and_a_series_follows_its_patient() -> None:
    slices = _slices(6, patients=["p", "p", "q", None, None, None], series=["s", "t", "u", "t", "v", None])
    assert slices.groups() == ["group 1", "group 1", "group 2", "group 1", "group 3", "group 4"]


def test_where_all_have_one_patient_a_series_is_taken_for_one_and_that_is_told() -> None:
    slices = _slices(4, patients=["anonymous"] * 4, series=["s", "s", "t", "t"])
    assert slices.groups() == ["group 1", "group 1", "group 2", "group 2"]
    found = look_at_series(slices, ["a", "a", "b", "b"])
    assert (found.one_patient, found.patients, found.series) == (True, 1, 2)
    assert "[warning] All scans name the same patient" in _told(found)
    assert _slices(3).groups() is None


def test_series_on_both_sides_are_grave_and_counted() -> None:
    slices = _slices(6, patients=["p"] * 3 + ["q"] * 3, series=["s"] * 3 + ["t"] * 3)
    found = look_at_series(slices, ["a"] * 6, split=["train", "test", "train", "test", "test", "test"])
    assert (found.split_series, found.split_images) == (1, 3)
    assert "[grave] 1 of 2 series have slices in more than one part of the split (3 images)." in _told(found)
    apart = look_at_series(slices, ["a"] * 6, split=["train"] * 3 + ["test"] * 3)
    assert apart.split_series == 0
    assert _told(apart) == ""


def test_mixed_folders_and_labels_are_told() -> None:
    slices = _slices(5, series=["s", "t", "s", "t", "u"], folders=["a/one", "a/one", "", "", "b/two"])
    found = look_at_series(slices, ["a", "a", "a", "b", "b"])
    assert (found.mixed_folders, found.two_labels) == (1, 1)
    assert "1 folder with images of several series" in _told(found)


@pytest.mark.parametrize(
    ("heights", "measured", "uneven"),
    [
        ([0.0, 2.5, 5.0, 7.5], 1, 0),
        ([7.5, 0.0, 5.0, 2.5], 1, 0),  # in whatever order files come
        ([0.0, 2.5, 5.0, 10.0], 1, 1),  # one is missing
        ([0.0, 2.5, 2.5, 5.0], 1, 1),  # one twice
        ([0.0, 2.5, 5.004, 7.5], 1, 0),  # rounding
        ([0.0, 2.5, None, None], 0, 0),
    ],
)
def test_distances_between_slices_are_compared(heights: list[float | None], measured: int, uneven: int) -> None:
    found = look_at_series(_slices(4, series=["s"] * 4, heights_mm=heights), ["a"] * 4)
    assert (found.measured, found.uneven) == (measured, uneven)
    assert ("at uneven distances" in _told(found)) == bool(uneven)


def test_writing_is_counted_by_label() -> None:
    found = look_at_series(_slices(4, writing=[True, False, True, True]), ["b", "a", "a", "b"])
    assert found.writing == {"a": 1, "b": 2}
    assert "3 of 4 scans may have text in the pixels (a: 1, b: 2)." in _told(found)
    assert found.as_dict()["scans"] == 4


def test_another_number_of_entries_is_refused() -> None:
    with pytest.raises(InputError, match="got 2 patients and 1 series; give one for each image"):
        _slices(2, series=["s"])
    with pytest.raises(InputError, match="got 2 images and 1 labels"):
        look_at_series(_slices(2), ["a"])
    with pytest.raises(InputError, match="got 2 images and 3 parts"):
        look_at_series(_slices(2), ["a", "b"], split=["x"] * 3)
