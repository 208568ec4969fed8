"""What the benchmarks on molecules compare: methods from scratch, and methods that learn from earlier tasks with the budget of each."""

import time
from typing import Any

from benchmarks._definitions import IN_STEPS, ON_DISK, version_behind
from benchmarks._record import PARTS, say
from metamedica import registry
from metamedica.data.collection import TaskCollection
from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.meta_learner import MetaLearner
from metamedica.types import ClosedForm

FROM_SCRATCH = (
    "random_forest",
    "linear",
    "tanimoto_gp",
    "multi_kernel_gp",
    "similarity_search",
    "support_vector_regression",
)
MLP = {"hidden": [512], "dim": 128, "dropout": 0.2}
USUAL: dict[str, Any] = {"encoder_settings": MLP, "learning_rate": 2e-3, "validate_every": 100, "guard": False}
SMALL: dict[str, Any] = {
    "steps": 300,
    "encoder_settings": {"hidden": [64], "dim": 64, "dropout": 0.0},
    "tasks_per_batch": 8,
    "support": (16, 32),
}
"""Of learners whose tasks take gradient steps on the whole network."""
CLASSES = {"steps": 600, "binary_share": 1.0}
"""Of learners for classes only."""
STEPS: dict[str, dict[str, Any]] = {
    "linear_probe": {"steps": 800},
    "quadratic_probe": {"steps": 800},
    "fine_tune": {"steps": 800},
    "prototypical": CLASSES,
    "fine_tuned_prototypes": CLASSES,
    "mahalanobis_prototypes": CLASSES,
    "matching": {"steps": 600},
    "relation": CLASSES,
    "ridge_head": {"steps": 600},
    "logistic_head": CLASSES,
    "maml": SMALL,
    "first_order_maml": SMALL,
    "anil": SMALL,
    "boil": SMALL,
    "reptile": SMALL,
    "meta_sgd": SMALL,
    "maml_plus_plus": SMALL,
    "implicit_maml": SMALL,
    "cavia": SMALL,
    "conditional_neural_process": {"steps": 600},
    "attentive_neural_process": {"steps": 600},
    "film_network": {"steps": 600},
    "in_context_transformer": {"steps": 600},
    "deep_kernel_transfer": {"steps": 600},
    "adaptive_deep_kernel": {"steps": 600},
    "empirical_bayes_head": {"steps": 600},
    "common_mean_gp": {"guard": True},
}
"""Budget of each learner that learns from tasks, where it is not `USUAL`; everything else is the learner's default."""


TABLE = (
    "linear_probe",
    "quadratic_probe",
    "fine_tune",
    "prototypical",
    "mahalanobis_prototypes",
    "maml",
    "first_order_maml",
)
"""Learners of the table, beside those from scratch and ours; others by `--method`."""
LEARNED = "common_mean_gp"
"""The learner behind the default."""
DEFAULT = "default"
"""`LEARNED`, guarded by the modality's methods from scratch, as `metamedica fit --learner` makes it and `metamedica adapt` uses it; the goals
judge it, and so the model is made that ships."""
_READS = ("metamedica.modalities.molecules.encoding", "metamedica.predictors.method:LearnerMethod")
_TRAINS = (f"{__name__}:trained", "metamedica.gates", "metamedica.encoders.mlp", "metamedica.training:train")
_GUARDS = ("metamedica.predictors.guard", "metamedica.gates")
BESIDES = (
    *ON_DISK,
    "metamedica.modalities.molecules.modality",
    "metamedica.predictors.predictor",
    "metamedica.predictors.shift",
)
"""What changes no figure: how texts become features has a version of its own (`Modality.version`), what a predictor tells of itself is not asked."""


def code_version(learner: str, *more: str) -> str:
    """Return a hash of the code and the budget that a learner's figures rest on, definition by definition, and of what `more` roots reach.

    What trains and guards counts for learners that learn from tasks only, and what takes steps for those only that are trained so, so that their
    changes leave the figures of the others standing.

    Args:
        learner: or `DEFAULT`.
        more: roots as `definitions_behind` takes them.
    """
    name = LEARNED if learner == DEFAULT else learner
    roots, besides = (f"metamedica.learners.{name}", *_READS, *more), BESIDES
    if name in FROM_SCRATCH:
        return version_behind(*roots, settings=None, besides=(*besides, *_GUARDS, *IN_STEPS))
    if issubclass(registry.learner_class(name), ClosedForm):
        besides += IN_STEPS
    if not issubclass(registry.learner_class(name), InnerLoopLearner):
        besides += (InnerLoopLearner.__module__,)  # training asks of each learner whether it is one
    return version_behind(*roots, *_TRAINS, settings=_budget(name), besides=besides, uncounted=[__name__])


def _budget(learner: str) -> dict[str, Any]:
    return {**USUAL, **STEPS.get(learner, {})}


def trained(name: str, tasks: TaskCollection, *, data: str, steps: int | None = None) -> MetaLearner:
    """Return a learner fitted on the meta-train tasks, from a finished part where there is one.

    Args:
        name: of the learner, or `DEFAULT`.
        tasks: with a meta-split.
        data: what the tasks are called, in the name of the part.
        steps: in place of the budget's.
    """
    name = LEARNED if name == DEFAULT else name
    version = code_version(name)
    folder = PARTS / "models" / data / f"{name}-{version}-{steps or 'full'}"
    if (folder / "MANIFEST.json").is_file():
        return MetaLearner.load(folder)
    for stale in folder.parent.glob(f"{name}-*-{steps or 'full'}"):
        say(f"stale, its code has changed: {stale.name}")
    settings = _budget(name)
    if steps is not None:
        settings["steps"] = steps
    began = time.monotonic()

    def progress(done: int, total: int, message: str) -> None:
        if done % 50 == 0:
            say(f"  {name} {done}/{total} {message}")

    model = MetaLearner(name, **settings).fit(tasks, progress=progress)
    model.save(folder)
    say(f"{name} on {data}: fitted in {(time.monotonic() - began) / 60:.1f} min")
    return model
