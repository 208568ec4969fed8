"""A DICOM or NIfTI file as the audit of labelled images sees it: one picture, a hash of all voxels, what its header says of scanner and series.

Nobody's name leaves this file: patients and series are told by numbers in the order of their first appearance, dates by the day of the week.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt

from metamedica.modalities.images.dicom import DicomFacts, read_with_header
from metamedica.modalities.images.nifti import read_nifti

SUFFIXES = (".dcm", ".dicom", ".nii", ".nii.gz")
_LOWEST_HU, _RANGE_HU = -1024.0, 4095.0
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_LONGEST = 64


@dataclass(frozen=True, eq=False)
class Scan:
    """What is kept of one file.

    Args:
        pixels: its frame or slice, of several the middle one: 16-bit grey (HU from -1,024 to 3,071, else from the least to the largest value), or
            8-bit RGB.
        sha256: of shape and values of all frames or slices, in their unit.
        facts: of the file and its scanner, by name; None where it does not say.
        patient: hash of PatientID; None where there is none.
        series: hash of SeriesInstanceUID; None where there is none.
        height_mm: where the frame lies across its plane; None where it is not told, or for several.
        header: pydicom's data set; None for NIfTI.
    """

    pixels: UInt[np.ndarray, "height width *rgb"]
    sha256: str
    facts: Mapping[str, Any]
    patient: str | None
    series: str | None
    height_mm: float | None
    header: Any


def is_scan(path: Path) -> bool:
    """Return whether a file's name is that of DICOM or NIfTI."""
    return path.name.lower().endswith(SUFFIXES)


def read_scan(path: Path) -> Scan:
    """Return what the audit keeps of a file.

    Raises:
        FileFormatError: it is broken, cut short, no image, or too large.
        InputError: a NIfTI file with several time points.
        MissingExtraError: pydicom or nibabel is not installed.
    """
    size = {"bytes": path.stat().st_size} if path.is_file() else {}
    if path.name.lower().endswith(SUFFIXES[2:]):
        volume = read_nifti(path)
        across, down, right = volume.spacing_mm
        facts = {
            "format": "NIfTI", **size, "thickness_mm": round(across, 3), "spacing_mm": round(max(down, right), 4), "frames": len(volume.values),
        }  # fmt: skip
        middle = volume.values[len(volume.values) // 2]
        return Scan(_unsigned(middle, unit=None), _hash(volume.values), facts, None, None, None, None)
    image, header = read_with_header(path)
    facts = {"format": "DICOM", **size, **_scanner(header, image.facts)}
    middle = image.values[len(image.values) // 2]
    pixels = (
        (middle / (2**image.facts.bits - 1) * 255).round().clip(0, 255).astype(np.uint8)
        if image.facts.colour
        else _unsigned(middle, unit=image.facts.unit)
    )
    place = image.facts.places[0] if len(image.facts.places) == 1 else None
    height = None if place is None else float(np.dot(place.normal, place.position_mm))
    patient = str(header.get("PatientID") or "").strip()
    return Scan(pixels, _hash(image.values), facts, _named(patient), _named(image.facts.series or ""), height, header)


def _scanner(header: Any, facts: DicomFacts) -> dict[str, Any]:
    """Return what may tell where an image comes from; no name, no free text of a patient, no date but its day of the week."""
    place = facts.places[0] if facts.places else None
    window = facts.windows[0] if facts.windows else None
    return {
        "mode": facts.photometric,
        "bits": facts.bits,
        "modality": facts.modality,
        "manufacturer": _text(header, "Manufacturer"),
        "model": _text(header, "ManufacturerModelName"),
        "kernel": _text(header, "ConvolutionKernel"),
        "thickness_mm": None if facts.thickness_mm is None else round(facts.thickness_mm, 3),
        "spacing_mm": None if place is None else round(max(place.spacing_mm), 4),
        "window": None if window is None else f"{window[0]:g}/{window[1]:g}",
        "frames": facts.frames,
        "weekday": _weekday(header),
    }


def _text(header: Any, keyword: str) -> str | None:
    value = header.get(keyword)
    text = "/".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value or "")
    return text.strip().upper()[:_LONGEST] or None


def _weekday(header: Any) -> str | None:
    for keyword in ("AcquisitionDate", "SeriesDate", "StudyDate"):
        text = str(header.get(keyword) or "").strip().replace(".", "")[:8]
        if len(text) == 8 and text.isdigit():
            try:
                return _DAYS[datetime.strptime(text, "%Y%m%d").weekday()]
            except ValueError:  # the 31st of February: no day of the week
                continue
    return None


def _named(text: str) -> str | None:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() if text else None


def _hash(values: Float32[np.ndarray, "..."]) -> str:
    head = f"{'x'.join(map(str, values.shape))}\n".encode()
    return hashlib.sha256(head + np.ascontiguousarray(values, "<f4").tobytes()).hexdigest()


def _unsigned(grey: Float32[np.ndarray, "height width"], *, unit: str | None) -> UInt[np.ndarray, "height width"]:
    """Return grey values as 16 bits, so that one that is flat stays so."""
    low, wide = (_LOWEST_HU, _RANGE_HU) if unit == "HU" else (float(grey.min()), float(np.ptp(grey)))
    level = (grey - low) / (wide or 1.0)
    return np.asarray(np.rint(level.clip(0, 1) * 65535), np.uint16)
