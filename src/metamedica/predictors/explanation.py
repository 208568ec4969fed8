"""Why a predictor answers as it does for a case: what each part contributes, and the nearest labelled cases."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributions import Categorical

from metamedica.errors import InputError
from metamedica.parts import CaseParts, NamesParts
from metamedica.predictors.answers import Answer, class_index, sum_of
from metamedica.predictors.games import FEWEST_BACKGROUND, Contributions, background_rows, contributions, worths
from metamedica.types import Features, Modality, PreparedCases

if TYPE_CHECKING:
    from metamedica.predictors.method import Adapted
    from metamedica.predictors.predictor import Predictor
    from metamedica.predictors.support import Support

NEAREST = 3
_NAMED = 3
_LITTLE = 0.02
"""Share of the largest contribution below which none is put into words."""


@dataclass(frozen=True)
class Part:
    """A part of a case and what it contributes.

    Args:
        name: of the part.
        shown: what stands there; empty where the name says it all.
        contribution: in log-odds, or the task's unit.
        place: among the parts of the case in its own order.
    """

    name: str
    shown: str
    contribution: float
    place: int

    @property
    def told(self) -> str:
        """Name and content in words."""
        return f"{self.name} ({self.shown})" if self.shown else self.name


@dataclass(frozen=True)
class NearCase:
    """A labelled case of the task.

    Args:
        number: among the labelled cases, from 1.
        canonical: the case as a text; None where it is a person's, who is told by number alone.
        label: its class, or its value.
        similarity: raw similarity to the case that is explained, 0 to 1.
    """

    number: int
    canonical: str | None
    label: str
    similarity: float

    @property
    def told(self) -> str:
        """The case in words."""
        name = f"labelled case {self.number}" if self.canonical is None else self.canonical
        return f"{name} ({self.label})"


@dataclass(frozen=True)
class Explanation:
    """Why the answer for a case is what it is: `base` plus all contributions is `output`.

    Args:
        case: the case in standard form; of a table, its cells.
        what: the number that is explained, in words.
        label: the class whose log-odds are explained; None for regression.
        base: the answer with no part there: of a table, for the labelled cases on average.
        output: the answer for the case.
        parts: the largest contribution first.
        exact: whether the contributions are exact; else they are estimated from a sample of coalitions of parts, and add up all the same.
        nearest: the most similar labelled cases, nearest first.
        answer_with: takes which parts are there `[coalitions, parts]`, in the case's own order, and returns the answers for what is left.
    """

    case: str
    what: str
    label: str | None
    base: float
    output: float
    parts: tuple[Part, ...]
    exact: bool
    nearest: tuple[NearCase, ...]
    answer_with: Callable[[NDArray[np.bool_]], NDArray[np.float64]] = field(repr=False, compare=False)

    @property
    def contributions(self) -> NDArray[np.float64]:
        """What each part contributes, in the case's own order."""
        found = np.zeros(len(self.parts))
        for part in self.parts:
            found[part.place] = part.contribution
        return found

    @property
    def sentence(self) -> str:
        """One sentence for a person."""
        least = _LITTLE * max((abs(part.contribution) for part in self.parts), default=0.0)
        told = [part for part in self.parts if abs(part.contribution) > least]
        up = [f"{part.told} by {part.contribution:.2g}" for part in told if part.contribution > 0][:_NAMED]
        down = [f"{part.told} by {-part.contribution:.2g}" for part in told if part.contribution < 0][:_NAMED]
        why = [
            *([f"raised by {_listed(up)}"] if up else []),
            *([f"lowered by {_listed(down)}"] if down else []),
        ]
        near = f"; most similar: {self.nearest[0].told}" if self.nearest else ""
        return (
            f"{self.what[0].upper()}{self.what[1:]}: {self._shown(self.output)}, from {self._shown(self.base)} without any part of the case; "
            f"{' and '.join(why) if why else 'no part changes it'}{near}."
        )

    def _shown(self, value: float) -> str:
        return f"{value:.3g}" if self.label is None else f"{value:.2f} ({1 / (1 + math.exp(-value)):.0%})"

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value; like the explanation itself it tells of the case."""
        return {
            "what": self.what,
            "label": self.label,
            "base": self.base,
            "output": self.output,
            "exact": self.exact,
            "parts": [asdict(part) for part in self.parts],
            "nearest": [asdict(near) for near in self.nearest],
            "sentence": self.sentence,
        }


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else words[0]


def named_parts(modality: Modality) -> NamesParts:
    """Return the modality as one that names the parts of a case.

    Raises:
        InputError: it names none.
    """
    if not isinstance(modality, NamesParts):
        raise InputError(
            f"{modality.name} names no parts of a case, so that none can be explained by them; give it `parts` (metamedica.parts.NamesParts)"
        )
    return modality


def number_told(kind: str, unit: str | None, label: str | None) -> str:
    """Return in words which number is explained."""
    if label is not None:
        return f"log-odds of {label!r}"
    return f"expected value{f' in {unit}' if unit else ''}"


def answers_for(
    predictor: "Predictor", adapted: "Adapted", features: Features, *, label: object | None = None
) -> list[tuple[int | None, Answer]]:
    """Return for each featurised case the class that is explained (None: regression) and the answer that is."""
    index = class_index(predictor.classes, label)
    size = len(next(iter(features.values())))
    if index is not None or predictor.classes is None:
        one = Answer(predictor.law, index, sum_of(adapted, index=index))
        return [(index, one)] * size
    chosen = predictor.law(features)
    assert isinstance(chosen, Categorical)
    most = [int(each) for each in chosen.logits.argmax(-1)]
    made = {each: Answer(predictor.law, each) for each in set(most)}
    return [(each, made[each]) for each in most]


def explain(
    predictor: "Predictor",
    adapted: "Adapted",
    prepared: PreparedCases,
    *,
    label: object | None = None,
    coalitions: int | None = None,
    seed: int = 0,
) -> list[Explanation]:
    """Return an explanation of each case, in input order.

    Explained are the log-odds of a class, or the expected value in the task's unit. Contributions are Shapley values: exact where the answer is a sum
    over columns or the parts are few, else from a sample of coalitions; they always sum to `output - base`.

    Args:
        predictor: that answers.
        adapted: what it answers by.
        prepared: the cases, at least one.
        label: the class that is explained; None: class 1 of a binary task, of more classes each case's most probable one.
        coalitions: most coalitions of parts that are asked of a case; None: 256 of a table's columns (128 where a network reads them), 1,024 of
            atoms, 400 of an image's patches, or four a part where that is more.
        seed: of the coalitions that are drawn; the same seed gives the same explanation.

    Raises:
        CaseError: a case cannot be taken apart.
        InputError: no case came, fewer coalitions than tell of all parts, or the modality names no parts.
        TaskError: a label that the task does not have.
    """
    modality = predictor.model.modality
    named = named_parts(modality)
    if not prepared.row:
        raise InputError("no case came; give at least one to explain")
    answers = answers_for(predictor, adapted, prepared.features, label=label)
    backgrounds: dict[int | None, Features] = {}
    for index, answer in answers:
        if index not in backgrounds:
            backgrounds[index] = background_rows(answer, predictor.support.rows, least=FEWEST_BACKGROUND)
    nearest = near_cases(predictor, prepared.features)
    found = []
    for row, (index, answer) in enumerate(answers):
        features = {name: block[row : row + 1] for name, block in prepared.features.items()}
        (parts,) = named.parts([prepared.canonical[row]], features, backgrounds[index])
        told = contributions(answer, parts, coalitions=coalitions, seed=seed)
        name = None if index is None or predictor.classes is None else predictor.classes[index]
        what = number_told(predictor.kind, predictor.unit, name)
        found.append(_explanation(prepared.canonical[row], what, name, answer, parts, told, nearest[row]))
    return [found[row] for row in prepared.row]


def _explanation(
    case: str,
    what: str,
    label: str | None,
    answer: Answer,
    parts: CaseParts,
    told: Contributions,
    nearest: tuple[NearCase, ...],
) -> Explanation:
    order = np.argsort(-np.abs(told.values), kind="stable")
    each = tuple(Part(parts.names[at], parts.shown[at], float(told.values[at]), int(at)) for at in order)

    def answer_with(present: NDArray[np.bool_]) -> NDArray[np.float64]:
        return worths(answer, parts, torch.from_numpy(np.array(present, dtype=bool)))

    return Explanation(case, what, label, told.base, told.output, each, told.exact, nearest, answer_with)


def near_cases(predictor: "Predictor", features: Features, *, most: int = NEAREST) -> list[tuple[NearCase, ...]]:
    """Return the labelled cases most similar to each featurised case, nearest first; patients are told by number alone."""
    support, raw = predictor.support, predictor.model.raw
    size = len(next(iter(features.values())))
    if not support.canonical:
        return [()] * size
    labels = labels_of(support)
    known = raw({name: block[0] for name, block in support.batch.features.items()})
    asked = raw({name: block.to(torch.float32) for name, block in features.items()})
    similarity = raw.similarity(asked, known)
    value, where = similarity.topk(min(most, len(labels)), dim=-1)
    texts = support.canonical if predictor.model.modality.legible else [None] * len(labels)
    return [
        tuple(
            NearCase(int(at) + 1, texts[int(at)], labels[int(at)], round(float(how), 4))
            for how, at in zip(value[row], where[row], strict=True)
        )
        for row in range(size)
    ]


def labels_of(support: "Support") -> list[str]:
    """Return the label of each labelled case as a text."""
    targets = support.batch.targets[0].tolist()
    if support.classes is None:
        return [f"{value:.4g}" for value in targets]
    return [support.classes[int(value)] for value in targets]
