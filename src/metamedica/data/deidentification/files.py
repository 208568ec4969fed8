"""A folder of DICOM files in, a folder of de-identified ones out: each file whole or not at all, with a report that names no patient.

Files are named by their new UIDs: `<patient>/<series>/<instance>.dcm`. What became of each input is kept in a ledger beside them, under a keyed
digest of its bytes, so that a run that was stopped goes on where it was, and another key or setting in the same folder is refused.
"""

import json
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeAlias

from metamedica.data.deidentification import burned_in
from metamedica.data.deidentification.keys import Key
from metamedica.data.deidentification.pixels import clear_hidden
from metamedica.data.deidentification.profile import Dates, cleaned, identity
from metamedica.errors import InputError, MissingExtraError
from metamedica.storage import replace_file
from metamedica.types import Progress

Flagged: TypeAlias = Literal["hold", "keep"]
Outcome: TypeAlias = Literal["written", "held", "refused", "left out"]

REPORT = "report.json"
LEDGER = "ledger.jsonl"
_PROFILE = "allow-list, version 1, after DICOM PS3.15 Annex E, Basic Application Level Confidentiality Profile"
_MOST_BYTES = 2**31
_DEFLATED = "1.2.840.10008.1.2.1.99"
_NOT_DICOM = "is not DICOM"
_NO_IMAGE = "is DICOM without an image"
_BROKEN = "is broken, or an element that is kept does not hold what it must"
_TWICE = "has the instance UID of another file, with other content"
_LARGE = "has more than 2 GiB"
_PACKED = "is deflated, so that its size is not known before: convert it to an uncompressed file"
_COPY = "is a copy of another file"


@dataclass(frozen=True)
class Entry:
    """What became of one input file.

    Args:
        digest: keyed digest of its bytes.
        outcome: written, held (flagged and not written), refused or left out.
        reasons: why it was flagged, refused or left out.
        removed: what was removed from its pixel data.
        file: where it was, or would have been, written below the target; None where it was refused or left out.
    """

    digest: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    file: str | None = None


@dataclass(frozen=True)
class Report:
    """What became of a folder; it holds no value of a patient and no name of an input.

    Args:
        profile: what was applied.
        dates, flagged: the settings.
        files: how many had each outcome.
        patients, series: how many of the files that were written.
        refused, left_out, removed: reason -> how many files.
        flagged_files: file below the target, its outcome, its number among the input files in the order of their paths (from 1), and the reasons.
        refused_files: number among the input files, and the reason.
    """

    profile: str
    dates: Dates
    flagged: Flagged
    files: dict[str, int]
    patients: int
    series: int
    refused: dict[str, int]
    left_out: dict[str, int]
    removed: dict[str, int]
    flagged_files: list[dict[str, Any]]
    refused_files: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return what `report.json` holds."""
        return asdict(self)


def deidentify_folder(
    source: Path,
    target: Path,
    key: Key,
    *,
    dates: Dates = "shift",
    flagged: Flagged = "hold",
    progress: Progress | None = None,
) -> Report:
    """Write the de-identified images of a folder into another, and `report.json` beside them; return the report.

    The same key gives the same pseudonyms, UIDs and shifts, in this and in later folders. Files that are no image (reports, plans, DICOMDIR, ...)
    are left out; broken ones are refused, each alone. A run that is stopped goes on when started again with the same key and settings.

    Args:
        source: a folder with DICOM files, at any depth; links that lead out of it are not followed.
        target: a folder that is empty, new, or that of an earlier run.
        key: the secret.
        dates: "shift" puts a patient's dates back by 1 to 3650 days, "remove" leaves none.
        flagged: what becomes of images that may have writing in their pixels: "hold" does not write them, "keep" does; both report them.
        progress: called after each file.

    Raises:
        InputError: no such folder, one inside of the other, a target that holds something else, or one of another key or settings.
        MissingExtraError: pydicom is not installed.
        OSError: the disk is full or read-only.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise MissingExtraError("pydicom", "images") from None
    _check_folders(source, target)
    settings = {
        "profile": _PROFILE,
        "key": key.digest("check", b"").hex()[:16],
        "dates": dates,
        "flagged": flagged,
    }
    known = _ledger(target, settings)
    files = list(_files(source))
    taken = {each.file: each.digest for each in known.values() if each.file}
    entries: list[Entry] = []
    seen: set[str] = set()
    with (target / LEDGER).open("a", encoding="utf-8") as ledger:
        for number, path in enumerate(files, start=1):
            entry = _entry(path, source, target, key, dates=dates, flagged=flagged, known=known, taken=taken)
            if entry.digest in seen:
                entry = Entry(entry.digest, "left out", (_COPY,))
            seen.add(entry.digest)
            if entry.digest not in known:
                ledger.write(json.dumps(asdict(entry)) + "\n")
                ledger.flush()
                known[entry.digest] = entry
            entries.append(entry)
            if progress is not None:
                progress(number, len(files), f"{number} files")
    report = _report(entries, dates, flagged)
    replace_file(target / REPORT, (json.dumps(report.as_dict(), indent=1) + "\n").encode())
    return report


