"""A search over settings on meta-valid tasks, kept in Optuna's own storage, so that a killed one goes on where it was.

Trial number *n* is a function of the seed, *n* and the trials before it, whatever was interrupted between them: the sampler is seeded anew
for each, and a trial that did not end is run again. The first trial of every learner is its defaults. Meta-test tasks are not looked at.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metamedica import fingerprints, registry
from metamedica.data.collection import TaskCollection
from metamedica.data.episodes import EpisodePlan, EpisodeSampler, fixed_episodes
from metamedica.data.splits import split_by_task
from metamedica.errors import FileFormatError, InputError, MissingExtraError, TaskError, TrainingError
from metamedica.functional.targets import standardise_episodes
from metamedica.meta_learner import MetaLearner
from metamedica.training import mean_log_likelihood
from metamedica.tuning.results import BEST, PAGE, SECONDS, STEPS, TABLE, WHY, Found, ended, scored, write
from metamedica.tuning.settings import FitSettings, parted
from metamedica.tuning.space import Space, decoded, encoded, space_of
from metamedica.types import Between, Progress

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

STORAGE = "trials.sqlite"
FILES = (STORAGE, TABLE, BEST, PAGE)
_NAME = "metamedica"
_QUESTION = "question"
_LOOKS = 10
"""Looks at the meta-valid tasks a trial, at least where it has as many steps."""


@dataclass(frozen=True)
class Search:
    """What is searched, and how long.

    Args:
        learners: names; their trials compete for the same score.
        encoder: of those that have one.
        trials: to have in the end, over all resumed parts.
        minutes: after which no trial is begun; None for no limit.
        steps: most training steps a trial; None for the default of `MetaLearner`.
        seed: of trials and trainings.

    Raises:
        InputError: no learner, one twice, or a number that makes no sense.
    """

    learners: tuple[str, ...]
    encoder: str = "mlp"
    trials: int = 30
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.learners or len(set(self.learners)) < len(self.learners):
            raise InputError(f"got the learners {', '.join(self.learners) or 'none'}; name at least one, each once")
        if self.trials < 1 or (self.minutes is not None and not self.minutes > 0):
            raise InputError(
                f"got {self.trials} trials and {self.minutes} minutes; give at least 1 trial and more than 0 minutes"
            )


class _Question:
    """One search on one collection: builds, trains and scores."""

    def __init__(self, tasks: TaskCollection, search: Search) -> None:
        if not tasks.split:
            tasks = split_by_task(tasks, fractions=(0.9, 0.1, 0.0), seed=search.seed)
        self.tasks, self.search = tasks, search
        self.valid = tasks.names("meta_valid")
        if not self.valid or not tasks.names("meta_train"):
            raise TaskError(
                "the collection has no meta-train or no meta-valid task; give a split with at least one of each"
            )
        plain = MetaLearner()
        self.steps = search.steps or plain.steps
        defaults = {"learning_rate": plain.learning_rate, "weight_decay": plain.weight_decay}
        self.spaces = {name: space_of(name, search.encoder, training=defaults) for name in search.learners}
        self.binary_share = self._binary_share(plain.binary_share)

    def _binary_share(self, usual: float) -> float:
        """Return the share of the steps in which regression tasks are seen as classes: one that all learners allow, or scores cannot be compared."""
        if self.tasks.tasks[self.valid[0]].kind != "regression":
            return usual
        kinds = [registry.learner_class(name).kinds for name in self.search.learners]
        if all({"binary", "regression"} <= each for each in kinds):
            return usual
        for kind, share in (("binary", 1.0), ("regression", 0.0)):
            if all(kind in each for each in kinds):
                return share
        raise InputError(
            f"{', '.join(self.search.learners)} have no kind of task in common; search for them one by one"
        )

    def identity(self) -> dict[str, Any]:
        """Return what must be the same when a search is resumed."""
        made = self.learner(self.search.learners[0], {})
        sampler = EpisodeSampler(self.tasks, self.tasks.names("meta_train"), self.plan(made), seed=self.search.seed)
        return {
            "learners": list(self.search.learners),
            "encoder": self.search.encoder,
            "seed": self.search.seed,
            "steps": self.steps,
            "data": fingerprints.of_data(sampler, self.episodes(made)),
        }

    def plan(self, made: MetaLearner) -> EpisodePlan:
        """Return how episodes are drawn, the same for every trial."""
        return EpisodePlan(
            support=tuple(made.support),
            query=made.query,
            tasks_per_batch=made.tasks_per_batch,
            binary_share=self.binary_share,
        )

    def episodes(self, made: MetaLearner) -> list[Any]:
        """Return the meta-valid episodes that `MetaLearner.fit` selects on."""
        return fixed_episodes(self.tasks, self.valid, self.plan(made), seed=self.search.seed + 1, draws=2)

    def learner(self, name: str, values: dict[str, Any]) -> MetaLearner:
        """Return the unfitted model of `part.name` -> value."""
        parts = parted(values)
        return MetaLearner(
            name,
            encoder=self.search.encoder,
            settings=parts["settings"] or None,
            encoder_settings=parts["encoder_settings"] or None,
            steps=self.steps,
            validate_every=max(1, min(100, self.steps // _LOOKS)),
            binary_share=self.binary_share,
            guard=False,
            seed=self.search.seed,
            **parts["training"],
        )

    def settings(self, name: str, values: dict[str, Any]) -> FitSettings:
        """Return what fits a model as a trial did, with a guard."""
        parts = parted(values)
        return FitSettings(
            name,
            self.search.encoder,
            parts["settings"],
            parts["encoder_settings"],
            parts["training"] | {"steps": self.steps},
        )

    def told(self) -> dict[str, Any]:
        """Return how the settings are found, for the record."""
        return {"meta_valid_tasks": len(self.valid), "seed": self.search.seed}

    def score(self, name: str, values: dict[str, Any], trial: "Trial", progress: Progress | None) -> tuple[float, int]:
        """Return the best meta-valid score of a trial, and its steps."""
        from optuna import TrialPruned

        def watch(step: int, best: float) -> None:
            trial.set_user_attr(STEPS, step)
            trial.report(best, step)
            if trial.should_prune():
                raise TrialPruned

        made = self.learner(name, values).fit(self.tasks, progress=progress, watch=watch)
        if made.history_:
            return max(row["valid"] for row in made.history_), made.history_[-1]["step"]
        with torch.no_grad():
            return mean_log_likelihood(
                made.model_.learner, [standardise_episodes(each) for each in self.episodes(made)]
            ), 0


def search(
    tasks: TaskCollection, what: Search, out: str | Path, *, resume: bool = False, progress: Progress | None = None
) -> Found:
    """Search for settings and keep everything in a folder: Optuna's storage, a table of trials, the best settings, a page to look at.

    Args:
        tasks: with a meta-split, or without one: then that of `MetaLearner.fit` with this seed.
        what: to search.
        out: the folder; its files are replaced after every trial, each whole or not at all.
        resume: go on with the search that is there; its result is that of one that was never interrupted.
        progress: called as `progress(done, total, message)`.

    Raises:
        MissingExtraError: Optuna is not installed.
        InputError: nothing to search, or the folder holds another search, or one that was not to be resumed.
        TaskError: no meta-valid task.
        TrainingError: every trial failed, or the user interrupted one (it is run again when the search is resumed).
    """
    question = _Question(tasks, what)
    folder = Path(out)
    with _optuna_quiet():
        study = _study(question, folder, resume=resume)
        started = time.monotonic()
        while len(ended(study)) < what.trials:
            if what.minutes is not None and time.monotonic() - started >= 60 * what.minutes and scored(study):
                break
            _one(study, question, progress)
            if scored(study):
                write(study, question.spaces, folder, settings=question.settings, told=question.told())
        if not scored(study):
            raise TrainingError(f"all {what.trials} trials failed; the last one: {ended(study)[-1].user_attrs[WHY]}")
        return write(study, question.spaces, folder, settings=question.settings, told=question.told())


def require_optuna() -> Any:
    """Return the package `optuna`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "optuna", "tune") from error
    return optuna


