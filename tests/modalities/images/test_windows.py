"""Windows and normalisation: closed forms, pydicom's LINEAR_EXACT as oracle, and images in which there is nothing to see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.errors import CaseError, InputError
from metamedica.modalities.images.windows import (
    WINDOWS,
    Window,
    foreground,
    normalised,
    percentile_scaled,
    window,
    windowed,
    z_scored,
)

HU = np.linspace(-1200, 2000, 65, dtype=np.float32)


def test_the_lung_window_shows_minus_1350_as_black_and_150_as_white() -> None:
    assert np.allclose(windowed(np.array([-2000.0, -1350, -600, 150, 900]), "lung"), [0, 0, 0.5, 1, 1])
    assert (WINDOWS["mediastinum"], WINDOWS["brain"]) == (Window(50.0, 350.0), Window(40.0, 80.0))


@pytest.mark.parametrize("name", sorted(WINDOWS))
def test_every_named_window_is_dicoms_exact_linear_one(name: str) -> None:
    pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset
    from pydicom.pixels import apply_windowing

    data = Dataset()
    data.PhotometricInterpretation, data.BitsStored, data.PixelRepresentation = "MONOCHROME2", 16, 0
    data.WindowCenter, data.WindowWidth, data.VOILUTFunction = WINDOWS[name].level, WINDOWS[name].width, "LINEAR_EXACT"
    expected = apply_windowing(np.rint(HU).astype(int), data) / (2**16 - 1)
    assert np.allclose(windowed(np.rint(HU), name), expected, atol=1e-4)


@given(st.floats(-1000, 1000), st.floats(1, 4000))
def test_a_window_is_monotone_and_half_at_its_level(level: float, width: float) -> None:
    shown = windowed(HU, (level, width))
    assert (np.diff(shown) >= 0).all()
    assert windowed(np.array([level]), (level, width))[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("lungs", r"no window 'lungs'; choose one of lung, "),
        ((40.0, 0.0), r"width above 0"),
        ((np.nan, 5.0), r"finite HU"),
    ],
)
def test_a_window_that_is_none_is_refused(which: str | tuple[float, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        window(which)


def test_percentiles_become_black_and_white_whatever_the_unit() -> None:
    values = np.random.default_rng(0).permutation(np.arange(101.0)).reshape(1, 101)
    shown = percentile_scaled(values)
    assert np.allclose(shown, np.clip((values - 1) / 98, 0, 1))
    assert np.allclose(percentile_scaled(values * 37 - 12), shown, atol=1e-6)
    assert np.allclose(percentile_scaled(values, low=0.0, high=100.0), values / 100)


def test_one_bright_outlier_does_not_darken_the_image() -> None:
    values = np.tile(np.linspace(0, 1, 1000), (10, 1))
    values[0, 0] = 1e6
    assert percentile_scaled(values).std() > 0.25


def test_a_few_bright_pixels_on_black_are_kept() -> None:
    values = np.zeros((100, 100))
    values[3, 4], values[5, 5] = 2, 1
    shown = percentile_scaled(values)
    assert (shown[3, 4], shown[5, 5], shown[0, 0]) == (1, 0.5, 0)


def test_an_mr_is_scaled_by_its_body_not_by_the_air_around() -> None:
    generator = np.random.default_rng(0)
    for share in (0.3, 0.7):
        values = generator.normal(10, 2, size=20000)
        body = generator.random(20000) < share
        values[body] = generator.normal(500, 30, size=int(body.sum()))
        assert np.array_equal(foreground(values), body)
        shown = normalised(values, modality="MR")
        assert np.median(shown[body]) == pytest.approx(0.5, abs=0.02)
        assert shown[~body].max() == 0
        scores = z_scored(values, inside=foreground(values))
        assert scores[body].mean() == pytest.approx(0, abs=1e-3)
        assert scores[body].std() == pytest.approx(1, abs=1e-3)


def test_a_ct_is_windowed_and_everything_else_is_not() -> None:
    assert np.array_equal(normalised(HU, modality="CT", unit="HU", window="bone"), windowed(HU, "bone"))
    for modality in ("DX", "US", "PT", None):
        assert np.array_equal(normalised(HU, modality=modality), percentile_scaled(HU))
    with pytest.raises(InputError, match=r"a CT whose values are not in HU; a window needs HU"):
        normalised(HU, modality="CT")


@pytest.mark.parametrize("modality", ["CT", "MR", "DX", None])
def test_an_image_with_nothing_to_see_is_refused(modality: str | None) -> None:
    with pytest.raises(CaseError, match=r"the image is all black: there is nothing to see; leave it out"):
        normalised(np.zeros((4, 4)), modality=modality, unit="HU")
    with pytest.raises(CaseError, match=r"the image is constant \(7\)"):
        normalised(np.full((4, 4), 7.0), modality=modality, unit="HU")
    with pytest.raises(CaseError, match=r"not finite"):
        normalised(np.array([1.0, np.nan]), modality=modality, unit="HU")


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match=r"give 0 <= low < high <= 100"):
        percentile_scaled(HU, low=50.0, high=50.0)
    with pytest.raises(InputError, match=r"a region without a pixel"):
        percentile_scaled(HU, inside=np.zeros(HU.shape, bool))
    with pytest.raises(CaseError, match=r"constant \(-1200\) where it was measured"):
        z_scored(HU, inside=HU == -1200)
    with pytest.raises(CaseError, match=r"has no pixel"):
        foreground(np.zeros((0, 3)))
