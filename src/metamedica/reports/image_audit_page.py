"""The audit of labelled images as one page: findings, pairs of twins side by side, what predicts the label without the picture."""

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from metamedica.data.image_audit.audit import ImageAudit
from metamedica.data.image_audit.pictures import ImageSet
from metamedica.data.image_audit.series import Series
from metamedica.data.image_audit.shortcuts import Shortcuts
from metamedica.data.image_audit.twins import Pair
from metamedica.reports.html import Card, Figure, Section, Table, write_page

_PAIRS = 24
_SIDE = 128
"""Longer side of a picture on the page, in pixels."""
_FACTS = 12


def write_audit_page(
    audit: ImageAudit,
    path: str | Path,
    *,
    title: str,
    images: ImageSet,
    shown: Mapping[int, Shaped[np.ndarray, "..."]],
    names: Sequence[str],
) -> None:
    """Write the audit as one self-contained page.

    Args:
        audit: what was found.
        path: of the HTML file.
        title: of the page.
        images: what was audited.
        shown: pixels by the image's place in the set (unsigned integers, `[height, width]` or `[height, width, 3]`); pairs of twins
            of which one is not here are left out.
        names: what to call each image.
    """
    sections = [_findings(audit)]
    cards = [
        _card(pair, shown, names, images)
        for pair in audit.twins.pairs[:_PAIRS]
        if pair.left in shown and pair.right in shown
    ]
    if cards:
        told = "Pairs over labels come first, then pairs over the parts of a split, then the others."
        sections.append(Section("The same image twice", prose=[told], cards=cards))
    if audit.series is not None:
        sections.append(_series(audit.series))
    if audit.shortcuts is not None:
        sections.append(_shortcuts(audit.shortcuts))
    if audit.leaks:
        sections.append(_leaks(audit))
    if audit.runs is not None and audit.runs.classes:
        sections.append(_runs(audit))
    sections.append(_classes(audit))
    footer = (
        f"{audit.images:,} images, {len(np.unique(audit.units)):,} units ({audit.unit}). Twins: correlation of 32 x 32 thumbnails above "
        f"{audit.twins.threshold:g} ({audit.twins.copies} copies). Intervals: 95 %, bootstrap over whole units."
    )
    write_page(path, title, sections, verdict=_verdict(audit), footer=footer)


def _verdict(audit: ImageAudit) -> str:
    grave = [each for each in audit.findings if each.severity == "grave"]
    if grave:
        told = "one finding that makes" if len(grave) == 1 else f"{len(grave)} findings that make"
        return f"{audit.images:,} images, {told} figures on this set, as it is, wrong."
    warnings = sum(each.severity == "warning" for each in audit.findings)
    if warnings:
        return f"{audit.images:,} images, nothing that makes figures wrong, {warnings} to look into."
    return f"{audit.images:,} images, nothing found that makes figures on this set wrong."


def _findings(audit: ImageAudit) -> Section:
    if not audit.findings:
        return Section("Findings", prose=["Nothing was found."])
    rows = [[each.severity, each.says, each.do] for each in audit.findings]
    return Section("Findings", tables=[Table(["", "found", "what to do"], rows, wrapped=frozenset({1, 2}))])


def _card(pair: Pair, shown: Mapping[int, Shaped[np.ndarray, "..."]], names: Sequence[str], images: ImageSet) -> Card:
    pictures = []
    for at, place in enumerate((pair.left, pair.right)):
        data = base64.b64encode(png(small(shown[place]))).decode()
        pictures.append(
            f'<image x="{at * (_SIDE + 8)}" y="0" width="{_SIDE}" height="{_SIDE}" href="data:image/png;base64,{data}">'
            f"<title>{escape(names[place])}</title></image>"
        )
    wide = 2 * _SIDE + 8
    svg = (
        f'<svg viewBox="0 0 {wide} {_SIDE}" role="img" aria-label="Two images that are alike">{"".join(pictures)}</svg>'
    )
    alike = "equal pixels" if pair.exact else f"correlation {pair.correlation:.4f}"
    return Card(svg, [alike, *(_named(place, names, images) for place in (pair.left, pair.right))])


def _named(place: int, names: Sequence[str], images: ImageSet) -> str:
    part = "" if images.split is None else f", {images.split[place]}"
    name = names[place].replace("/", "/\u200b").replace("_", "_\u200b")  # where a long path may be folded
    return f"{name} ({images.labels[place]}{part})"


