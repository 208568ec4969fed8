"""Gaussian process averaged over several kernels of the modality; how likely each is before any label is what earlier tasks teach."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.errors import TaskError
from metamedica.functional.gaussian_process import cell_log_likelihood, fit_cell_prior, predictive
from metamedica.functional.hidden_labels import NOISES, HiddenLabelProcess
from metamedica.types import Between, ClosedForm, EpisodeBatch, LabelledBatch, Paper, Ranges, RawEncoder, TaskKind

SUPPORTS = (4, 8, 16, 32, 64)
"""Labelled cases of an earlier task that is played as new; never more than half of it."""
_DRAWS = 8
_QUERY = 64


class KernelPriorGP(HiddenLabelProcess, ClosedForm):
    """Exact Gaussian process averaged over every pair of a raw kernel and a noise share, with a prior over the pairs from earlier tasks.

    `HiddenLabelProcess` says how labels weigh the pairs. Each earlier task is played as a new one, a few of its cases labelled and the others asked;
    the prior is the one with which the average answers best (`fit_cell_prior`), one for tasks with classes and one for regression. The fewer the
    tasks, the nearer it stays to the even one of `leave_one_out_gp`.

    Deviates: Wang et al. maximise the likelihood of the parameters of one kernel over all tasks; here a new task still chooses among kernels, and
    earlier ones only say how likely each was.

    Args:
        rich: its `kernels`, 1 on the diagonal, compare cases. What they see through must not have been trained on the same tasks: it knows their
            answers, and the prior would lean on it.
        noises: shares of noise in a standardised target's variance, in (0, 1).
        strength: of the pull to the even prior, divided by the number of tasks; the default was chosen on scans of which one set in turn was left
            out (decisions/0015).
    """

    paper: ClassVar[Paper] = Paper(
        "Pre-trained Gaussian processes for Bayesian optimization", "Wang et al.", 2024, "arXiv:2109.08215"
    )
    ranges: ClassVar[Ranges] = {"noises": None, "strength": Between(0.01, 1.0, log=True)}
    log_prior: Tensor

    def __init__(self, rich: RawEncoder, *, noises: tuple[float, ...] = NOISES, strength: float = 0.1) -> None:
        super().__init__(rich, noises=noises)
        self.strength = strength
        self.register_buffer("log_prior", torch.zeros(2, 0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "log_prior" in state_dict:  # torch refuses another size
            self.log_prior = self.log_prior.new_empty(state_dict[prefix + "log_prior"].shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def cell_prior(self, kind: TaskKind, like: Float[Tensor, "tasks cells"]) -> Float[Tensor, " cells"]:
        """Return what earlier tasks of the kind have taught; 0 for each pair where there were none."""
        if self.log_prior.shape[1] == 0:
            return torch.zeros_like(like[0])
        return self.log_prior[int(kind != "regression")].to(like)

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit the prior over pairs, for classes and for numbers, to earlier tasks that are played as new ones.

        Raises:
            TaskError: no task that is large enough to be played.
        """
        found: dict[bool, list[tuple[Tensor, Tensor]]] = {True: [], False: []}
        for task in tasks:
            if task.kind in self.kinds:
                found[task.kind != "regression"] += [self._played(play) for play in plays(task)]
        if not any(found.values()):
            raise TaskError(
                "no earlier task has three cases, two of one class and one of another; give larger tasks to learn from"
            )
        cells = next(evidence for each in found.values() for evidence, _ in each).shape[1]
        even = torch.full((cells,), -math.log(cells), dtype=torch.float64)
        prior = even.repeat(2, 1)
        for classes, each in found.items():
            if each:
                evidence, scores = (torch.cat(part).double() for part in zip(*each, strict=True))
                counted = sum((task.kind != "regression") == classes for task in tasks)
                prior[int(classes)] = fit_cell_prior(evidence, scores, even, strength=self.strength / counted)
        self.log_prior = prior.to(self.noise)

    @torch.no_grad()
    def _played(self, play: EpisodeBatch) -> tuple[Float[Tensor, "draws cells"], Float[Tensor, "draws cells"]]:
        """Return, per draw and pair, the evidence of the support and the mean log-likelihood of the query."""
        state = self.adapt(play.support)
        cross = self.kernels(play.query.features, play.support.features)
        ones = cross.new_ones(cross.shape[:3])
        moments = predictive(state.posterior, cross, ones, play.support.mask, state.grid)
        return self.evidence(play.support, state.posterior), cell_log_likelihood(*moments, play.query)


def plays(task: LabelledBatch) -> Iterator[EpisodeBatch]:
    """Yield draws of one earlier task as if it were new, as batches of eight: the same ones every time.

    Of tasks with classes the support has each class as often as the others, but never more than half of a class, and at least once.
    """
    n = task.mask.shape[1]
    random = torch.Generator().manual_seed(n)
    members = [torch.arange(n)]
    if task.kind != "regression":
        each = [(task.targets[0] == label).nonzero()[:, 0] for label in range(task.n_classes or 0)]
        members = [rows for rows in each if len(rows)]
        if len(members) < 2:
            return
    most = max(len(rows) for rows in members) // 2
    for shots in sorted({min(max(size // len(members), 1), most) for size in SUPPORTS}):
        counts = [min(shots, max(len(rows) // 2, 1)) for rows in members]
        if sum(counts) < 2 or sum(counts) == n:
            continue
        supports, queries = [], []
        for _ in range(_DRAWS):
            orders = [rows[torch.randperm(len(rows), generator=random)] for rows in members]
            rest = torch.cat([order[count:] for order, count in zip(orders, counts, strict=True)])
            supports.append(torch.cat([order[:count] for order, count in zip(orders, counts, strict=True)]))
            queries.append(rest[torch.randperm(len(rest), generator=random)][:_QUERY])
        index = torch.zeros(_DRAWS, dtype=torch.int64)
        yield EpisodeBatch(_drawn(task, torch.stack(supports)), _drawn(task, torch.stack(queries)), index)


def _drawn(task: LabelledBatch, rows: Tensor) -> LabelledBatch:
    return task.map(lambda block: block[0][rows])
