"""Labelled image files on disk: a folder for each class, or a table of paths. No path leaves its root, and nothing is opened here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from metamedica.data.roles import Columns
from metamedica.data.tables import SUFFIXES as TABLES
from metamedica.data.tables import read_table
from metamedica.errors import FileFormatError, InputError, TaskError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".dcm", ".dicom", ".nii", ".nii.gz")
_NAMED = 3


@dataclass(frozen=True)
class ImageFiles:
    """Labelled image files.

    Args:
        root: the folder that all of them are below.
        table: a row an image: `path` (below the root, with /), `label`, and `split` and `group` ("" where there is none).
        left_out: what was not taken, and how many.
    """

    root: Path
    table: pd.DataFrame
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [self.root / path for path in self.table["path"]]

    def column(self, name: str) -> list[str] | None:
        """Return the `split` or `group` of each image; None where there is none."""
        texts = self.table[name].tolist()
        return texts if any(texts) else None


def files_in_folder(folder: str | Path, *, suffixes: Sequence[str] = SUFFIXES) -> ImageFiles:
    """Return the images of a folder that has a subfolder for each class, in the order of their names.

    Files directly in the folder, files of other kinds, hidden ones and links are left out and counted; folders below a class's
    are part of the class.

    Raises:
        FileFormatError: there is no such folder, it is empty or has no subfolder.
        TaskError: a class without an image, with one image only, or only one class.
    """
    root = _root(folder)
    inside = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    classes = [path for path in inside if path.is_dir() and not path.is_symlink()]
    if not inside:
        raise FileFormatError(f"the folder {root.name!r} is empty; give one with a subfolder for each class")
    if not classes:
        raise FileFormatError(
            f"the folder {root.name!r} has {len(inside):,} files and no subfolder; give each class a folder of its own, or give a table of paths"
        )
    left_out: Counter[str] = Counter()
    rows = []
    for path in inside:
        if path not in classes:
            left_out["links" if path.is_symlink() else "files outside a class's folder"] += 1
    for name in classes:
        found = _images_below(name, suffixes, left_out)
        if not found:
            raise TaskError(f"the class folder {name.name!r} has no image ({_listed(suffixes)}); fill it or remove it")
        rows += [(path.relative_to(root).as_posix(), name.name, "", "") for path in found]
    return _checked(root, pd.DataFrame(rows, columns=["path", "label", "split", "group"]), left_out, root.name)


def _images_below(folder: Path, suffixes: Sequence[str], left_out: Counter[str]) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_symlink():
            left_out["links"] += 1
        elif path.is_dir() or any(each.is_symlink() for each in path.relative_to(folder).parents if each != Path(".")):
            continue
        elif hidden:
            left_out["hidden files"] += 1
        elif not path.name.lower().endswith(tuple(suffixes)):
            left_out[f"{path.suffix.lower() or 'nameless'} files"] += 1
        else:
            found.append(path)
    return found


def files_in_table(
    table: str | Path, columns: Columns, *, root: str | Path | None = None, suffixes: Sequence[str] = SUFFIXES
) -> ImageFiles:
    """Return the images that a CSV, TSV or Parquet table names, in its order.

    Args:
        table: a row an image.
        columns: `case` names the column of paths, `target` that of labels; `split` and `group` may be named.
        root: the folder that paths are below; the table's own if left out.
        suffixes: of images.

    Raises:
        FileFormatError: the table cannot be read or lacks a column; a path is absolute, leaves the root, is a link out of it, is
            of another kind, comes twice, or no file is there.
        TaskError: a row without a label, a class with one image, or only one class.
        InputError: several columns are named for the path or the label.
    """
    source = Path(table)
    if not isinstance(columns.case, str) or columns.target is None:
        raise InputError("a table of images wants one column with paths and one with labels; name one of each")
    frame = read_table(source)
    absent = [name for name in columns.named() if name not in frame.columns]
    if absent:
        raise FileFormatError(
            f"{source.name} has no column {absent[0]!r}; it has: {', '.join(map(str, frame.columns))}"
        )
    base = _root(source.parent if root is None else root)
    taken: dict[str, list[str]] = {"path": [], "label": [], "split": [], "group": []}
    left_out: Counter[str] = Counter()
    missing = []
    for row, cell in frame[columns.case].str.strip().items():
        where = f"{source.name}, row {row}"
        label = str(frame.at[row, columns.target]).strip()
        path = _below(cell, where)
        if not label:
            raise TaskError(f"{where} has no label in {columns.target!r}; fill the cell or remove the row")
        if not path.lower().endswith(tuple(suffixes)):
            raise FileFormatError(
                f"{where} names a file that is no image ({PurePosixPath(path).suffix or 'no suffix'}); give {_listed(suffixes)}"
            )
        if not (base / path).resolve().is_relative_to(base.resolve()):
            raise FileFormatError(
                f"{where} names a link that leads out of the folder {base.name!r}; copy the file into it"
            )
        if not (base / path).is_file():
            missing.append(path)
        taken["path"].append(path)
        taken["label"].append(label)
        for name in ("split", "group"):
            column = getattr(columns, name)
            taken[name].append("" if column is None else str(frame.at[row, column]).strip())
    if missing:
        first = ", ".join(missing[:_NAMED])
        raise FileFormatError(
            f"{len(missing):,} of {len(frame):,} files that {source.name} names are not there ({first}{', ...' if len(missing) > _NAMED else ''}); "
            "check the paths, or name the folder that they are below (--root)"
        )
    for name in ("split", "group"):
        gaps = [row for row, text in zip(frame.index, taken[name], strict=True) if not text]
        if gaps and getattr(columns, name) is not None:
            raise FileFormatError(
                f"{source.name}, row {gaps[0]} has no {name} in {getattr(columns, name)!r}; fill the cell or leave the column out"
            )
    return _checked(base, pd.DataFrame(taken), left_out, source.name)


def read_image_files(
    source: str | Path,
    columns: Columns | None = None,
    *,
    root: str | Path | None = None,
    suffixes: Sequence[str] = SUFFIXES,
) -> ImageFiles:
    """Return the images of a folder of classes or of a table, whichever the source is; see `files_in_folder` and `files_in_table`.

    Raises:
        FileFormatError: there is no such folder or table, or what these say.
        TaskError: what these say.
        InputError: columns or a root came with a folder, or no columns with a table.
    """
    path = Path(source)
    if path.is_dir():
        if columns is not None or root is not None:
            raise InputError(
                "columns or a root came with a folder of classes; leave them out, or give a table of paths"
            )
        return files_in_folder(path, suffixes=suffixes)
    if not path.exists():
        raise FileFormatError(f"there is no folder or table {path.name!r}; check the path")
    if not path.name.lower().endswith(TABLES):
        raise FileFormatError(
            f"{path.name} is neither a folder nor a table; give a folder with a subfolder for each class, or {_listed(TABLES)}"
        )
    if columns is None:
        raise InputError(f"{path.name} is a table; name its columns with paths and labels")
    return files_in_table(path, columns, root=root, suffixes=suffixes)


def _root(folder: str | Path) -> Path:
    path = Path(folder)
    if not path.exists():
        raise FileFormatError(f"there is no folder {path.name!r}; check the path")
    if not path.is_dir():
        raise FileFormatError(f"{path.name} is no folder; give one with a subfolder for each class")
    return path


def _below(cell: str, where: str) -> str:
    """Return a path of a table with / and without . parts.

    Raises:
        FileFormatError: it is empty, absolute or climbs up.
    """
    plain = str(cell).replace("\\", "/")
    if not plain or "\0" in plain:
        raise FileFormatError(f"{where} names no file; fill the cell or remove the row")
    if PurePosixPath(plain).is_absolute() or PureWindowsPath(plain).drive or ".." in PurePosixPath(plain).parts:
        raise FileFormatError(f"{where} names a file outside the folder of the images; give paths below it, without ..")
    return PurePosixPath(plain).as_posix()


def _listed(suffixes: Sequence[str]) -> str:
    return f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"


def _checked(root: Path, table: pd.DataFrame, left_out: Counter[str], name: str) -> ImageFiles:
    twice = table["path"][table["path"].duplicated()].unique()
    if len(twice):
        raise FileFormatError(
            f"{name} names {len(twice):,} files twice ({', '.join(twice[:_NAMED])}{', ...' if len(twice) > _NAMED else ''}); name each once"
        )
    counts = table["label"].value_counts()
    for label, count in counts.items():
        if count == 1:
            raise TaskError(
                f"the class {label!r} has one image; a class needs at least two, one to learn from and one to judge on: add some or leave it out"
            )
    if len(counts) == 1:
        raise TaskError(f"{name} has one class only, {counts.index[0]!r}; give at least two")
    return ImageFiles(root, table, dict(left_out))
