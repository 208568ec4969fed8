"""Segments a folder of image files from a table of image and mask files, and writes masks, uncertainty, measures and a page: all of it or nothing."""

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Int, UInt
from numpy.typing import NDArray

from metamedica.applications.segmentation import measures
from metamedica.applications.segmentation.augmentation import Expected
from metamedica.applications.segmentation.cases import UNLABELLED
from metamedica.applications.segmentation.export import write_nifti
from metamedica.applications.segmentation.intervals import Mask, measured, measured_margin
from metamedica.applications.segmentation.page import Shown, shown, write_segmentation_page
from metamedica.applications.segmentation.predictor import Segmentation, SegmentationPredictor
from metamedica.applications.segmentation.segmenter import Segmenter
from metamedica.data.tables import read_table
from metamedica.errors import CaseError, FileFormatError, InputError
from metamedica.modalities.images.rasters import read_raster
from metamedica.reports.image_audit_page import png
from metamedica.types import Progress

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
COLUMNS = ("image", "mask")
MaskFormat = Literal["png", "nifti"]
_PAGE_IMAGES = 24
"""Images that the page shows; the table of measures has all."""


@dataclass(frozen=True)
class PairFiles:
    """Images and masks of a support, read.

    Args:
        images: `[height, width]` or `[height, width, 3]`.
        masks: the class of each pixel.
    """

    images: list[NDArray[np.generic]]
    masks: list[Int[np.ndarray, "height width"]]


def read_support(table: Path, *, classes: Sequence[str], values: Sequence[int] | None = None) -> PairFiles:
    """Return the images and masks that a table names in its columns `image` and `mask`, paths below the table's own folder.

    Args:
        table: CSV, TSV or Parquet.
        classes: names, the background first.
        values: what stands in a mask's file for each class; 0, 1, 2 ... by default. Any other value is refused.

    Raises:
        FileFormatError: a table or file that cannot be read, a column that is not there, a path that leaves the folder.
        CaseError: an image that cannot be read, a mask in colour or with values that are not declared.
        InputError: not as many values as classes.
    """
    meant = list(values) if values is not None else list(range(len(classes)))
    if len(meant) != len(classes) or len(set(meant)) != len(meant):
        raise InputError(
            f"got {len(meant)} mask values for {len(classes)} classes; give a different value for each class"
        )
    frame = read_table(table)
    absent = [name for name in COLUMNS if name not in frame.columns]
    if absent:
        raise FileFormatError(f"{table.name} has no column {absent[0]!r}; give a table with the columns image and mask")
    images, masks = [], []
    for row, cells in frame.iterrows():
        image, mask = (_below(table.parent, str(cells[name]), f"{table.name}, row {row}") for name in COLUMNS)
        images.append(read_raster(image).pixels)
        masks.append(_classes(read_raster(mask).pixels, meant, mask.name))
    return PairFiles(images, masks)


def _below(root: Path, text: str, where: str) -> Path:
    name = text.strip()
    outside = (
        PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute() or ".." in PureWindowsPath(name).parts
    )
    if not name or outside or not (root / name).resolve().is_relative_to(root.resolve()):
        raise FileFormatError(
            f"{where} names no file below the table's own folder; give a path relative to it, without '..'"
        )
    return root / name


def _classes(pixels: UInt[np.ndarray, "..."], values: Sequence[int], name: str) -> Int[np.ndarray, "height width"]:
    if pixels.ndim != 2:
        raise CaseError(f"the mask {name} is in colour; give masks in grey, a value for each class")
    found = np.full(pixels.shape, UNLABELLED, dtype=np.int64)
    for number, value in enumerate(values):
        found[pixels == value] = number
    strange = sorted({int(value) for value in np.unique(pixels)} - set(values))
    if strange:
        raise CaseError(
            f"the mask {name} holds the value {strange[0]}, declared are {', '.join(map(str, values))}; name the value of each class with "
            "--values (such as 0,255), or correct the mask"
        )
    return found


