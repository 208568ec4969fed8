"""What adaptation changed: the answers of an adapted predictor beside those that earlier tasks give before any label of the task."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from metamedica.errors import TaskError
from metamedica.functional.population import HasPopulation
from metamedica.predictors.answers import Answer, class_index, law_of, sum_of
from metamedica.predictors.explanation import labels_of, named_parts, number_told
from metamedica.predictors.games import FEWEST_BACKGROUND, background_rows, contributions, evenly
from metamedica.predictors.guard import AdaptedMixture
from metamedica.predictors.method import Adapted, AdaptedLearner

if TYPE_CHECKING:
    from metamedica.predictors.predictor import Predictor

MOST_CASES = 32
"""Cases of the task over which parts are compared: those at even steps of their answers."""
_NAMED = 3
_LITTLE = 0.02
_TURNED = -0.5
_SAME = 1e-4


@dataclass(frozen=True)
class TaskExplanation:
    """What the labels of a task changed.

    Args:
        what: the number that is explained, in words.
        reference: what the predictor is compared with, in words.
        cases_compared: over how many of the task's cases.
        level_before: mean answer of the reference over these cases.
        level_after: that of the predictor.
        spread_before: standard deviation of the reference's answers over these cases.
        spread_after: that of the predictor's.
        parts: a row a part (column of a table), the most changed first: `part`; `before` and `after`, its mean |contribution|; `difference`, the
            mean |after - before| over cases; `agreement`, the correlation of its contributions before and after (-1: turned round; empty where
            they do not vary). None where cases have different parts (molecules).
        cases: a row a case, the most changed first: `number` among the task's cases, from 1; `case`, its text (None of patients); `label`, empty
            where there is none; `before`, `after`, `change` of its answer.
    """

    what: str
    reference: str
    cases_compared: int
    level_before: float
    level_after: float
    spread_before: float
    spread_after: float
    parts: pd.DataFrame | None
    cases: pd.DataFrame

    @property
    def sentences(self) -> tuple[str, ...]:
        """What changed, for a person: level, spread, and the parts or cases that changed most."""
        by = self.level_after - self.level_before
        how = "the same" if abs(by) < _SAME else f"{abs(by):.2g} {'higher' if by > 0 else 'lower'}"
        told = [
            f"Compared with {self.reference}, the {self.what} is {how} on average over "
            f"{self.cases_compared} cases of the task ({self.level_before:.3g} before, {self.level_after:.3g} after), and its spread between "
            f"cases is {self.spread_after:.2g} instead of {self.spread_before:.2g}."
        ]
        if self.parts is not None and len(self.parts):
            least = _LITTLE * max(float(self.parts["before"].max()), float(self.parts["after"].max()))
            for row in self.parts.head(_NAMED).to_dict(orient="records"):
                if row["difference"] <= least:
                    break
                told.append(_part_told(row))
            if len(told) == 1:
                told.append("No part counts for anything else than before.")
        elif len(self.cases):
            most = [
                f"{_case_told(row)} by {row['change']:+.2g}"
                for row in self.cases.head(_NAMED).to_dict(orient="records")
            ]
            told.append(f"Most changed: {', '.join(most)}.")
        return tuple(told)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value; it tells of the task's cases."""
        return {
            "what": self.what,
            "reference": self.reference,
            "cases_compared": self.cases_compared,
            "level": [self.level_before, self.level_after],
            "spread": [self.spread_before, self.spread_after],
            "parts": None if self.parts is None else _records(self.parts),
            "cases": _records(self.cases),
            "sentences": list(self.sentences),
        }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): (None if isinstance(value, float) and np.isnan(value) else value) for name, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


def _part_told(row: dict[Any, Any]) -> str:
    before, after = row["before"], row["after"]
    how = f"{'more' if after > before else 'less'} than before ({before:.2g} before, {after:.2g} after)"
    turned = ", the other way round" if row["agreement"] < _TURNED else ""
    return f"{row['part']} counts for {how}{turned}."


def _case_told(row: dict[Any, Any]) -> str:
    name = row["case"] or f"case {row['number']}"
    return f"{name} ({row['label']})" if row["label"] else str(name)


