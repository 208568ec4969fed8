"""One DICOM data set -> the same image without what tells who it is of.

An allow-list: what is not named here is left out, at every depth. So private elements, overlays (60xx), curves, names, texts, comments, device and
place names and unknown elements go without being known. That is stricter than the Basic Application Level Confidentiality Profile of PS3.15 Annex E,
which lists what to remove. No free text is kept at all: a kept word is one of a closed set, a kept number is checked to be one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal, TypeAlias

from metamedica.data.deidentification.keys import Key

Dates: TypeAlias = Literal["shift", "remove"]


def _named(text: str) -> frozenset[str]:
    return frozenset(text.split())


NUMBERS = _named(
    """
    SeriesNumber AcquisitionNumber InstanceNumber SliceThickness SpacingBetweenSlices ImagePositionPatient ImageOrientationPatient SliceLocation
    PixelSpacing ImagerPixelSpacing PixelAspectRatio NumberOfFrames SamplesPerPixel PlanarConfiguration Rows Columns BitsAllocated BitsStored
    HighBit PixelRepresentation SmallestImagePixelValue LargestImagePixelValue PixelPaddingValue PixelPaddingRangeLimit WindowCenter WindowWidth
    RescaleIntercept RescaleSlope LossyImageCompressionRatio KVP XRayTubeCurrent ExposureTime Exposure DataCollectionDiameter
    ReconstructionDiameter GantryDetectorTilt TableHeight SpiralPitchFactor CTDIvol RepetitionTime EchoTime InversionTime FlipAngle EchoNumbers
    EchoTrainLength NumberOfAverages MagneticFieldStrength ImagingFrequency PixelBandwidth PercentSampling PercentPhaseFieldOfView
    AcquisitionMatrix DiffusionBValue DistanceSourceToDetector DistanceSourceToPatient EstimatedRadiographicMagnificationFactor
    BodyPartThickness CompressionForce FrameIncrementPointer FrameTime GridFrameOffsetVector DoseGridScaling RedPaletteColorLookupTableDescriptor
    GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor LUTDescriptor FrameAcquisitionNumber
    DimensionIndexValues InStackPositionNumber TemporalPositionIndex DimensionIndexPointer FunctionalGroupPointer BitsForCodeValue
    """
)
"""Elements that hold numbers (or tags), and are kept where they do."""

WORDS: Mapping[str, frozenset[str]] = {
    keyword: frozenset(words.split())
    for keyword, words in {
        "Modality": "CR CT DX ES IO IVUS MG MR NM OCT OP OPT OT PT PX RF SC SEG SM US XA XC RTDOSE RTIMAGE",
        "PhotometricInterpretation": "MONOCHROME1 MONOCHROME2 RGB PALETTE_COLOR YBR_FULL YBR_FULL_422 YBR_ICT YBR_RCT YBR_PARTIAL_420",
        "ImageType": "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MPR REFORMATTED VOLUME MIXED OTHER M P R I",
        "FrameType": "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MPR REFORMATTED VOLUME NONE OTHER",
        "PatientPosition": "HFP HFS HFDR HFDL FFDR FFDL FFP FFS LFP LFS RFP RFS AFDR AFDL PFDR PFDL",
        "BodyPartExamined": "ABDOMEN ABDOMENPELVIS ANKLE BLADDER BRAIN BREAST CHEST CHESTABDOMEN CHESTABDPELVIS CSPINE ELBOW EXTREMITY EYE FEMUR "
        "FOOT HAND HEAD HEADNECK HEART HIP HUMERUS KIDNEY KNEE LEG LIVER LSPINE LUNG NECK PANCREAS PELVIS PROSTATE SHOULDER SKULL SPINE "
        "THYROID TSPINE UTERUS WHOLEBODY WRIST",
        "Laterality": "R L",
        "ImageLaterality": "R L U B",
        "ViewPosition": "AP PA LL RL RLD LLD RLO LLO CC MLO ML LM XCCL XCCM",
        "RescaleType": "OD HU US MGML Z_EFF ED EDW HU_MOD PCT",
        "ModalityLUTType": "OD HU US MGML Z_EFF ED EDW HU_MOD PCT",
        "VOILUTFunction": "LINEAR LINEAR_EXACT SIGMOID",
        "PresentationLUTShape": "IDENTITY INVERSE",
        "PixelIntensityRelationship": "LIN LOG DISP",
        "LossyImageCompression": "00 01",
        "BurnedInAnnotation": "YES NO",
        "ScanOptions": "HELICAL AXIAL SPIRAL",
        "ScanningSequence": "SE IR GR EP RM",
        "SequenceVariant": "SK MTC SS TRSS SP MP OSP NONE TOF",
        "MRAcquisitionType": "2D 3D",
        "Units": "CNTS NONE CM2 PCNT CPS BQML MGMINML UMOLMINML MLMING MLG 1CM UMOLML PROPCNTS PROPCPS MLMINML MLML GML STDDEV GY",
        "CorrectedImage": "DECY ATTN SCAT DTIM MOTN PMOT CLEN RAN RADL DCAL NORM",
        "DoseUnits": "GY RELATIVE",
        "DoseType": "PHYSICAL EFFECTIVE ERROR",
        "DoseSummationType": "PLAN MULTI_PLAN FRACTION BEAM BRACHY CONTROL_POINT",
        "VolumetricProperties": "VOLUME SAMPLED DISTORTED MIXED",
        "PixelPresentation": "COLOR MONOCHROME MIXED TRUE_COLOR",
        "SegmentationType": "BINARY FRACTIONAL LABELMAP",
    }.items()
}
"""Elements that hold words, and the words that are kept of them."""

INSTANCES = _named(
    """
    SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID SynchronizationFrameOfReferenceUID ReferencedSOPInstanceUID
    ConcatenationUID SOPInstanceUIDOfConcatenationSource DimensionOrganizationUID VolumeFrameOfReferenceUID
    """
)
"""UIDs of things, replaced by keyed ones."""

CLASSES = frozenset(["SOPClassUID", "ReferencedSOPClassUID"])
"""UIDs of kinds, kept where the standard knows them."""

DATES = frozenset(["StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"])
SEQUENCES = _named(
    """
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PlanePositionSequence PlaneOrientationSequence PixelMeasuresSequence
    PixelValueTransformationSequence FrameVOILUTSequence FrameContentSequence CTImageFrameTypeSequence MRImageFrameTypeSequence
    ModalityLUTSequence VOILUTSequence DimensionOrganizationSequence DimensionIndexSequence
    """
)
"""Sequences that are gone into; the same lists hold inside."""

TABLES = _named(
    "RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData LUTData"
)
_BLANK = ("StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "PatientBirthDate", "PatientSex")
"""Elements that an image must have and may leave empty (type 2)."""

_DECIMAL = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_METHOD = "Metamedica: allow-list of PS3.15 Basic Profile, keyed UIDs"
_CODES = {"113100": "Basic Application Confidentiality Profile"}
_SHIFTED = {"113107": "Retain Longitudinal Temporal Information Modified Dates Option"}  # CID 7050


@dataclass(frozen=True)
class Identity:
    """Whose a file is and where it belongs, under pseudonyms.

    Args:
        patient: pseudonym.
        study, series, instance: new UIDs.
        days: by which dates are put back.
    """

    patient: str
    study: str
    series: str
    instance: str
    days: int


def identity(data: Any, key: Key, *, place: str, content: bytes) -> Identity:
    """Return the pseudonyms of a data set.

    A file without a patient's ID counts as the patient of its study. Blank UIDs are replaced too: a study's and a series' by one that all such
    files of a folder share, an instance's by one of its content.

    Args:
        data: pydicom's data set.
        key: the secret.
        place: folder of the file below the root.
        content: digest of the file.
    """

    def known(keyword: str) -> str:
        return str(data.get(keyword) or "").strip()

    study = known("StudyInstanceUID") or f"study in {place}"
    patient = known("PatientID") or f"patient of {study}"
    return Identity(
        patient=key.pseudonym(patient),
        study=key.uid(study),
        series=key.uid(known("SeriesInstanceUID") or f"series in {place}"),
        instance=key.uid(known("SOPInstanceUID") or f"instance {content.hex()}"),
        days=key.days(patient),
    )


def cleaned(data: Any, key: Key, who: Identity, *, dates: Dates = "shift") -> Any:
    """Return a new data set with what the lists allow of another, pseudonyms, and a file header of its own.

    Pixel data are taken over as they are (see `pixels`); the data set keeps its transfer syntax.

    Args:
        data: pydicom's data set, whole.
        key: the secret.
        who: its pseudonyms.
        dates: "shift" puts dates back by the patient's days and drops times of day; "remove" blanks the study's date and drops the others.

    Raises:
        ValueError: an element that is kept does not hold what it must, or a kind of file that the standard does not know.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

    made = _kept(data, key, who, dates)
    made.SOPInstanceUID, made.StudyInstanceUID, made.SeriesInstanceUID = who.instance, who.study, who.series
    made.PatientID = made.PatientName = who.patient
    for keyword in _BLANK:
        setattr(made, keyword, "")
    if "StudyDate" not in made:
        made.StudyDate = ""
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = _METHOD
    made.DeidentificationMethodCodeSequence = [
        _code(Dataset(), value, meaning) for value, meaning in (_CODES | (_SHIFTED if dates == "shift" else {})).items()
    ]
    made.LongitudinalTemporalInformationModified = "MODIFIED" if dates == "shift" else "REMOVED"
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    made.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    return made


