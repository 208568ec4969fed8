"""A diagnosis or prognosis at a new site: adapt to a few labelled patients, judge on the others, gather what a clinician's report shows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metamedica.data.collection import IntArray, TaskCollection
from metamedica.data.task import Task
from metamedica.errors import InputError, TaskError
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.support import as_cases
from metamedica.reports.assessing import assess, told_targets
from metamedica.reports.assessment import Asked, Assessment
from metamedica.reports.estimates import Estimate
from metamedica.reports.robustness import default_methods, robustness
from metamedica.reports.site_rows import SiteRow, told_apart
from metamedica.types import Progress, TaskKind

SHOTS = 20
LEAST_JUDGED = 10
_ROBUST_DRAWS = 10


@dataclass(frozen=True)
class Diagnosis:
    """What came of a site.

    Args:
        site: its name; empty where there is one only.
        predictor: adapted to the labelled cases of the site.
        labelled: positions of those among the cases that came.
        judged: positions of the cases that it was judged on.
        assessment: what the report shows; its `sites` has every site, each adapted to on its own.
    """

    site: str
    predictor: Predictor
    labelled: IntArray
    judged: IntArray
    assessment: Assessment


@dataclass(frozen=True)
class Question:
    """How targets are read, as `MetaLearner.adapt` takes it; None where the targets tell."""

    kind: TaskKind | None = None
    unit: str | None = None
    positive: str | None = None


def diagnose(
    model: MetaLearner,
    cases: Any,
    targets: Sequence[Any] | NDArray[Any],
    *,
    sites: Sequence[str] | None = None,
    site: str | None = None,
    groups: Sequence[str] | None = None,
    question: Question | None = None,
    shots: int = SHOTS,
    asked: Asked | None = None,
    robust: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Diagnosis:
    """Return how a fitted model does at a site after adapting to a few of its labelled cases; the other sites stand beside it.

    Args:
        model: fitted; the sites should not be among those that it learned from, and a note says where they are.
        cases: raw, labelled; of tables a data frame.
        targets: one each.
        sites: the site of each case; None: all are of one.
        site: the one that is reported; None where there is one only.
        groups: the patient of each case: nobody is on both sides. None: each case is a patient.
        question: how targets are read.
        shots: labelled cases of each site, drawn at random as patients come.
        asked: what the report shows; its `patient` counts all cases that came, from 1.
        robust: whether label noise, missing columns and outliers are tried on the site, too.
        seed: of the draws.
        progress: called once a site.

    Raises:
        InputError: no such site, several sites and none named, or a patient who is not there or among the labelled ones.
        TaskError: the site is too small, or what `assess` says.
        CaseError: a case cannot be read.
    """
    asked, question = asked or Asked(seed=seed), question or Question()
    cases = as_cases(cases)
    labels = np.array(list(targets), dtype=object)
    if len(labels) != len(cases):
        raise TaskError(f"got {len(cases)} cases and {len(labels)} targets; give one target a case")
    if asked.patient is not None and not 0 <= asked.patient <= len(cases):
        raise InputError(f"there is no case {asked.patient}; there are {len(cases)}, counted from 1")
    names = np.array([""] * len(cases) if sites is None else [str(name) for name in sites], dtype=object)
    every = list(dict.fromkeys(names.tolist()))
    if site is None and len(every) > 1:
        raise InputError(f"{len(every)} sites came ({_listed(every)}); name the one that is reported")
    chosen = every[0] if site is None else site
    if chosen not in every:
        raise InputError(f"there is no site {chosen!r}; there are: {_listed(every)}")
    positions = {name: np.flatnonzero(names == name) for name in every}
    parted = {name: _parted(where, name, shots, groups, seed) for name, where in positions.items()}
    labelled, judged = parted[chosen]
    if len(judged) < LEAST_JUDGED:
        where = f"site {chosen!r}" if chosen else "the file"
        raise TaskError(
            f"{where} has {len(positions[chosen])} cases; {shots} labelled ones and at least {LEAST_JUDGED} to judge on are needed: lower the "
            "shots, or give more"
        )
    predictor = _adapted(model, cases, labels, labelled, question)
    own = _own_patient(asked, labelled, judged)
    assessment = assess(predictor, _at(cases, judged), labels[judged].tolist(), asked=own)
    if own.patient and assessment.patient is not None:
        card = replace(assessment.patient, number=asked.patient or 0)
        assessment = replace(assessment, patient=card)
    elif assessment.patient is not None:
        card = replace(assessment.patient, number=int(judged[assessment.patient.number - 1]) + 1)
        assessment = replace(assessment, patient=card)
    rows: list[SiteRow] = []
    for done, name in enumerate(every, start=1):
        rows.append(
            _site(model, cases, labels, name, parted[name], question, predictor if name == chosen else None, seed)
        )
        if progress is not None:
            progress(done, len(every), f"site {name}")
    if len(every) > 1:
        assessment = replace(assessment, sites=tuple(rows))
    assessment = assessment.with_notes(*_notes(model, every, chosen, labelled, shots, seed))
    if robust:
        audit = _robust(model, predictor, cases, labels, positions[chosen], shots, seed)
        assessment = replace(assessment, robust=audit)
    return Diagnosis(chosen, predictor, labelled, judged, assessment)


def _parted(
    where: IntArray, name: str, shots: int, groups: Sequence[str] | None, seed: int
) -> tuple[IntArray, IntArray]:
    """Return the positions to adapt on and to judge on; a function of (seed, name, the positions)."""
    number = int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8], "little")
    order = where[np.random.default_rng(number).permutation(len(where))]
    labelled, rest = np.sort(order[:shots]), np.sort(order[shots:])
    if groups is not None:
        known = {str(groups[int(at)]) for at in labelled}
        rest = np.array([at for at in rest if str(groups[int(at)]) not in known], dtype=np.int64)
    return labelled.astype(np.int64), rest.astype(np.int64)


def _own_patient(asked: Asked, labelled: IntArray, judged: IntArray) -> Asked:
    """Return what is asked with the patient counted among the judged cases."""
    if not asked.patient:
        return asked
    at = np.flatnonzero(judged == asked.patient - 1)
    if len(at):
        return replace(asked, patient=int(at[0]) + 1)
    where = (
        "among the labelled cases that the predictor was adapted to"
        if asked.patient - 1 in labelled
        else "not of this site"
    )
    raise InputError(
        f"case {asked.patient} is {where}; choose one of the {len(judged)} judged ones, such as {int(judged[0]) + 1}"
    )


def _at(cases: Any, where: IntArray) -> Any:
    return cases.iloc[where] if isinstance(cases, pd.DataFrame) else [cases[int(at)] for at in where]


def _adapted(model: MetaLearner, cases: Any, labels: NDArray[Any], where: IntArray, question: Question) -> Predictor:
    return model.adapt(
        _at(cases, where), labels[where].tolist(), kind=question.kind, unit=question.unit, positive=question.positive
    )


def _site(
    model: MetaLearner,
    cases: Any,
    labels: NDArray[Any],
    name: str,
    parts: tuple[IntArray, IntArray],
    question: Question,
    predictor: Predictor | None,
    seed: int,
) -> SiteRow:
    """Return the row of one site, adapted to on its own; one that cannot be judged says why."""
    labelled, judged = parts
    if len(judged) < LEAST_JUDGED:
        return _no_row(name, len(judged), f"too small to judge (n={len(judged)} beside {len(labelled)} labelled)")
    try:
        predictor = predictor or _adapted(model, cases, labels, labelled, question)
        truth = told_targets(predictor, labels[judged].tolist())
    except TaskError as error:
        return _no_row(name, len(judged), str(error))
    some = _at(cases, judged)
    if predictor.classes is None:
        answer, right = np.asarray(predictor.predict(some), dtype=np.float64), None
    else:
        probability = predictor.predict_proba(some)
        right = probability.argmax(1) == truth
        answer = probability[:, 1] if predictor.kind == "binary" else probability.max(1)
    (row,) = told_apart([name] * len(judged), truth, answer, kind=predictor.kind, right=right, seed=seed)
    return row


def _no_row(name: str, cases: int, reason: str) -> SiteRow:
    return SiteRow(name, cases, None, Estimate.missing(reason), Estimate.missing(reason), reason)


def _notes(model: MetaLearner, every: list[str], chosen: str, labelled: IntArray, shots: int, seed: int) -> list[str]:
    where = f" of {chosen}" if chosen else ""
    notes = [
        f"The predictor was adapted to {len(labelled)} cases{where}, drawn at random (seed {seed}), and judged on its others."
    ]
    split = dict(model.model_.record.get("split", {}))
    known = [name for name in every if split.get(name, "meta_test") != "meta_test"]
    if known and model.model_.learner.learns_from_tasks():
        notes.append(f"The model learned from, or was selected on, {_listed(known)}: figures there are too good.")
    if len(every) > 1:
        notes.append(f"Each site was adapted to on its own, with {shots} labelled cases.")
    return notes


def _robust(
    model: MetaLearner, predictor: Predictor, cases: Any, labels: NDArray[Any], where: IntArray, shots: int, seed: int
) -> Any:
    """Return the robustness audit of the site as a task of its own."""
    prepared = predictor.model.prepare(_at(cases, where))
    targets = told_targets(predictor, labels[where].tolist())
    rows, first = np.unique(np.array(prepared.row, dtype=np.int64), return_index=True)
    kind = predictor.kind
    values = targets[first] if kind == "regression" else targets[first].astype(np.int64)
    task = Task("the site", kind, rows, values, predictor.classes, predictor.unit)
    modality = predictor.model.modality
    collection = TaskCollection(
        modality.name,
        prepared.canonical,
        features=prepared.features,
        tasks={task.name: task},
        settings=modality.settings(),
    )
    methods = default_methods(model, kind, unit=predictor.unit)
    return robustness(methods, collection, [task.name], shots=shots, draws=_ROBUST_DRAWS, seed=seed)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
