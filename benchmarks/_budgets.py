"""What the benchmarks on molecules compare: methods from scratch, and methods that learn from earlier tasks with the budget of each."""

import time
from typing import Any

from benchmarks._record import PARTS, SOURCE, say, version_of
from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner

FROM_SCRATCH = (
    "random_forest",
    "linear",
    "tanimoto_gp",
    "multi_kernel_gp",
    "similarity_search",
    "support_vector_regression",
)
MLP = {"hidden": [512], "dim": 128, "dropout": 0.2}
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
"""Budget of each learner that learns from tasks; everything else is the learner's default."""


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
_ENCODING = "modalities/molecules/encoding.py"
_TRAINED = ("meta_learner.py", "training.py", "predictors/method.py", "encoders/mlp.py", _ENCODING)


def code_version(learner: str, *more: str) -> str:
    """Return a hash of the code and the budget that a learner's figures rest on, and of `more` files (relative to the package).

    What trains counts for learners that learn from tasks only, so that its changes leave the figures of the others standing.
    """
    if learner in FROM_SCRATCH:
        roots: tuple[str, ...] = ("predictors/method.py", "reports/protocols/fsmol.py", _ENCODING)
        return version_of(SOURCE, f"learners/{learner}.py", *roots, *more, settings=None)
    if learner == DEFAULT:
        return code_version(LEARNED, "predictors/guard.py", *more)
    return version_of(
        SOURCE, *_TRAINED, f"learners/{learner}.py", "reports/protocols/fsmol.py", *more, settings=_budget(learner)
    )


def _budget(learner: str) -> list[Any]:
    return [STEPS.get(learner), MLP]


def trained(name: str, tasks: TaskCollection, *, data: str, steps: int | None = None) -> MetaLearner:
    """Return a learner fitted on the meta-train tasks, from a finished part where there is one.

    Args:
        name: of the learner, or `DEFAULT`.
        tasks: with a meta-split.
        data: what the tasks are called, in the name of the part.
        steps: in place of the budget's.
    """
    name = LEARNED if name == DEFAULT else name
    version = version_of(SOURCE, *_TRAINED, f"learners/{name}.py", settings=_budget(name))
    folder = PARTS / "models" / data / f"{name}-{version}-{steps or 'full'}"
    if (folder / "MANIFEST.json").is_file():
        return MetaLearner.load(folder)
    for stale in folder.parent.glob(f"{name}-*-{steps or 'full'}"):
        say(f"stale, its code has changed: {stale.name}")
    settings = {
        "encoder_settings": MLP,
        "learning_rate": 2e-3,
        "validate_every": 100,
        "guard": False,
        **STEPS.get(name, {}),
    }
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
