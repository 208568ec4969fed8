"""A few labelled images of something new: what each further image shows, how sure that is, where in the image it lies, and what it looks like."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from metamedica.errors import CaseError, InputError, TaskError
from metamedica.modalities.images import Images
from metamedica.modalities.images.likeness import Alike, alike
from metamedica.predictors.explanation import Explanation
from metamedica.predictors.predictor import Predictor
from metamedica.reports.grad_cam import GradCam, grad_cam, refusal
from metamedica.types import Progress


@dataclass(frozen=True)
class ImageAnswer:
    """What is said of one image.

    Args:
        name: of the image.
        drawn: the image as `prepare` returned it.
        prediction: the likeliest class.
        probabilities: class -> probability.
        members: the classes of the set that holds the true one as often as asked for.
        asks: whether a person should look at it.
        truth: its class, where known.
        explanation: what each patch contributes to the log-odds of the prediction; None where not asked for.
        grad_cam: where the network sees what speaks for the prediction; None where not asked for, or where there is none.
        looks_like: patches of labelled images that its patches look like, the best first; empty without a network.
    """

    name: str
    drawn: str
    prediction: str
    probabilities: dict[str, float]
    members: tuple[str, ...]
    asks: bool
    truth: str | None
    explanation: Explanation | None
    grad_cam: GradCam | None
    looks_like: tuple[Alike, ...]


@dataclass(frozen=True)
class ImageReading:
    """What a predictor says of some images.

    Args:
        classes: the labels.
        support: class -> number of labelled images.
        labelled: those images, as `prepare` returned them, and the class of each.
        answers: one an image, in input order.
        coverage: of the sets.
        trust: what earlier tasks and images have to do with the answers, in a sentence.
        no_grad_cam: why there is no Grad-CAM, in a sentence; empty where there is.
        left_out: name and reason of images that cannot be read.
    """

    classes: tuple[str, ...]
    support: dict[str, int]
    labelled: tuple[tuple[str, str], ...]
    answers: tuple[ImageAnswer, ...]
    coverage: float
    trust: str
    no_grad_cam: str
    left_out: tuple[tuple[str, str], ...]

    def confusion(self) -> pd.DataFrame:
        """Return how many images of each class (row) were called what (column); of those whose class is known.

        Raises:
            TaskError: none is.
        """
        known = Counter((each.truth, each.prediction) for each in self.answers if each.truth is not None)
        if not known:
            raise TaskError("no image came with its class, so there is nothing to compare; give labels")
        rows = [[known[truth, called] for called in self.classes] for truth in self.classes]
        return pd.DataFrame(rows, index=list(self.classes), columns=list(self.classes))

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value, without pictures."""
        return {
            "classes": list(self.classes),
            "support": self.support,
            "coverage": self.coverage,
            "trust": self.trust,
            "no_grad_cam": self.no_grad_cam,
            "left_out": dict(self.left_out),
            "images": [
                {
                    "name": each.name,
                    "prediction": each.prediction,
                    "probabilities": each.probabilities,
                    "set": list(each.members),
                    "asks": each.asks,
                    "truth": each.truth,
                    "grad_cam": None if each.grad_cam is None else each.grad_cam.as_dict(),
                }
                for each in self.answers
            ],
        }