def _check_folders(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise InputError(f"there is no folder {source.name!r}; give one with DICOM files")
    inner, outer = source.resolve(), target.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise InputError(
            "the target lies inside of the source, or the source inside of the target; give a folder elsewhere"
        )
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / LEDGER).is_file())):
        raise InputError(f"{target.name!r} holds something else than an earlier run; give a new or empty folder")


def _files(source: Path) -> Iterator[Path]:
    root = source.resolve()
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.resolve().is_relative_to(root):
            yield path


def _ledger(target: Path, settings: dict[str, str]) -> dict[str, Entry]:
    """Return what an earlier run has done, or begin a ledger."""
    path = target / LEDGER
    if not path.is_file():
        replace_file(path, (json.dumps(settings) + "\n").encode())
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")
    try:
        head = json.loads(lines[0])
        entries = [json.loads(line) for line in lines[1:-1]]
        known = [_read(each) for each in entries]
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{target.name!r} holds a broken {LEDGER}; give a new folder") from None
    if head != settings:
        raise InputError(
            f"{target.name!r} was begun with another key, other settings or another version; use those, or give a new folder"
        )
    if lines[-1]:  # the last line was cut when the run was stopped
        replace_file(path, ("\n".join(lines[:-1]) + "\n").encode())
    whole = [each for each in known if each.outcome != "written" or (target / str(each.file)).is_file()]
    return {each.digest: each for each in whole}


def _read(line: dict[str, Any]) -> Entry:
    return Entry(line["digest"], line["outcome"], tuple(line["reasons"]), tuple(line["removed"]), line["file"])


def _entry(
    path: Path,
    source: Path,
    target: Path,
    key: Key,
    *,
    dates: Dates,
    flagged: Flagged,
    known: dict[str, Entry],
    taken: dict[str, str],
) -> Entry:
    """Return what becomes of a file, after it has been written where it is."""
    if path.stat().st_size > _MOST_BYTES:
        return Entry(key.digest("large", path.relative_to(source).as_posix().encode()).hex(), "refused", (_LARGE,))
    data = path.read_bytes()
    content = sha256(data).digest()
    digest = key.digest("file", content).hex()
    if digest in known:
        return known[digest]
    if data[128:132] != b"DICM":
        return Entry(digest, "left out", (_NOT_DICOM,))
    if _DEFLATED.encode() in data[132:1024]:
        return Entry(digest, "refused", (_PACKED,))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks quote the header; what is kept of it is checked
            place = path.parent.relative_to(source).as_posix()
            made, file, reasons, removed = _made(data, key, place, content, dates)
    except _errors():
        return Entry(digest, "refused", (_BROKEN,))
    if file is None:
        return Entry(digest, "left out", (_NO_IMAGE,))
    if taken.setdefault(file, digest) != digest:
        return Entry(digest, "refused", (_TWICE,))
    outcome: Outcome = "held" if reasons and flagged == "hold" else "written"
    if outcome == "written":
        replace_file(target / file, made)
    return Entry(digest, outcome, tuple(reasons), tuple(removed), file)


def _made(
    data: bytes, key: Key, place: str, content: bytes, dates: Dates
) -> tuple[bytes, str | None, list[str], list[str]]:
    """Return the new file, its place, why it is flagged and what was removed from its pixels; no place where it is no image."""
    import pydicom

    whole = pydicom.dcmread(BytesIO(data))
    if "PixelData" not in whole and "Rows" not in whole:
        return b"", None, [], []
    if "PixelData" not in whole or "TransferSyntaxUID" not in whole.file_meta:
        raise ValueError("an image without pixels or transfer syntax")
    who = identity(whole, key, place=place, content=content)
    made = cleaned(whole, key, who, dates=dates)
    removed = clear_hidden(made)
    reasons = burned_in.reasons(whole)
    if reasons and made.get("BurnedInAnnotation") == "NO":
        del made.BurnedInAnnotation  # nobody can say so any more
    stream = BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue(), f"{who.patient}/{who.series}/{who.instance}.dcm", reasons, removed


def _errors() -> tuple[type[Exception], ...]:
    """Return what pydicom raises on broken files; its texts quote the header and are never passed on."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RuntimeError,
        EOFError,
        ArithmeticError,
        AssertionError,
        struct.error,
        BytesLengthException,
        InvalidDicomError,
    )


def _report(entries: list[Entry], dates: Dates, flagged: Flagged) -> Report:
    written = [Path(each.file).parts for each in entries if each.outcome == "written" and each.file]
    flags = [(number, each) for number, each in enumerate(entries, start=1) if each.file and each.reasons]
    refused = [(number, each) for number, each in enumerate(entries, start=1) if each.outcome == "refused"]
    return Report(
        profile=_PROFILE,
        dates=dates,
        flagged=flagged,
        files={"read": len(entries), **Counter(each.outcome for each in entries)},
        patients=len({parts[0] for parts in written}),
        series=len({parts[:2] for parts in written}),
        refused=dict(Counter(each.reasons[0] for _, each in refused)),
        left_out=dict(Counter(each.reasons[0] for each in entries if each.outcome == "left out")),
        removed=dict(Counter(what for each in entries for what in each.removed)),
        flagged_files=[
            {"file": each.file, "outcome": each.outcome, "number": number, "reasons": list(each.reasons)}
            for number, each in flags
        ],
        refused_files=[{"number": number, "reason": each.reasons[0]} for number, each in refused],
    )
