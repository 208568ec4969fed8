"""The cases of all earlier tasks in one pool, and models of the pool that have not seen the task they are judged on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.nn.utils.rnn import pad_sequence

from metamedica.errors import TaskError
from metamedica.functional.common_mean import some_cases
from metamedica.types import LabelledBatch, RawEncoder, TaskKind

MOST_FOLDS = 7
"""Groups of tasks that are left out together; with fewer tasks each is left out alone."""
CASE_FOLDS = 5
"""Parts of the cases that are left out together where there is one task only."""
LEAST_NOISE = 1e-3


class Pool(NamedTuple):
    """All cases of the earlier tasks of one kind, in double precision, in an order that is the same whatever the order of the tasks."""

    flat: Float[Tensor, "n flat"]
    vectors: Float[Tensor, "n dim"]
    """What `raw.similarity` compares."""
    targets: Float[Tensor, " n"]
    """0 / 1 for classes."""
    task: Int64[Tensor, " n"]
    """Number of the task, from 0."""
    fold: Int64[Tensor, " n"]
    """Cases of one fold are left out together: whole tasks, unless there is one task only."""
    kind: TaskKind

    @property
    def n_tasks(self) -> int:
        return int(self.task.max()) + 1

    @property
    def n_folds(self) -> int:
        return int(self.fold.max()) + 1

    def rows_of(self, task: int) -> Int64[Tensor, " some"]:
        """Return the places of one task's cases."""
        return (self.task == task).nonzero()[:, 0]


@runtime_checkable
class Score(Protocol):
    """A model of the pool: a log-odds of class 1, or a mean in standard units, for each case."""

    def __call__(self, flat: Float[Tensor, "*batch flat"]) -> Float[Tensor, "*batch"]:
        """Return the score of each case."""


AnyScore = TypeVar("AnyScore", bound=Score)
FitScore = Callable[[Pool, Bool[Tensor, " n"]], AnyScore]
"""Called as `fit(pool, rows)`: a model of these rows of the pool."""


def pools(
    tasks: Iterable[LabelledBatch], raw: RawEncoder, kinds: Sequence[TaskKind], *, most_cases: int
) -> dict[TaskKind, Pool]:
    """Return the pool of each kind that there are tasks of.

    Args:
        tasks: each a batch of one whole task without padding, standardised.
        raw: its `flat` features describe the cases.
        kinds: those wanted; other tasks are passed over.
        most_cases: a task with more is cut down to so many, by chance, so that no task outweighs all others.

    Raises:
        TaskError: no task of these kinds.
    """
    found: dict[TaskKind, list[_Part]] = {}
    for task in tasks:
        if task.kind in kinds:
            some = some_cases(task, most_cases)
            flat, vectors = (describe(some.features)[0].detach().double().cpu() for describe in (raw.flat, raw))
            found.setdefault(task.kind, []).append(_Part(flat, vectors, some.targets[0].double().cpu()))
    if not found:
        raise TaskError(f"no task is of kind {' or '.join(kinds)}; choose another learner")
    return {kind: _pool(parts, kind) for kind, parts in found.items()}


class _Part(NamedTuple):
    flat: Tensor
    vectors: Tensor
    targets: Tensor

    def key(self) -> tuple[int, bytes, bytes]:
        """Return what orders tasks by their content."""
        return len(self.targets), self.targets.numpy().tobytes(), self.flat.numpy().tobytes()


def _pool(parts: list[_Part], kind: TaskKind) -> Pool:
    ordered = sorted(parts, key=_Part.key)
    sizes = torch.tensor([len(part.targets) for part in ordered])
    task = torch.arange(len(ordered)).repeat_interleave(sizes)
    fold = task % MOST_FOLDS if len(ordered) > 1 else torch.arange(len(task)) % CASE_FOLDS
    flat, vectors, targets = (torch.cat(column) for column in zip(*ordered, strict=True))
    return Pool(flat, vectors, targets, task, fold, kind)


def held_out_models(pool: Pool, fits: Sequence[FitScore[AnyScore]]) -> list[list[AnyScore]]:
    """Return, for each fold, a model of every sort that has not seen the fold."""
    return [[fit(pool, pool.fold != fold) for fit in fits] for fold in range(pool.n_folds)]


