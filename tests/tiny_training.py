"""A collection and a learner small enough to be trained, killed and resumed many times in a test."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.distributions import Categorical, Normal

from metamedica import storage
from metamedica.checkpoints import CheckpointFolder
from metamedica.data.collection import Task, TaskCollection
from metamedica.data.episodes import EpisodePlan, EpisodeSampler, fixed_episodes
from metamedica.training import TrainingResult, TrainingSettings, train
from metamedica.types import (
    CaseBatch,
    ClosedForm,
    EpisodeBatch,
    LabelledBatch,
    Law,
    Learner,
    Paper,
    Progress,
    TaskKind,
)

SETTINGS = TrainingSettings(steps=30, learning_rate=0.01, validate_every=4, checkpoint_every=3, patience=50, seed=5)
SHORT = TrainingSettings(steps=6, learning_rate=0.01, validate_every=2, checkpoint_every=2, patience=50, seed=5)
_WIDTH = 5


def collection(*, n_tasks: int = 10, shift: float = 0.0) -> TaskCollection:
    """Return regression tasks with a linear answer each."""
    rng = np.random.default_rng(7)
    features = rng.normal(size=(200, _WIDTH)).astype(np.float32)
    tasks = {}
    for number in range(n_tasks):
        rows = rng.permutation(200)[:40]
        targets = features[rows].astype(np.float64) @ rng.normal(size=_WIDTH) + 6 + shift
        tasks[f"t{number}"] = Task(f"t{number}", "regression", rows, targets, unit="pIC50")
    names = [str(row) for row in range(200)]
    return TaskCollection("synthetic", names, features={"x": torch.from_numpy(features)}, tasks=tasks)


class Tiny(Learner[Tensor]):
    """Correlates an embedding with the support's targets. Has dropout, so that a step needs random numbers."""

    paper: ClassVar[Paper] = Paper("none", "none", 2026, "none")
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "regression"})

    def __init__(self, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(_WIDTH, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 4))
        self.log_noise = nn.Parameter(torch.zeros(()))
        self.kind: TaskKind = "regression"
        self.register_buffer("prior", torch.zeros(2))

    def adapt(self, support: LabelledBatch) -> Tensor:
        targets = support.targets.to(torch.float32)
        if support.kind == "binary":
            targets = 2 * targets - 1
        weight = (targets * support.mask)[..., None] * self.body(support.features["x"])
        classes = torch.full((support.mask.shape[0], 1), float(support.kind == "binary"))
        return torch.cat([weight.sum(1) / support.counts()[:, None], classes], dim=1)

    def predict(self, state: Tensor, query: CaseBatch) -> Law:
        score = torch.einsum("tnd,td->tn", self.body(query.features["x"]), state[:, :-1])
        if bool(state[0, -1]):
            return Categorical(logits=torch.stack([-score, score], dim=-1), validate_args=False)
        return Normal(score, self.log_noise.exp().expand_as(score), validate_args=False)

    def fit_prior(self, episodes: list[EpisodeBatch]) -> None:
        self.prior.copy_(self.prior + torch.tensor([1.0, float(len(episodes))]))


class AtOnce(Tiny, ClosedForm):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[LabelledBatch] = []

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        assert not torch.is_grad_enabled()
        self.seen = list(tasks)


def learner(*, dropout: float = 0.2) -> Tiny:
    """Return the same untrained learner every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Tiny(dropout=dropout)


PLAN = EpisodePlan(support=(4, 8), query=8, tasks_per_batch=4)


def sampler(tasks: TaskCollection | None = None, *, seed: int = 1) -> EpisodeSampler:
    tasks = collection() if tasks is None else tasks
    return EpisodeSampler(tasks, tasks.names()[:7], PLAN, seed=seed)


def validation(tasks: TaskCollection | None = None) -> list[EpisodeBatch]:
    tasks = collection() if tasks is None else tasks
    return fixed_episodes(tasks, tasks.names()[7:], PLAN, seed=2, draws=2)


def run(
    folder: Path | None,
    *,
    resume: bool = False,
    settings: TrainingSettings = SETTINGS,
    model: Tiny | None = None,
    progress: Progress | None = None,
) -> tuple[bytes, TrainingResult]:
    """Train from the start or resume; return the bytes of the final weights and the result."""
    model = learner() if model is None else model
    result = train(model, sampler(), validation(), settings, checkpoints=folder, resume=resume, progress=progress)
    return save({name: value.clone() for name, value in model.state_dict().items()}), result


def job(out: Path, length: str) -> None:
    """What a user's job script does: train with resume, leave the weights in `out/final.safetensors`."""
    settings = {"long": SETTINGS, "short": SHORT}[length]
    found = CheckpointFolder(out / "checkpoints").newest()
    sys.stdout.write(f"resumed from step {found.step if found else 0}\n")
    weights, result = run(out / "checkpoints", resume=True, settings=settings)
    storage.replace_file(out / "history.json", repr(result.history).encode())
    storage.replace_file(out / "final.safetensors", weights)
