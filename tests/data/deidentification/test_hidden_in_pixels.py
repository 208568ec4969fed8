"""What hides beside pixels goes, and every stored value stays."""

import io

import numpy as np
import pytest

from made_dicom import BIG, LITTLE, dataset
from metamedica.data.deidentification.pixels import clear_hidden

pydicom = pytest.importorskip("pydicom")
PIXELS = np.random.default_rng(0).integers(0, 4096, size=(8, 10), dtype=np.uint16)


def test_bytes_after_the_last_pixel_go() -> None:
    data = dataset(PIXELS)
    data.PixelData += b"Quentin was here"
    assert clear_hidden(data) == ["bytes after the last pixel"]
    assert data.PixelData == PIXELS.tobytes()
    padded = dataset(np.arange(15, dtype=np.uint8).reshape(3, 5))
    padded.PixelData += b"\0"
    assert clear_hidden(padded) == []
    assert len(padded.PixelData) == 16


@pytest.mark.parametrize("syntax", [LITTLE, BIG])
@pytest.mark.parametrize("signed", [0, 1])
def test_old_overlays_in_unused_bits_go_and_values_stay(syntax: str, signed: int) -> None:
    plain = PIXELS.astype(np.int32)
    values = np.where(plain > 2047, plain - 4096, plain) if signed else plain
    clean = values.astype(np.int16 if signed else np.uint16)
    elements = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": signed}
    data = dataset(clean, syntax=syntax, **elements)
    before = data.PixelData
    assert clear_hidden(data) == []
    assert data.PixelData == before
    overlaid = dataset((clean.view(np.uint16) ^ 0xA000).view(clean.dtype), syntax=syntax, **elements)
    assert clear_hidden(overlaid) == ["unused bits of pixels"]
    assert overlaid.PixelData == before


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_a_comment_inside_a_compressed_frame_goes_and_the_image_stays(kind: str) -> None:
    pil = pytest.importorskip("PIL.Image")
    grey = (PIXELS // 16).astype(np.uint8)
    stream = io.BytesIO()
    pil.fromarray(grey).save(stream, kind, comment=b"Quentin")
    frame = stream.getvalue() + b" and Quentin behind"
    assert frame.count(b"Quentin") == 2
    syntax = "1.2.840.10008.1.2.4.50" if kind == "JPEG" else "1.2.840.10008.1.2.4.90"
    data = dataset(grey)
    data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    data.PixelData = pydicom.encaps.encapsulate([frame])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    before, size = data.pixel_array.copy(), len(data.PixelData)
    assert clear_hidden(data) == ["comments in compressed frames", "bytes after the end of compressed frames"]
    assert b"Quentin" not in data.PixelData
    assert len(data.PixelData) == size
    assert np.array_equal(pydicom.pixels.pixel_array(data), before)


def test_pixel_data_that_end_early_are_refused() -> None:
    with pytest.raises(ValueError, match="end early"):
        clear_hidden(dataset(PIXELS, PixelData=bytes(20)))
