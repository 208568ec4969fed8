"""One DICOM file: values agree with pydicom's own and with files that hold the same image otherwise; what is broken is told in one sentence."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

from pydicom.data import get_testdata_file  # noqa: E402

from made_dicom import BIG, dataset, enhanced, one, written  # noqa: E402
from metamedica.errors import FileFormatError, MissingExtraError  # noqa: E402
from metamedica.modalities.images.dicom import looks_like_dicom, read_dicom, read_facts  # noqa: E402

RAMP = np.arange(12, dtype=np.uint16).reshape(3, 4)


def sample(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def refusal(source: Any, **options: Any) -> str:
    """Return what a refused file's error says; one sentence, without what the header holds."""
    with pytest.raises(FileFormatError) as caught:
        read_dicom(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.__cause__ is None
    return text


def test_a_ct_is_in_hounsfield_units_with_its_place() -> None:
    image = read_dicom(sample("CT_small.dcm"))
    data = pydicom.dcmread(sample("CT_small.dcm"))
    assert image.facts.unit == "HU"
    assert np.array_equal(image.values[0], data.pixel_array.astype(float) * data.RescaleSlope + data.RescaleIntercept)
    (place,) = image.facts.places
    assert place is not None
    assert place.position_mm == tuple(data.ImagePositionPatient)
    assert place.spacing_mm == tuple(data.PixelSpacing)
    assert np.allclose(place.normal, (0, 0, 1))


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_the_same_image_is_the_same_however_it_is_encoded(name: str) -> None:
    plain, other = read_dicom(sample("MR_small.dcm")), read_dicom(sample(name))
    assert np.array_equal(plain.values, other.values)
    assert other.facts.unit is None
    assert other.facts.windows == ((600.0, 1600.0),)


def test_without_pydicoms_plugins_simpleitk_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("SimpleITK")
    names = ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "693_J2KI.dcm", "SC_rgb_jpeg_dcmtk.dcm"]
    ours = [read_dicom(sample(name)).values for name in names]
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.is_available", False)
    for name, expected in zip(names, ours, strict=True):
        assert np.abs(read_dicom(sample(name)).values - expected).max() <= (3 if "rgb" in name else 0)


def test_lossless_jpeg_is_read_as_the_colours_it_was_made_of() -> None:
    pytest.importorskip("SimpleITK")
    plain, other = read_dicom(sample("SC_rgb_rle.dcm")), read_dicom(sample("SC_rgb_jpeg_gdcm.dcm"))
    assert other.values.shape == (1, 100, 100, 3)
    assert np.array_equal(plain.values, other.values)


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm"]
)
def test_brightness_and_colour_difference_become_red_green_and_blue(name: str) -> None:
    image, plain = read_dicom(sample(name)), read_dicom(sample("SC_rgb_rle.dcm"))
    assert image.facts.colour
    assert np.median(np.abs(image.values - plain.values)) <= 2
    assert np.allclose(image.values[0, 5, 50], [255, 0, 0], atol=4)


def test_a_palette_becomes_colour() -> None:
    image = read_dicom(sample("examples_palette.dcm"))
    data = pydicom.dcmread(sample("examples_palette.dcm"))
    assert image.values.shape == (1, 350, 800, 3)
    red = np.frombuffer(data.RedPaletteColorLookupTableData, "<u2")
    assert np.array_equal(image.values[0, ..., 0], red[data.pixel_array])
    assert image.facts.bits == 16


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_the_stored_ones_are_no_part_of_the_value(signed: bool) -> None:
    kind = np.int16 if signed else np.uint16
    values = np.array([[0, 1, 2047, -2048 if signed else 4095]], dtype=np.int64)
    overlay = (values & 0xFFF | 0xA000).astype(np.uint16).view(kind)
    image = read_dicom(one(overlay, BitsStored=12, HighBit=11, RescaleIntercept=0))
    assert np.array_equal(image.values[0], values)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32])
