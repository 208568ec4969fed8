"""What earlier tasks measured of single cases, and how far a new task may believe them: by case (`case_effects`), by task (`profiles`)."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metamedica.functional.case_effects import FEATURES, CaseEffects, Measured, around, content_hash
from metamedica.functional.common_mean import (
    MOST_SAMPLED,
    OFFSET_VARIANCE,
    CommonMean,
    OwnCovariance,
    ridge_over_tasks,
    some_cases,
    standard_targets,
    together,
    whiten,
)
from metamedica.functional.descriptions import Descriptions, gathered_descriptions, near
from metamedica.functional.profiles import Stored, Told, fit_shares, gathered, profile_rows, spread
from metamedica.types import LabelledBatch, RawEncoder

WIDTHS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Of `descriptions.near`, that are tried."""
TWIN = 0.9
"""Earlier tasks whose descriptions are more alike are one task (a protein and its mutants): it does not say how far a new one may believe it."""


class Known(NamedTuple):
    """What earlier tasks measured of single cases."""

    effects: CaseEffects
    """Their levels."""
    profiles: dict[str, Tensor]
    """Buffers of `profiles.Profiles`; empty where they say nothing."""
    descriptions: dict[str, Tensor]
    """Buffers of `descriptions.Descriptions`; empty where they say nothing."""


def fit_known(
    tasks: Callable[[], Iterable[LabelledBatch]],
    raw: RawEncoder,
    own: OwnCovariance,
    mean: CommonMean,
    *,
    most_cases: int,
    most_known: int,
    most_values: int,
) -> Known:
    """Return the levels of measured cases and their profiles, and how far other tasks may believe them. The tasks are gone through thrice.

    Args:
        tasks: called for one pass over tasks of one kind, each a batch of one whole task without padding, standardised.
        raw: its vectors tell cases apart.
        own: covariance of what is a task's own.
        mean: common to all tasks.
        most_cases: a task with more is cut down to so many for the two weights of the levels.
        most_known: cases whose level is kept.
        most_values: single values that are kept.
    """

    def residuals(task: LabelledBatch) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
        vectors = raw(task.features)
        expected = mean(vectors.double(), raw.summary(task.features).double())
        return content_hash(vectors[0]), standard_targets(task) - expected[0]

    def whitened() -> Iterator[tuple[Tensor, Tensor]]:
        for task, all_cases in zip(tasks(), seen, strict=True):
            batch = some_cases(task, most_cases, even=True)
            hashes, targets = residuals(batch)
            columns = torch.cat([measured.without(all_cases, hashes), targets[:, None]], dim=1)
            found = whiten(own, raw.kernels(batch.features, batch.features)[0], columns)
            yield found[:, :-1], found[:, -1]

    seen, about = [], []
    for task in tasks():
        seen.append(around(*residuals(task)))
        about.append(None if task.about is None else task.about[0])
    measured = Measured(seen)
    effects, weights = CaseEffects(measured.known[:0], measured.sums[:0]), torch.zeros(FEATURES, dtype=torch.float64)
    if measured.ratio > 0:
        weights = ridge_over_tasks(whitened(), FEATURES, strength=1.0)
        effects = measured.effects(weights, most=most_known)
    if most_values == 0 or int(measured.counts.max()) == 1:
        return Known(effects, {}, {})
    profiles, described = gathered(seen, most=most_values), gathered_descriptions(about)
    descriptions = Descriptions().double()
    descriptions.keep(described)
    widths = WIDTHS if descriptions else ()
    stored = Stored(*(profiles[name] for name in Stored._fields))
    eye = torch.eye(MOST_SAMPLED, dtype=torch.float64)
    parts: list[tuple[Tensor, ...]] = []
    for number, (task, all_cases) in enumerate(zip(tasks(), seen, strict=True)):
        batch = some_cases(task, MOST_SAMPLED)
        hashes, targets = residuals(batch)
        rows = profile_rows(hashes, stored, len(seen)).double()
        others = torch.ones(len(seen), dtype=torch.bool)
        others[number] = False
        vector = about[number]
        likeness = None if vector is None or not descriptions else descriptions.likeness(vector[None])[0]
        if likeness is not None:
            others &= likeness <= TWIN
        rows = rows * others
        even = others.double() / max(int(others.sum()), 1)
        nearness = [None if likeness is None else _near(likeness, others, width) for width in widths]
        told = [even if each is None else spread(each, even) for each in nearness]
        after = [rows @ (even * 0 if each is None else each) for each in nearness]
        kernels = raw.kernels(batch.features, batch.features)[0].double()
        parts.append(
            (
                torch.einsum("c,cij->ij", own.weights, kernels),
                OFFSET_VARIANCE + own.noise * eye[: len(rows), : len(rows)],
                *((rows * weight) @ rows.mT for weight in [even, *told]),
                *after,
                (rows != 0).any(1),
                targets - measured.without(all_cases, hashes) @ weights,
            )
        )
    covariance, noise, moment, *more, known, targets, mask = together(parts)
    near_tasks = [Told(*each) for each in zip(widths, more[: len(widths)], more[len(widths) :], strict=True)]
    shares = fit_shares(covariance, noise, moment, known, targets, mask, near_tasks)
    if shares is None:
        return Known(effects, {}, {})
    return Known(effects, profiles | shares.buffers(), described if shares.width else {})


def _near(likeness: Float[Tensor, " tasks"], others: Tensor, width: float) -> Float[Tensor, " tasks"]:
    """Return how far a task takes after every other one; 0 where there is none."""
    return near(likeness.masked_fill(~others, -torch.inf), width) if bool(others.any()) else torch.zeros_like(likeness)
