"""The page of images read: every image with its answer, where in it the answer lies, what it looks like, and how often it is right."""

from html import escape
from pathlib import Path

import numpy as np

from metamedica.applications.imaging.reading import ImageAnswer, ImageReading
from metamedica.modalities.images.likeness import PLACES
from metamedica.modalities.images.patches import shaded
from metamedica.reports.html import Card, Figure, Section, Table, write_page

FOOTER = (
    "Shades are Shapley values of patches, each blurred out in turn: they say what this answer rests on, not what causes a disease. "
    "This page describes research software; it is not a medical device and must not decide about a patient on its own."
)
_GRID = 60
_SUPPORT = 40
_SIDE = 132


def write_reading(reading: ImageReading, path: str | Path, *, title: str = "Images read") -> None:
    """Write what was read as one self-contained page, whole or not at all.

    Args:
        reading: what was read.
        path: of the HTML file.
        title: of the page.
    """
    asked = sum(each.asks for each in reading.answers)
    verdict = f"{len(reading.answers):,} images read, {asked:,} of which a person should look at first. {reading.trust}"
    sections = [
        *([_right(reading)] if any(each.truth is not None for each in reading.answers) else []),
        *(_explained(reading, each) for each in reading.answers if each.explanation is not None),
        _all(reading),
        _labelled(reading),
    ]
    if reading.left_out:
        rows = [[name, reason] for name, reason in reading.left_out]
        sections.append(
            Section("Images that could not be read", tables=[Table(["image", "why"], rows, wrapped=frozenset({1}))])
        )
    write_page(path, title, sections, verdict=verdict, footer=FOOTER)


def _picture(drawn: str, *, side: int = _SIDE, mark: tuple[int, int] | None = None) -> str:
    """Return an image as SVG, a patch of it framed."""
    frame = ""
    if mark is not None:
        step = side / PLACES
        row, column = mark
        frame = (
            f'<rect x="{column * step:.1f}" y="{row * step:.1f}" width="{step:.1f}" height="{step:.1f}" fill="none" '
            'stroke="#e66100" stroke-width="2.5"/>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" viewBox="0 0 {side} {side}" role="img">'
        f'<image href="{escape(drawn)}" width="{side}" height="{side}" preserveAspectRatio="none"/>{frame}</svg>'
    )


def _right(reading: ImageReading) -> Section:
    table = reading.confusion()
    known = int(table.to_numpy().sum())
    right = int(np.trace(table.to_numpy()))
    inside = sum(each.truth in each.members for each in reading.answers if each.truth is not None)
    rows = [[str(label), *(str(count) for count in table.loc[label])] for label in table.index]
    return Section(
        "How often it is right",
        prose=[
            f"{right} of {known} images are called what they are ({right / known:.0%}); the sets, which are to hold the true class in "
            f"{reading.coverage:.0%} of cases, hold it in {inside / known:.0%}."
        ],
        tables=[
            Table(
                ["is \\ called", *table.columns],
                rows,
                caption="images by class and answer",
                numeric=frozenset(range(1, len(table) + 1)),
            )
        ],
    )


def _explained(reading: ImageReading, answer: ImageAnswer) -> Section:
    assert answer.explanation is not None
    heat = shaded(answer.drawn, answer.explanation.contributions.tolist(), size=2 * _SIDE)
    figures = [
        Figure(
            f"Occlusion: what each patch adds to the whole answer, whatever sees it; orange speaks for {answer.prediction}, blue against it",
            heat,
        )
    ]
    if answer.grad_cam is not None:
        figures.append(answer.grad_cam.figure(size=2 * _SIDE))
    for each in answer.looks_like:
        there, label = reading.labelled[each.image]
        pair = _picture(answer.drawn, mark=each.here) + " " + _picture(there, mark=each.there)
        figures.append(
            Figure(
                f"this part looks like that part of labelled image {each.image + 1}, {label} (likeness {each.likeness:.2f})",
                pair,
            )
        )
    note = f"No Grad-CAM: {reading.no_grad_cam}." if reading.no_grad_cam else ""
    return Section(f"{answer.name}: {_told(answer)}", prose=[_sentence(answer)], note=note, figures=figures)


def _told(answer: ImageAnswer) -> str:
    return f"{answer.prediction} ({answer.probabilities[answer.prediction]:.0%})"


def _sentence(answer: ImageAnswer) -> str:
    sentence = f"It may be {' or '.join(answer.members) or 'none of the classes'}."
    if answer.truth is not None:
        sentence += f" It is {answer.truth}."
    return sentence + (" A person should look at it." if answer.asks else "")


def _all(reading: ImageReading) -> Section:
    shown = sorted(reading.answers, key=lambda each: max(each.probabilities.values()))[:_GRID]
    more = len(reading.answers) - len(shown)
    cards = [
        Card(
            _picture(each.drawn),
            [
                each.name,
                _told(each),
                f"set: {', '.join(each.members) or 'empty'}",
                *(
                    []
                    if each.truth is None
                    else [f"is {each.truth}{'' if each.truth == each.prediction else ' (wrong)'}"]
                ),
                *(["look at it"] if each.asks else []),
            ],
        )
        for each in shown
    ]
    return Section(
        "All images, the least sure first", note=f"{more:,} more are not shown." if more > 0 else "", cards=cards
    )


def _labelled(reading: ImageReading) -> Section:
    rows = [[label, str(count)] for label, count in reading.support.items()]
    return Section(
        "The labelled images that it was adapted to",
        tables=[Table(["class", "labelled images"], rows, numeric=frozenset({1}))],
        cards=[
            Card(_picture(drawn, side=96), [f"labelled image {number}", label])
            for number, (drawn, label) in enumerate(reading.labelled[:_SUPPORT], 1)
        ],
    )