def _code(item: Any, value: str, meaning: str) -> Any:
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _kept(data: Any, key: Key, who: Identity, dates: Dates) -> Any:
    """Return what the lists allow of a data set or of an item of a sequence."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    made = Dataset()
    for tag in data.keys():  # noqa: SIM118 - iterating a data set converts every element, also those that are not kept
        if tag.is_private:
            continue
        keyword = _keyword(tag)
        if keyword in SEQUENCES:
            items = [_kept(item, key, who, dates) for item in _items(data[tag])]
            setattr(made, keyword, Sequence(items))
        elif keyword == "PixelData":
            made[tag] = data[tag]
        elif keyword in TABLES:
            made[tag] = _table(data, keyword)
        elif keyword in _KEPT:
            element = data[tag]
            value = _KEPT[keyword](keyword, element.VR, _list(element.value), key, who, dates)
            if value:
                made.add_new(tag, element.VR, value if len(value) > 1 else value[0])
    return made


def _table(data: Any, keyword: str) -> Any:
    """Return a lookup table that has as many bytes as its descriptor says, so that nothing hides behind its end."""
    element = data[keyword]
    entries = int(data[keyword.replace("Data", "Descriptor")].value[0]) or 2**16
    held = len(element.value) if isinstance(element.value, bytes) else 2 * len(_list(element.value))
    if held not in (entries + entries % 2, 2 * entries):
        raise ValueError("a lookup table of another length than it says")
    return element


def _keyword(tag: int) -> str:
    from pydicom.datadict import keyword_for_tag

    return str(keyword_for_tag(tag))


def _items(element: Any) -> list[Any]:
    if element.VR != "SQ":
        raise ValueError("a sequence that is none")
    return list(element.value or [])


def _list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if not isinstance(value, str | bytes) and hasattr(value, "__iter__") else [value]


def _numbers(keyword: str, kind: str, values: list[Any], key: Key, who: Identity, dates: Dates) -> list[Any]:
    """Return numbers as they are written, and nothing else."""
    if kind not in ("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "AT", "UV", "SV"):
        raise ValueError("numbers in an element of texts")
    if not all(_DECIMAL.fullmatch(str(each)) for each in values) and kind != "AT":
        raise ValueError("a number that is none")
    return [str(each) for each in values] if kind in ("DS", "IS") else values


def _words(keyword: str, kind: str, values: list[Any], key: Key, who: Identity, dates: Dates) -> list[str]:
    """Return the known words; an unknown one of several becomes OTHER, an unknown one alone is dropped."""
    allowed = WORDS[keyword]
    words = [str(each).strip() for each in values]
    known = [each if each.replace(" ", "_") in allowed else "OTHER" for each in words]
    if keyword == "Modality" and known == ["OTHER"]:
        return ["OT"]
    return known if len(known) > 1 or known != ["OTHER"] else []


def _instances(keyword: str, kind: str, values: list[Any], key: Key, who: Identity, dates: Dates) -> list[str]:
    return [key.uid(str(each).strip()) for each in values if str(each).strip()]


def _classes(keyword: str, kind: str, values: list[Any], key: Key, who: Identity, dates: Dates) -> list[str]:
    from pydicom.uid import UID_dictionary

    if not all(str(each) in UID_dictionary for each in values):
        raise ValueError("a kind that the standard does not know")
    return [str(each) for each in values]


def _dates(keyword: str, kind: str, values: list[Any], key: Key, who: Identity, dates: Dates) -> list[str]:
    """Return dates put back by the patient's days; one that is none is dropped."""
    if dates == "remove":
        return []
    texts = [re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", str(each).strip()) for each in values]
    found = []
    for each in texts:
        if each is not None:
            try:
                day = date(*(int(part) for part in each.groups())) - timedelta(days=who.days)
            except (ValueError, OverflowError):
                continue
            found.append(f"{day:%Y%m%d}")
    return found


_Keep: TypeAlias = Callable[[str, str, list[Any], Key, Identity, Dates], list[Any]]
_KEPT: Mapping[str, _Keep] = {
    **dict.fromkeys(NUMBERS, _numbers),
    **dict.fromkeys(WORDS, _words),
    **dict.fromkeys(INSTANCES, _instances),
    **dict.fromkeys(CLASSES, _classes),
    **dict.fromkeys(DATES, _dates),
}
