"""A folder, zip or list of DICOM files -> volumes: one a series, slices in the order in which they lie in the patient, checked to fit together.

Slices are sorted by their position along the normal of their plane, never by file name or number. What does not make one even stack is an error
that names what and what to do; only what is safe is an option.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64

from metamedica.errors import FileFormatError
from metamedica.modalities.images.archives import MOST_BYTES, files_of
from metamedica.modalities.images.dicom import (
    MOST_VALUES,
    DicomFacts,
    Source,
    looks_like_dicom,
    read_dicom,
    read_facts_of_image,
)
from metamedica.modalities.images.dicom_geometry import Place
from metamedica.modalities.images.volumes import Volume

Gaps: TypeAlias = Literal["refuse", "interpolate"]
Duplicates: TypeAlias = Literal["refuse", "drop_identical"]

_NAMED_DICOM = (".dcm", ".dicom", ".ima")
_SAME_MM = 0.01
_SAME_ANGLE = 1e-3
_SAME_SPACING = 1e-3
_UNEVEN = 0.1
"""Share of the slice distance by which a slice may lie off an even grid; positions are often rounded to 0.1 mm."""
_DRIFT = 0.1
"""Share of a pixel by which slices may be shifted sideways over the whole stack."""
_WIDEST = 3
"""Gaps of more slice distances than this are not interpolated: that would be inventing slices."""


@dataclass(frozen=True, eq=False)
class ReadVolumes:
    """What files hold.

    Args:
        volumes: one a series, in the order of their first files.
        left_out: what was no image, and how many files of it.
    """

    volumes: tuple[Volume, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class _Slice:
    name: str
    source: Source
    frame: int
    facts: DicomFacts
    place: Place


def read_volumes(
    source: Path | Sequence[Path | bytes],
    *,
    gaps: Gaps = "refuse",
    duplicates: Duplicates = "refuse",
    most_values: int = MOST_VALUES,
    most_bytes: int = MOST_BYTES,
) -> ReadVolumes:
    """Return every series among files as a volume.

    Files belong together that have the same SeriesInstanceUID or, where it is blank, the same size, orientation, pixel spacing and modality.

    Args:
        source: a folder (with what lies below it), a zip, one file, or a list of files and bytes.
        gaps: "interpolate" fills missing or unevenly spaced slices linearly, at the median distance; gaps of more than three distances are
            refused even then.
        duplicates: "drop_identical" keeps one of slices at the same position whose pixels are equal; different ones are refused even then.
        most_values: voxels of one volume at most.
        most_bytes: that a zip may expand to.

    Raises:
        FileFormatError: no file or no image; a broken one; a slice that does not say where it lies; slices of one series with different sizes,
            orientations, spacings or modalities; two at one position, a missing one, uneven distances, or a tilted gantry.
        MissingExtraError: pydicom, or for some compressions Pillow or SimpleITK, is not installed.
    """
    found, left_out = _slices(files_of(source, most_bytes=most_bytes), most_values)
    if not found:
        raise FileFormatError(
            f"among {sum(left_out.values()):,} files there is no DICOM image; give the folder, zip or files of a series"
        )
    volumes = tuple(_volume(each, gaps, duplicates, most_values) for each in found.values())
    return ReadVolumes(volumes, dict(left_out))


def read_volume(
    source: Path | Sequence[Path | bytes],
    *,
    gaps: Gaps = "refuse",
    duplicates: Duplicates = "refuse",
    most_values: int = MOST_VALUES,
    most_bytes: int = MOST_BYTES,
) -> Volume:
    """Return the only series among files as a volume; as `read_volumes`.

    Raises:
        FileFormatError: as `read_volumes`, or files of several series.
        MissingExtraError: as `read_volumes`.
    """
    found, left_out = _slices(files_of(source, most_bytes=most_bytes), most_values)
    if len(found) != 1:
        sizes = ", ".join(str(len(each)) for each in found.values()) or "no image"
        raise FileFormatError(
            f"one series was wanted and {len(found)} came (slices: {sizes}; {sum(left_out.values())} files left out); give the files of one, "
            "or read all with read_volumes"
        )
    (only,) = found.values()
    return _volume(only, gaps, duplicates, most_values)


def _slices(
    files: Sequence[tuple[str, Path | bytes]], most_values: int
) -> tuple[dict[Any, list[_Slice]], Counter[str]]:
    """Return the slices of each series, and what was left out."""
    series: dict[Any, list[_Slice]] = {}
    left_out: Counter[str] = Counter()
    for name, source in files:
        if not _is_dicom(name, source):
            left_out["files that are not DICOM"] += 1
            continue
        facts = read_facts_of_image(source, name=name, most_values=most_values)
        if facts is None:
            left_out["DICOM files without an image"] += 1
            continue
        _check_slice(name, facts)
        for frame, place in enumerate(facts.places):
            if place is None:
                raise FileFormatError(
                    f"{name} does not say where its image lies (position, orientation and pixel spacing); export the series with its geometry, "
                    "or read the file as single images"
                )
            series.setdefault(_key(facts, place), []).append(_Slice(name, source, frame, facts, place))
    return series, left_out


def _is_dicom(name: str, source: Source) -> bool:
    """Return whether a file begins as DICOM does; one that is only named so is passed on, to be refused with its reason."""
    if isinstance(source, bytes):
        head = source[:132]
    else:
        with source.open("rb") as file:
            head = file.read(132)
    return looks_like_dicom(head) or PurePath(name.strip("'\"")).suffix.lower() in _NAMED_DICOM


def _check_slice(name: str, facts: DicomFacts) -> None:
    if facts.colour:
        raise FileFormatError(f"{name} is in colour ({facts.photometric}); volumes are grey: read it as a single image")


def _key(facts: DicomFacts, place: Place) -> Any:
    if facts.series is not None:
        return facts.series
    axes = tuple(round(each, 2) + 0.0 for each in (*place.along_row, *place.along_column))
    return facts.modality, facts.rows, facts.columns, axes, tuple(round(each, 3) for each in place.spacing_mm)


def _volume(slices: list[_Slice], gaps: Gaps, duplicates: Duplicates, most_values: int) -> Volume:
    first = slices[0]
    _check_same(slices)
    if len(slices) * first.facts.rows * first.facts.columns > most_values:
        raise FileFormatError(
            f"a series of {len(slices):,} slices of {first.facts.rows} x {first.facts.columns} has more than the {most_values:,} voxels that "
            "are read at most; give fewer slices, or raise most_values"
        )
    row, column, normal = (
        np.array(each) for each in (first.place.along_row, first.place.along_column, first.place.normal)
    )
    normal = normal / np.linalg.norm(normal)
    heights = np.array([np.dot(each.place.position_mm, normal) for each in slices])
    order = np.argsort(heights, kind="stable")
    slices, heights = [slices[number] for number in order], heights[order]
    values = _decoded(slices)
    slices, heights, values = _without_duplicates(slices, heights, values, duplicates)
    _check_upright(slices, heights, normal)
    step, values = _even(slices, heights, values, gaps)
    lowest = slices[0].place
    return Volume(
        values=values,
        spacing_mm=(step, *lowest.spacing_mm),
        origin_mm=lowest.position_mm,
        direction=np.stack([normal, column, row], axis=1),
        unit=first.facts.unit,
        modality=first.facts.modality,
        photometric=first.facts.photometric,
        windows=first.facts.windows,
    )


def _check_same(slices: list[_Slice]) -> None:
    """Refuse slices of one series that cannot be one stack."""
    first = slices[0]
    axes = np.array([(*each.place.along_row, *each.place.along_column) for each in slices])
    spacings = np.array([each.place.spacing_mm for each in slices])
    sizes = [(each.facts.rows, each.facts.columns) for each in slices]
    differ = {
        "sizes (rows x columns)": [size != sizes[0] for size in sizes],
        "orientations (a localizer among them?)": np.abs(axes - axes[0]).max(axis=1) > _SAME_ANGLE,
        "pixel spacings": np.abs(spacings - spacings[0]).max(axis=1) > _SAME_SPACING * spacings.max(),
        "modalities": [each.facts.modality != first.facts.modality for each in slices],
        "units (some in HU, some not)": [each.facts.unit != first.facts.unit for each in slices],
    }
    for what, other in differ.items():
        others = [each for each, differs in zip(slices, other, strict=True) if differs]
        if others:
            raise FileFormatError(
                f"one series holds slices of different {what}: {len(others)} of {len(slices)} differ from {first.name}, such as "
                f"{others[0].name}; give them apart"
            )


def _decoded(slices: list[_Slice]) -> Float32[np.ndarray, "slices rows columns"]:
    made = np.empty((len(slices), slices[0].facts.rows, slices[0].facts.columns), np.float32)
    frames: dict[int, list[int]] = {}
    for number, each in enumerate(slices):
        frames.setdefault(id(each.facts), []).append(number)
    for numbers in frames.values():  # a file of many frames is decoded once
        one = slices[numbers[0]]
        values = read_dicom(
            one.source, name=one.name, most_values=max(made.size, one.facts.rows * one.facts.columns * one.facts.frames)
        ).values
        for number in numbers:
            made[number] = values[slices[number].frame]
    return made


def _without_duplicates(
    slices: list[_Slice],
    heights: Float64[np.ndarray, " slices"],
    values: Float32[np.ndarray, "slices rows columns"],
    duplicates: Duplicates,
) -> tuple[list[_Slice], Float64[np.ndarray, " kept"], Float32[np.ndarray, "kept rows columns"]]:
    kept = [0]
    for number in range(1, len(slices)):
        last = kept[-1]
        if heights[number] - heights[last] > _SAME_MM:
            kept.append(number)
        elif duplicates == "refuse" or not np.array_equal(values[number], values[last]):
            equal = np.array_equal(values[number], values[last])
            advice = (
                "drop one, or read with duplicates='drop_identical'"
                if equal
                else "they may be two time points or echoes: give one of them"
            )
            raise FileFormatError(
                f"{slices[last].name} and {slices[number].name} lie at the same position with {'equal' if equal else 'different'} pixels; {advice}"
            )
    return [slices[number] for number in kept], heights[kept], values[kept]


def _check_upright(slices: list[_Slice], heights: Any, normal: Any) -> None:
    """Refuse a stack that leans: slices shifted sideways against each other."""
    positions = np.array([each.place.position_mm for each in slices])
    sideways = np.linalg.norm(positions - positions[0] - np.outer(heights - heights[0], normal), axis=1)
    worst = int(sideways.argmax())
    if sideways[worst] > _DRIFT * min(slices[0].place.spacing_mm):
        angle = np.degrees(np.arctan2(sideways[worst], heights[worst] - heights[0]))
        raise FileFormatError(
            f"the slices are shifted sideways by up to {sideways[worst]:.2f} mm ({angle:.1f} degrees: a tilted gantry?); a volume has right "
            "angles: correct the tilt at the scanner or with a resampling tool first"
        )


def _even(
    slices: list[_Slice], heights: Any, values: Float32[np.ndarray, "slices rows columns"], gaps: Gaps
) -> tuple[float, Float32[np.ndarray, "even rows columns"]]:
    """Return the distance between slices, and the slices on an even grid."""
    if len(slices) == 1:
        thickness = slices[0].facts.thickness_mm
        if thickness is None:
            raise FileFormatError(
                f"{slices[0].name} is the only slice and tells no thickness; give the whole series, or read it as a single image"
            )
        return thickness, values
    distances, span = np.diff(heights), float(heights[-1] - heights[0])
    usual = float(distances[distances < 1.5 * np.median(distances)].mean())
    if np.abs(heights - np.linspace(heights[0], heights[-1], len(slices))).max() <= _UNEVEN * usual:
        return span / (len(slices) - 1), values
    even = np.linspace(heights[0], heights[-1], round(span / usual) + 1)
    widest = int(distances.argmax())
    between = f"between {slices[widest].name} and {slices[widest + 1].name}"
    if gaps == "interpolate" and distances[widest] <= (_WIDEST + 0.5) * usual:
        return span / (len(even) - 1), _interpolated(heights, values, even)
    if distances[widest] > 1.5 * usual:
        missing = round(distances[widest] / usual) - 1
        advice = "or read with gaps='interpolate'" if missing < _WIDEST else "as so wide a gap is not interpolated"
        raise FileFormatError(
            f"{missing} slice{'s are' if missing > 1 else ' is'} missing {between}: {distances[widest]:.2f} mm apart where {usual:.2f} mm is "
            f"usual; add {'them' if missing > 1 else 'it'}, {advice}"
        )
    raise FileFormatError(
        f"the slices are unequally spaced, {distances.min():.2f} to {distances[widest]:.2f} mm (widest {between}); give slices of one spacing, "
        "or read with gaps='interpolate'"
    )


def _interpolated(heights: Any, values: Any, even: Any) -> Float32[np.ndarray, "even rows columns"]:
    above = np.clip(np.searchsorted(heights, even), 1, len(heights) - 1)
    share = ((even - heights[above - 1]) / (heights[above] - heights[above - 1]))[:, None, None]
    return np.asarray(values[above - 1] * (1 - share) + values[above] * share, np.float32)
