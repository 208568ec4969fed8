"""`metamedica data check --modality images`: look at labelled image files, and say what would make figures on them too good."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamedica.cli import _options as options
from metamedica.cli._console import Session
from metamedica.cli._tables import target_column
from metamedica.errors import FileFormatError, InputError, MetamedicaError

if TYPE_CHECKING:
    from metamedica.data.image_audit.pictures import ImageSet
    from metamedica.data.image_audit.twins import Copies
    from metamedica.data.image_files import ImageFiles

PATHS = ("path", "file", "image", "filename", "file_name", "filepath", "file_path", "image_path", "name")
"""Usual names of the column with paths, likeliest first."""
_PAGE_PAIRS = 24


def check(
    session: Session,
    source: Path | None,
    *,
    case: str | None,
    target: str | None,
    group: str | None,
    split: str | None,
    root: Path | None,
    copies: "Copies",
    skip_invalid: bool,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Read the images that a folder or a table names, audit them, tell what was found, and write a page where `out` names one.

    Raises:
        InputError: a file or an option cannot be used.
    """
    from metamedica.data.image_audit.audit import audit

    if source is None:
        raise InputError("no images were named; give a folder with a subfolder for each class, or a table of paths")
    if out is not None:
        options.check_file(out, (".html",), overwrite=overwrite, inputs=(source,))
    files = _files(source, case=case, target=target, group=group, split=split, root=root)
    images, taken, left_out = _looked_at(session, files, skip_invalid=skip_invalid)
    paths = [str(files.table["path"].iloc[row]) for row in taken]
    session.say(f"{source.name}: {len(images):,} images of {len(images.classes):,} classes.")
    session.left_out(left_out)
    with session.progress("auditing") as progress:
        found = audit(images, copies=copies, progress=progress)
    session.table("Classes", ["class", "images"], list(found.balance.classes.items()), wide=["class"])
    session.heading("Findings")
    session.say(found.as_text())
    told = found.as_dict()
    for pair in told["twins"]["pairs"]:
        pair["paths"] = [paths[pair["left"]], paths[pair["right"]]]
    if out is not None:
        from metamedica.reports.image_audit_page import write_audit_page

        write_audit_page(
            found,
            out,
            title=f"Image audit of {source.name}",
            shown=_shown(files, taken, found.twins.pairs),
            images=images,
            names=paths,
        )
        session.say(f"Wrote {out}.")
    session.result(
        {
            "file": str(source),
            "modality": "images",
            "left_out": left_out,
            "out": None if out is None else str(out),
            **told,
        }
    )


def _files(
    source: Path, *, case: str | None, target: str | None, group: str | None, split: str | None, root: Path | None
) -> "ImageFiles":
    from metamedica.data.image_files import read_image_files
    from metamedica.data.roles import Columns
    from metamedica.data.tables import SUFFIXES, read_table

    named = {"--case": case, "--target": target, "--group": group, "--split": split, "--root": root}
    if source.is_dir() or not source.name.lower().endswith(SUFFIXES):
        given = [option for option, value in named.items() if value is not None]
        if given and source.is_dir():
            raise InputError(
                f"{given[0]} came with a folder of classes, which says it all; leave it out, or give a table of paths"
            )
        return read_image_files(source)
    columns = [str(name) for name in read_table(source).columns]
    for name in (case, target, group, split):
        if name is not None and name not in columns:
            raise FileFormatError(f"{source.name} has no column {name!r}; it has: {', '.join(columns)}")
    usual = [name for known in PATHS for name in columns if name.strip().lower() == known]
    if case is None and not usual:
        raise FileFormatError(
            f"{source.name} has no column that looks like paths; name it with --case; the columns are: {', '.join(columns)}"
        )
    path = case or usual[0]
    label = target or target_column(
        columns, source.name, taken=[name for name in (path, group, split) if name is not None]
    )
    return read_image_files(source, Columns(path, label, group=group, split=split), root=root)


def _looked_at(
    session: Session, files: "ImageFiles", *, skip_invalid: bool
) -> "tuple[ImageSet, list[int], dict[str, int]]":
    """Return what the audit keeps of each image, the rows that could be read, and what was left out."""
    from dataclasses import replace

    from metamedica.data.deidentification import burned_in
    from metamedica.data.image_audit.pictures import gathered, look
    from metamedica.data.image_audit.runs import running_numbers
    from metamedica.data.image_audit.series import Slices
    from metamedica.modalities.images.rasters import read_raster
    from metamedica.modalities.images.scans import is_scan, read_scan

    looks, facts, taken, headers, writing = [], [], [], [], []
    left_out = dict(files.left_out)
    with session.progress("reading images") as progress:
        for row, path in enumerate(files.paths):
            try:
                scan = read_scan(path) if is_scan(path) else None
                raster = read_raster(path) if scan is None else None
            except InputError as error:
                if not skip_invalid:
                    hint = "; or add --skip-invalid to leave such images out"
                    raise type(error)(f"{error}{hint}") from None
                left_out["invalid images"] = left_out.get("invalid images", 0) + 1
                continue
            if scan is not None:
                looks.append(replace(look(scan.pixels), sha256=scan.sha256))
                facts.append(dict(scan.facts))
                headers.append((scan.patient, scan.series, scan.height_mm))
                writing.append(
                    scan.header is not None and bool(set(burned_in.reasons(scan.header)) - {burned_in.UNSEEN})
                )
            elif raster is not None:
                looks.append(look(raster.pixels))
                facts.append(raster.facts.as_dict())
                headers.append((None, None, None))
                writing.append(False)
            taken.append(row)
            if progress is not None:
                progress(row + 1, len(files), "reading images")
    if not looks:
        raise FileFormatError(
            f"none of the {len(files):,} images can be read; run again without --skip-invalid to see why"
        )
    table = files.table.iloc[taken]
    labels = table["label"].tolist()
    split, groups = (
        [column[row] for row in taken] if (column := files.column(name)) else None for name in ("split", "group")
    )
    numbers = running_numbers(table["path"].tolist(), labels)
    slices = None
    if any(is_scan(Path(path)) for path in table["path"]):
        patients, series, heights = (list(each) for each in zip(*headers, strict=True))
        slices = Slices(patients, series, _series_folders(table["path"].tolist()), heights, writing)
        groups = slices.groups() if groups is None else groups
    images = gathered(looks, labels, facts=facts, split=split, groups=groups, numbers=numbers, slices=slices)
    return images, taken, left_out


def _series_folders(paths: list[str]) -> list[str]:
    """Return the folder that each file lies in, where that is below another folder (the class's); "" for others."""
    return [folder if "/" in (folder := path.rpartition("/")[0]) else "" for path in paths]


def _shown(files: "ImageFiles", taken: list[int], pairs: Any) -> dict[int, Any]:
    """Return the pixels of the pairs that the page shows, by the place of the image in the set."""
    from metamedica.modalities.images.rasters import read_raster
    from metamedica.modalities.images.scans import is_scan, read_scan

    places = sorted({place for pair in pairs[:_PAGE_PAIRS] for place in (pair.left, pair.right)})
    paths = files.paths
    shown = {}
    for place in places:
        try:
            path = paths[taken[place]]
            shown[place] = read_scan(path).pixels if is_scan(path) else read_raster(path).pixels
        except MetamedicaError as error:
            raise FileFormatError(f"an image changed while it was audited: {error}") from None
    return shown
