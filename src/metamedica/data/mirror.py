"""Files of public collections in a local mirror: the folder that METAMEDICA_DATA points at."""

import os
from collections.abc import Mapping
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
    found = []
    for file, digest in files.items():
        path = Path(root) / file
        if not path.is_file():
            raise InputError(f"{VARIABLE} has no file {file}; put it there (from {source})")
        if sha256(path) != digest:
            raise FileFormatError(f"{file} under {VARIABLE} is not the known file (its SHA-256 differs); copy it again")
        found.append(path)
    return found
