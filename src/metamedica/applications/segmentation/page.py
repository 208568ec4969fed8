"""The page of a segmented folder: how the predictor was chosen, outlines over the images beside their uncertainty, and the measures."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped, UInt8

from metamedica.applications.segmentation.predictor import Segmentation, SegmentationPredictor
from metamedica.reports.html import Card, Section, Table, table_of, write_page
from metamedica.reports.image_audit_page import png

_SIDE = 220
"""Longest side of an image on the page, in pixels."""
COLOURS = ((0, 170, 255), (255, 128, 0), (120, 220, 60), (230, 80, 220), (250, 220, 40), (255, 90, 90), (150, 120, 255))
"""Of structures, in turn."""
_ROWS = 60
_NAMES = {
    "prototype": "prototypes of dense features",
    "ridge": "ridge regression on dense features",
    "logistic": "logistic regression on dense features",
    "boosted": "boosted trees on dense features",
    "network": "a small U-Net",
    "transferred": "a small U-Net that starts from earlier tasks",
    "vote": "all methods together",
    "self-trained": "linear heads that learned from images without a mask",
}
_HOW = (
    "Labelled images were hidden in turn; a costlier method answers only where it is better by that.",
    "Labelled images were hidden in turn and recoloured. That does not tell which method serves under a new stain, so all answer together.",
)


@dataclass(frozen=True)
class Shown:
    """An image as the page shows it.

    Args:
        name: of its file.
        outlined: with outlines of the structures.
        doubt: uncertainty, from black (none) to yellow.
    """

    name: str
    outlined: UInt8[np.ndarray, "height width 3"]
    doubt: UInt8[np.ndarray, "height width 3"]


def shown(name: str, pixels: Shaped[np.ndarray, "..."], found: Segmentation) -> Shown:
    """Return an image with outlines and its uncertainty, small enough for a page.

    Args:
        name: of its file.
        pixels: as it came.
        found: what is said of it.
    """
    step = max(1, -(-max(found.mask.shape) // _SIDE))
    kept, mask = pixels[::step, ::step].astype(np.float64), found.mask[::step, ::step]
    low, high = (0.0, 255.0) if pixels.dtype == np.uint8 else (float(kept.min()), float(kept.max()))
    grey = np.clip(255 * (kept - low) / max(high - low, 1e-9), 0, 255).astype(np.uint8)
    doubt = found.uncertainty[::step, ::step]
    yellow = np.stack([255 * doubt, 220 * doubt, 40 * doubt], axis=-1).astype(np.uint8)
    return Shown(name, outlined(grey if grey.ndim == 3 else np.stack([grey] * 3, axis=-1), mask), yellow)


def outlined(
    picture: UInt8[np.ndarray, "height width 3"], mask: Int[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture with the outline of each structure in its colour: pixels of it with a neighbour that is of another class."""
    wide = np.pad(mask, 1, mode="edge")
    edge = np.zeros(mask.shape, dtype=bool)
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        edge |= wide[down : down + mask.shape[0], right : right + mask.shape[1]] != mask
    drawn = picture.copy()
    for structure in range(1, int(mask.max()) + 1):
        drawn[edge & (mask == structure)] = COLOURS[(structure - 1) % len(COLOURS)]
    return drawn


def write_segmentation_page(
    path: Path,
    predictor: SegmentationPredictor,
    table: pd.DataFrame,
    pictures: Sequence[Shown],
    *,
    title: str,
    n_images: int,
    coverage: float,
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        predictor: that segmented.
        table: of measures, a row an image and structure.
        pictures: to show.
        title: of the page.
        n_images: that were segmented.
        coverage: that was asked of intervals.
    """
    method = _NAMES.get(predictor.method, predictor.method)
    verdict = (
        f"{_many(n_images, 'image')} segmented by {method}, adapted to {_many(predictor.n_images, 'labelled image')}."
    )
    if predictor.n_unlabelled:
        verdict += f"\n{_many(predictor.n_unlabelled, 'image')} without a mask taught it their colours. No label tells how well: look at each mask."
    elif predictor.method in predictor.dice:
        verdict += f"\nOn labelled images that were hidden from it the mean Dice coefficient is {predictor.dice[predictor.method]:.2f}."
    else:
        verdict += "\nNo labelled image could be hidden, so nothing vouches for the masks: look at each."
    colours = ", ".join(f"{name} {_colour(at)}" for at, name in enumerate(predictor.classes[1:]))
    held = float(table["interval_coverage"].min()) if "interval_coverage" in table else 0.0
    if held > 0:
        shortfall = f"Intervals hold the true measure at least {held:.0%} of the time; {coverage:.0%} was asked."
    else:
        shortfall = "Where no range is given no labelled image vouches for one: two or more that show the structure must be labelled."
    if held < coverage:
        shortfall += " More labelled images vouch for more."
    chosen = [
        [_NAMES.get(name, name), f"{value:.3f}", "chosen" if name == predictor.method else ""]
        for name, value in predictor.dice.items()
    ]
    sections = [
        Section(
            "How it was chosen",
            prose=[_HOW[predictor.method in ("vote", "self-trained")]],
            tables=[Table(["method", "Dice on hidden images", ""], chosen, numeric=frozenset({1}))] if chosen else [],
        ),
        Section(
            "Images",
            prose=[f"Outlines: {colours}. Right: uncertainty, from black (none) to yellow."]
            + ([f"The first {len(pictures)} of {n_images} images."] if len(pictures) < n_images else []),
            cards=[_card(each) for each in pictures],
        ),
        Section(
            "Measures",
            prose=[shortfall],
            tables=[
                table_of(_readable(table.head(_ROWS)), caption=f"The first {_ROWS} rows." if len(table) > _ROWS else "")
            ],
        ),
    ]
    write_page(path, title, sections, verdict=verdict, footer="All images are listed in measures.csv.")


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with each measure and its interval in one cell."""
    found = table.drop(columns=[column for column in table.columns if column.endswith("_coverage")])
    for name in [column for column in table.columns if f"{column}_low" in table.columns]:
        ends = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
        found[name] = [_ranged(*each) for each in ends]
        found = found.drop(columns=[f"{name}_low", f"{name}_high"])
    return found


def _ranged(value: float, low: float, high: float) -> str:
    if value != value:
        return "–"
    return f"{value:.4g}" if low != low or high != high else f"{value:.4g} ({low:.4g} to {high:.4g})"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _colour(at: int) -> str:
    return ("blue", "orange", "green", "pink", "yellow", "red", "violet")[at % len(COLOURS)]


def _card(picture: Shown) -> Card:
    height, width = picture.outlined.shape[:2]
    drawn = []
    for at, pixels in enumerate((picture.outlined, picture.doubt)):
        data = base64.b64encode(png(pixels)).decode()
        drawn.append(
            f'<image x="{at * (width + 6)}" y="0" width="{width}" height="{height}" href="data:image/png;base64,{data}"/>'
        )
    label = f"{escape(picture.name)} with outlines, and its uncertainty"
    svg = f'<svg viewBox="0 0 {2 * width + 6} {height}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'
    return Card(svg, [picture.name])
