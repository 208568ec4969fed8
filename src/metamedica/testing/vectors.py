"""The small world of vectors to try a learner in: an encoder of each sort, a learner on them, batches and episodes."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from metamedica.functional.targets import standardise_episodes
from metamedica.types import CaseBatch, Encoder, EpisodeBatch, Features, LabelledBatch, Learner, RawEncoder, TaskKind

SIZE, N_TASKS = 4, 3
"""Length of the vectors; tasks in a batch, and meta-training tasks of a learner that asks for their number."""
CLASSES: dict[TaskKind, int | None] = {"binary": 2, "multiclass": 3, "regression": None}
"""Kind of task -> number of its classes here."""
AnyBatch = TypeVar("AnyBatch", CaseBatch, LabelledBatch)


class VectorRaw(RawEncoder):
    """The block `vector`, `size` numbers a case, as it is; compared by exp(-|x - y|^2 / 2)."""

    def __init__(self, size: int = SIZE) -> None:
        super().__init__()
        self.dim = size

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return the vectors."""
        return features["vector"]

    def similarity(
        self, left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
    ) -> Float[Tensor, "*batch n m"]:
        """Return the kernel between rows."""
        return torch.exp(-0.5 * (left[..., :, None, :] - right[..., None, :, :]).square().sum(-1))

    flat = forward


class VectorEncoder(Encoder):
    """Learned: tanh of a linear map of the block `vector`, from `size` to `dim` numbers a case."""

    def __init__(self, size: int = SIZE, dim: int = 6) -> None:
        super().__init__()
        self.dim = dim
        self.map = nn.Linear(size, dim)

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return the embedding."""
        return torch.tanh(self.map(features["vector"]))


def on_vectors(made: Callable[..., Learner[Any]], *, settings: Mapping[str, Any] | None = None) -> Learner[Any]:
    """Return a new learner of class `made`, given what its constructor names (`registry.GIVEN`) and `settings`."""
    ours: dict[str, Callable[[], Any]] = {
        "encoder": VectorEncoder,
        "raw": VectorRaw,
        "rich": VectorRaw,
        "n_tasks": lambda: N_TASKS,
    }
    wanted = inspect.signature(made).parameters
    return made(**{name: value() for name, value in ours.items() if name in wanted}, **(settings or {}))


def vector_batch(
    vectors: Float[Tensor, "tasks n size"], targets: Shaped[Tensor, "tasks n"], *, n_classes: int | None = None
) -> LabelledBatch:
    """Return labelled vectors without padding; int64 targets with `n_classes`, floating point without (regression)."""
    kind: TaskKind = "regression" if n_classes is None else "binary" if n_classes == 2 else "multiclass"
    cases = CaseBatch({"vector": vectors}, torch.ones(targets.shape, dtype=torch.bool))
    return LabelledBatch(cases, targets, kind, n_classes)


def vector_episodes(kind: TaskKind, *, seed: int = 0) -> EpisodeBatch:
    """Return `N_TASKS` standardised tasks, 8 known and 5 asked cases in double precision: a noisy slope, or classes about centres."""
    random, n, n_classes = torch.Generator().manual_seed(seed), 13, CLASSES[kind]

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    vectors = draw(N_TASKS, n, SIZE)
    if n_classes is None:
        targets = (vectors @ draw(N_TASKS, SIZE, 1))[..., 0] + 0.3 * draw(N_TASKS, n)
    else:
        targets = (torch.arange(n) % n_classes).repeat(N_TASKS, 1)
        vectors = vectors + draw(N_TASKS, n_classes, SIZE)[:, targets[0]]
    both = vector_batch(vectors, targets, n_classes=n_classes)
    support, query = rows_of(both, range(8)), rows_of(both, range(8, n))
    return standardise_episodes(EpisodeBatch(support, query, torch.arange(N_TASKS)))


def rows_of(batch: AnyBatch, rows: Sequence[int], *, axis: int = 1) -> AnyBatch:
    """Return the batch with these rows of an axis only: 0 tasks, 1 cases."""
    return batch.map(lambda value: value.index_select(axis, torch.tensor(rows, dtype=torch.int64)))
