"""The facade: `MetaLearner().fit(tasks).adapt(cases, targets).predict(library)`. scikit-learn manners."""

import platform
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from metamedica import registry
from metamedica.data.cache import extra_blocks
from metamedica.data.collection import TaskCollection
from metamedica.data.episodes import EpisodePlan, EpisodeSampler, fixed_episodes
from metamedica.data.splits import split_by_task
from metamedica.data.whole_tasks import usual_scales, whole_task
from metamedica.errors import BundleError, InputError, TaskError
from metamedica.functional.targets import standardise_episodes
from metamedica.gates import learned_gates
from metamedica.precision import Precision
from metamedica.predictors.calibration import Calibration
from metamedica.predictors.method import Method, check_compares_tasks, check_uses_unlabelled
from metamedica.predictors.model import FittedModel, LearnerSpec, UnfittedError
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.questions import questions
from metamedica.predictors.shift import EarlierCases
from metamedica.predictors.support import check_own, read_support, read_support_with
from metamedica.predictors.trust import EarlierTasks
from metamedica.ranks import joined
from metamedica.training import TrainingSettings, Watch, train
from metamedica.types import ClosedForm, Learner, Progress, TaskKind

_GATE_DRAWS = 4
_FEW_TASKS = 30
"""Without a meta-split, fewer tasks than this all teach a learner in closed form."""


def shipped_models() -> list[str]:
    """Return the names of the meta-models that ship with the package."""
    room = files("metamedica") / "models"
    return sorted(entry.name for entry in room.iterdir() if (entry / "MANIFEST.json").is_file())


def model_folder(name: str | Path) -> Path:
    """Return the folder of a shipped model by name, or of a user's own by path.

    Raises:
        BundleError: there is neither.
    """
    path = Path(name)
    if (path / "MANIFEST.json").is_file():
        return path
    if str(name) in shipped_models():
        return Path(str(files("metamedica") / "models" / str(name)))
    raise BundleError(
        f"there is no model {str(name)!r}: give the folder of a saved model or one of: {', '.join(shipped_models()) or 'none'}"
    )


