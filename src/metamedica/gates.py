"""The guard's gate of a fitted model: from meta-valid tasks, or, where they are few, from all earlier tasks left out in turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from metamedica.data.collection import TaskCollection
from metamedica.data.draws import group_codes, why_not_drawn
from metamedica.data.episodes import EpisodePlan, fixed_episodes
from metamedica.predictors.expected_gain import fitted_gain
from metamedica.predictors.guard import Guard, Observed, fitted_gate
from metamedica.predictors.model import FittedModel
from metamedica.types import Progress, TaskKind

Fit = Callable[[TaskCollection, list[str]], FittedModel]
"""Returns the model of these tasks of a collection alone."""
FEWEST_TASKS = 3
"""Meta-valid tasks that a gate is fitted on; with fewer it stays as it starts."""
MANY_TASKS = 30
"""Meta-valid tasks that are enough for the gate of a learner that is fitted fast; with fewer, meta-train tasks are left out in turn."""
FOLDS = 5
_DRAWS = 4
_EPISODES = 40
"""Least number of episodes of all tasks together: few tasks are drawn from more often."""
_QUERY = 64


@dataclass
class Gates:
    """What a guard has learned, by kind of task.

    Args:
        gates: coefficients of the gate.
        gains: how the gain over methods from scratch follows from the evidence (`expected_gain.fitted_gain`); absent for a kind of which
            too little was seen.
    """

    gates: dict[TaskKind, Tensor]
    gains: dict[TaskKind, Tensor] = field(default_factory=dict)

    def fit(self, kind: TaskKind, observed: Sequence[Observed], *, n_tasks: int) -> None:
        """Fit both for one kind, where anything was observed."""
        if observed:
            self.gates[kind] = fitted_gate(observed, n_tasks=n_tasks, start=self.gates[kind])
            gain = fitted_gain(observed, self.gates[kind])
            if gain is not None:
                self.gains[kind] = gain


def learned_gates(
    model: FittedModel,
    tasks: TaskCollection,
    names: Sequence[str],
    valid: Sequence[str],
    plan: EpisodePlan,
    *,
    fit: Fit | None,
    seed: int,
    progress: Progress | None,
) -> Gates:
    """Return the gates of a model: from meta-valid tasks, and, where they are few and it is fitted fast, from meta-train tasks left out in turn.

    Args:
        model: of the meta-train tasks.
        tasks: raw units.
        names: of the meta-train tasks.
        valid: names of the meta-valid tasks.
        plan: of the episodes.
        fit: as for `gates_on_valid`.
        seed: of folds and draws.
        progress: called once a batch of episodes.
    """
    if fit is None or len(valid) >= MANY_TASKS:
        return gates_on_valid(model, tasks, valid, plan, fit=fit, names=names, seed=seed, progress=progress)
    return gates_by_leaving_out(fit, model, tasks, names, plan, valid=valid, seed=seed, progress=progress)


def gates_on_valid(
    model: FittedModel,
    tasks: TaskCollection,
    valid: Sequence[str],
    plan: EpisodePlan,
    *,
    fit: Fit | None = None,
    names: Sequence[str] = (),
    seed: int,
    progress: Progress | None,
) -> Gates:
    """Return the gate of every kind of task that the model may meet, fitted on meta-valid tasks where they are enough and of its kind.

    Where meta-train tasks have measured most cases of the meta-valid ones, these tell nothing of new cases: a model that is fitted fast
    (`types.ClosedForm`) then learns from half of all cases too, and is judged on the other half of each meta-valid task, which counts as one more.

    Args:
        model: that has not been fitted on them.
        tasks: raw units.
        valid: names of the meta-valid tasks.
        plan: of the episodes.
        fit: returns the model of these tasks of a collection alone; None where that takes long.
        names: of the meta-train tasks, that `fit` is asked for.
        seed: of the draws.
        progress: called once a batch of episodes.
    """
    gates, met = starting(model), _met(model, tasks, valid)
    halves = _halves(tasks, names, plan, seed) if fit is not None and met and _known(tasks, names, valid) else []
    taught, new = None, tasks
    if fit is not None and len(halves) > 1:
        taught, new = _taught_by(fit, tasks, names, halves[0]), _of_cases(tasks, valid, halves[1])
    for kind, known in met.items():
        observed = _observed(model, kind, tasks, known, plan, seed, progress)
        drawn = [] if taught is None else _drawable(new, known, plan)
        if taught is not None and drawn:
            observed += _observed(taught, kind, new, drawn, plan, seed, progress)
        gates.fit(kind, observed, n_tasks=len(known) + len(drawn))
    return gates


def _taught_by(fit: Fit, tasks: TaskCollection, names: Sequence[str], half: Bool[np.ndarray, " cases"]) -> FittedModel:
    """Return the model of these tasks' values of some of the cases."""
    taught = _of_cases(tasks, names, half)
    return fit(taught, [name for name in names if name in taught.tasks])