def images_in(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, by name; hidden files, links and other kinds are not taken.

    Raises:
        FileFormatError: no such folder, no image in it, or two whose names differ in their suffix only.
    """
    if not folder.is_dir():
        raise FileFormatError(f"there is no folder {folder}; give the folder with the images")
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and not path.is_symlink()
        and not path.name.startswith(".")
        and path.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise FileFormatError(f"the folder {folder.name!r} holds no image; give one with {', '.join(SUFFIXES)} files")
    stems = [path.stem for path in found]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise FileFormatError(
            f"the folder {folder.name!r} holds two images named {twice!r}; rename one, as masks take their names"
        )
    return found


def measures_of(
    found: Segmentation,
    predictor: SegmentationPredictor,
    *,
    spacing: tuple[float, float] | None,
    coverage: float,
) -> list[dict[str, Any]]:
    """Return a row for each structure: area, diameters of its largest part and the distance to others, with intervals, and mean uncertainty.

    In mm where `spacing` is given (height and width of a pixel of the image, mm), else in pixels. `interval_coverage` is that of area and longest
    diameter, a distance has its own; where no labelled image vouches for an interval (only one is labelled, or none shows the structure) coverage
    is 0 and the ends are NaN.
    """
    step = spacing or (1.0, 1.0)
    unit = "mm" if spacing else "px"
    ratio = tuple(
        own / worked * each for own, worked, each in zip(found.mask.shape, found.inside.shape, step, strict=True)
    )
    near = (ratio[0], ratio[1])
    rows = []
    for structure, name in enumerate(predictor.classes[1:], start=1):
        mask: Mask = found.mask == structure
        across = measures.diameters(measures.largest_part(mask), spacing=step)
        row: dict[str, Any] = {"structure": name, f"area_{unit}2": measures.area_mm2(mask, spacing=step)}
        told = {
            f"area_{unit}2": measured(
                found.said, found.inside, predictor.bands, name="area", structure=structure, coverage=coverage,
                measure=lambda each: measures.area_mm2(each, spacing=near),
            ),
            f"longest_{unit}": measured(
                found.said, found.inside, predictor.bands, name="diameter", structure=structure, coverage=coverage,
                measure=lambda each: measures.longest_diameter(measures.largest_part(each), spacing=near),
            ),
        }  # fmt: skip
        row |= {f"longest_{unit}": across.longest, f"short_axis_{unit}": across.short_axis}
        for key, each in told.items():
            row |= {f"{key}_low": min(each.low, row[key]), f"{key}_high": max(each.high, row[key])}
        row["interval_coverage"] = min(each.coverage for each in told.values())
        for other in range(structure + 1, len(predictor.classes)):
            beside = found.mask == other
            key = f"margin_to_{predictor.classes[other]}_{unit}"
            ends = measured_margin(
                found.said, found.inside, predictor.bands, between=(structure, other), spacing=near, coverage=coverage
            )
            both = mask.any() and beside.any()
            row[key] = measures.margin(mask, beside, spacing=step) if both else float("nan")
            row |= {f"{key}_low": min(ends.low, row[key]), f"{key}_high": max(ends.high, row[key])}
            row[f"{key}_coverage"] = ends.coverage
        row["mean_uncertainty"] = float(found.uncertainty.mean())
        rows.append(row)
    return rows


def segment_folder(
    predictor: SegmentationPredictor,
    images: Sequence[Path],
    out: Path,
    *,
    spacing: tuple[float, float] | None = None,
    masks: MaskFormat = "png",
    coverage: float = 0.9,
    title: str = "Segmentation",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Segment image files and write masks/, uncertainty/, measures.csv, report.html and predictor/ to a new folder; return the measures.

    Args:
        predictor: adapted.
        images: PNG, JPEG, TIFF, BMP or GIF files, each with a stem of its own.
        out: a folder that is not there yet, or empty. Where anything fails nothing is left of it.
        spacing: height and width of a pixel, mm.
        masks: "png" (the number of the class as grey value) or "nifti".
        coverage: of intervals.
        title: of the page.
        progress: told every image.

    Raises:
        FileFormatError: the folder holds something.
        CaseError: an image that cannot be read or is not like those of the support.
    """
    check_new(out)
    draft = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    rows: list[dict[str, Any]] = []
    pictures: list[Shown] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        for name in ("masks", "uncertainty"):
            (draft / name).mkdir(parents=True)
        for at, path in enumerate(images):
            pixels = read_raster(path).pixels
            found = predictor.predict(pixels)
            rows += [
                {"image": path.name, **row} for row in measures_of(found, predictor, spacing=spacing, coverage=coverage)
            ]
            if masks == "nifti":
                write_nifti(found.mask, draft / "masks" / f"{path.stem}.nii.gz", spacing=spacing)
            else:
                (draft / "masks" / f"{path.stem}.png").write_bytes(png(found.mask.astype(np.uint8)))
            doubt = np.round(255 * found.uncertainty).astype(np.uint8)
            (draft / "uncertainty" / f"{path.stem}.png").write_bytes(png(doubt))
            if len(pictures) < _PAGE_IMAGES:
                pictures.append(shown(path.name, pixels, found))
            if progress is not None:
                progress(at + 1, len(images), f"segmented {at + 1} of {len(images)}")
        table = pd.DataFrame(rows)
        safe = table.assign(**{name: [_cell(text) for text in table[name]] for name in ("image", "structure")})
        safe.to_csv(draft / "measures.csv", index=False)
        predictor.save(draft / "predictor")
        write_segmentation_page(
            draft / "report.html", predictor, table, pictures, title=title, n_images=len(images), coverage=coverage
        )
        if out.exists():
            out.rmdir()
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return table


def check_new(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        FileFormatError: it does, or it is a file.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise FileFormatError(f"{out} is there already; choose another --out, or remove it")


def adapted(
    segmenter: Segmenter,
    pairs: PairFiles,
    *,
    classes: Sequence[str],
    methods: Sequence[str] | None = None,
    expected: Expected = "alike",
    progress: Progress | None = None,
) -> SegmentationPredictor:
    """Return the predictor of a support that was read from files. Raises as `Segmenter.adapt`."""
    return segmenter.adapt(
        pairs.images, pairs.masks, classes=classes, methods=methods, expected=expected, progress=progress
    )


def pixels_of(images: Sequence[Path]) -> list[NDArray[np.generic]]:
    """Return the pixels of image files.

    Raises:
        CaseError: one that cannot be read.
    """
    return [read_raster(path).pixels for path in images]


def _cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
