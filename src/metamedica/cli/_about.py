"""What a task is about, as a text on the command line or in a file."""

from pathlib import Path

from metamedica.errors import FileFormatError

_LONGEST = 1_000_000
"""Bytes of a file."""


def description(text: str) -> str:
    """Return the description of a task: the text, or after @ what a file says; of a FASTA file the one sequence, without its header.

    Raises:
        FileFormatError: no such file, one that is no text, too long, or that holds several sequences.
    """
    if not text.startswith("@"):
        return text
    path = Path(text[1:])
    try:
        if path.stat().st_size > _LONGEST:
            raise FileFormatError(f"{path} has {path.stat().st_size:,} bytes; a description has {_LONGEST:,} at most")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read ({error.strerror}); name a text file after @") from None
    except UnicodeDecodeError:
        raise FileFormatError(f"{path} is no text in UTF-8; give the description as text or FASTA") from None
    headers = [line for line in lines if line.startswith(">")]
    if len(headers) > 1:
        raise FileFormatError(f"{path} holds {len(headers):,} sequences; a task has one: give a file of one")
    told = "".join(line.strip() for line in lines if not line.startswith(">")) if headers else " ".join(lines)
    if not told.strip():
        raise FileFormatError(f"{path} is empty; give what the task is about")
    return told