def gates_by_leaving_out(
    fit: Fit,
    whole: FittedModel,
    tasks: TaskCollection,
    names: Sequence[str],
    plan: EpisodePlan,
    *,
    valid: Sequence[str] = (),
    seed: int,
    progress: Progress | None,
) -> Gates:
    """Return the gates as `gates_on_valid`, from models that were each fitted without some of the meta-train tasks and are judged on those, and
    from the model of all of these on the meta-valid ones.

    For learners that are fitted fast (`types.ClosedForm`) where few tasks were spared. Tasks too small to draw from teach every model and judge none.
    Where most cases are measured in several tasks, a task left out tells nothing of new cases: its model then learns from half of all cases, and
    is judged on both halves of the task, each of which counts as one. Meta-valid tasks are not left out in turn: where their cases are new to the
    meta-train ones, they tell of new cases only together.

    Args:
        fit: returns the model of these tasks of a collection alone.
        whole: the model of all meta-train tasks.
        tasks: raw units.
        names: of the meta-train tasks.
        plan: of the episodes.
        valid: names of the meta-valid tasks.
        seed: of folds and draws.
        progress: called once a batch of episodes.
    """
    gates = starting(whole)
    judged = (
        _drawable(tasks, names, plan) if len(names) > 1 else []
    )  # without its only task there is nothing to learn from
    spared = _drawable(tasks, valid, plan)
    met = _met(whole, tasks, [*judged, *spared])
    if not met:
        return gates
    order = np.random.default_rng(seed).permutation(len(judged))
    observed: dict[TaskKind, list[Observed]] = {kind: [] for kind in met}
    n_folds = min(FOLDS, len(judged))
    halves = _halves(tasks, names, plan, seed)
    for fold in range(n_folds):
        held = [judged[int(at)] for at in order[fold::n_folds]]
        rest = [name for name in names if name not in held]
        model = _taught_by(fit, tasks, rest, halves[0])
        for kind, known in met.items():
            for half in halves:
                asked = _of_cases(tasks, held, half)
                drawn = _drawable(asked, [name for name in held if name in known], plan)
                if drawn:
                    observed[kind] += _observed(model, kind, asked, drawn, plan, seed, progress, of=len(known))
    for kind, known in met.items():
        apart = [name for name in spared if name in known]
        if apart:
            observed[kind] += _observed(whole, kind, tasks, apart, plan, seed, progress, of=len(known))
        gates.fit(kind, observed[kind], n_tasks=(len(known) - len(apart)) * len(halves) + len(apart))
    return gates


def _drawable(tasks: TaskCollection, names: Sequence[str], plan: EpisodePlan) -> list[str]:
    """Return those of the tasks that are there and that an episode can be drawn from."""
    there = [name for name in names if name in tasks.tasks]
    return [name for name in there if not why_not_drawn(tasks[name], group_codes(tasks[name]), plan.min_cases)]


def _halves(
    tasks: TaskCollection, names: Sequence[str], plan: EpisodePlan, seed: int
) -> list[Bool[np.ndarray, " cases"]]:
    """Return which cases a model learns from and is judged on: two halves where most cases are measured in several tasks, all otherwise, or where
    fewer than half of the tasks would be left to draw from."""
    measured = _times_measured(tasks, names)
    first = np.random.default_rng(seed).permutation(len(measured)) % 2 == 0
    shared = (measured > 1).sum() > (measured > 0).sum() / 2
    if shared and all(
        len(_drawable(_of_cases(tasks, names, half), names, plan)) >= max(2, len(names) / 2) for half in (first, ~first)
    ):
        return [first, ~first]
    return [np.ones(len(measured), dtype=bool)]


def _times_measured(tasks: TaskCollection, names: Sequence[str]) -> Int64[np.ndarray, " cases"]:
    """Return in how many of these tasks each case of the collection is measured."""
    measured = np.zeros(len(tasks.canonical), dtype=np.int64)
    for name in names:
        measured[np.unique(tasks.tasks[name].rows)] += 1
    return measured


def _known(tasks: TaskCollection, names: Sequence[str], valid: Sequence[str]) -> bool:
    """Return whether the meta-train tasks have measured most cases of the meta-valid ones."""
    asked = _times_measured(tasks, valid)
    return bool(asked[_times_measured(tasks, names) > 0].sum() > asked.sum() / 2)


def _of_cases(tasks: TaskCollection, names: Sequence[str], cases: Bool[np.ndarray, " cases"]) -> TaskCollection:
    """Return the collection with these tasks' values of some of the cases only."""
    return (
        tasks
        if cases.all()
        else tasks.without_rows(np.flatnonzero(~cases), tasks=list(names), note="values of left-out cases")
    )


def starting(model: FittedModel) -> Gates:
    """Return the gates before anything is known."""
    return Gates({kind: model.starting_gate() for kind in sorted(model.learner.kinds)})


def _met(model: FittedModel, tasks: TaskCollection, names: Sequence[str]) -> dict[TaskKind, list[str]]:
    """Return the kinds that enough of these tasks tell something about, and those tasks: of the kind itself, or, of active / inactive where there
    are none, of measured values."""
    of_kind: dict[TaskKind, list[str]] = {}
    for name in names:
        of_kind.setdefault(tasks.tasks[name].kind, []).append(name)
    if "binary" not in of_kind and "regression" in of_kind:
        of_kind["binary"] = of_kind["regression"]
    return {kind: of_kind[kind] for kind in sorted(model.learner.kinds) if len(of_kind.get(kind, ())) >= FEWEST_TASKS}


def _observed(
    model: FittedModel,
    kind: TaskKind,
    tasks: TaskCollection,
    names: Sequence[str],
    plan: EpisodePlan,
    seed: int,
    progress: Progress | None,
    *,
    of: int = 0,
) -> list[Observed]:
    share = {"binary": 1.0, "regression": 0.0}.get(kind, 0.0)
    draws = max(_DRAWS, -(-_EPISODES // max(of, len(names))) if of else _DRAWS)
    drawn = replace(plan, query=_QUERY, binary_share=share)
    units = {task.unit for task in tasks.tasks.values()}
    method = model.method(kind, unit=units.pop() if len(units) == 1 else None)
    if not isinstance(method, Guard):
        return []
    found = method.observed(fixed_episodes(tasks, list(names), drawn, seed=seed, draws=draws), progress=progress)
    numbers = torch.tensor([sorted(tasks.tasks).index(name) for name in names])
    return [each._replace(task=numbers[each.task]) for each in found]
