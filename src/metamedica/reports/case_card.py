"""The card of one case: its answer, what of it speaks for and against, and the labelled cases most like it. It shows a person's data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributions import Categorical

from metamedica.errors import InputError
from metamedica.predictors.explanation import Explanation, named_parts
from metamedica.predictors.predictor import Predictor
from metamedica.types import Features


@dataclass(frozen=True)
class CaseCard:
    """One case.

    Args:
        number: among the judged cases, from 1.
        chosen: why this one; empty where it was asked for.
        drawing: SVG or HTML of the modality, its parts shaded by what they contribute.
        answer: what is predicted, lines for a person.
        explanation: what each part contributes, and the labelled cases most like it; None where the modality names no parts.
        reason: why there is no explanation; empty where there is one.
    """

    number: int
    chosen: str
    drawing: str
    answer: tuple[str, ...]
    explanation: Explanation | None
    reason: str = ""


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
    features = {name: block[torch.tensor(prepared.row)] for name, block in prepared.features.items()}
    told = answer_lines(predictor, features, coverage)
    try:
        named = named_parts(modality)
    except InputError as error:
        return CaseCard(number, chosen, modality.draw(prepared.canonical[0]), told, None, f"No reasons: {error}.")
    (found,) = predictor.explain(case)
    drawing = named.draw_parts(found.case, found.contributions.tolist())
    return CaseCard(number, chosen, drawing, told, found)


def answer_lines(predictor: Predictor, features: Features, coverage: float) -> tuple[str, ...]:
    """Return what is predicted of one featurised case, in lines for a person."""
    law = predictor.law(features)
    if isinstance(law, Categorical):
        classes = predictor.classes or ()
        probability: Mapping[int, float] = dict(enumerate(law.probs[0].tolist()))
        named = predictor.set_of(law, features, coverage)[0]
        held = ", ".join(label for label, there in zip(classes, named, strict=True) if there) or "none"
        shown = [1] if len(classes) == 2 else sorted(probability, key=lambda c: -probability[c])[:3]
        return (*(f"Probability of {classes[c]}: {probability[c]:.0%}" for c in shown), f"{coverage:.0%} set: {held}")
    unit = f" {predictor.unit}" if predictor.unit else ""
    low, high = predictor.interval_of(law, features, coverage)[0]
    return (f"Expected: {float(law.mean[0]):.3g}{unit}", f"{coverage:.0%} interval: {low:.3g} to {high:.3g}{unit}")
