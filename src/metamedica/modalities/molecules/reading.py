"""Files of molecules: `.smi` (SMILES and name a line), `.sdf` and `.mol` (MDL mol blocks), plain or gzip."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from pathlib import Path

from metamedica.errors import FileFormatError
from metamedica.modalities.molecules import crew

MAX_LINE = 200_000
MAX_BLOCK = 200_000
"""Longest line and longest mol block in bytes: 500 heavy atoms with hydrogens and their bonds take about 120,000."""


def read(path: str, limits: crew.Limits) -> tuple[list[str], list[str]] | None:
    """Return (SMILES, names) of a file of molecules, or None where the suffix is not one of them.

    `.smi`: one molecule a line, SMILES, white space, name (may be missing); a first line that starts with "smiles" is
    a header; empty lines are skipped. `.sdf`: records that end with `$$$$`, the first line is the name. A record that
    cannot be read, or is too long, stands as an empty text, so that positions stay those of the file. Names are read
    as UTF-8, or as Latin-1 where they are not UTF-8.

    Raises:
        FileFormatError: the file is missing, empty, unreadable or broken gzip.
    """
    file = Path(path)
    suffixes = [suffix.lower() for suffix in file.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if packed else suffixes)[-1:]
    if kind not in ([".smi"], [".smiles"], [".sdf"], [".mol"]):
        return None
    try:
        with gzip.open(file, "rb") if packed else file.open("rb") as stream:
            if kind in ([".smi"], [".smiles"]):
                cases, names = _smiles_lines(stream)
            else:
                cases, names = _records(stream, limits)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise FileFormatError(f"{path} is not a whole gzip file; make it again or unpack it") from None
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be read ({error.strerror or error}); give the path of a readable file"
        ) from None
    if not cases:
        raise FileFormatError(f"{path} holds no molecule; give a file with at least one")
    return cases, names


def _smiles_lines(stream: BufferedIOBase) -> tuple[list[str], list[str]]:
    cases: list[str] = []
    names: list[str] = []
    for line in _lines(stream):
        words = _text(line).split(maxsplit=1)
        if not words or (not cases and words[0].lower() == "smiles"):
            continue
        cases.append(words[0])
        names.append(words[1].strip() if len(words) == 2 else "")
    return cases, names


def _records(stream: BufferedIOBase, limits: crew.Limits) -> tuple[list[str], list[str]]:
    blocks = list(_blocks(_lines(stream)))
    texts = [b"".join(block).decode("latin-1") for block in blocks]
    cases = [""] * len(blocks)
    for places, answer in crew.work("block", texts, limits=limits, message="reading records"):
        for place, text in zip(places, answer.texts, strict=True):
            cases[place] = text
    return cases, [_text(block[0]).strip() for block in blocks]


def _blocks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines of each record up to `M  END`; of one that is too long, its name alone, which is no mol block."""
    block: list[bytes] = []
    size, ended = 0, False
    for line in lines:
        if line.startswith(b"$$$$"):
            yield block or [b""]
            block, size, ended = [], 0, False
        elif not ended:
            size += len(line)
            block.append(line)
            ended = line.startswith(b"M  END") or size > MAX_BLOCK
            if size > MAX_BLOCK:
                del block[1:]
    if any(line.strip() for line in block):
        yield block


def _lines(stream: BufferedIOBase) -> Iterator[bytes]:
    """Yield the lines without a byte-order mark, each cut to `MAX_LINE` bytes."""
    first = True
    while line := stream.readline(MAX_LINE):
        rest = line
        while not rest.endswith(b"\n") and (rest := stream.readline(MAX_LINE)):
            pass
        yield line.removeprefix(b"\xef\xbb\xbf") if first else line
        first = False


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
