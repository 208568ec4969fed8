"""`metamedica data deidentify`: DICOM files without what tells who they are of."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from metamedica.cli import _options as options
from metamedica.cli._console import Session

_SHOWN = 10


def deidentify(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with DICOM files, at any depth.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="New or empty folder, or that of a run to go on with.")],
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="The secret, 16 bytes or more; METAMEDICA_DEIDENTIFICATION_KEY if left out.",
        ),
    ] = None,
    dates: Annotated[
        Literal["shift", "remove"],
        typer.Option(
            "--dates", help="shift: put back by 1 to 3650 days, the same for a patient; remove: none is left."
        ),
    ] = "shift",
    flagged: Annotated[
        Literal["hold", "keep"],
        typer.Option(
            "--flagged", help="Images that may have writing in their pixels. hold: do not write them; keep: write them."
        ),
    ] = "hold",
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Copy DICOM images without what tells who they are of.

    For example:

        openssl rand -hex 32 > key.txt
        metamedica data deidentify scans shared --key-file key.txt

    Only elements of an allow-list are kept: geometry, pixels and technical
    numbers. Names, texts, private elements, overlays and all else go. The
    patient's ID and all UIDs become keyed pseudonyms, so that files that
    belong together still do, in later runs with the same key too. Keep the
    key secret: who has it can link pseudonyms to patients.

    Images that may have writing in their pixels are held back and listed in
    OUT/report.json: look at each before you use --flagged keep. A face can be
    seen in a head scan: this command does not remove it.

    Run it again after a stop: it goes on where it was.
    """
    from metamedica.data.deidentification.files import REPORT, deidentify_folder
    from metamedica.data.deidentification.keys import Key
    from metamedica.errors import InputError

    session = Session.of(ctx)
    key = Key.from_environment() if key_file is None else Key.from_file(key_file)
    with session.progress("de-identifying") as progress:
        report = deidentify_folder(source, target, key, dates=dates, flagged=flagged, progress=progress)
    if not report.files.get("written") and not report.files.get("held"):
        raise InputError(
            f"of {report.files['read']:,} files none is an image that can be de-identified; {target.name}/{REPORT} tells why: give a folder with "
            "DICOM images"
        )
    session.table(
        "Files",
        ["outcome", "files"],
        [(what, count) for what, count in report.files.items()],
    )
    session.say(f"{report.patients:,} patients, {report.series:,} series written.")
    session.left_out(report.left_out)
    if report.refused:
        session.left_out({f"refused, {reason}": count for reason, count in report.refused.items()})
    if report.flagged_files:
        kept = "held back" if flagged == "hold" else "written all the same"
        session.table(
            f"May have writing in their pixels: {len(report.flagged_files):,} files, {kept}",
            ["number", "file", "why"],
            [(each["number"], each["file"], "; ".join(each["reasons"])) for each in report.flagged_files[:_SHOWN]],
            wide=["file"],
        )
    session.say(f"Wrote {target / REPORT}.")
    session.result({"out": str(target), "report": report.as_dict()})