def reference_of(predictor: "Predictor", adapted: Adapted) -> tuple[str, Adapted]:
    """Return what an adapted predictor is compared with, in words and as an answer: its learned method before any label, or from scratch.

    Raises:
        TaskError: the learned method has no answer without labels, and no method from scratch stands beside it.
    """
    support, model = predictor.support, predictor.model
    learned = adapted.parts[0] if isinstance(adapted, AdaptedMixture) else adapted
    if isinstance(learned, AdaptedLearner) and isinstance(learned.learner, HasPopulation):
        with torch.no_grad():
            state = learned.learner.population(support.batch)
        told = (
            "earlier tasks alone"
            if support.kind != "regression"
            else "earlier tasks alone, at this task's level and scale"
        )
        return f"{told} ({model.spec.learner})", AdaptedLearner(learned.learner, state, learned.scale)
    if isinstance(adapted, AdaptedMixture):
        return f"{model.from_scratch[0]} from scratch on the same labels", adapted.parts[1]
    raise TaskError(
        f"{model.spec.learner} has no answer before it has seen labels, and no method from scratch stands beside it to compare with; "
        "adapt a guarded model, or one of a learner that has (metamedica.functional.population.HasPopulation)"
    )


def explain_task(
    predictor: "Predictor",
    answers: Adapted,
    adapted: Adapted,
    *,
    label: object | None = None,
    coalitions: int | None = None,
    seed: int = 0,
) -> TaskExplanation:
    """Return what the task's labels changed: level, spread, parts (columns) and cases, against what earlier tasks say before any label.

    Where the learned method has no answer without labels, it is compared with the method from scratch, and named so.

    Args:
        predictor: that answers.
        answers: what it answers by.
        adapted: its method, adapted to the task; the same, unless answers are changed afterwards (calibrated).
        label: the class whose log-odds are compared; None: class 1 of a binary task.
        coalitions: as those of `explanation.explain`.
        seed: as that of `explanation.explain`.

    Raises:
        InputError: the modality names no parts, or fewer coalitions than tell of all parts.
        TaskError: there is nothing to compare with, or several classes and no label.
    """
    modality, support = predictor.model.modality, predictor.support
    named = named_parts(modality)
    index = class_index(predictor.classes, label)
    if index is None and predictor.classes is not None:
        raise TaskError(
            f"the task has {len(predictor.classes)} classes ({', '.join(predictor.classes[:5])}); name the one whose log-odds are to be explained"
        )
    told, before = reference_of(predictor, adapted)
    asked = [
        Answer(law_of(before), index, sum_of(before, index=index)),
        Answer(predictor.law, index, sum_of(answers, index=index)),
    ]
    rows = support.rows
    chosen = evenly(asked[1](rows), MOST_CASES)
    some = {name: block[chosen] for name, block in rows.items()}
    values = np.stack([answer(some).numpy() for answer in asked])
    parts = None
    if named.same_parts:
        background = background_rows(asked[1], rows, least=FEWEST_BACKGROUND)
        texts = _texts(support.canonical, chosen)
        each = named.parts(texts, some, background)
        found = np.array(
            [
                [contributions(answer, case, coalitions=coalitions, seed=seed).values for case in each]
                for answer in asked
            ]
        )
        parts = _changed_parts(each[0].names, found)
    labels = labels_of(support)
    cases = pd.DataFrame(
        {
            "number": [at + 1 for at in chosen],
            "case": [
                support.canonical[at] if modality.legible and at < len(support.canonical) else None for at in chosen
            ],
            "label": [labels[at] if at < len(labels) else "" for at in chosen],
            "before": values[0],
            "after": values[1],
            "change": values[1] - values[0],
        }
    )
    cases = cases.loc[(-cases["change"].abs()).sort_values(kind="stable").index].reset_index(drop=True)
    name = None if index is None or predictor.classes is None else predictor.classes[index]
    (level_before, level_after), (spread_before, spread_after) = values.mean(1), values.std(1)
    return TaskExplanation(
        number_told(predictor.kind, predictor.unit, name),
        told,
        len(chosen),
        float(level_before),
        float(level_after),
        float(spread_before),
        float(spread_after),
        parts,
        cases,
    )


def _texts(canonical: list[str], chosen: list[int]) -> list[str]:
    """Return the texts of cases; "{}" for one without label, whose text is not kept: a row of which nothing is shown."""
    return [canonical[at] if at < len(canonical) else "{}" for at in chosen]


def _changed_parts(names: tuple[str, ...], found: NDArray[np.float64]) -> pd.DataFrame:
    """Return what parts contribute before and after `[2, cases, parts]` as a table, the most changed first."""
    before, after = found
    frame = pd.DataFrame(
        {
            "part": names,
            "before": np.abs(before).mean(0),
            "after": np.abs(after).mean(0),
            "difference": np.abs(after - before).mean(0),
            "agreement": [_correlation(one, other) for one, other in zip(before.T, after.T, strict=True)],
        }
    )
    return frame.loc[(-frame["difference"]).sort_values(kind="stable").index].reset_index(drop=True)


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the correlation; NaN where either hardly varies."""
    one, other = one - one.mean(), other - other.mean()
    sizes = float(np.sqrt((one**2).mean() * (other**2).mean()))
    return float((one * other).mean() / sizes) if sizes > 1e-12 else float("nan")