@contextmanager
def _optuna_quiet() -> Iterator[None]:
    """Let Optuna say errors only while a search runs."""
    logs = require_optuna().logging
    before = logs.get_verbosity()
    logs.set_verbosity(logs.ERROR)
    try:
        yield
    finally:
        logs.set_verbosity(before)


def _study(question: _Question, folder: Path, *, resume: bool) -> "Study":
    import optuna

    path, identity = folder / STORAGE, question.identity()
    if path.exists() and not resume:
        raise InputError(f"{folder} holds an earlier search; go on with it (--resume) or give another folder")
    if folder.exists() and not folder.is_dir():
        raise FileFormatError(f"{folder} is a file; give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(f"sqlite:///{path.resolve()}"),
            study_name=_NAME,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=question.steps // 4),
            load_if_exists=True,
        )
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("sqlalchemy", "optuna", "alembic"):
            raise
        raise FileFormatError(
            f"{path} is no search that Optuna can read; choose another folder, nothing of it was touched"
        ) from error
    before = study.user_attrs.get(_QUESTION)
    if before is None:
        study.set_user_attr(_QUESTION, identity)
    elif before != identity:
        changed = [name for name in identity if before.get(name) != identity[name]]
        raise InputError(
            f"the search in {folder} was made with other {', '.join(changed)}; resume it with the same, or give another folder"
        )
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # killed: it is run again, and does not count
    return study


