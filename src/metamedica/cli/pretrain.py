"""`metamedica pretrain`: learn to see from images that nobody needs to have labelled."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metamedica.cli import _image_options
from metamedica.cli import _options as options
from metamedica.cli._console import Session
from metamedica.errors import CaseError, InputError

if TYPE_CHECKING:
    from metamedica.pretraining import ImageSet

_NAMED = 3


def command(
    ctx: typer.Context,
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="Folders of images (PNG, JPEG, TIFF, BMP, DICOM; subfolders too), one for each kind of image: one organ, one camera.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write the network to.")],
    side: Annotated[
        int, typer.Option("--side", metavar="PIXELS", min=16, help="Every image is brought to this side.")
    ] = 64,
    window: _image_options.HuWindow = None,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, help="Training steps; 3,000 take half an hour on one core.")
    ] = 3000,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=2, help="Images a step.")] = 48,
    turned: Annotated[
        bool,
        typer.Option(
            "--turned", help="An image means the same whichever way up (cells, tissue); scans of patients do not."
        ),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Same seed, same network.")] = 0,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", metavar="FOLDER", help="Folder to keep the training's state in.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest state in --checkpoints.")] = False,
    skip_invalid: options.SkipInvalid = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train a network on images without labels (SimCLR), to see others through.

    No outside weights are needed, and none are fetched:

        metamedica pretrain ct/ xray/ --out network
        metamedica pretrain cells/ --turned --out network

    A long training that may be interrupted, and goes on to the same result:

        metamedica pretrain ct/ --out network --checkpoints ck
        metamedica pretrain ct/ --out network --checkpoints ck --resume

    Next: metamedica fit TABLE --modality images --network network
    """
    session = Session.of(ctx)
    if resume and checkpoints is None:
        raise InputError("--resume came without --checkpoints; name the folder that the interrupted training wrote to")
    options.check_bundle(out, "network", overwrite=overwrite)

    from metamedica.pretraining import PretrainingSettings, pretrain

    _image_options.image_settings("images", None, window)
    sets = [
        _set(session, folder, side=side, window=window, turned=turned, skip_invalid=skip_invalid) for folder in folders
    ]
    settings = PretrainingSettings(steps=steps, batch=batch, supervised=0.0, seed=seed)
    with session.progress("pre-training") as progress:
        network = pretrain(sets, settings, checkpoints=checkpoints, resume=resume, progress=progress)
    network.save(out)
    count = sum(len(each.images) for each in sets)
    session.say(f"Learned to see from {count:,} images in {len(sets)} folder{'' if len(sets) == 1 else 's'}.")
    session.say(f"Wrote {out}.")
    session.say(f"Next: metamedica fit TABLE --modality images --network {out} --out MODEL")
    session.result({"network": str(out), "images": {each.name: len(each.images) for each in sets}, "dim": network.dim})


def _set(
    session: Session, folder: Path, *, side: int, window: str | None, turned: bool, skip_invalid: bool
) -> "ImageSet":
    """Return the images below a folder as a set.

    Raises:
        FileFormatError: there is no such folder, or no image in it.
        CaseError: images that cannot be read, unless they are to be left out.
    """
    from metamedica.errors import FileFormatError
    from metamedica.functional.augmentation import Augmentation
    from metamedica.modalities.images import Images
    from metamedica.pretraining import ImageSet

    if not folder.is_dir():
        raise FileFormatError(f"{folder.name!r} is no folder; give folders that hold images")
    reader = Images(side=side, window=window)
    found = reader.read_file(str(folder))
    assert found is not None  # of a folder
    cases, names = found
    with session.progress(f"reading {folder.name}") as progress:
        prepared = reader.prepare(cases, progress=progress)
    bad = prepared.problems
    if bad and (not skip_invalid or len(bad) == len(cases)):
        shown = "; ".join(f"{names[each.position]}: {each.reason}" for each in bad[:_NAMED])
        advice = (
            "give some that can be" if len(bad) == len(cases) else "mend them, or add --skip-invalid to leave them out"
        )
        raise CaseError(f"{folder.name}: {len(bad):,} of {len(cases):,} images cannot be read: {shown}; {advice}")
    equal = len(cases) - len(bad) - len(prepared.canonical)
    session.left_out(
        {what: count for what, count in (("invalid images", len(bad)), ("images equal to another", equal)) if count}
    )
    changes = Augmentation(least=0.45, degrees=20.0, brightness=0.2, contrast=0.4, gamma=0.4, blur=1.0)
    if turned:
        changes = Augmentation(
            upside_down=0.5, quarters=1, degrees=45.0, saturation=0.3, hue=15.0, stain=0.05, blur=0.7
        )
    return ImageSet(folder.name, reader.squares(prepared.canonical), augmentation=changes)
