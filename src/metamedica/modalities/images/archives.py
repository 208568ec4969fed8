"""Files of a folder, a zip or a list, named for errors: nothing is unpacked to the disk, and no path leaves its folder."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from metamedica.errors import FileFormatError

MOST_BYTES = 2**31
MOST_FILES = 100_000
_ENCRYPTED = 1

Found: TypeAlias = tuple[str, Path | bytes]
"""What errors call a file, and the file or its bytes."""


def files_of(source: Path | Sequence[Path | bytes], *, most_bytes: int = MOST_BYTES) -> list[Found]:
    """Return the files of a folder (with those below it), of a zip, of a list, or one file, in the order of their paths, or that of the list.

    Args:
        source: a folder, a zip, another file, or a list of files and bytes.
        most_bytes: that a zip may expand to.

    Raises:
        FileFormatError: nothing is there, too many files, or a zip that is broken, encrypted, too large or names a path outside of itself.
    """
    if not isinstance(source, Path):
        found: list[Found] = [
            (repr(each.name) if isinstance(each, Path) else f"file {number} of {len(source)}", each)
            for number, each in enumerate(source, start=1)
        ]
    elif source.is_dir():
        found = _folder(source)
    elif not source.is_file():
        raise FileFormatError(f"there is no file or folder {source.name!r}; check the path")
    elif is_zip(source):
        found = _zip(source, most_bytes)
    else:
        found = [(repr(source.name), source)]
    if not found:
        raise FileFormatError(
            f"{source.name if isinstance(source, Path) else 'the list'} holds no file; give a folder, zip or list with some"
        )
    return found


def is_zip(path: Path) -> bool:
    """Return whether a file begins as a zip does, whatever its name."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _folder(folder: Path) -> list[Found]:
    root = folder.resolve()
    found: list[Found] = []
    for path in sorted(folder.rglob("*")):
        if len(found) >= MOST_FILES:
            raise FileFormatError(f"{folder.name!r} holds more than {MOST_FILES:,} files; give one study at a time")
        if path.is_file() and path.resolve().is_relative_to(root):
            found.append((repr(path.name), path))
    return found


def _zip(path: Path, most_bytes: int) -> list[Found]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted((each for each in archive.infolist() if not each.is_dir()), key=lambda each: each.filename)
            _check(path.name, members, most_bytes)
            return [(repr(PurePosixPath(each.filename).name), _member(archive, each)) for each in members]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError):
        raise FileFormatError(f"{path.name!r} is a broken zip archive; copy it or pack it again") from None


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return a member's bytes; never more than it declares, which has been checked."""
    with archive.open(member) as file:
        data = file.read(member.file_size + 1)
    if len(data) != member.file_size:
        raise zipfile.BadZipFile
    return data


def _check(name: str, members: list[zipfile.ZipInfo], most_bytes: int) -> None:
    if len(members) > MOST_FILES:
        raise FileFormatError(
            f"{name!r} holds {len(members):,} files, more than {MOST_FILES:,}; give one study at a time"
        )
    total = sum(each.file_size for each in members)
    if total > most_bytes:
        raise FileFormatError(
            f"{name!r} expands to {total:,} bytes, more than the {most_bytes:,} that are read at most; split it or unpack it yourself"
        )
    for each in members:
        place = PurePosixPath(each.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
            raise FileFormatError(f"{name!r} names a file outside of itself; it may be hostile: pack it again")
        if each.flag_bits & _ENCRYPTED:
            raise FileFormatError(f"{name!r} is encrypted; unpack it with its password and give the folder")
