"""Files of public collections, known by their SHA-256: in any folder, or in the local mirror that METAMEDICA_DATA points at."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from metamedica.errors import FileFormatError, InputError
from metamedica.storage import sha256

VARIABLE = "METAMEDICA_DATA"


def mirrored(name: str, files: Mapping[str, str], *, source: str) -> list[Path]:
    """Return where the files of a collection lie in the mirror, in their order, each with the SHA-256 that it must have.

    Args:
        name: of the collection, for the messages.
        files: path below the mirror -> SHA-256.
        source: where the files come from, for the messages.

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: a file is not the known one.
    """
    root = os.environ.get(VARIABLE)
    if not root:
        raise InputError(
            f"{name} is read from a local mirror and {VARIABLE} is not set; set it to a folder that holds "
            f"{' and '.join(files)} (from {source})"
        )
    return known_files(
        Path(root),
        files,
        absent=lambda file: f"{VARIABLE} has no file {file}; put it there (from {source})",
        changed=lambda file: f"{file} under {VARIABLE} is not the known file (its SHA-256 differs); copy it again",
    )


def known_files(
    folder: Path, files: Mapping[str, str], *, absent: Callable[[str], str], changed: Callable[[str], str]
) -> list[Path]:
    """Return where the files of a collection lie below a folder, in their order, each with the SHA-256 that it must have.

    Args:
        folder: above the files.
        files: path below the folder -> SHA-256.
        absent: path of a file -> what to say where it is not there.
        changed: path of a file -> what to say where it is another one.

    Raises:
        InputError: a file is not there.
        FileFormatError: a file is not the known one.
    """
    found = []
    for file, digest in files.items():
        path = folder / file
        if not path.is_file():
            raise InputError(absent(file))
        if sha256(path) != digest:
            raise FileFormatError(changed(file))
        found.append(path)
    return found