def _one(study: "Study", question: _Question, progress: Progress | None) -> None:
    """Run the next trial."""
    import optuna

    number, what = len(ended(study)), question.search
    seed = int(np.random.SeedSequence([what.seed, number]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(5, 2 * len(what.learners)))
    names = list(what.learners)
    if number < len(names):
        space = question.spaces[names[number]]
        first = {
            f"{space.learner}.{place}": encoded(choice, space.defaults[place])
            for place, choice in space.choices().items()
        }
        study.enqueue_trial({"learner": space.learner, **first})
    trial = study.ask()
    name = trial.suggest_categorical("learner", names) if len(names) > 1 else names[0]
    values = _suggested(trial, question.spaces[name])
    started = time.monotonic()
    rows = ended(study)

    def told(done: int, total: int, message: str) -> None:
        if progress is not None:
            best = f", best {study.best_value:.3f}" if scored(study) else ""
            progress(number, what.trials, f"trial {len(rows) + 1} ({name}), step {done} of {total}{best}; {message}")

    try:
        score, steps = question.score(name, values, trial, told if progress is not None else None)
    except optuna.TrialPruned:
        trial.set_user_attr(SECONDS, time.monotonic() - started)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except (TrainingError, InputError) as error:
        from metamedica.training import TrainingInterrupted

        if isinstance(error, TrainingInterrupted):
            raise TrainingInterrupted(
                f"the search was interrupted in trial {number + 1} of {what.trials}; go on with resume"
            ) from None
        trial.set_user_attr(SECONDS, time.monotonic() - started)
        trial.set_user_attr(WHY, str(error))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        trial.set_user_attr(STEPS, steps)
        trial.set_user_attr(SECONDS, time.monotonic() - started)
        study.tell(trial, score)


def _suggested(trial: "Trial", space: Space) -> dict[str, Any]:
    """Return `part.name` -> value as the sampler chooses."""
    found = {}
    for place, choice in space.choices().items():
        name = f"{space.learner}.{place}"
        if isinstance(choice, Between):
            found[place] = trial.suggest_float(name, choice.low, choice.high, log=choice.log)
        else:
            found[place] = decoded(
                choice, trial.suggest_categorical(name, [encoded(choice, value) for value in choice.values])
            )
    return found
