"""`metamedica segment`: masks, measures and a page from a table of pairs; bad input leaves nothing behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.drawn_cells import drawn

from metamedica.applications.segmentation.measures import dice
from metamedica.modalities.images.rasters import read_raster
from metamedica.reports.image_audit_page import png

Run = Callable[..., Any]
HEADS = ("--methods", "prototype,logistic")
CLASSES = ("--classes", "background,cytoplasm,nucleus")


def _grey(values: np.ndarray) -> bytes:
    return png(np.clip(255 * values, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segment")
    (folder / "new").mkdir()
    for seed in range(2):
        image, mask = drawn(seed)
        (folder / f"image{seed}.png").write_bytes(_grey(image))
        (folder / f"mask{seed}.png").write_bytes(png((mask * 100).astype(np.uint8)))
        (folder / "new" / f"{'=' if seed else ''}cell{seed}.png").write_bytes(_grey(drawn(50 + seed)[0]))
    (folder / "new" / "notes.txt").write_text("no image")
    rows = [f"image{seed}.png,mask{seed}.png" for seed in range(2)]
    (folder / "pairs.csv").write_text("image,mask\n" + "\n".join(rows) + "\n")
    return folder


def _segment(work: Path, out: Path, *more: str | Path) -> tuple[str | Path, ...]:
    return (
        "segment", "--support", work / "pairs.csv", "--images", work / "new", "--out", out, *CLASSES, "--values", "0,100,200",
        *HEADS, *more,
    )  # fmt: skip


def test_a_folder_is_segmented_measured_and_shown(run: Run, work: Path, tmp_path: Path) -> None:
    outcome = run(*_segment(work, tmp_path / "out", "--spacing", "0.5", "--json"))
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    assert told["images"] == 2
    assert told["method"] in ("prototype", "logistic")
    mask = read_raster(tmp_path / "out" / "masks" / "cell0.png").pixels
    assert dice(mask > 0, drawn(50)[1] > 0) > 0.85
    assert read_raster(tmp_path / "out" / "uncertainty" / "cell0.png").pixels.shape == (32, 32)
    table = pd.read_csv(tmp_path / "out" / "measures.csv")
    assert list(table["structure"]) == ["cytoplasm", "nucleus"] * 2
    first = table[table["image"] == "cell0.png"].iloc[0]
    assert first["area_mm2"] == pytest.approx((mask == 1).sum() / 4)
    assert first["area_mm2_low"] <= first["area_mm2"] <= first["area_mm2_high"]
    assert first["interval_coverage"] == pytest.approx(2 / 3)
    assert "'=cell1.png" in set(table["image"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "Outlines: cytoplasm blue, nucleus orange" in page


def test_one_labelled_image_vouches_for_no_range_and_names_are_no_formulas(
    run: Run, work: Path, tmp_path: Path
) -> None:
    table = work / "one.csv"
    table.write_text("image,mask\nimage0.png,mask0.png\n")
    named = ("--support", table, "--classes", "background,=body,core")
    outcome = run(*_segment(work, tmp_path / "out", *named, "--json"))
    assert outcome.code == 0, outcome
    rows = pd.read_csv(tmp_path / "out" / "measures.csv")
    assert list(rows["structure"]) == ["'=body", "core"] * 2
    assert (rows["interval_coverage"] == 0).all()
    assert rows["area_px2_low"].isna().all()
    assert (rows["area_px2"] > 0).all()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "no labelled image vouches for one" in page
    assert "nan" not in page.split("Measures")[-1]


def test_a_predictor_is_used_again_with_the_same_masks(run: Run, work: Path, tmp_path: Path) -> None:
    assert run(*_segment(work, tmp_path / "first")).code == 0
    again = tmp_path / "again"
    outcome = run(
        "segment", "--predictor", tmp_path / "first" / "predictor", "--images", work / "new", "--out", again,
        "--masks", "nifti", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    nibabel = pytest.importorskip("nibabel")
    mask = np.asarray(nibabel.load(again / "masks" / "cell0.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, read_raster(tmp_path / "first" / "masks" / "cell0.png").pixels)
    assert "area_px2" in pd.read_csv(again / "measures.csv").columns


def test_images_without_a_mask_teach_with_a_support_or_a_predictor(
    run: Run, refused: Run, work: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for seed in range(8):
        (more / f"{seed}.png").write_bytes(_grey(drawn(70 + seed)[0]))
    first = tmp_path / "first"
    recoloured = ("--expected", "recoloured")
    outcome = run(*_segment(work, first, *recoloured, "--unlabelled", more, "--json"))
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    # the two masks of the support are too few to have a shape in common, so that nothing bears out what would be learned
    assert (told["method"], told["images_without_a_mask"]) == ("vote", 0)
    assert "all methods together" in (first / "report.html").read_text()
    again = ("segment", "--predictor", first / "predictor", "--images", work / "new", "--unlabelled", more)
    second = run(*again, "--out", tmp_path / "again")
    assert second.code == 0, second
    assert "taught nothing" in second.out + second.err
    (more / "7.png").unlink()
    assert "got 7 images without a mask" in refused(*again, "--out", tmp_path / "third").err
    said = refused(*_segment(work, tmp_path / "third", "--unlabelled", more)).err
    assert "--unlabelled teaches another stain" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "first", "more"]


def test_bad_input_is_refused_and_leaves_nothing(refused: Run, work: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = refused(*_segment(work, out, "--values", "0,1,2")).err
    assert "the mask mask0.png holds the value 100, declared are 0, 1, 2" in said
    assert "2 mask values for 3 classes" in refused(*_segment(work, out, "--values", "0,1")).err
    assert "in mm, such as 0.5,0.5" in refused(*_segment(work, out, "--spacing", "1,-1")).err
    assert "between 0 and 1" in refused(*_segment(work, out, "--coverage", "1")).err
    assert "choose among prototype" in refused(*_segment(work, out, "--methods", "magic")).err
    assert "either --support" in refused("segment", "--images", work / "new", "--out", out).err
    assert "no folder" in refused(*_segment(work, out), "--images", work / "gone").err
    (tmp_path / "pairs.csv").write_text("image,mask\n../secret.png,a.png\n")
    assert "without '..'" in refused(*_segment(work, out, "--support", tmp_path / "pairs.csv")).err
    (tmp_path / "pairs.csv").write_text("image,label\na.png,b.png\n")
    assert "no column 'mask'" in refused(*_segment(work, out, "--support", tmp_path / "pairs.csv")).err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.csv"]


def test_an_image_that_fails_halfway_leaves_no_folder(refused: Run, work: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "a.png").write_bytes(_grey(drawn(60)[0]))
    (new / "b.png").write_bytes(
        png(
            np.zeros((32, 32, 3), dtype=np.uint8)
            + np.arange(32, dtype=np.uint8)[:, None, None] * np.array([1, 2, 3], dtype=np.uint8)
        )
    )
    said = refused(*_segment(work, tmp_path / "out", "--images", new)).err
    assert "the image is colour, the support was grey" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_a_folder_that_holds_something_is_not_touched(refused: Run, work: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    assert "is there already" in refused(*_segment(work, tmp_path)).err
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
