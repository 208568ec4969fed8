"""Every learner that learns from tasks by gradient steps, on a small collection of vectors: what gradients are compared on."""

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metamedica import registry
from metamedica.data.collection import Task, TaskCollection
from metamedica.data.episodes import EpisodePlan, EpisodeSampler
from metamedica.encoders.mlp import MLP
from metamedica.outer_gradient import learned_parameters
from metamedica.testing import SIZE, VectorRaw
from metamedica.types import ClosedForm, Learner, TaskKind

N_TASKS = 7
_CASES = 200


def learns(name: str, kind: TaskKind) -> bool:
    """Return whether meta-training of this learner by gradient steps on tasks of this kind exists."""
    made = registry.learner_class(name)
    if issubclass(made, ClosedForm):
        return False
    with_heads = "n_tasks" in inspect.signature(made).parameters  # one head per task: several classes share none
    return kind in made.kinds and learner(name).learns_from_tasks() and not (with_heads and kind == "multiclass")


def every() -> list[tuple[str, TaskKind]]:
    """Return each learner that learns from tasks, with one kind of task that it learns from; regression where it can."""
    kinds: tuple[TaskKind, ...] = ("regression", "binary")
    found = [(name, [kind for kind in kinds if learns(name, kind)]) for name in registry.names("learners")]
    return [(name, usable[0]) for name, usable in found if usable]


def encoded() -> list[tuple[str, TaskKind]]:
    """Return those of `every` that have a learned encoder."""
    return [(name, kind) for name, kind in every() if registry.takes(name, "encoder")]


def learner(name: str, *, dropout: float = 0.0) -> Learner[Any]:
    """Return the same new learner every time, in torch's default type."""
    made = registry.learner_class(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours = {
            "encoder": MLP({"vector": SIZE}, hidden=(8,), dim=6, dropout=dropout),
            "raw": VectorRaw(),
            "rich": VectorRaw(),
            "n_tasks": N_TASKS,
        }
        wanted = inspect.signature(made).parameters
        return made(**{key: value for key, value in ours.items() if key in wanted}).to(torch.get_default_dtype())


def collection(kind: TaskKind) -> TaskCollection:
    """Return tasks of 26 to 50 cases with a linear answer each, or its thirds as classes, in torch's default type."""
    rng = np.random.default_rng(7)
    features = rng.normal(size=(_CASES, SIZE))
    tasks = {}
    for number in range(N_TASKS):
        rows = rng.permutation(_CASES)[: 26 + 4 * number]
        score = features[rows] @ rng.normal(size=SIZE) + 0.1 * rng.normal(size=len(rows))
        classes = {"binary": ("a", "b"), "multiclass": ("a", "b", "c")}.get(kind)
        if classes is not None:
            cuts = np.quantile(score, np.arange(1, len(classes)) / len(classes))
            tasks[f"t{number}"] = Task(f"t{number}", kind, rows, np.digitize(score, cuts), classes=classes)
        else:
            tasks[f"t{number}"] = Task(f"t{number}", kind, rows, score, unit="u")
    blocks = {"vector": torch.from_numpy(features).to(torch.get_default_dtype())}
    return TaskCollection("synthetic", [str(row) for row in range(_CASES)], features=blocks, tasks=tasks)


def sampler(kind: TaskKind, *, tasks: int = N_TASKS) -> EpisodeSampler:
    """Return batches of so many ragged tasks."""
    plan = EpisodePlan(support=(8, 16), query=20, tasks_per_batch=tasks, binary_share=0.0)
    whole = collection(kind)
    return EpisodeSampler(whole, whole.names(), plan, seed=1)


def gradient(module: nn.Module) -> Tensor:
    """Return all gradients as one vector, 0 where there is none."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned_parameters(module).values()]
    return torch.cat([part.reshape(-1) for part in parts]).clone()


def check_equal(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Compare gradients: no entry differs by more than `tolerance`, times the largest entry where that is above 1."""
    most = tolerance * max(1.0, float(wanted.abs().max()))
    assert float((found - wanted).abs().max()) <= most
