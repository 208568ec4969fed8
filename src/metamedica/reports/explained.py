"""Explained predictions on a page: the case shaded by its parts, how they add up, and the nearest labelled cases."""

from collections.abc import Sequence
from pathlib import Path

from metamedica.predictors.explanation import Explanation, named_parts
from metamedica.reports.figures import waterfall
from metamedica.reports.html import Figure, Section, Table, write_page
from metamedica.types import Modality

FOOTER = (
    "Contributions are Shapley values: a part's is what it changes, averaged over the orders in which the parts may come. They say what this "
    "predictor's answer rests on, not what causes the outcome."
)


def case_section(
    explanation: Explanation, modality: Modality, *, heading: str, beside: Sequence[Figure] = ()
) -> Section:
    """Return one explained case as a section of a page.

    Args:
        explanation: of the case.
        modality: that draws it.
        heading: what the case is called.
        beside: further figures of the case, such as its Grad-CAM.

    Raises:
        CaseError: the case cannot be drawn.
    """
    drawn = named_parts(modality).draw_parts(explanation.case, explanation.contributions.tolist())
    steps = [(part.told, part.contribution) for part in explanation.parts]
    nearest = Table(
        ("most similar labelled case", "its label", "similarity"),
        [
            (near.canonical or f"number {near.number}", near.label, f"{near.similarity:.2f}")
            for near in explanation.nearest
        ],
        numeric=frozenset({2}),
    )
    how = "exact" if explanation.exact else "estimated from a sample of coalitions"
    return Section(
        heading,
        prose=[explanation.sentence],
        figures=[
            Figure("The case: orange raises the number, blue lowers it", drawn),
            *beside,
            Figure(
                f"{explanation.what}: what each part contributes ({how})",
                waterfall(steps, start=explanation.base, label=explanation.what),
            ),
        ],
        tables=[nearest] if explanation.nearest else [],
    )


def write_explanations(
    path: str | Path,
    explanations: Sequence[Explanation],
    modality: Modality,
    *,
    headings: Sequence[str],
    beside: Sequence[Sequence[Figure]] | None = None,
    remark: str = "",
    title: str = "Explained predictions",
) -> None:
    """Write explained cases as one self-contained HTML page, whole or not at all.

    Args:
        path: of the page.
        explanations: of the cases.
        modality: that draws them.
        headings: what each case is called.
        beside: further figures of each case; None: none.
        remark: a sentence on all of them.
        title: of the page.
    """
    more = [()] * len(explanations) if beside is None else beside
    sections = [
        case_section(each, modality, heading=heading, beside=figures)
        for each, heading, figures in zip(explanations, headings, more, strict=True)
    ]
    count = (
        f"{len(sections):,} case{'' if len(sections) == 1 else 's'}, each with what its parts contribute to the answer."
    )
    write_page(path, title, sections, verdict=f"{count} {remark}".rstrip(), footer=FOOTER)
