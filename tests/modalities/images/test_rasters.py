"""Image files: pixels as stored, EXIF and transparency as shown, and every broken or hostile file refused in one sentence."""

import gzip
import io
import struct
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metamedica.errors import CaseError, FileFormatError, InputError, MetamedicaError
from metamedica.modalities.images.rasters import ImageLimits, Raster, pixels_sha256, read_raster

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (13, 17), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (13, 17), dtype=np.uint16)
COLOUR = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(64), np.arange(80)).astype(np.uint8)


def saved(image: Any, kind: str = "PNG", **settings: Any) -> bytes:
    made = image if not isinstance(image, np.ndarray) else Image.fromarray(image)
    stream = io.BytesIO()
    made.save(stream, kind, **settings)
    return stream.getvalue()


def png(width: int, height: int, *, bits: int = 8, colour: int = 0, body: bytes = b"") -> bytes:
    """A PNG written by hand from its specification, whatever its header claims."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_lossless_formats_give_back_every_pixel(kind: str, pixels: np.ndarray) -> None:
    data = saved(pixels, kind)
    raster = read_raster(data)
    np.testing.assert_array_equal(raster.pixels, pixels)
    assert raster.pixels.dtype == np.uint8
    facts = raster.facts
    assert (facts.format, facts.width, facts.height, facts.bits, facts.bytes) == (kind, 17, 13, 8, len(data))
    assert (facts.sha256, facts.jpeg_quality, facts.has_alpha) == (sha256(data).hexdigest(), None, False)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_sixteen_bits_stay_sixteen_bits(kind: str, compression: str | None) -> None:
    raster = read_raster(saved(DEEP, kind, **({"compression": compression} if kind == "TIFF" and compression else {})))
    np.testing.assert_array_equal(raster.pixels, DEEP)
    assert (raster.pixels.dtype, raster.facts.bits) == (np.uint16, 16)


def test_a_sixteen_bit_png_written_by_hand_is_read_as_its_specification_says() -> None:
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in DEEP)
    np.testing.assert_array_equal(read_raster(png(17, 13, bits=16, body=rows)).pixels, DEEP)


def test_a_tiff_where_white_is_zero_is_turned_round() -> None:
    image = Image.fromarray(DEEP)
    for pixels in (GREY, DEEP):
        image = Image.fromarray(pixels)
        plain, stream = saved(image, "TIFF"), io.BytesIO()
        stream.write(plain)
        at = plain.index(struct.pack("<HHII", 262, 3, 1, 1))
        white = plain[:at] + struct.pack("<HHII", 262, 3, 1, 0) + plain[at + 12 :]
        np.testing.assert_array_equal(read_raster(white).pixels, np.iinfo(pixels.dtype).max - pixels)


def test_one_bit_becomes_black_and_white() -> None:
    bits = GREY > 127
    for kind in ("PNG", "TIFF", "BMP"):
        raster = read_raster(saved(Image.fromarray(bits), kind))
        np.testing.assert_array_equal(raster.pixels, bits * np.uint8(255))
        assert raster.facts.bits == 1


def test_a_palette_of_greys_is_a_grey_image_and_another_one_is_rgb() -> None:
    grey = Image.fromarray(GREY).convert("P")
    np.testing.assert_array_equal(read_raster(saved(grey)).pixels, GREY)
    few = Image.fromarray(COLOUR).quantize(8)
    raster = read_raster(saved(few))
    np.testing.assert_array_equal(raster.pixels, np.asarray(few.convert("RGB")))
    assert raster.facts.mode == "P"


def test_what_is_transparent_is_laid_on_black() -> None:
    alpha = np.dstack([COLOUR, np.full_like(GREY, 128)])
    raster = read_raster(saved(alpha))
    np.testing.assert_allclose(raster.pixels, COLOUR * (128 / 255), atol=0.51)
    assert raster.facts.has_alpha
    both = read_raster(saved(np.dstack([GREY, np.zeros_like(GREY)])))
    assert both.pixels.shape == GREY.shape
    assert not both.pixels.any()


def test_a_grey_that_a_png_names_transparent_becomes_black() -> None:
    level = int(GREY[0, 0])
    raster = read_raster(saved(Image.fromarray(GREY), transparency=level))
    np.testing.assert_array_equal(raster.pixels, np.where(level == GREY, 0, GREY))
    assert raster.facts.has_alpha
    deep = read_raster(saved(Image.fromarray(DEEP), transparency=int(DEEP[0, 0])))
    np.testing.assert_array_equal(deep.pixels, np.where(DEEP[0, 0] == DEEP, 0, DEEP))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_the_picture_is_turned_as_exif_says(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(COLOUR, kind, exif=exif)
    raster = read_raster(data)
    plain = Image.open(io.BytesIO(saved(COLOUR, kind)))
    plain.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(raster.pixels, np.asarray(ImageOps.exif_transpose(plain)))
    assert (raster.facts.orientation, raster.facts.turned) == (orientation, orientation > 1)
    assert (raster.facts.height, raster.facts.width) == raster.pixels.shape[:2]


def test_a_broken_exif_does_not_turn_the_picture() -> None:
    raster = read_raster(saved(SMOOTH, "JPEG", exif=b"Exif\x00\x00garbage that is no directory"))
    assert (raster.facts.orientation, raster.facts.turned) == (1, False)


@pytest.mark.parametrize("quality", [1, 20, 50, 75, 90, 95, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality: int) -> None:
    raster = read_raster(saved(SMOOTH, "JPEG", quality=quality))
    assert raster.facts.jpeg_quality == quality
    assert read_raster(saved(COLOUR, "JPEG", quality=quality)).facts.jpeg_quality == quality


def test_an_inverted_cmyk_jpeg_keeps_its_colours() -> None:
    red = np.zeros((32, 32, 3), dtype=np.uint8)
    red[..., 0] = 200
    raster = read_raster(saved(Image.fromarray(red).convert("CMYK"), "JPEG", quality=95))
    np.testing.assert_allclose(raster.pixels, red, atol=6)
    assert raster.facts.mode == "CMYK"


def test_equal_pixels_have_one_hash_in_every_format() -> None:
    hashes = {read_raster(saved(GREY, kind)).facts.pixels_sha256 for kind in ("PNG", "TIFF", "BMP")}
    assert hashes == {pixels_sha256(GREY)}
    assert pixels_sha256(GREY) != pixels_sha256(GREY.astype(np.uint16))
    assert pixels_sha256(GREY) != pixels_sha256(GREY.reshape(17, 13))
    assert pixels_sha256(DEEP) == pixels_sha256(DEEP.astype(">u2"))


def test_a_file_is_known_by_its_content_and_not_by_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(saved(SMOOTH, "JPEG"))
    assert read_raster(path).facts.format == "JPEG"
    assert read_raster(str(path)).facts.as_dict()["bytes"] == path.stat().st_size


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.png", saved(GREY))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "the image is empty; give PNG, JPEG, TIFF, BMP or GIF"),
        (zipped(), "the image is a zip or Office file, whatever its name says"),
        (b"%PDF-1.7 ...", "is a PDF"),
        (b"\n<!DOCTYPE html><html>", "is a web page or XML"),
        (b"<svg xmlns=''/>", "is a web page or XML"),
        (gzip.compress(b"x" * 400), "is a gzip file"),
        (bytes(128) + b"DICM" + bytes(40), "is a DICOM file"),
        (b"just text, no image", "is no image that this reads"),
        (bytes(5000), "is no image that this reads"),
    ],
    ids=["empty", "zip", "pdf", "html", "svg", "gzip", "dicom", "text", "zeros"],
)
def test_what_is_no_image_is_refused_by_name(data: bytes, told: str) -> None:
    with pytest.raises(FileFormatError, match=told) as caught:
        read_raster(data)
    assert "\n" not in str(caught.value)


def test_an_image_of_another_format_is_refused() -> None:
    with pytest.raises(FileFormatError, match="is no image that this reads"):
        read_raster(saved(COLOUR, "PPM"))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"there is no file 'gone\.png'; check the path"):
        read_raster(tmp_path / "gone.png")
    with pytest.raises(FileFormatError, match="is a folder; give an image file in it"):
        read_raster(tmp_path)
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_raster("a\0b.png")


@pytest.mark.parametrize("side", [8001, 20_000])
def test_a_picture_that_is_too_large_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(CaseError, match=r"has .* pixels and at most 64,000,000 are read; make it smaller"):
        read_raster(png(side, side))


def test_limits_are_kept_and_those_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="has 17 x 13 pixels and at most 220 are read"):
        read_raster(saved(GREY), limits=ImageLimits(pixels=220))
    assert read_raster(saved(GREY), limits=ImageLimits(pixels=221)).facts.width == 17
    (tmp_path / "a.png").write_bytes(saved(GREY))
    for source in (saved(GREY), tmp_path / "a.png"):
        with pytest.raises(FileFormatError, match="is larger than the 50 bytes"):
            read_raster(source, limits=ImageLimits(file_bytes=50))
    for broken in ({"pixels": 0}, {"pixels": 200_000_000}, {"file_bytes": 0}):
        with pytest.raises(InputError, match="give 1 to 178,956,970 pixels"):
            ImageLimits(**broken)


def test_an_image_without_pixels_is_refused() -> None:
    for data in (png(0, 5), png(5, 0)):
        with pytest.raises(MetamedicaError, match=r"give an image that has pixels|header is broken"):
            read_raster(data)


def test_several_pages_or_frames_are_refused_with_their_number() -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY), Image.fromarray(GREY)]
    with pytest.raises(CaseError, match="has 3 pages and a case is one image"):
        read_raster(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    for kind in ("GIF", "PNG"):
        with pytest.raises(CaseError, match="has 2 frames and a case is one image"):
            read_raster(saved(pages[0], kind, save_all=True, append_images=pages[1:2]))
    np.testing.assert_array_equal(read_raster(saved(pages[0], "GIF")).pixels, GREY)


def test_numbers_that_are_no_grey_levels_are_refused() -> None:
    with pytest.raises(CaseError, match="stores decimal numbers; save it with 8 or 16 bits"):
        read_raster(saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"))
    with pytest.raises(CaseError, match="stores signed or 32-bit numbers"):
        read_raster(saved(Image.fromarray(GREY.astype(np.int32)), "TIFF"))
    rows = b"".join(b"\x00" + row.tobytes() for row in np.zeros((3, 4, 3), dtype=">u2"))
    with pytest.raises(CaseError, match="stores 16 bits of each colour; save it as 16-bit grey or as 8-bit colour"):
        read_raster(png(4, 3, bits=16, colour=2, body=rows))
    with pytest.raises(CaseError, match="stores pixels as LAB"):
        read_raster(saved(Image.new("LAB", (4, 4)), "TIFF"))


FILES = {
    "png": saved(GREY),
    "deep": saved(DEEP),
    "jpeg": saved(SMOOTH, "JPEG"),
    "progressive": saved(SMOOTH, "JPEG", progressive=True),
    "tiff": saved(GREY, "TIFF"),
    "lzw": saved(DEEP, "TIFF", compression="tiff_lzw"),
    "bmp": saved(GREY, "BMP"),
    "gif": saved(GREY, "GIF"),
}


def outcome(data: bytes) -> Raster | str:
    """What comes of a file: the image, or the sentence that refuses it; any other error is one of ours."""
    try:
        return read_raster(data, limits=ImageLimits(pixels=1_000_000))
    except MetamedicaError as error:
        return str(error)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_cut_off_is_refused_or_gives_the_same_pixels(name: str) -> None:
    whole = read_raster(FILES[name]).pixels
    refused = 0
    for length in np.linspace(1, len(FILES[name]) - 1, 40).astype(int):
        cut = outcome(FILES[name][:length])
        if isinstance(cut, str):
            assert "\n" not in cut
            refused += 1
        else:
            np.testing.assert_array_equal(cut.pixels, whole)
    assert refused > 30


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(FILES)), place=st.floats(0, 1), byte=st.integers(0, 255), run=st.integers(1, 40))
@example(name="png", place=0.0, byte=0, run=1)
def test_changed_bytes_give_a_picture_or_one_of_our_errors(name: str, place: float, byte: int, run: int) -> None:
    data = bytearray(FILES[name])
    at = int(place * (len(data) - 1))
    data[at : at + run] = bytes([byte]) * len(data[at : at + run])
    raster = outcome(bytes(data))
    if isinstance(raster, str):
        assert "\n" not in raster
    else:
        assert raster.pixels.dtype in (np.uint8, np.uint16)
        assert raster.pixels.shape[:2] == (raster.facts.height, raster.facts.width)