def read_images(
    predictor: Predictor,
    cases: Sequence[Any],
    *,
    names: Sequence[str] | None = None,
    truths: Sequence[str | None] | None = None,
    explained: int = 4,
    coalitions: int | None = None,
    coverage: float = 0.9,
    asked: float = 0.2,
    skip_invalid: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImageReading:
    """Return what a predictor says of images.

    Args:
        predictor: of images, with classes.
        cases: raw images: paths, bytes or pixels.
        names: what to call them; numbers if left out.
        truths: the class of each, None where not known.
        explained: how many are explained, the least sure first.
        coalitions: of patches that an explanation asks about, each a further image to look at; None: `patches.COALITIONS`.
        coverage: of the sets.
        asked: share of the images that a person should look at.
        skip_invalid: leave out images that cannot be read.
        seed: of the coalitions.
        progress: called as `progress(done, total, message)`.

    Raises:
        InputError: a predictor of something else, or as many names and truths as images were wanted, or no image.
        TaskError: numbers instead of classes, or a truth that is none of the classes.
        CaseError: an image that cannot be read.
    """
    modality = predictor.model.modality
    if not isinstance(modality, Images):
        raise InputError(f"got a predictor of {modality.name}; adapt a model of images")
    if predictor.classes is None:
        raise TaskError("got a predictor of numbers, and classes are read here; use predict")
    for what, given in (("names", names), ("classes", truths)):
        if given is not None and len(given) != len(cases):
            raise InputError(f"got {len(given)} {what} for {len(cases)} images; give one each")
    called = [f"image {number}" for number in range(1, len(cases) + 1)] if names is None else list(names)
    known: list[str | None] = [None] * len(cases) if truths is None else list(truths)
    for name, truth in zip(called, known, strict=True):
        if truth is not None and truth not in predictor.classes:
            raise TaskError(
                f"{name} is said to be {truth!r}, and the classes are {', '.join(predictor.classes)}; adapt to labelled images of it too"
            )
    prepared = predictor.model.prepare(list(cases), progress=progress)
    problems = {problem.position: problem.reason for problem in prepared.problems}
    if problems and (not skip_invalid or len(problems) == len(cases)):
        place, reason = next(iter(problems.items()))
        raise CaseError(f"{len(problems)} of {len(cases)} images cannot be read; the first, {called[place]}: {reason}")
    here = [place for place in range(len(cases)) if place not in problems]
    if not here:
        raise InputError("no image came; give at least one")
    drawn = [prepared.canonical[prepared.row[place]] for place in here]
    probability, members = predictor.predict_proba(drawn), predictor.predict_set(drawn, coverage)
    sure, asks = predictor.sureness(drawn), predictor.asks(drawn, asked)
    order = np.argsort(sure, kind="stable")[: max(0, explained)].tolist()
    told: dict[int, Explanation] = {}
    seen: dict[int, GradCam] = {}
    refused = refusal(predictor)
    for done, place in enumerate(order, 1):
        called_so = predictor.classes[int(probability[place].argmax())]
        (told[place],) = predictor.explain([drawn[place]], label=called_so, coalitions=coalitions, seed=seed)
        if not refused:
            (seen[place],) = grad_cam(predictor, [drawn[place]], label=called_so)
        if progress is not None:
            progress(done, len(order), "explaining images")
    looks = _looks_like(modality, predictor, drawn)
    support = predictor.support
    labels = [predictor.classes[int(target)] for target in support.batch.targets[0]]
    answers = tuple(
        ImageAnswer(
            called[place],
            drawn[at],
            predictor.classes[int(probability[at].argmax())],
            dict(zip(predictor.classes, (float(share) for share in probability[at]), strict=True)),
            tuple(label for label, inside in zip(predictor.classes, members[at], strict=True) if inside),
            bool(asks[at]),
            known[place],
            told.get(at),
            seen.get(at),
            looks[at],
        )
        for at, place in enumerate(here)
    )
    return ImageReading(
        predictor.classes,
        {label: Counter(labels)[label] for label in predictor.classes},
        tuple(zip(support.canonical, labels, strict=True)),
        answers,
        coverage,
        _seen_through(modality, predictor),
        refused,
        tuple((called[place], reason) for place, reason in problems.items()),
    )


def _seen_through(modality: Images, predictor: Predictor) -> str:
    """Return what earlier images have to do with the answers, in a sentence."""
    if modality.network is None:
        return f"{predictor.trust.verdict} Images are seen by classical features alone."
    sets = ", ".join(f"{count:,} of {name}" for name, count, *_ in modality.network.record.get("sets", ()))
    return f"{predictor.trust.verdict} Images are seen through a network that was trained on {sets or 'other images'}."


def _looks_like(modality: Images, predictor: Predictor, drawn: list[str]) -> list[tuple[Alike, ...]]:
    if modality.network is None:
        return [()] * len(drawn)
    labelled = modality.squares(predictor.support.canonical)
    return [tuple(each) for each in alike(modality.network, modality.squares(drawn), labelled)]
