"""`metamedica segment`: masks of a folder of images from a few images with masks."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from metamedica.cli import _options as options
from metamedica.cli._console import Session, plain
from metamedica.errors import InputError

_SHOWN = 12


def command(
    ctx: typer.Context,
    images: Annotated[Path, typer.Option("--images", metavar="FOLDER", help="Images to segment.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="New folder for masks, measures and the page.")],
    support: Annotated[
        Path | None,
        typer.Option("--support", metavar="FILE", help="Table with the columns image and mask: labelled images."),
    ] = None,
    predictor: Annotated[
        Path | None,
        typer.Option("--predictor", metavar="FOLDER", help="In place of --support: what an earlier run wrote."),
    ] = None,
    classes: Annotated[
        str, typer.Option("--classes", metavar="NAMES", help="Names of the classes, the background first.")
    ] = "background,structure",
    values: Annotated[
        str | None,
        typer.Option(
            "--values",
            metavar="NUMBERS",
            help="Grey value of each class in masks, such as 0,255; 0,1,2 ... if left out.",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="NAMES",
            help="To choose among (or to answer together): prototype, ridge, logistic, boosted, network; all if left out.",
        ),
    ] = None,
    expected: Annotated[
        Literal["alike", "recoloured"],
        typer.Option("--expected", help="What new images are like: recoloured under another stain or scanner."),
    ] = "alike",
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            "--unlabelled",
            metavar="FOLDER",
            help="Where masks under a new stain look wrong without: 8 or more images without a mask that teach it, with --expected recoloured or "
            "--predictor; may be that of --images.",
        ),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(
            "--spacing",
            metavar="MM",
            help="Height and width of a pixel in mm, such as 0.5,0.5; measures are in pixels without.",
        ),
    ] = None,
    masks: Annotated[Literal["png", "nifti"], typer.Option("--masks", help="Format of the masks.")] = "png",
    coverage: Annotated[float, typer.Option("--coverage", help="How often intervals hold the true measure.")] = 0.9,
    seed: Annotated[int, typer.Option("--seed", help="Of all randomness.")] = 0,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Segment images from a few images with masks.

    For example:

        metamedica segment --support pairs.csv --images scans --out segmented
        metamedica segment --support pairs.csv --values 0,255 --spacing 0.5,0.5 --images scans --out segmented
        metamedica segment --support pairs.csv --expected recoloured --unlabelled new --images new --out segmented

    The table names an image and its mask a row, below its own folder. What
    segments is chosen by hiding labelled images: simple heads or boosted
    trees on dense features, or a small U-Net. Where new images come under
    another stain or scanner (--expected recoloured) all answer together;
    where their masks look wrong, images without a mask (--unlabelled) may
    teach its colours. Written are masks (the number
    of the class), maps of uncertainty, measures.csv with intervals,
    report.html to look at, and the predictor, to be used again with
    --predictor.

    The predictor comes from the labelled images: keep it as you keep them.
    Needs: pip install 'metamedica[images]'
    """
    session = Session.of(ctx)
    if (support is None) == (predictor is None):
        raise InputError("give either --support with labelled images or --predictor that an earlier run wrote")
    if unlabelled is not None and support is not None and expected != "recoloured":
        raise InputError(
            "--unlabelled teaches another stain or scanner: give it with --expected recoloured, or leave it out"
        )
    step = None if spacing is None else _spacing(spacing)

    from metamedica.applications.segmentation.files import (
        adapted,
        check_new,
        images_in,
        pixels_of,
        read_support,
        segment_folder,
    )
    from metamedica.applications.segmentation.predictor import SegmentationPredictor
    from metamedica.applications.segmentation.segmenter import Segmenter
    from metamedica.functional.conformal import check_coverage

    check_coverage(coverage)
    check_new(out)
    found = images_in(images)
    if predictor is not None:
        loaded = SegmentationPredictor.load(predictor)
    else:
        assert support is not None
        names = options.words(classes, "--classes")
        given = None if values is None else options.numbers(values, "--values", least=0)
        pairs = read_support(support, classes=names, values=given)
        chosen = None if methods is None else options.words(methods, "--methods")
        with session.progress("adapting") as progress:
            loaded = adapted(
                Segmenter(seed=seed), pairs, classes=names, methods=chosen, expected=expected, progress=progress
            )
    if unlabelled is not None:
        with session.progress("learning from images without a mask") as progress:
            loaded = loaded.taught(pixels_of(images_in(unlabelled)), seed=seed, progress=progress)
    with session.progress("segmenting") as progress:
        table = segment_folder(
            loaded, found, out, spacing=step, masks=masks, coverage=coverage, title=f"Segmentation of {images.name}",
            progress=progress,
        )  # fmt: skip
    session.say(f"Adapted to {loaded.n_images:,} labelled images by: {loaded.method}.")
    if unlabelled is not None and not loaded.n_unlabelled:
        session.say("Images without a mask taught nothing that their own masks bear out, and were left aside.")
    if loaded.dice:
        session.table(
            "On hidden labelled images", ["method", "Dice"], [(name, value) for name, value in loaded.dice.items()]
        )
    shown = [name for name in table.columns if name.startswith(("image", "structure", "area", "longest"))]
    shown = [name for name in shown if not name.endswith(("_low", "_high"))]
    session.table("Measures", shown, table[shown].head(_SHOWN).to_numpy().tolist())
    session.say(f"Wrote {len(found):,} masks, measures.csv and report.html to {out}.")
    session.say("The predictor comes from the labelled images: keep it as you keep them.")
    session.result(
        plain({"out": str(out), "images": len(found), **loaded.report(), "measures": table.to_dict(orient="records")})
    )


def _spacing(text: str) -> tuple[float, float]:
    try:
        steps = [float(part) for part in text.split(",")]
    except ValueError:
        steps = []
    if len(steps) == 1:
        steps = steps * 2
    if len(steps) != 2 or not all(0 < step < float("inf") for step in steps):
        raise InputError(f"got --spacing {text!r}; give the height and width of a pixel in mm, such as 0.5,0.5")
    return steps[0], steps[1]
