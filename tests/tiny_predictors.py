"""Every learner on tiny tasks of every modality that it can take: what the contract of predictors is tried on."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from metamedica import registry
from metamedica.data.collection import Task, TaskCollection
from metamedica.errors import InputError
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.model import FittedModel, LearnerSpec
from metamedica.types import TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")
N_TASKS, N_CASES, N_LABELLED = 3, 18, 9
CHEAP: Mapping[str, Mapping[str, Any]] = {
    "random_forest": {"trees": 3},
    "fine_tune": {"steps": 2},
    "pooled_trees": {"growths": ((4, 3), (8, 4))},
    "hierarchical_bayes": {"trees": 4},
    "deep_adaptation": {"hidden": 3, "steps": 2, "strengths": (0.0, 1.0), "signals": (1.0,)},
    "domain_adversarial": {"hidden": 3, "steps": 2, "strengths": (0.0, 1.0), "signals": (1.0,)},
    "prior_fitted_network": {"width": 8, "layers": 1},
}
"""Settings that make a learner cheap without changing what the contract sees."""
_CLASSES: dict[TaskKind, tuple[str, ...] | None] = {
    "binary": ("no", "yes"), "multiclass": ("high", "low", "usual"), "regression": None,
}  # fmt: skip


def takes(name: str, modality: str) -> bool:
    """Return whether the learner can be built for the modality: an encoder that learns what columns mean is refused by `any_table`."""
    return modality != "any_table" or not registry.takes(name, "encoder")


def refused(name: str, modality: str) -> bool:
    """Return whether building the learner for the modality is refused in words."""
    try:
        LearnerSpec(name, "mlp").build(registry.modality(modality, tasks(modality, "binary").settings))
    except InputError:
        return True
    return False


def every() -> list[tuple[str, str, TaskKind]]:
    """Return each learner, with each modality that it can take and each kind of task that it allows."""
    return [
        (name, modality, kind)
        for modality in registry.names("modalities")
        for name in registry.names("learners")
        for kind in KINDS
        if takes(name, modality) and kind in registry.learner_class(name).kinds
    ]


def raw_cases(modality: str, *, seed: int = 0, n: int = N_LABELLED) -> Any:
    """Return raw cases: SMILES, or patients with a cell missing."""
    random = np.random.default_rng(seed)
    if modality == "molecules":
        ends = random.permutation(["O", "N", "Cl", "C(=O)O", "c1ccccc1", "C#N", "OC", "S", "F", "Br", "C=O", "NC"])
        return ["C" * (number % 4 + 1) + ends[number % len(ends)] for number in range(n)]
    frame = pd.DataFrame({"age": random.normal(60, 9, n), "ward": random.choice(["A", "B"], n)})
    frame["lactate"] = random.normal(2, 1, n) + 0.02 * frame["age"]
    frame.loc[2, "lactate"] = None
    return frame


def targets(kind: TaskKind, *, seed: int = 0, n: int = N_LABELLED) -> list[Any]:
    """Return a target for each of `n` cases; every class occurs more than once."""
    random, classes = np.random.default_rng(seed), _CLASSES[kind]
    if classes is None:
        return random.normal(5, 1, n).round(3).tolist()
    return [classes[place] for place in random.permutation(np.arange(n) % len(classes))]


@functools.cache
def tasks(modality: str, kind: TaskKind) -> TaskCollection:
    """Return `N_TASKS` tasks of `N_CASES` cases; the last one is meta-valid."""
    cases, numbers = raw_cases(modality, n=N_TASKS * N_CASES, seed=3), range(N_TASKS)
    if modality == "molecules":
        cases = list(dict.fromkeys(cases))
    reader = registry.modality(modality)
    reader = reader if modality == "molecules" else reader.fitted(cases)
    prepared, made, classes = reader.prepare(cases), {}, _CLASSES[kind]
    for number in numbers:
        rows = np.arange(number * N_CASES, (number + 1) * N_CASES) % len(prepared.canonical)
        values = targets(kind, seed=number, n=N_CASES)
        encoded = np.array(values if classes is None else [classes.index(value) for value in values])
        made[f"t{number}"] = Task(f"t{number}", kind, rows, encoded, classes=classes)
    split = {name: "meta_valid" if name == f"t{N_TASKS - 1}" else "meta_train" for name in made}
    settings = {} if modality == "any_table" else reader.settings()
    return TaskCollection(modality, prepared.canonical, features=prepared.features, tasks=made, split=split, settings=settings)  # type: ignore[arg-type]  # fmt: skip


def model(name: str, modality: str, kind: TaskKind) -> FittedModel:
    """Return the learner after one step on the tiny tasks."""
    made = MetaLearner(
        name,
        settings=dict(CHEAP.get(name, {})),
        encoder_settings={"hidden": [6], "dim": 5},
        steps=1,
        tasks_per_batch=2,
        support=(5,),
        query=3,
        binary_share=0.0,
        guard=False,
    )
    return made.fit(tasks(modality, kind)).model_
