"""What a search found: trials as rows, the best settings, what mattered, and the files that say so."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamedica.storage import replace_file
from metamedica.tuning.page import write_tuning_page
from metamedica.tuning.settings import FitSettings
from metamedica.tuning.space import Space, decoded

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

TABLE, BEST, PAGE = "trials.csv", "best.json", "tuning.html"
WHY, SECONDS, STEPS = "why", "seconds", "steps"
"""Notes that a trial keeps in Optuna's storage."""
_FEWEST = 8
"""Trials from which it is said what mattered."""


@dataclass(frozen=True)
class TrialRow:
    """One finished trial.

    Args:
        number: from 1.
        learner: its name.
        state: "complete", "pruned" (stopped early, far below the others) or "failed".
        score: best mean query log-likelihood per case on meta-valid tasks; None where it failed.
        steps: training steps taken.
        seconds: of wall-clock time.
        values: `part.name` -> value.
        why: it failed; empty where it did not.
    """

    number: int
    learner: str
    state: str
    score: float | None
    steps: int
    seconds: float
    values: dict[str, Any]
    why: str = ""


@dataclass(frozen=True)
class Found:
    """What a search found: every trial, the best one, and how much each setting of its learner mattered (shares, largest first)."""

    rows: list[TrialRow]
    best: TrialRow
    settings: FitSettings
    importance: dict[str, float]


def ended(study: "Study") -> list["FrozenTrial"]:
    """Return the trials that count, in order: those that ended by themselves, well or not."""
    from optuna.trial import TrialState

    return [
        each
        for each in study.get_trials(deepcopy=False)
        if each.state in (TrialState.COMPLETE, TrialState.PRUNED)
        or (each.state == TrialState.FAIL and WHY in each.user_attrs)
    ]


def scored(study: "Study") -> list["FrozenTrial"]:
    """Return the trials that ran to their end."""
    from optuna.trial import TrialState

    return [each for each in study.get_trials(deepcopy=False) if each.state == TrialState.COMPLETE]


def _rows(study: "Study", spaces: Mapping[str, Space]) -> list[TrialRow]:
    rows = []
    for number, trial in enumerate(ended(study), start=1):
        learner = trial.params.get("learner", next(iter(spaces)))
        values = {
            place: decoded(choice, trial.params[f"{learner}.{place}"])
            for place, choice in spaces[learner].choices().items()
            if f"{learner}.{place}" in trial.params
        }
        rows.append(
            TrialRow(
                number=number,
                learner=learner,
                state={"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower()),
                score=max(trial.intermediate_values.values(), default=None) if trial.value is None else trial.value,
                steps=trial.user_attrs.get(STEPS, 0),
                seconds=round(trial.user_attrs.get(SECONDS, 0.0), 2),
                values=values,
                why=trial.user_attrs.get(WHY, ""),
            )
        )
    return rows


def _importance(study: "Study", space: Space, seed: int) -> dict[str, float]:
    """Return how much each setting of a learner mattered (fANOVA, Hutter et al. 2014); nothing where few of its trials ran to their end."""
    import optuna

    names = [f"{space.learner}.{place}" for place in space.choices()]
    whole = [trial for trial in scored(study) if all(name in trial.params for name in names)]
    varied = [name for name in names if len({trial.params[name] for trial in whole}) > 1]
    if len(whole) < _FEWEST or len({trial.value for trial in whole}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)
    return {name.removeprefix(f"{space.learner}."): float(share) for name, share in found.items()}


def write(
    study: "Study",
    spaces: Mapping[str, Space],
    folder: Path,
    *,
    settings: Callable[[str, dict[str, Any]], FitSettings],
    told: Mapping[str, Any],
) -> Found:
    """Write table, page and best settings, each whole or not at all, and return what they say.

    Args:
        study: with one scored trial at least.
        spaces: by learner.
        folder: for the files.
        settings: makes the settings of a trial's learner and values.
        told: more for the record of the best settings, `seed` among it.
    """
    rows = _rows(study, spaces)
    best = max((row for row in rows if row.state == "complete"), key=lambda row: (row.score, -row.number))
    importance = _importance(study, spaces[best.learner], told["seed"])
    found = Found(rows, best, settings(best.learner, best.values), importance)
    replace_file(folder / TABLE, _table(rows).encode())
    write_tuning_page(folder / PAGE, found)
    about = {"score": best.score, "trial": best.number, "trials": len(rows), "importance": importance}
    found.settings.write(folder / BEST, found=about | dict(told))
    return found


def _table(rows: list[TrialRow]) -> str:
    """Return the trials as CSV, a column a setting, values as JSON."""
    places = list(dict.fromkeys(place for row in rows for place in row.values))
    text = io.StringIO()
    sheet = csv.writer(text, lineterminator="\n")
    sheet.writerow(["trial", "learner", "state", "score", "steps", "seconds", *places, "why"])
    for row in rows:
        cells = [json.dumps(row.values[place]) if place in row.values else "" for place in places]
        sheet.writerow([row.number, row.learner, row.state, row.score, row.steps, row.seconds, *cells, row.why])
    return text.getvalue()