class MetaLearner(BaseEstimator):  # type: ignore[misc]
    """Learn from many small tasks, then adapt to a new one from a handful of labelled cases.

    Args:
        learner: a method, one of `metamedica models`; None takes the default of the cases' modality, of those with an encoder where one is named.
        encoder: the learned encoder, one of the modality's (for methods that have one).
        settings: hyper-parameters of the learner by name; None for its defaults.
        encoder_settings: hyper-parameters of the encoder by name; None for its defaults.
        steps: most meta-training steps; fewer where the meta-valid score stops rising.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        tasks_per_batch: tasks a step.
        support: support sizes in total, one drawn per step.
        query: most query cases a task and step.
        binary_share: share of the steps in which regression tasks are seen as active / inactive, so that one model serves both kinds.
        validate_every: steps between two looks at the meta-valid tasks.
        patience: looks without a better score before training stops.
        accumulate: parts that the tasks of a step are taken in, one after the other; less memory, the same result up to rounding.
        precision: "float32", "tf32" or "bf16", of the encoder and of inner loops in a step (`metamedica.precision`).
        compiled: whether training steps are compiled as one graph (`metamedica.compiled`).
        guard: whether `adapt` weighs the learner against methods from scratch (do no harm).
        seed: of everything random; same seed, same model, bit for bit on the same machine.

    After `fit`: `model_`, `history_`, `n_tasks_`.
    """

    def __init__(
        self,
        learner: str | None = None,
        *,
        encoder: str = "mlp",
        settings: dict[str, Any] | None = None,
        encoder_settings: dict[str, Any] | None = None,
        steps: int = 1000,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        tasks_per_batch: int = 16,
        support: tuple[int, ...] = (8, 16, 32, 64),
        query: int = 32,
        binary_share: float = 0.5,
        validate_every: int = 100,
        patience: int = 8,
        accumulate: int = 1,
        precision: Precision = "float32",
        compiled: bool = False,
        guard: bool = True,
        seed: int = 0,
    ) -> None:
        self.learner = learner
        self.encoder = encoder
        self.settings = settings
        self.encoder_settings = encoder_settings
        self.steps = steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.tasks_per_batch = tasks_per_batch
        self.support = support
        self.query = query
        self.binary_share = binary_share
        self.validate_every = validate_every
        self.patience = patience
        self.accumulate = accumulate
        self.precision = precision
        self.compiled = compiled
        self.guard = guard
        self.seed = seed

    def fit(
        self,
        tasks: TaskCollection,
        y: None = None,
        *,
        checkpoints: str | Path | None = None,
        resume: bool = False,
        device: str = "cpu",
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> "MetaLearner":
        """Learn from the meta-train tasks, selecting on the meta-valid tasks; meta-test tasks are not looked at.

        Processes that torchrun started share the training, and each ends with the fitted model.

        Args:
            tasks: with a meta-split, or without one: then a tenth of the tasks (at least one) is drawn as meta-valid. A learner in closed form
                learns from these too in the end, and needs none: without any, and for fewer than 30 tasks without a split, what only unseen
                tasks can tell is learned by leaving tasks out in turn.
            y: not used; there for scikit-learn.
            checkpoints: folder for checkpoints; None writes none.
            resume: go on from the newest good checkpoint there; the result equals an uninterrupted run bit for bit.
            device: where the training runs: "cpu", "cuda" (one GPU a process) or "cuda:0"; the fitted model is on the CPU.
            progress: called as `progress(done, total, message)`.
            watch: called after each look at the meta-valid tasks as `watch(step, best score so far)`; what it raises ends the training.

        Raises:
            InputError: no TaskCollection, or a device or precision that is not to be had.
            TaskError: too few tasks or cases to learn from.
            TrainingError: the loss is not finite, or the run was interrupted.
        """
        if not isinstance(tasks, TaskCollection):
            raise InputError(
                f"got a {type(tasks).__name__}; fit learns from a TaskCollection, and metamedica.estimator adapts to one table X, y"
            )
        modality = tasks.reader()
        kinds = {task.kind for task in tasks.tasks.values()}
        by_steps = bool(self.encoder_settings) or self.encoder != "mlp"
        name = self.learner or registry.default_learner(modality, kinds, by_steps=by_steps)
        closed_form = issubclass(registry.learner_class(name), ClosedForm)
        if not tasks.split and closed_form and len(tasks.tasks) < _FEW_TASKS:
            tasks = tasks.with_split(dict.fromkeys(tasks.tasks, "meta_train"))
        elif not tasks.split:
            tasks = split_by_task(tasks, fractions=(0.9, 0.1, 0.0), seed=self.seed)
        names, valid = tasks.names("meta_train"), tasks.names("meta_valid")
        if not names:
            raise TaskError("the collection has no meta-train task; give a split with at least one")
        spec = LearnerSpec(name, self.encoder, dict(self.settings or {}), dict(self.encoder_settings or {}), len(names))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            learner = spec.build(modality)
        tasks = _readable(tasks, spec, progress)
        binary_share = self.binary_share
        for kind, share in (("binary", binary_share > 0), ("regression", binary_share < 1)):
            if kind not in learner.kinds and share and tasks.tasks[names[0]].kind == "regression":
                binary_share = 0.0 if kind == "binary" else 1.0
        plan = EpisodePlan(
            support=tuple(self.support),
            query=self.query,
            tasks_per_batch=self.tasks_per_batch,
            binary_share=binary_share,
        )
        history: list[dict[str, Any]] = []
        if learner.learns_from_tasks():
            with joined() as ranks:
                learner.to(ranks.device(device))
                progress = progress if ranks.first else None
                result = train(
                    learner,
                    EpisodeSampler(tasks, names, plan, seed=self.seed),
                    fixed_episodes(tasks, valid, plan, seed=self.seed + 1, draws=2) if valid else [],
                    TrainingSettings(
                        steps=self.steps,
                        learning_rate=self.learning_rate,
                        weight_decay=self.weight_decay,
                        validate_every=self.validate_every,
                        patience=self.patience,
                        seed=self.seed,
                        accumulate=self.accumulate,
                        precision=self.precision,
                        compiled=self.compiled,
                    ),
                    checkpoints=None if checkpoints is None else Path(checkpoints),
                    resume=resume,
                    progress=progress,
                    watch=watch,
                )
            learner.to("cpu")
            history = [dict(row) for row in result.history]
        if valid and learner.learns_from_tasks():
            self._fit_prior(learner, tasks, valid, plan)
        self.history_ = history
        self.n_tasks_ = len(names)
        self.model_ = self._model(spec, learner, tasks, names)
        self.model_.record = self._record(tasks, history)
        if self.guard and (valid or closed_form) and self.model_.guards(learner):

            def fit(taught: TaskCollection, some: list[str]) -> FittedModel:
                return self._taught(spec, deepcopy(learner), taught, some, plan)

            learned = learned_gates(
                self.model_, tasks, names, valid, plan,
                fit=fit if closed_form else None, seed=self.seed + 3, progress=progress,
            )  # fmt: skip
            self.model_.gates, self.model_.gains = learned.gates, learned.gains
        if closed_form and valid:  # what they chose is chosen: now they teach too
            before, everyone = self.model_, [*names, *valid]
            self.n_tasks_ = len(everyone)
            self.model_ = self._taught(spec, learner, tasks, everyone, plan)
            self.model_.gates, self.model_.gains, self.model_.record = before.gates, before.gains, before.record
        return self

    def _model(self, spec: LearnerSpec, learner: Learner[Any], tasks: TaskCollection, names: list[str]) -> FittedModel:
        return FittedModel(
            spec,
            learner,
            tasks.reader(),
            gates={},
            usual_scale=usual_scales(tasks, names),
            earlier=EarlierTasks.of(((name, whole_task(tasks, name)) for name in names), tasks.reader()),
            record={},
            asked=questions((tasks.tasks[name].kind, tasks.tasks[name].classes) for name in names),
            cases=EarlierCases.of(
                ((whole_task(tasks, name), tasks.tasks[name].unit) for name in names), tasks.reader()
            ),
        )

    def _taught(
        self, spec: LearnerSpec, learner: Learner[Any], tasks: TaskCollection, names: list[str], plan: EpisodePlan
    ) -> FittedModel:
        """Return the model of a learner in closed form after it has seen these tasks; its prior stays as it is."""
        train(learner, EpisodeSampler(tasks, names, plan, seed=self.seed), [], TrainingSettings(seed=self.seed))
        return self._model(spec, learner, tasks, names)

    def _fit_prior(self, learner: Learner[Any], tasks: TaskCollection, valid: list[str], plan: EpisodePlan) -> None:
        """Let the learner fit its prior on meta-valid episodes of every kind that it was trained on."""
        episodes = fixed_episodes(tasks, valid, replace(plan, query=64), seed=self.seed + 2, draws=_GATE_DRAWS)
        learner.eval().fit_prior([standardise_episodes(batch) for batch in episodes])

    def _record(self, tasks: TaskCollection, history: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "parameters": {
                name: list(v) if isinstance(v, tuple) else v
                for name, v in (self.get_params(deep=False) | {"learner": self.model_.spec.learner}).items()
            },
            "split": dict(tasks.split),
            "left_out": dict(tasks.left_out),
            "cases": len(tasks.canonical),
            "values": int(sum(len(task.rows) for task in tasks.tasks.values())),
            "history": history,
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        }

    def _fitted(self) -> FittedModel:
        if not hasattr(self, "model_"):
            raise UnfittedError("this MetaLearner is not fitted yet; call fit(tasks), or MetaLearner.load(name)")
        model: FittedModel = self.model_
        return model

    def adapt(
        self,
        cases: Any = None,
        targets: Sequence[Any] | NDArray[Any] | None = None,
        *,
        unlabelled: Any = None,
        about: str | None = None,
        kind: TaskKind | None = None,
        unit: str | None = None,
        positive: str | None = None,
        calibration: Calibration = "none",
    ) -> Predictor:
        """Return a predictor for the task that these cases come from; the model stays as it was.

        Args:
            cases: the labelled raw cases (16 to 64 are usual); of tables a data frame, whose further columns are learned from these cases alone.
            targets: one each: numbers for regression, labels for classes; one class may do, where all earlier tasks agree on the other.
            unlabelled: further raw cases of the task that nobody has labelled, for a learner that uses such (`metamedica.unlabelled`); labelled
                ones may then be few or none: what their labels do not tell of kind and classes is that of the earlier tasks.
            about: what the task is about, told as the earlier tasks are (the amino acids of its target): those told alike then count for more.
            kind: None reads it from the targets: only 0 and 1, or two labels, is binary; other labels multiclass; numbers regression.
            unit: of regression targets; where earlier tasks had this unit, their usual spread steadies the scale of a small support.
            positive: the label that counts as class 1 of a binary task, where it is not clear.
            calibration: a map that sets probabilities right by the labelled cases, each hidden in turn: "temperature", "beta", "isotonic", or "auto"
                by their number (`predictors/calibration`). Methods that learn from tasks are calibrated as they are.

        Raises:
            InputError: no case came, or unlabelled ones or a description for a learner that does not use such.
            CaseError: a case cannot be read, or has different targets in two places.
            TaskError: a target is missing or not of its kind; fewer than 2 cases and no unlabelled case; or the labels show fewer than two
                classes and earlier tasks disagree on kind and classes, or the learner needs two.
            InputError: a further column seems to hold the targets themselves.
        """
        fitted = self._fitted()
        if about is not None:
            check_compares_tasks(fitted.learner)
        model = fitted if cases is None else fitted.with_own(cases)
        if unlabelled is not None:
            check_uses_unlabelled(fitted.learner)
            support = read_support_with(
                model, unlabelled, cases, targets, asked=fitted.asked, kind=kind, unit=unit, positive=positive
            )
        elif cases is None or targets is None:
            raise InputError(
                "labelled cases are missing; give cases and their targets, or unlabelled cases to a learner that uses such"
            )
        else:
            support = read_support(model, cases, targets, kind=kind, unit=unit, positive=positive, asked=fitted.asked)
        if about is not None:
            support = support.described_as(about)
        if model is not fitted and support.kind == "binary":
            check_own(model.modality, fitted.modality, cases, support.batch.targets[0].tolist())
        try:
            return Predictor(model, support, guard=self.guard, calibration=calibration)
        except TaskError as error:
            if support.only_class is None:
                raise
            raise TaskError(f"the labelled cases are all {support.only_class!r}: {error}") from error

    def readable(self, tasks: TaskCollection, *, progress: Progress | None = None) -> TaskCollection:
        """Return the tasks with every block that the model's encoder reads (the graphs of molecules, for one that reads graphs)."""
        return _readable(tasks, self._fitted().spec, progress)

    def method(self, kind: TaskKind, *, unit: str | None = None) -> Method:
        """Return the fitted model as a method that evaluation can compare with others."""
        return self._fitted().method(kind, unit=unit, guard=self.guard)

    def save(self, folder: str | Path, *, card: str | None = None) -> None:
        """Write the fitted model to a folder, whole or not at all."""
        self._fitted().save(folder, card=card)

    @classmethod
    def load(cls, name: str | Path) -> "MetaLearner":
        """Return a fitted meta-learner: a shipped model by name, or a saved one by folder.

        Raises:
            BundleError: there is no such model, or it is damaged.
        """
        model = FittedModel.load(model_folder(name))
        made = cls()
        known = made.get_params(deep=False)
        for parameter, value in model.record.get("parameters", {}).items():
            if parameter in known:
                setattr(made, parameter, tuple(value) if parameter == "support" else value)
        made.model_ = model
        made.history_ = model.record.get("history", [])
        made.n_tasks_ = model.spec.n_tasks
        return made

    def as_dict(self) -> dict[str, Any]:
        """Return what the model says of itself, as a JSON value."""
        model = self._fitted()
        return {
            **asdict(model.spec),
            "modality": model.modality.name,
            "from_scratch": model.from_scratch,
            "usual_scale": model.usual_scale,
            "earlier_tasks": len(model.earlier.names),
            "gates": {kind: gate.tolist() for kind, gate in model.gates.items()},
        }


def _readable(tasks: TaskCollection, spec: LearnerSpec, progress: Progress | None) -> TaskCollection:
    modality = tasks.reader()
    names = [name for name in spec.extra_blocks(modality) if name not in tasks.features]
    return tasks.with_blocks(extra_blocks(modality, names, tasks.canonical, progress=progress)) if names else tasks