def held_out_scores(pool: Pool, models: Sequence[Sequence[Score]]) -> Float[Tensor, "n sorts"]:
    """Return the score that each case gets from the models which have not seen its fold."""
    scores = pool.flat.new_zeros(len(pool.flat), len(models[0]))
    for fold, each in enumerate(models):
        rows = pool.fold == fold
        scores[rows] = torch.stack([model(pool.flat[rows]) for model in each], dim=-1)
    return scores


def by_task(
    pool: Pool, values: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "tasks most"], Float[Tensor, "tasks most"], Float[Tensor, "tasks most"]]:
    """Return values, targets, and 1 where there is a case, a row a task, padded with 0 to the longest."""
    parts = [pool.rows_of(task) for task in range(pool.n_tasks)]
    columns = (values, pool.targets, torch.ones_like(values))
    padded = [pad_sequence([column[rows] for rows in parts], batch_first=True) for column in columns]
    return padded[0], padded[1], padded[2]


def mean_over_tasks(pool: Pool, values: Float[Tensor, "n *rest"]) -> Float[Tensor, "*rest"]:
    """Return the mean over tasks of the mean over a task's cases."""
    counts = torch.bincount(pool.task).to(values)
    weight = 1 / (counts[pool.task] * len(counts))
    mean: Tensor = torch.einsum("n,n...->...", weight, values)
    return mean


def noise_of(pool: Pool, scores: Float[Tensor, "n sorts"]) -> Float[Tensor, " sorts"]:
    """Return the mean squared residual of scores of numbers; 1 for classes, which have no noise beside their law."""
    if pool.kind != "regression":
        return scores.new_ones(scores.shape[1])
    return mean_over_tasks(pool, (pool.targets[:, None] - scores).square()).clamp(min=LEAST_NOISE)


def best_score(pool: Pool, scores: Float[Tensor, "n sorts"]) -> int:
    """Return which sort has the best log-likelihood, mean over tasks; of those that agree to 1e-9, the first."""
    if pool.kind == "regression":
        each = -noise_of(pool, scores)
    else:
        each = mean_over_tasks(pool, logsigmoid((2 * pool.targets[:, None] - 1) * scores))
    return int((each >= each.max() - 1e-9).to(torch.int8).argmax())


@dataclass(frozen=True)
class Best(Generic[AnyScore]):
    """The sort of model that is best on what it has not seen.

    Args:
        model: of the whole pool.
        held_out: score of each case by models that have not seen its fold.
        noise: of a target about it.
    """

    model: AnyScore
    held_out: Float[Tensor, " n"]
    noise: Float[Tensor, ""]


def best_model(pool: Pool, fits: Sequence[FitScore[AnyScore]]) -> Best[AnyScore]:
    """Return the model whose sort has the best likelihood on folds left out; of those that agree to 1e-9, the first."""
    scores = held_out_scores(pool, held_out_models(pool, fits))
    best = best_score(pool, scores)
    model = fits[best](pool, torch.ones_like(pool.task, dtype=torch.bool))
    return Best(model, scores[:, best], noise_of(pool, scores)[best])


def best_beyond_doubt(pool: Pool, scores: Float[Tensor, "n sorts"]) -> int:
    """Return the sort whose gain in log-likelihood over the first, mean over tasks less its standard error, is best; the first where none is above 0.

    With one task there is no standard error, and the mean decides.
    """
    if pool.kind == "regression":
        noise = noise_of(pool, scores)
        each = -0.5 * ((pool.targets[:, None] - scores).square() / noise + noise.log())
    else:
        each = logsigmoid((2 * pool.targets[:, None] - 1) * scores)
    gain = torch.stack([(each - each[:, :1])[pool.rows_of(task)].mean(0) for task in range(pool.n_tasks)])
    doubt = gain.std(0) / pool.n_tasks**0.5 if pool.n_tasks > 1 else torch.zeros_like(gain[0])
    sure = gain.mean(0) - doubt
    return int((sure >= sure.max() - 1e-9).to(torch.int8).argmax())
