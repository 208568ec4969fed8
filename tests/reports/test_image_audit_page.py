"""The page of an image audit: pictures that decode to what was shown, text escaped, bars where the numbers say."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest

from metamedica.data.image_audit.audit import audit
from metamedica.data.image_audit.pictures import gathered, look
from metamedica.reports.image_audit_page import auc_bars, png, small, write_audit_page

Image = pytest.importorskip("PIL.Image")


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1)])
def test_a_png_decodes_to_its_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(pixels)))), pixels)


def test_large_and_deep_pictures_are_made_small() -> None:
    assert small(np.zeros((1000, 300), dtype=np.uint8)).shape == (125, 38)
    deep = small(np.array([[100, 300], [500, 1100]], dtype=np.uint16))
    assert (deep.dtype, deep.tolist()) == (np.uint8, [[0, 51], [102, 255]])
    assert not small(np.full((3, 3), 7, dtype=np.uint16)).any()


def test_bars_begin_at_one_half_and_intervals_are_drawn() -> None:
    svg = auc_bars([("<all>", 0.75, 0.7, 0.8), ("none", 0.4, None, None), ("every", 1.0, None, None)])
    widths = [float(width) for width in re.findall(r'<rect class="[^"]*" x="170" y="\d+" width="([\d.]+)"', svg)]
    assert widths == [165.0, 0.0, 330.0]
    assert svg.count("whisker") == 1
    assert "&lt;all&gt;" in svg
    assert "<all>" not in svg


def test_a_page_shows_the_pairs_and_says_what_is_grave(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = np.kron(random.integers(0, 256, (30, 8, 8), dtype=np.uint8), np.ones((6, 6), dtype=np.uint8))
    images[29] = images[0]
    labels, split = ["a", "b"] * 15, ["train"] * 20 + ["test"] * 10
    made = gathered([look(each) for each in images], labels, split=split, numbers=np.arange(30))
    found = audit(made)
    names = [f"<b>{at}</b>.png" for at in range(30)]
    write_audit_page(found, tmp_path / "a.html", title="Set", images=made, shown=dict(enumerate(images)), names=names)
    html = (tmp_path / "a.html").read_text()
    (first, second) = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    for data in (first, second):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), images[0])
    assert "findings that make figures on this set, as it is, wrong." in html
    assert "equal pixels" in html
    assert "<b>" not in html
    assert "<script" not in html
    write_audit_page(found, tmp_path / "b.html", title="Set", images=made, shown={}, names=names)
    assert "The same image twice" not in (tmp_path / "b.html").read_text()


def test_the_page_of_a_clean_set_says_so(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (12, 40, 40), dtype=np.uint8)
    made = gathered([look(each) for each in images], ["a", "b"] * 6)
    write_audit_page(
        audit(made), tmp_path / "a.html", title="Set", images=made, shown={}, names=[str(at) for at in range(12)]
    )
    assert "12 images, nothing found that makes figures on this set wrong." in (tmp_path / "a.html").read_text()
