"""Writing in pixels: real ultrasound screens and drawn letters are flagged, scans and noise are not."""

import numpy as np
import pytest

from made_dicom import dataset
from metamedica.data.deidentification.burned_in import KIND, LOOKS_SO, SAYS_SO, UNSEEN, has_writing, reasons

pydicom = pytest.importorskip("pydicom")


def sample(name: str) -> "pydicom.Dataset":
    from pydicom.data import get_testdata_file

    return pydicom.dcmread(get_testdata_file(name, download=False))


def noise(seed: int = 0, size: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).normal(900, 60, size=(size, size))


def lettered(place: tuple[int, int], size: int, bright: float, text: str = "SMITH JOHN 1961") -> np.ndarray:
    """Return noise with a line of letters drawn into it."""
    pytest.importorskip("PIL")
    from PIL import Image, ImageDraw, ImageFont

    mask = Image.new("L", (256, 256))
    ImageDraw.Draw(mask).text(place, text, fill=255, font=ImageFont.load_default(size))
    return np.where(np.asarray(mask) > 127, bright, noise())


@pytest.mark.parametrize("size", [10, 14, 20])
@pytest.mark.parametrize("place", [(6, 4), (30, 225)])
@pytest.mark.parametrize("bright", [4095.0, -2000.0])
def test_letters_near_the_border_are_seen_bright_or_dark(place: tuple[int, int], size: int, bright: float) -> None:
    assert has_writing(lettered(place, size, bright))


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_single_marks_are_no_writing(seed: int) -> None:
    assert not has_writing(noise(seed))
    marked = noise(seed)
    marked[5:25, 5:25] = 4000  # a plain square
    marked[200:240, 100] = 4000  # a ruler's line
    assert not has_writing(marked)
    assert not has_writing(np.zeros((64, 64)))


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_real_scans_are_not_flagged(name: str) -> None:
    assert reasons(sample(name)) == []


@pytest.mark.parametrize("name", ["examples_palette.dcm", "examples_rgb_color.dcm", "examples_jpeg2k.dcm"])
def test_real_ultrasound_screens_are_flagged_by_kind_and_by_look(name: str) -> None:
    assert reasons(sample(name)) == [KIND, LOOKS_SO]


def test_a_file_that_says_so_or_is_of_such_a_kind_is_flagged() -> None:
    pixels = noise().astype(np.uint16)
    assert reasons(dataset(pixels)) == []
    assert reasons(dataset(pixels, BurnedInAnnotation="YES")) == [SAYS_SO]
    assert reasons(dataset(pixels, SOPClassUID="1.2.840.10008.5.1.4.1.1.7.2")) == [KIND]
    assert reasons(dataset(pixels, Modality="US")) == [KIND]
    assert reasons(dataset(pixels, ConversionType="WSD")) == [KIND]


def test_pixels_that_cannot_be_looked_at_are_flagged() -> None:
    data = dataset(noise().astype(np.uint16))
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
    assert UNSEEN in reasons(data)
