"""What a predictor says of itself: how far it leans on earlier tasks, what that is expected to gain, its card."""

from typing import TYPE_CHECKING

import torch

from metamedica.functional.descriptions import ReadsDescriptions
from metamedica.functional.leaning import WeighsItself
from metamedica.predictors.expected_gain import ExpectedGain, gain_by_evidence, gain_of_hidden, promised_gain
from metamedica.predictors.guard import AdaptedMixture, cohesion
from metamedica.predictors.held_out import held_out
from metamedica.predictors.method import Adapted, AdaptedLearner
from metamedica.predictors.trust import NOTHING, Trust

if TYPE_CHECKING:
    from metamedica.predictors.predictor import Predictor


def trust_of(predictor: "Predictor", adapted: Adapted) -> Trust:
    """Return how far the predictor leans on earlier tasks, and on which.

    Args:
        predictor: asked.
        adapted: its learner or mixture, before any calibration.
    """
    model, support = predictor.model, predictor.support
    about = support.batch.about if isinstance(model.learner, ReadsDescriptions) else None
    told = about is not None
    near = (
        model.earlier.near(model.raw, model.raw(support.rows))
        if about is None
        else model.earlier.described_like(about[0])
    )
    closeness = float(cohesion(model.raw, support.batch)[0])
    seen = float(model.earlier.seen(model.raw, support.batch)[0]) if model.modality.legible else None
    name = model.spec.learner
    if isinstance(adapted, AdaptedLearner) and isinstance(model.learner, WeighsItself):
        leaning = model.learner.leaning(adapted.state)
        shares = {part: float(share[0]) for part, share in leaning.shares.items()}
        return Trust(float(leaning.learned[0]), float(leaning.gain[0]), shares, closeness, seen, near, described=told)
    if not isinstance(adapted, AdaptedMixture):
        learned = float(model.learner.learns_from_tasks() or model.guards(model.learner))
        compared = not predictor.guard or support.compares or not model.guards(model.learner)
        others = () if compared else model.from_scratch
        weights = {name: 1.0, **dict.fromkeys(others, 0.0)}
        return Trust(
            learned,
            0.0,
            weights,
            closeness,
            seen,
            near,
            compared=compared,
            scratch=not learned and not model.modality.learned,
            described=told,
        )
    shown = adapted.weighed.weights[0]
    scores = adapted.weighed.evidence.held_out[0]
    candidates = dict(zip([name, *model.from_scratch], [float(weight) for weight in shown], strict=True))
    gain = float(scores[0] - scores[1:].max())
    return Trust(float(shown[0]), gain, candidates, closeness, seen, near, described=told)


def expected_gain_of(predictor: "Predictor", adapted: Adapted) -> ExpectedGain | None:
    """Return how much better than the best method from scratch its answers are expected to be; None where too few labels tell.

    Arguments as those of `trust_of`.
    """
    model, support = predictor.model, predictor.support
    fitted = model.gains.get(support.kind)
    if isinstance(adapted, AdaptedMixture) and fitted is not None:
        return gain_by_evidence(adapted.weighed.evidence, model.gates[support.kind], fitted)
    if not support.compares or not model.from_scratch:
        return None
    scratch, ours = model.scratch_method(support.kind, unit=support.unit), predictor.certainty.held_out
    plain = scratch.adapt(support.batch)
    sides = [support.batch.cases, *([] if support.unlabelled is None else [support.unlabelled])]
    promised = [
        promised_gain(adapted.predict(cases), plain.predict(cases))[cases.mask] for cases in sides if cases.n_cases
    ]
    return gain_of_hidden(ours, held_out(scratch, support.batch, whole=plain), torch.cat(promised))


def predictor_card(predictor: "Predictor") -> str:
    """Return a short Markdown card: what it is, how far it may be trusted, and that it holds the labelled cases."""
    trust, support = predictor.trust, predictor.support
    learned = predictor.model.spec.learner if trust.weight >= NOTHING else "nothing learned"
    lines = [
        "# Predictor",
        "",
        f"- Task: {support.kind}{f', in {support.unit}' if support.unit else ''}; {len(support.canonical)} labelled cases"
        + (f", {support.unlabelled.n_cases:,} without label" if support.unlabelled is not None else "")
        + (f"; all labels are {support.only_class!r}" if support.only_class is not None else ""),
        f"- Leans on: {learned}. {trust.verdict}",
        f"- {predictor.shift.verdict}",
        "- **Personal data**: this folder contains the cases themselves; keep it as you keep them.",
        *filter(None, [predictor.model.personal().strip()]),
        "- Research use only; not a medical device.",
    ]
    return "\n".join(lines) + "\n"
