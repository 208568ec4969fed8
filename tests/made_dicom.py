"""DICOM files made in memory: one slice, a series of them, or an enhanced file with many frames."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
LITTLE = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"


def dataset(pixels: np.ndarray, *, syntax: str = LITTLE, **elements: Any) -> Any:
    """Return a CT slice with stored pixels `[rows, columns]` or `[rows, columns, 3]`; `elements` replace or, where None, remove what it says."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CT, "1.2.3.4.1"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
    made.Modality, made.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.SliceThickness = [0.5, 0.75], 2
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    made.Rows, made.Columns = pixels.shape[-2:] if pixels.shape[-1] != 3 else pixels.shape[-3:-1]
    made.SamplesPerPixel = 3 if pixels.shape[-1] == 3 else 1
    made.PhotometricInterpretation = "RGB" if pixels.shape[-1] == 3 else "MONOCHROME2"
    if made.SamplesPerPixel == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = 8 * pixels.dtype.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == BIG else "<")).tobytes()
    made["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    for keyword, value in elements.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(syntax)
    made.file_meta.MediaStorageSOPClassUID = made.get("SOPClassUID", CT)
    made.file_meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", "1.2.3.4.1")
    return made


def written(data: Any) -> bytes:
    """Return the bytes of a data set as a DICOM Part 10 file."""
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def one(pixels: np.ndarray, **elements: Any) -> bytes:
    """Return the bytes of one slice."""
    return written(dataset(pixels, **elements))


def stack(count: int = 5, step: float = 2.5, size: tuple[int, int] = (6, 7), seed: int = 0) -> list[Any]:
    """Return the slices of one CT series, to the head, `step` mm apart; stored numbers are HU + 1024."""
    pixels = np.random.default_rng(seed).integers(0, 3000, size=(count, *size), dtype=np.uint16)
    return [
        dataset(pixels[n], SOPInstanceUID=f"1.2.3.4.{n + 1}", ImagePositionPatient=[-10, 20, -30 + n * step])
        for n in range(count)
    ]


def saved(slices: list[Any], folder: Path, *, name: Callable[[int], str] = "slice{:03d}.dcm".format) -> list[Path]:
    """Write data sets into a folder, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name(number) for number in range(len(slices))]
    for path, data in zip(paths, slices, strict=True):
        path.write_bytes(written(data))
    return paths


def enhanced(count: int = 4, step: float = 3.0, size: tuple[int, int] = (5, 6), seed: int = 0) -> Any:
    """Return an enhanced CT whose frames, out of order, each have their own place and rescale."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    def group(**elements: Any) -> Any:
        inner = Dataset()
        for keyword, value in elements.items():
            setattr(inner, keyword, value)
        return Sequence([inner])

    pixels = np.random.default_rng(seed).integers(0, 3000, size=(count, *size), dtype=np.uint16)
    order = np.random.default_rng(seed + 1).permutation(count)
    made = dataset(pixels[0], SOPClassUID=ENHANCED_CT)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(made, keyword)
    made.NumberOfFrames = count
    made.PixelData = pixels[order].tobytes()
    made["PixelData"].VR = "OW"
    made.SharedFunctionalGroupsSequence = group(
        PixelMeasuresSequence=group(PixelSpacing=[0.5, 0.75], SliceThickness=3),
        PlaneOrientationSequence=group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    )
    made.PerFrameFunctionalGroupsSequence = Sequence(
        [
            group(
                PlanePositionSequence=group(ImagePositionPatient=[0, 0, float(n) * step]),
                PixelValueTransformationSequence=group(RescaleSlope=float(n + 1), RescaleIntercept=-1024),
            )[0]
            for n in order
        ]
    )
    return made