def test_every_stored_kind_of_number_comes_back_from_little_and_big_endian(kind: type) -> None:
    limits = np.iinfo(kind)
    pixels = np.array([[limits.min, limits.max // 3, 5, limits.max // 2 + 1]] * 2, dtype=kind)
    expected = (pixels.astype(np.float64) * 2 - 7).astype(np.float32)
    for syntax in ("1.2.840.10008.1.2.1", BIG):
        data = dataset(pixels, RescaleSlope=2, RescaleIntercept=-7, syntax=syntax)
        assert np.array_equal(read_dicom(written(data)).values[0], expected)


def test_monochrome1_is_inverted_where_values_are_brightness_only() -> None:
    plain = {"Modality": "DX", "BitsStored": 12, "HighBit": 11, "RescaleSlope": None, "RescaleIntercept": None}
    image = read_dicom(one(RAMP, PhotometricInterpretation="MONOCHROME1", WindowCenter=5, WindowWidth=9, **plain))
    assert np.array_equal(image.values[0], 4095.0 - RAMP)
    assert image.facts.photometric == "MONOCHROME1"
    assert image.facts.windows == ()  # they were meant for the numbers before
    signed = read_dicom(one(RAMP.astype(np.int16), PhotometricInterpretation="MONOCHROME1", **plain))
    assert np.array_equal(signed.values[0], -1.0 - RAMP)
    hounsfield = read_dicom(one(RAMP, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(hounsfield.values[0], RAMP - 1024.0)


@pytest.mark.parametrize(
    "elements",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleType": "US"},
        {"Modality": "MR"},
    ],
)
def test_only_a_rescaled_ct_that_is_no_localizer_is_in_hounsfield_units(elements: dict[str, Any]) -> None:
    assert read_facts(one(RAMP)).unit == "HU"
    assert read_facts(one(RAMP, **elements)).unit is None


def test_a_modality_table_is_applied() -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [12, 0, 16], "US"
    table.LUTData = np.arange(100, 112, dtype="<u2").tobytes()
    table["LUTData"].VR = "OW"
    data = dataset(RAMP, Modality="DX", RescaleSlope=None, RescaleIntercept=None)
    data.ModalityLUTSequence = Sequence([table])
    assert np.array_equal(read_dicom(written(data)).values[0], RAMP + 100)


def test_frames_of_an_enhanced_file_have_their_own_place_and_rescale() -> None:
    image = read_dicom(written(enhanced()))
    assert image.values.shape == (4, 5, 6)
    stored = np.random.default_rng(0).integers(0, 3000, size=(4, 5, 6), dtype=np.uint16)
    for frame, place in zip(image.values, image.facts.places, strict=True):
        assert place is not None
        number = round(place.position_mm[2] / 3)
        assert np.array_equal(frame, stored[number] * (number + 1.0) - 1024)
    assert image.facts.unit == "HU"
    assert image.facts.thickness_mm is None or image.facts.thickness_mm > 0


def test_frames_of_a_classic_file_have_no_place() -> None:
    image = read_dicom(sample("rtdose.dcm"))
    assert image.values.shape == (15, 10, 10)
    assert set(image.facts.places) == {None}


def test_compressed_frames_are_all_read() -> None:
    image = read_dicom(sample("examples_ybr_color.dcm"))
    assert image.values.shape == (30, 240, 320, 3)
    assert len({frame.tobytes() for frame in image.values}) > 1


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_blank_and_invalid_uids_are_no_obstacle() -> None:
    blank = one(RAMP, SeriesInstanceUID="", StudyInstanceUID="")
    assert read_facts(blank).series is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = one(RAMP, SeriesInstanceUID="not a uid")
    assert np.array_equal(read_dicom(odd).values[0], RAMP - 1024.0)


def test_a_file_and_its_bytes_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(one(RAMP))
    assert np.array_equal(read_dicom(path).values, read_dicom(one(RAMP)).values)
    assert looks_like_dicom(path.read_bytes())


def test_floating_point_pixels_are_read() -> None:
    data = dataset(RAMP, PixelData=None, BitsStored=None, HighBit=None, PixelRepresentation=None)
    data.BitsAllocated, data.RescaleIntercept = 32, 0
    data.FloatPixelData = (RAMP / 8).astype("<f4").tobytes()
    assert np.array_equal(read_dicom(written(data)).values[0], RAMP / 8)


# What cannot be read.


def test_a_file_that_is_something_else_is_named_for_what_it_is(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", "x" * 500)
    path = tmp_path / "scan.dcm"
    path.write_bytes(stream.getvalue())
    assert refusal(path) == "'scan.dcm' is no DICOM file but a zip archive; give it as .zip, or unpack it"
    assert "a PNG file" in refusal(b"\x89PNG\r\n\x1a\n" + bytes(200))
    assert refusal(b"hello" * 100).startswith("the DICOM file is no DICOM file: 'DICM' is not at byte 128")
    assert refusal(b"", name="slice 3") == "slice 3 is empty; export it again"
    assert "there is no file 'none.dcm'" in refusal(tmp_path / "none.dcm")


@pytest.mark.parametrize("name", ["reportsi.dcm", "rtplan.dcm", "waveform_ecg.dcm", "test-SR.dcm"])
def test_a_file_without_an_image_is_refused(name: str) -> None:
    assert "has no pixel data (modality" in refusal(sample(name))


def test_a_file_without_a_transfer_syntax_is_refused() -> None:
    assert "no transfer syntax" in refusal(sample("meta_missing_tsyntax.dcm"))


def test_a_video_cannot_be_read_and_what_to_do_is_told() -> None:
    data = dataset(RAMP)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    data.PixelData = pydicom.encaps.encapsulate([b"abcd"])
    data["PixelData"].is_undefined_length = True
    assert "is compressed as MPEG-4" in refusal(written(data))
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    assert "which cannot be read here; convert it to JPEG 2000" in refusal(written(data))


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "image_dfl.dcm", "examples_ybr_color.dcm"]
)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.97])
def test_a_truncated_file_is_refused_wherever_it_was_cut(name: str, kept: float) -> None:
    data = sample(name).read_bytes()
    assert refusal(data[: max(140, int(len(data) * kept))])


def test_flipped_bytes_end_in_values_or_in_one_sentence() -> None:
    generator = np.random.default_rng(0)
    for name in ("CT_small.dcm", "MR_small_RLE.dcm"):
        whole = np.frombuffer(sample(name).read_bytes(), np.uint8)
        for _ in range(60):
            data = whole.copy()
            data[generator.integers(132, 1800, size=4)] = generator.integers(0, 256, size=4)
            try:
                assert np.isfinite(read_dicom(data.tobytes()).values).all()
            except FileFormatError as error:
                assert "\n" not in str(error)  # noqa: PT017


def test_a_size_that_a_small_file_only_claims_is_refused_before_decoding() -> None:
    assert "60,000 x 60,000 pixels x 1 frames" in refusal(one(RAMP, Rows=60000, Columns=60000))
    assert "x 99,999,999 frames" in refusal(one(RAMP, NumberOfFrames=99999999))
    assert "more than the 11 values" in refusal(one(RAMP), most_values=11)


def test_a_deflated_bomb_is_refused_before_it_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamedica.modalities.images.dicom.MOST_BYTES", 100_000)
    assert "inflates to more than 100,000 bytes" in refusal(sample("image_dfl.dcm").read_bytes())


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"Rows": 0}, r"says 0 rows, 4 columns"),
        ({"SamplesPerPixel": 4}, r"4 samples a pixel; 1 or 3"),
        ({"PhotometricInterpretation": "CMYK"}, r"as 'CMYK'; MONOCHROME1, .* can be read: convert it"),
        ({"BitsStored": 17}, r"17 bits stored of 16"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, r"not two unit vectors at right angles"),
        ({"PixelSpacing": [0, 1]}, r"pixel spacing of 0 mm"),
        ({"PixelData": bytes(20)}, r"says 24 bytes of pixels and 20 are there"),
        ({"PixelData": None}, r"has no pixel data \(modality CT\)"),
    ],
)
def test_a_header_that_cannot_be_is_refused(elements: dict[str, Any], message: str) -> None:
    import re

    assert re.search(message, refusal(one(RAMP, **elements)))


def test_an_error_never_quotes_what_the_header_holds() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = dataset(RAMP, PatientName="Secret^Name", PatientID="SECRET1")
        data.add_new("RescaleSlope", "DS", "1")
        data["RescaleSlope"]._value = "Secret"
        text = refusal(written(data), name="slice 1")
    assert text == "slice 1 has a DICOM header that cannot be read; export or copy it again"


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtraError, match=r"pydicom is not installed.*metamedica\[images\]"):
        read_dicom(b"x")