def small(pixels: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "height width *channels"]:
    """Return an image of unsigned integers as 8 bits with every so-manieth point, the longer side at most about 128."""
    step = max(1, -(-max(pixels.shape[:2]) // _SIDE))
    kept = pixels[::step, ::step]
    if kept.dtype != np.uint8:
        low, high = float(kept.min()), float(kept.max())
        kept = ((kept - low) * (255.0 / max(high - low, 1.0))).astype(np.uint8)
    return kept


def png(pixels: UInt8[np.ndarray, "height width *channels"]) -> bytes:
    """Return an 8-bit image, grey or RGB, as a PNG file (W3C, Portable Network Graphics, third edition)."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def _series(found: Series) -> Section:
    rows = [
        ["scans", f"{found.scans:,}"],
        ["patients that are told apart", f"{found.patients:,}"],
        ["scans that do not say whose they are", f"{found.without_patient:,}"],
        ["series", f"{found.series:,}"],
        ["series in more than one part of the split", f"{found.split_series:,}"],
        ["series with more than one label", f"{found.two_labels:,}"],
        ["folders that mix series", f"{found.mixed_folders:,}"],
        ["series at uneven distances, of those with three places or more", f"{found.uneven:,} of {found.measured:,}"],
        ["scans that may have text in their pixels", f"{sum(found.writing.values()):,}"],
    ]
    return Section("Patients and series, by the headers", tables=[Table(["", "number"], rows, numeric=frozenset({1}))])


def _shortcuts(found: Shortcuts) -> Section:
    told = [found.every, *found.families]
    rows = [
        [
            each.facts,
            f"{each.auc:.3f}",
            f"{each.low:.3f} to {each.high:.3f}",
            f"{each.accuracy:.3f}",
            f"{each.majority:.3f}",
            f"{each.p:.3f}",
        ]
        for each in told
    ]
    header = ["facts", "AUC", "95 % interval", "accuracy", "largest class", "p"]
    tables = [
        Table(
            header,
            rows,
            "Predicting the label without the picture, whole units held out",
            frozenset(range(1, 6)),
            lead=0,
        )
    ]
    if found.marks:
        marks = [
            [mark.fact.replace("_", " "), mark.value, mark.label, f"{mark.images:,}", f"{mark.groups:,}"]
            for mark in found.marks
        ]
        tables.append(
            Table(
                ["fact", "value", "only in class", "images", "units"],
                marks,
                "Values that one class alone has",
                frozenset({3, 4}),
            )
        )
    bars: list[tuple[str, float, float | None, float | None]] = [
        (each.facts, each.auc, each.low, each.high) for each in told
    ]
    bars += [(each.fact.replace("_", " "), each.auc, None, None) for each in found.single[:_FACTS]]
    verdict = (
        "They predict it: a model may learn where an image comes from."
        if found.predicts
        else "They were not shown to predict it."
    )
    figure = Figure("AUC of facts of files and borders; 0.5 tells nothing, 1 tells all", auc_bars(bars))
    return Section("Does anything but the picture tell the label?", prose=[verdict], figures=[figure], tables=tables)


def auc_bars(bars: Sequence[tuple[str, float, float | None, float | None]]) -> str:
    """Return one horizontal bar a name from 0.5 to its AUC, with its interval where it has one; what is below 0.5 has no length."""
    left, width, row = 170, 560, 24
    height = row * len(bars) + 30

    def across(value: float) -> float:
        return round(left + (min(max(value, 0.5), 1.0) - 0.5) * 2 * (width - left - 60), 2)

    parts = []
    for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        parts.append(f'<line class="grid" x1="{across(tick)}" x2="{across(tick)}" y1="4" y2="{height - 22}"/>')
        parts.append(f'<text x="{across(tick)}" y="{height - 6}" text-anchor="middle">{tick:g}</text>')
    for at, (name, auc, low, high) in enumerate(bars):
        top = 6 + at * row
        middle = top + 9
        parts.append(f'<text class="label" x="{left - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(
            f'<rect class="dot {"s0" if low is not None else "s6"}" x="{left}" y="{top}" width="{round(across(auc) - left, 2)}" height="18" rx="3"/>'
        )
        end = across(auc)
        if low is not None and high is not None:
            parts.append(
                f'<line class="whisker s1" x1="{across(low)}" x2="{across(high)}" y1="{middle}" y2="{middle}"/>'
            )
            end = max(end, across(high))
        parts.append(f'<text class="value" x="{end + 6}" y="{middle + 4}">{auc:.2f}</text>')
    alt = escape(f"AUC of {', '.join(name for name, *_ in bars)}")
    return f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{alt}"><title>{alt}</title>{"".join(parts)}</svg>'


def _leaks(audit: ImageAudit) -> Section:
    rows = []
    for leak in audit.leaks:
        cells = [f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})" for each in (leak.random, leak.blocked)]
        rows.append([leak.model, *cells, f"{leak.gain.value:+.3f} ({leak.gain.low:+.3f} to {leak.gain.high:+.3f})"])
    header = ["model on 32 x 32 thumbnails", "random folds", "whole units held out", "flattered by"]
    caption = f"Accuracy on {audit.leaks[0].images:,} images in {audit.leaks[0].blocks:,} units ({audit.unit})"
    return Section("What a random split would flatter", tables=[Table(header, rows, caption, frozenset({1, 2, 3}))])


def _runs(audit: ImageAudit) -> Section:
    assert audit.runs is not None
    header = ["class", "images", "neighbours", "random pairs", "p", "alike up to", "runs", "median run", "longest"]
    rows = [
        [
            each.label, f"{each.images:,}", f"{each.neighbours:.2f}", f"{each.random:.2f}", f"{each.p:.3f}", f"{each.lag}", f"{each.runs:,}",
            f"{each.median_run:g}", f"{each.longest_run}",
        ]
        for each in audit.runs.classes
    ]  # fmt: skip
    caption = "Correlation of thumbnails, less the class's mean image, of images that follow each other in number"
    return Section("Neighbouring numbers", tables=[Table(header, rows, caption, frozenset(range(1, 9)))])


def _classes(audit: ImageAudit) -> Section:
    balance = audit.balance
    header = ["class", "images", *balance.parts]
    rows = [
        [name, f"{count:,}", *(f"{part.get(name, 0):,}" for part in balance.parts.values())]
        for name, count in balance.classes.items()
    ]
    return Section("Classes", tables=[Table(header, rows, numeric=frozenset(range(1, len(header))))])
