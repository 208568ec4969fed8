"""The card of one case: its answer, what of it speaks for and against, and the labelled cases most like it. It shows a person's data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch.distributions import Categorical

from metamedica.errors import InputError
from metamedica.predictors.predictor import Predictor


@runtime_checkable
class _Part(Protocol):
    """A part of a case: what it is called, what stands there, what it contributes, and its place among the parts."""

    name: str
    shown: str
    contribution: float
    place: int

    @property
    def told(self) -> str: ...


@runtime_checkable
class _Near(Protocol):
    """A labelled case that is like it."""

    similarity: float

    @property
    def told(self) -> str: ...


@runtime_checkable
class _Explanation(Protocol):
    """What `Predictor.explain` says of one case: `base` plus all contributions is `output`."""

    what: str
    base: float
    output: float
    exact: bool

    @property
    def parts(self) -> Sequence[_Part]: ...
    @property
    def nearest(self) -> Sequence[_Near]: ...
    @property
    def contributions(self) -> Any: ...
    @property
    def sentence(self) -> str: ...


@runtime_checkable
class _Explains(Protocol):
    def explain(self, cases: Any, /) -> Sequence[_Explanation]: ...


@runtime_checkable
class _DrawsParts(Protocol):
    def draw_parts(self, canonical: str, contributions: Sequence[float], /) -> str: ...


@dataclass(frozen=True)
class CaseCard:
    """One case.

    Args:
        number: among the judged cases, from 1.
        chosen: why this one; empty where it was asked for.
        drawing: SVG or HTML of the modality, parts shaded by what they contribute where it can.
        answer: what is predicted, lines for a person.
        what: the number that the reasons add up to, in words; empty where there are none.
        base: that number with no part of the case there.
        output: that number for the case.
        reasons: (part, contribution), largest first.
        nearest: (labelled case, similarity), nearest first.
        sentence: the reasons in words, or why there are none.
    """

    number: int
    chosen: str
    drawing: str
    answer: tuple[str, ...]
    what: str
    base: float
    output: float
    reasons: tuple[tuple[str, float], ...]
    nearest: tuple[tuple[str, float], ...]
    sentence: str


def case_card(predictor: Predictor, case: Any, *, number: int, chosen: str = "", coverage: float = 0.9) -> CaseCard:
    """Return the card of a case.

    Args:
        predictor: whose answer it is.
        case: one raw case, as `Predictor.predict` takes several.
        number: among the judged cases.
        chosen: why this one.
        coverage: of the set or interval that is shown.

    Raises:
        CaseError: the case cannot be read.
    """
    modality = predictor.model.modality
    prepared = predictor.model.prepare(case)
    canonical = prepared.canonical[0]
    features = {name: block[torch.tensor(prepared.row)] for name, block in prepared.features.items()}
    told = answer_lines(predictor, features, coverage)
    found = explanation_of(predictor, case)
    if isinstance(found, str):
        table = predictor.predict_table(case, coverage=coverage)
        near = (
            [(str(table["nearest_labelled"][0]), float(table["similarity"][0]))] if table["nearest_labelled"][0] else []
        )
        return CaseCard(number, chosen, modality.draw(canonical), told, "", 0.0, 0.0, (), tuple(near), found)
    drawing = modality.draw(canonical)
    if modality.distinct and isinstance(modality, _DrawsParts):  # a row's bars say the same
        drawing = modality.draw_parts(canonical, list(found.contributions))
    return CaseCard(
        number,
        chosen,
        drawing,
        told,
        found.what,
        float(found.base),
        float(found.output),
        tuple((part.told, float(part.contribution)) for part in found.parts),
        tuple((near.told, float(near.similarity)) for near in found.nearest),
        found.sentence,
    )


def explanation_of(predictor: Predictor, case: Any) -> _Explanation | str:
    """Return why the answer is what it is, or in a sentence why that cannot be told."""
    if not isinstance(predictor, _Explains):
        return "This predictor names no reasons."
    try:
        return predictor.explain(case)[0]
    except InputError as error:
        return f"No reasons: {error}."


def answer_lines(predictor: Predictor, features: Any, coverage: float) -> tuple[str, ...]:
    """Return what is predicted of one featurised case, in lines for a person."""
    law = predictor.law(features)
    if isinstance(law, Categorical):
        classes = predictor.classes or ()
        probability = law.probs[0].tolist()
        named = predictor.set_of(features, coverage)[0]
        held = ", ".join(label for label, there in zip(classes, named, strict=True) if there) or "none"
        shown = (
            [len(classes) - 1] if len(classes) == 2 else sorted(range(len(classes)), key=lambda c: -probability[c])[:3]
        )
        return (
            *(f"Probability of {classes[c]}: {probability[c]:.0%}" for c in shown),
            f"{coverage:.0%} set: {held}",
        )
    unit = f" {predictor.unit}" if predictor.unit else ""
    (low, high) = predictor.interval_of(law, features, coverage)[0]
    return (f"Expected: {float(law.mean[0]):.3g}{unit}", f"{coverage:.0%} interval: {low:.3g} to {high:.3g}{unit}")
