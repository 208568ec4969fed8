"""`metamedica imaging`: read images with a predictor, and write a page of what it sees where."""

from pathlib import Path
from typing import Annotated

import typer

from metamedica.cli import _options as options
from metamedica.cli._console import Session
from metamedica.errors import FileFormatError, InputError

_SHOWN = 15


def command(
    ctx: typer.Context,
    predictor: Annotated[Path, typer.Argument(metavar="PREDICTOR", help="Folder that 'metamedica adapt' wrote.")],
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES",
            help="A folder of images, one image, a volume (.nii.gz), or a table of paths; a folder with a subfolder for each class, or a table "
            "with --target, is judged too.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Page to write: .html.")],
    case: options.CaseColumn = None,
    target: options.TargetColumn = None,
    explained: Annotated[
        int, typer.Option("--explain", metavar="N", min=0, help="Heat maps of the N images that it is least sure of.")
    ] = 4,
    coverage: Annotated[
        float, typer.Option("--coverage", metavar="SHARE", help="How often the sets are to hold the true class.")
    ] = 0.9,
    asked: Annotated[
        float, typer.Option("--ask", metavar="SHARE", help="Share of the images that a person is to look at.")
    ] = 0.2,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Of the page.")] = "Images read",
    skip_invalid: options.SkipInvalid = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say what images show, how sure that is, and where in the image it lies.

    For example, five labelled images of each class, then new ones:

        metamedica adapt labelled/ --model cells --out predictor
        metamedica imaging predictor new/ --out page.html

    The page shows every image with its answer, the set of classes that may
    be true, heat maps of the images it is least sure of (which patches speak
    for the answer, by Shapley values), and which part looks like which part
    of a labelled image. With labels it counts what was called what.
    """
    session = Session.of(ctx)
    options.check_file(out, (".html",), overwrite=overwrite)

    from metamedica.applications.imaging import read_images, write_reading
    from metamedica.modalities.images import Images
    from metamedica.predictors.predictor import Predictor

    loaded = Predictor.load(predictor)
    modality = loaded.model.modality
    if not isinstance(modality, Images):
        raise InputError(f"{predictor} is a predictor of {modality.name}; adapt a model of images")
    cases, names, truths = _cases(images, modality, case=case, target=target, classes=loaded.classes or ())
    with session.progress("reading images") as progress:
        reading = read_images(
            loaded,
            cases,
            names=names,
            truths=truths,
            explained=explained,
            coverage=coverage,
            asked=asked,
            skip_invalid=skip_invalid,
            progress=progress,
        )
    write_reading(reading, out, title=title)
    first = reading.answers[:_SHOWN]
    session.table(
        f"The first {len(first)} images",
        ["image", "prediction", "probability", "may be", "ask"],
        [
            (
                each.name,
                each.prediction,
                f"{each.probabilities[each.prediction]:.2f}",
                " | ".join(each.members),
                "yes" if each.asks else "",
            )
            for each in first
        ],
        wide=["image", "may be"],
    )
    if reading.left_out:
        session.left_out({"images that cannot be read": len(reading.left_out)})
    if truths is not None:
        table = reading.confusion().to_numpy()
        session.say(f"{table.trace()} of {table.sum()} images are called what they are.")
    session.say(reading.trust)
    session.say(f"Wrote {out}.")
    session.result({"page": str(out), **reading.as_dict()})


def _cases(
    images: Path, modality: object, *, case: str | None, target: str | None, classes: tuple[str, ...]
) -> tuple[list[str], list[str], list[str | None] | None]:
    """Return the images, what they are called, and their classes where those are told.

    Raises:
        FileFormatError: there is no such file, or no image in it.
    """
    from metamedica.cli._image_options import read_labelled
    from metamedica.cli._tables import read_library
    from metamedica.modalities.images import Images

    assert isinstance(modality, Images)
    if not images.exists():
        raise FileFormatError(f"there is no file or folder {images.name!r}; check the path")
    if images.is_dir() and {path.name for path in images.iterdir() if path.is_dir()} & set(classes):
        if case is not None or target is not None:
            raise InputError("--case or --target came with a folder of classes, which says it all; leave it out")
        frame = read_labelled(images, modality)
        found = modality.beside(frame["image"].tolist(), str(images))
        return found, frame["image"].tolist(), [str(label) for label in frame["class"]]
    library = read_library(images, modality, case=case)
    cases = [str(each) for each in library.cases]
    names = [str(each) for each in library.about.get("name", [Path(each).name for each in cases])]
    if target is None:
        return cases, names, None
    if target not in library.about.columns:
        raise FileFormatError(
            f"{images.name} has no column {target!r}; it has: {', '.join(map(str, library.about.columns))}"
        )
    return cases, names, [str(label) or None for label in library.about[target]]
