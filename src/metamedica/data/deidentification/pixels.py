"""What pixel data can hide beside pixels: bytes after the last one, old overlays in unused bits, comments in and text behind compressed frames.

All are removed without changing a stored value; JPEG's and JPEG 2000's comments are overwritten in place, so that no length changes.
"""

import re
from typing import Any

import numpy as np

_JPEG = b"\xff\xd8"
_JPEG2000 = b"\xff\x4f\xff\x51"
_END = b"\xff\xd9"
"""Ends a frame of JPEG, JPEG-LS and JPEG 2000; inside of coded data it cannot occur."""
_SCAN = 0xDA
_TILE = 0x90
_NEEDED = {0xE0, 0xEE}
"""Application segments that say how colours are stored (JFIF, Adobe)."""


def clear_hidden(data: Any) -> list[str]:
    """Remove what hides in the pixel data of a data set, in place, and return what was there.

    Raises:
        ValueError: a size that cannot be, fewer bytes than pixels, or broken fragments.
    """
    if "PixelData" not in data:
        return []
    if data.file_meta.TransferSyntaxUID.is_encapsulated:
        return _without_comments(data)
    bits = int(data.Rows) * int(data.Columns) * int(data.get("NumberOfFrames") or 1) * int(data.SamplesPerPixel)
    bits *= int(data.BitsAllocated)
    if data.PhotometricInterpretation == "YBR_FULL_422":
        bits = bits * 2 // 3
    size = (bits + 7) // 8
    held = data.PixelData
    if len(held) < size or not size:
        raise ValueError("pixel data that end early")
    found = []
    if any(held[size:]):
        found.append("bytes after the last pixel")
    values = held[:size]
    cleared = _without_unused_bits(values, data)
    if cleared != values:
        found.append("unused bits of pixels")
    data["PixelData"]._value = cleared + bytes(len(cleared) % 2)
    return found


def _without_unused_bits(values: bytes, data: Any) -> bytes:
    """Return pixels whose bits above the stored ones are zero, or the sign's."""
    allocated, stored = int(data.BitsAllocated), int(data.BitsStored)
    if allocated not in (8, 16, 32) or stored >= allocated or int(data.HighBit) != stored - 1:
        return values
    order = "<" if data.file_meta.TransferSyntaxUID.is_little_endian else ">"
    numbers = np.frombuffer(values, f"{order}u{allocated // 8}")
    low = numbers & (2**stored - 1)
    if int(data.PixelRepresentation):
        high = (2**allocated - 1) ^ (2**stored - 1)
        low = np.where(low >> (stored - 1) & 1, low | high, low)
    return bytes(low.astype(numbers.dtype).tobytes())


def _without_comments(data: Any) -> list[str]:
    if data.file_meta.TransferSyntaxUID.name.startswith("RLE"):
        return []
    stream = bytearray(data.PixelData)
    spans = [
        span
        for start, end in _fragments(stream)
        for span in (_jpeg(stream, start, end) if stream[start : start + 2] == _JPEG else _jpeg2000(stream, start, end))
    ]
    for start, end in spans:
        stream[start:end] = b" " * (end - start)
    behind = [(last + 2, end) for start, end in _fragments(stream) if (last := stream.rfind(_END, start, end)) >= 0]
    behind = [(start, end) for start, end in behind if any(stream[start:end])]
    for start, end in behind:
        stream[start:end] = bytes(end - start)
    data["PixelData"]._value = bytes(stream)
    found = ["comments in compressed frames"] if spans else []
    return [*found, "bytes after the end of compressed frames"] if behind else found


def _fragments(stream: bytearray) -> list[tuple[int, int]]:
    """Return where the items of encapsulated pixel data begin and end (PS3.5 A.4), without the offset table."""
    found, at = [], 0
    while at + 8 <= len(stream):
        tag, length = stream[at : at + 4], int.from_bytes(stream[at + 4 : at + 8], "little")
        if tag == b"\xfe\xff\xdd\xe0":
            break
        if tag != b"\xfe\xff\x00\xe0" or at + 8 + length > len(stream):
            raise ValueError("broken fragments")
        found.append((at + 8, at + 8 + length))
        at += 8 + length
    return found[1:]


def _jpeg(stream: bytearray, start: int, end: int) -> list[tuple[int, int]]:
    """Return the texts of comments and of application segments that are not needed, up to the scan (ITU T.81 B.1)."""
    found, at = [], start + 2
    while at + 4 <= end and stream[at] == 0xFF and stream[at + 1] != _SCAN:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xFE or (0xE0 <= marker <= 0xEF and marker not in _NEEDED):
            found.append((at + 4, min(end, at + 2 + length)))
        at += 2 + max(2, length)
    return found


def _jpeg2000(stream: bytearray, start: int, end: int) -> list[tuple[int, int]]:
    """Return the texts of the comments of the main header (ITU T.800 A.9.2), wherever a codestream begins in the fragment."""
    first = re.compile(re.escape(_JPEG2000)).search(stream, start, end)
    found: list[tuple[int, int]] = []
    if first is None:
        return found
    at = first.start() + 2
    while at + 4 <= end and stream[at] == 0xFF and stream[at + 1] != _TILE:
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] == 0x64:
            found.append((at + 6, min(end, at + 2 + length)))
        at += 2 + max(2, length)
    return found
