"""Options and files of images, and of other cases that lie in files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from metamedica.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from metamedica.types import Modality

_TABLE, _IMAGES = "Table", "Images"
Copies = Literal["plain", "mirrored", "turned"]

NetworkFolder = Annotated[
    Path | None,
    typer.Option(
        "--network",
        metavar="FOLDER",
        help="Images: a network that 'metamedica pretrain' wrote, through which they are seen; without one by classical features alone.",
        rich_help_panel=_TABLE,
    ),
]
HuWindow = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="NAME",
        help="Images: window of CT numbers (lung, mediastinum, bone, brain, ...) that DICOM and NIfTI files are seen through.",
        rich_help_panel=_TABLE,
    ),
]
CopiesOption = Annotated[
    Copies,
    typer.Option(
        "--copies",
        metavar="HOW",
        help="Images that count as the same: plain, mirrored (flips too) or turned (quarter turns and flips too).",
        rich_help_panel=_IMAGES,
    ),
]
AuditPage = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write the audit of images as a page, .html.", rich_help_panel=_IMAGES),
]


def image_settings(modality: str, network: Path | None, window: str | None) -> dict[str, Any] | None:
    """Return the settings of the modality `images` that the options speak of; None where they say nothing.

    Raises:
        InputError: one came with another modality, or there is no such window.
        BundleError: the folder holds no network.
    """
    if network is None and window is None:
        return None
    if modality != "images":
        given = "--window" if network is None else "--network"
        raise InputError(f"{given} came with {modality}, and is of images; leave it out, or name --modality images")
    from metamedica.modalities.images.network import Network
    from metamedica.modalities.images.windows import window as named

    if window is not None:
        named(window)
    found: dict[str, Any] = {"window": window}
    if network is not None:
        value = Network.load(network).as_value()
        found |= {"network": value, "side": value["side"]}
    return found


def read_labelled(file: Path, modality: "Modality") -> "pd.DataFrame":
    """Return a table; of images a folder with a subfolder for each class is one too, with the columns `image` and `class`.

    Raises:
        FileFormatError: it cannot be read.
        TaskError: a class with fewer than two images.
    """
    from metamedica.data.tables import read_table

    if not (modality.name == "images" and file.is_dir()):
        return read_table(file)
    import pandas as pd

    from metamedica.data.image_files import files_in_folder

    files = files_in_folder(file)
    frame = pd.DataFrame({"image": files.table["path"], "class": files.table["label"]})
    frame.attrs["source"] = file.name
    return frame


def found_beside(modality: "Modality", cases: Sequence[str], file: Path) -> list[str]:
    """Return the cases that a table (or a folder) names as the modality finds them: paths below the table's folder where they are such.

    Raises:
        InputError: a path that leaves the folder.
    """
    from metamedica.filed import LiesInFiles

    if not isinstance(modality, LiesInFiles):
        return list(cases)
    return modality.beside(cases, str(file if file.is_dir() else file.parent))
