"""What the numbers of the audit mean, in sentences: what was found, how grave it is, what to do."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from metamedica.data.image_audit.balance import UNEVEN, Balance
from metamedica.data.image_audit.pictures import ImageSet
from metamedica.data.image_audit.runs import ALIKE, Runs
from metamedica.data.image_audit.series import Series
from metamedica.data.image_audit.shortcuts import Shortcuts, Told
from metamedica.data.image_audit.split_leak import SplitLeak
from metamedica.data.image_audit.twins import Twins

Severity = Literal["grave", "warning", "remark"]
SEVERITIES: tuple[Severity, ...] = ("grave", "warning", "remark")
_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One thing to know.

    Args:
        about: "twins", "labels", "groups", "series", "writing", "split", "runs", "shortcut", "classes" or "pixels".
        severity: "grave": figures on this set as it is are wrong; "warning": they may be; "remark": good to know.
        says: what was found, with its numbers.
        do: what to do; may be empty.
    """

    about: str
    severity: Severity
    says: str
    do: str

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as a JSON value."""
        return asdict(self)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun in the right form."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def of_twins(twins: Twins, images: int) -> Iterator[Finding]:
    """Say which images occur twice: over labels, over the split, or in one place."""
    if twins.exact_two_labels:
        yield Finding(
            "labels", "grave", f"{counted(twins.exact_two_labels, 'image')} with the same pixels as one with another label.",
            "One of the labels is wrong: look at each pair and correct or drop it.",
        )  # fmt: skip
    if twins.two_labels > twins.exact_two_labels:
        yield Finding(
            "labels", "warning",
            f"{counted(twins.two_labels - twins.exact_two_labels, 'image')} with a twin of another label (correlation above {twins.threshold:g}).",
            "Look at the pairs: either a label is wrong or the thumbnails do not show what tells the classes apart.",
        )  # fmt: skip
    for each in twins.crossings:
        share = each.near / each.images
        back = next(other for other in twins.crossings if (other.part, other.other) == (each.other, each.part))
        if each.near and (share, each.part) >= (
            back.near / back.images,
            back.part,
        ):  # each pair of parts once, from the worse side
            yield Finding(
                "split", "grave" if share >= 0.01 else "warning",
                f"{each.near:,} of {each.images:,} images in {each.part!r} ({share:.0%}) have a twin in {each.other!r}, "
                f"{each.exact:,} of them with equal pixels.",
                f"Drop them from one side before figures on {each.part!r} are reported.",
            )  # fmt: skip
    if twins.exact_copies:
        where = ", ".join(f"{name}: {count:,}" for name, count in twins.exact_by_class.items())
        yield Finding(
            "twins", "warning", f"Of {counted(images, 'image')} {twins.exact_copies:,} repeat the pixels of another one ({where}).",
            "Drop the copies, or keep them on one side of every split.",
        )  # fmt: skip
    if twins.near_pairs and twins.with_twin > twins.exact_copies:
        yield Finding(
            "twins", "remark",
            f"{counted(twins.with_twin, 'image')} with a twin, near or exact: {counted(twins.near_pairs, 'pair')} above {twins.threshold:g}.",
            "Keep twins on one side of every split.",
        )  # fmt: skip


def of_groups(balance: Balance) -> Iterator[Finding]:
    """Say which groups stand on both sides of a split."""
    for each in balance.shared:
        yield Finding(
            "groups", "grave",
            f"{counted(each.groups, 'group')} (patients or series) on both sides: in {each.left!r} ({counted(each.left_images, 'image')}) and in "
            f"{each.right!r} ({each.right_images:,}).",
            "Split by group: no group on both sides.",
        )  # fmt: skip
    if balance.groups_with_labels:
        yield Finding(
            "groups", "remark", f"{balance.groups_with_labels:,} of {balance.groups:,} groups have images of more than one label.",
            "Where the label is one of the patient, correct them.",
        )  # fmt: skip


def of_series(found: Series | None) -> Iterator[Finding]:
    """Say what the headers of scans tell of series: on both sides of a split, mixed, uneven, with writing in their pixels."""
    if found is None:
        return
    if found.split_series:
        yield Finding(
            "groups", "grave",
            f"{found.split_series:,} of {found.series:,} series have slices in more than one part of the split ({found.split_images:,} images).",
            "Keep a series, and a patient, on one side: neighbouring slices are nearly the same image.",
        )  # fmt: skip
    if found.two_labels:
        yield Finding(
            "series", "warning", f"{found.two_labels:,} of {found.series:,} series have images of more than one label.",
            "Where the label is one of the patient or the scan, correct them.",
        )  # fmt: skip
    if found.mixed_folders:
        yield Finding(
            "series", "warning", f"{counted(found.mixed_folders, 'folder')} with images of several series.",
            "Give each series a folder of its own before it is read as a volume.",
        )  # fmt: skip
    if found.uneven:
        yield Finding(
            "series", "warning",
            f"{found.uneven:,} of {found.measured:,} series have slices at uneven distances (missing, or twice at one place).",
            "Export those series again, or read them with interpolated gaps.",
        )  # fmt: skip
    if found.writing:
        where = ", ".join(f"{label}: {count:,}" for label, count in found.writing.items())
        yield Finding(
            "writing", "warning", f"{sum(found.writing.values()):,} of {counted(found.scans, 'scan')} may have text in the pixels ({where}).",
            "Look at them: text may name a patient, and may tell the label.",
        )  # fmt: skip
    if found.one_patient:
        yield Finding(
            "groups", "warning", "All scans name the same patient (a set that was made anonymous so), so that patients cannot be told apart.",
            "Give a table with a column of patients (--group); until then each series counts as a patient.",
        )  # fmt: skip
    elif found.without_patient:
        yield Finding(
            "groups", "remark", f"{found.without_patient:,} of {counted(found.scans, 'scan')} do not say whose they are.",
            "Give a table with a column of patients (--group).",
        )  # fmt: skip


def of_leaks(leaks: list[SplitLeak], unit: str) -> Iterator[Finding]:
    """Say by how much a random split flatters."""
    worst = max(leaks, key=lambda each: each.gain.value, default=None)
    if worst is None:
        return
    told = "; ".join(
        f"{each.model} on thumbnails: {each.random.value:.3f} ({each.random.low:.3f} to {each.random.high:.3f}) with random folds, "
        f"{each.blocked.value:.3f} ({each.blocked.low:.3f} to {each.blocked.high:.3f}) with whole units held out"
        for each in leaks
    )
    leaking = worst.gain.low > 0 and worst.gain.value >= 0.02
    yield Finding(
        "split", "grave" if leaking else "remark",
        f"A random split {'flatters by' if leaking else 'makes a difference of'} {worst.gain.value:+.3f} accuracy "
        f"({worst.gain.low:+.3f} to {worst.gain.high:+.3f}). {told[0].upper()}{told[1:]}.",
        f"Hold out whole units ({unit}), {worst.blocks:,} of them here, never single images." if leaking else "",
    )  # fmt: skip


def of_runs(runs: Runs | None) -> Iterator[Finding]:
    """Say whether neighbours in number are alike."""
    alike = [] if runs is None else [each for each in runs.classes if each.neighbours - each.random >= ALIKE]
    if runs is None or not runs.found:
        return
    told = "; ".join(
        f"{each.label!r}: correlation {each.neighbours:.2f} of neighbours, {each.random:.2f} of random pairs (p = {each.p:.3f}), runs of "
        f"{each.median_run:g} images (longest {each.longest_run}), alike up to {each.lag} apart"
        for each in alike
    )
    blocks = len(set(runs.blocks.tolist()))
    yield Finding(
        "runs", "warning", f"Files with neighbouring numbers show much the same picture, as slices of one patient do: {told}.",
        f"Get the patient of each image; without that, split by the {blocks:,} blocks that the audit proposes.",
    )  # fmt: skip


def of_shortcuts(shortcuts: Shortcuts | None, unit: str) -> Iterator[Finding]:
    """Say whether facts of files tell the label."""
    if shortcuts is None:
        return

    def figure(told: Told) -> str:
        return (
            f"AUC {told.auc:.3f} ({told.low:.3f} to {told.high:.3f}), accuracy {told.accuracy:.3f} where the largest class has "
            f"{told.majority:.3f}, p = {told.p:.3f}"
        )

    if shortcuts.predicts:
        parts = "; ".join(f"{each.facts} alone: AUC {each.auc:.3f}" for each in shortcuts.families)
        best = ", ".join(f"{each.fact.replace('_', ' ')} ({each.auc:.2f})" for each in shortcuts.single[:_NAMED])
        yield Finding(
            "shortcut", "grave" if shortcuts.every.auc >= 0.75 else "warning",
            f"Facts of the files and their borders predict the label without the picture: {figure(shortcuts.every)}. {parts}. "
            f"Most telling: {best}.",
            "A model may learn where an image comes from: bring all images to one format, size and crop, compare within one source, and report "
            "this figure beside the model's; file size and borders follow the picture too, so judge by which facts tell.",
        )  # fmt: skip
    else:
        yield Finding(
            "shortcut", "remark",
            f"Facts of the files and their borders were not shown to predict the label (whole units held out: {unit}): {figure(shortcuts.every)}.",
            "",
        )  # fmt: skip
    for certain in (True, False):
        marks = [mark for mark in shortcuts.marks if mark.certain is certain]
        if marks:
            told = ", ".join(
                f"{mark.fact.replace('_', ' ')} {mark.value} ({counted(mark.images, 'image')} of {mark.label!r} in {counted(mark.groups, 'unit')})"
                for mark in marks
            )
            yield Finding(
                "shortcut", "warning" if certain else "remark", f"One class alone has: {told}.",
                "Bring all images to one form." if certain else "So few units may be chance, or one patient's.",
            )  # fmt: skip


def of_balance(balance: Balance) -> Iterator[Finding]:
    """Say which classes are small, absent or far apart in size."""
    for name in balance.small:
        yield Finding(
            "classes", "warning", f"Class {name!r} has {counted(balance.classes[name], 'image')}.",
            "Collect more, merge it with another class or leave it out: below 5 nothing can be drawn and judged.",
        )  # fmt: skip
    for part, names in balance.absent.items():
        listed = ", ".join(repr(name) for name in names[:_NAMED]) + (
            f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        )
        yield Finding(
            "classes", "warning", f"Part {part!r} of the split has no image of {listed}.", "Draw the split by class."
        )
    if balance.unevenness >= UNEVEN:
        largest = max(balance.classes, key=lambda name: balance.classes[name])
        smallest = min(balance.classes, key=lambda name: balance.classes[name])
        yield Finding(
            "classes", "remark",
            f"Classes are uneven: {largest!r} has {balance.classes[largest]:,} images, {smallest!r} {balance.classes[smallest]:,}.",
            "Report balanced accuracy and figures by class.",
        )  # fmt: skip


def of_pixels(images: ImageSet, twins: Twins) -> Iterator[Finding]:
    """Say which images are blank, and where grey and colour or 8 and 16 bits are mixed."""
    if twins.blank:
        yield Finding(
            "pixels",
            "warning",
            f"{counted(twins.blank, 'image')} of one grey all over.",
            "Look at them and leave them out.",
        )
    for column, name in (("channels", {1.0: "grey", 3.0: "RGB"}), ("bits", {})):
        if column not in images.facts:
            continue
        values, counts = np.unique(images.facts[column].dropna().to_numpy(dtype=np.float64), return_counts=True)
        if len(values) > 1:
            told = " and ".join(
                f"{n:,} {name.get(value, f'with {value:g} bits')}" for value, n in zip(values, counts, strict=True)
            )
            yield Finding(
                "pixels", "remark", f"The images are mixed: {told}.", "Bring them to one form before learning."
            )
