"""Whatever an image came as, it becomes the same square; what is none is refused in one sentence."""

from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from metamedica.errors import CaseError, FileFormatError
from metamedica.modalities.images.pixels import grey_of, square_of, text_of
from metamedica.modalities.images.rasters import ImageLimits
from metamedica.modalities.images.windows import windowed


def _square(case: object, *, side: int = 16, window: Any = None) -> np.ndarray:
    return square_of(case, side=side, window=window, limits=ImageLimits())


def _random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    data = BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def test_a_file_its_bytes_and_its_pixels_are_the_same_case(tmp_path: Path) -> None:
    pixels = _random(16, 16)
    (tmp_path / "a.png").write_bytes(_png(pixels))
    want = np.repeat(pixels[..., None], 3, axis=2)
    for case in (pixels, _png(pixels), tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(_square(case), want)


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3)])
def test_the_text_of_a_square_gives_the_square_back(shape: tuple[int, ...]) -> None:
    square = _square(_random(*shape))
    text = text_of(square)
    np.testing.assert_array_equal(_square(text), square)
    assert text == text_of(square.copy())
    assert (Image.open(BytesIO(_png(square))).mode, len(shape)) in (("RGB", 2), ("RGB", 3))


def test_another_size_is_stretched_to_the_square() -> None:
    wide = np.zeros((20, 40), np.uint8)
    wide[:, 20:] = 200
    square = _square(wide)
    assert square.shape == (16, 16, 3)
    assert square[:, :6].max() < 10
    assert square[:, 10:].min() > 190


def test_sixteen_bits_are_brought_to_eight_between_percentiles() -> None:
    pixels = np.linspace(1000, 9000, 256).reshape(16, 16).astype(np.uint16)
    square = _square(pixels)
    assert square.min() == 0
    assert square.max() == 255
    assert (np.diff(square[..., 0].ravel().astype(int)) >= 0).all()


def test_a_ct_file_is_seen_through_the_window_that_is_named() -> None:
    from metamedica.modalities.images.dicom import read_dicom

    path = get_testdata_file("CT_small.dcm", download=False)
    values = read_dicom(Path(path)).values[0]
    side = values.shape[0]
    for name in ("lung", "bone"):
        want = np.rint(255 * windowed(values, name)).astype(np.uint8)
        np.testing.assert_array_equal(_square(path, side=side, window=name)[..., 0], want)
    np.testing.assert_array_equal(_square(path, side=side), _square(path, side=side, window="lung"))


def test_a_slice_of_a_volume_is_named_by_its_number(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(16, 16, 5)).astype(np.float32)
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    slices = [_square(f"{path}#{number}") for number in range(5)]
    assert len({each.tobytes() for each in slices}) == 5
    for wrong in ("", "#5", "#x"):
        with pytest.raises(
            CaseError,
            match=r"scan\.nii\.gz is a volume of 5 slices and the slice .* write scan\.nii\.gz#N with N from 0 to 4",
        ):
            _square(f"{path}{wrong}")


def test_grey_is_luminance_and_grey_images_keep_their_levels() -> None:
    grey, colour = _square(_random(16, 16)), _square(_random(16, 16, 3))
    found = grey_of(np.stack([grey, colour]))
    np.testing.assert_array_equal(found[0], grey[..., 0])
    assert abs(found[1].astype(int) - np.asarray(Image.fromarray(colour).convert("L")).astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("case", "error", "told"),
    [
        (np.zeros((8, 8), np.uint8), CaseError, "every pixel has the same value"),
        (np.zeros((8, 8, 4), np.uint8), CaseError, r"got pixels of shape \(8, 8, 4\); give \[height, width\]"),
        (np.zeros((0, 8), np.uint8), CaseError, "got pixels of shape"),
        (np.full((8, 8), np.nan), CaseError, "not finite"),
        (7, CaseError, "got a int where an image was wanted; give a path, bytes or an array of pixels"),
        ("", CaseError, "where an image was wanted"),
        ("none.png", FileFormatError, "'none.png' cannot be opened"),
        ("data:image/png;base64,?", CaseError, "whose base64 is broken"),
        (b"", FileFormatError, "empty"),
        (b"PK\x03\x04rest", FileFormatError, "zip"),
        (_png(_random(32, 32))[:200], CaseError, "truncated or broken"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused_in_a_sentence(case: object, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told) as caught:
        _square(case)
    assert "\n" not in str(caught.value)


def test_several_frames_are_refused() -> None:
    path = get_testdata_file("SC_rgb_rle_2frame.dcm", download=False)
    with pytest.raises(CaseError, match="has 2 frames; cut out the one that is meant"):
        _square(path)
