"""Multitask pre-training, then gradient steps on the whole network, started from the linear probe."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.functional.classes import membership
from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.inner_loop.descent import descend_if_better
from metamedica.functional.inner_loop.networks import embed, encoder_parameters
from metamedica.functional.logistic import BIAS_VARIANCE, fit_logistic
from metamedica.functional.multitask import TaskHeads, pooled, unit_size
from metamedica.functional.ridge import fit_ridge
from metamedica.types import (
    CaseBatch,
    Encoder,
    EpisodeBatch,
    Features,
    LabelledBatch,
    Law,
    Learner,
    Paper,
    TaskKind,
)


@dataclass(frozen=True)
class TunedNetworks:
    """Each task's own network: `[tasks, ...]` per parameter name.

    `centre` is subtracted from the embedding before the head. `variance` is the linear probe's mean squared leave-one-out error
    (regression; residuals of the tuned support would flatter); None for classes.
    """

    parameters: Parameters
    centre: Float[Tensor, "tasks dim"]
    variance: Float[Tensor, " tasks"] | None


@dataclass(frozen=True)
class _Start:
    """The linear probe as the start of one batch: head, and the inverse variances of its likelihood and priors."""

    weight: Float[Tensor, "tasks dim outputs"]
    bias: Float[Tensor, "tasks outputs"]
    centre: Float[Tensor, "tasks dim"]
    goals: Float[Tensor, "tasks n outputs"]
    precision: Float[Tensor, " tasks"]
    weight_precision: Float[Tensor, " tasks"]
    variance: Float[Tensor, " tasks"] | None


class FineTune(Learner[TunedNetworks]):
    """Encoder pre-trained with one head per earlier task; a new task tunes a copy of encoder and head, started from the linear probe.

    Minimises the support's negative log-likelihood plus the probe's own prior on the head plus anchor / 2 x the squared distance of
    the encoder from where pre-training left it (Li et al., eq. 3, L2-SP). Full-batch steps, each kept only if this objective falls;
    their number is fixed, and nothing but the support is read.

    Deviates: no stochastic gradient and no stopping on a validation set, which a support of 16 does not have.

    Args:
        encoder: learned.
        n_tasks: number of meta-training tasks.
        steps: steps tried; 0 is the linear probe (with one variance for all cases).
        rate: length of the first step; then lengthened by a kept and halved by a refused one.
        anchor: pull of the encoder back to its start.
    """

    paper: ClassVar[Paper] = Paper(
        "Explicit inductive bias for transfer learning with convolutional networks", "Li, Grandvalet and Davoine", 2018, "arXiv:1802.01483"
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(
        self, encoder: Encoder, n_tasks: int, *, steps: int = 20, rate: float = 0.1, anchor: float = 0.1
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = TaskHeads(encoder.dim, n_tasks)
        self.steps = steps
        self.rate = rate
        self.anchor = anchor

    def _start(self, support: LabelledBatch) -> _Start:
        embedded = unit_size(self.encoder(support.features)).detach()
        if support.kind == "regression":
            ridge = fit_ridge(embedded, support.targets, support.mask)
            weight, bias, goals = ridge.weight[..., None], ridge.offset[:, None], support.targets[..., None]
            precision = 1 / ridge.noise
            return _Start(weight, bias, ridge.centre, goals, precision, ridge.penalty * precision, ridge.left_out)
        members = membership(support, embedded.dtype)
        logistic = fit_logistic(embedded, members, support.mask)
        one = torch.ones_like(logistic.signal)
        return _Start(logistic.weight, logistic.bias, logistic.centre, members, one, 1 / logistic.signal, None)

    def _scores(
        self, parameters: Parameters, centre: Float[Tensor, " dim"], features: Features
    ) -> Float[Tensor, "n outputs"]:
        embedded = unit_size(embed(self.encoder, parameters, features))
        return (embedded - centre) @ parameters["weight"] + parameters["bias"]

    def _tune(self, start: _Start, support: LabelledBatch, task: int) -> Parameters:
        """Return the tuned parameters of one task."""
        real = support.mask[task]
        features = {name: block[task, real] for name, block in support.features.items()}
        goals, before = start.goals[task, real], encoder_parameters(self.encoder)

        def objective(own: Parameters) -> Tensor:
            scores = self._scores(own, start.centre[task], features)
            if start.variance is None:
                misfit = -(torch.log_softmax(scores, dim=-1) * goals).sum()
                misfit = misfit + own["bias"].square().sum() / (2 * BIAS_VARIANCE)
            else:
                misfit = 0.5 * start.precision[task] * (goals - scores).square().sum()
            prior = 0.5 * start.weight_precision[task] * own["weight"].square().sum()
            moved = torch.stack([(own[name] - value.detach()).square().sum() for name, value in before.items()]).sum()
            return (misfit + prior) / len(goals) + 0.5 * self.anchor * moved

        first = {**before, "weight": start.weight[task], "bias": start.bias[task]}
        return descend_if_better(objective, first, rate=self.rate, steps=self.steps)

    def adapt(self, support: LabelledBatch) -> TunedNetworks:
        """Return each task's tuned network; it carries no gradient."""
        self.check_kind(support.kind)
        with torch.no_grad():
            start = self._start(support)
        tuned = [self._tune(start, support, task) for task in range(len(support.mask))]
        stacked = {name: torch.stack([own[name] for own in tuned]) for name in tuned[0]}
        return TunedNetworks(stacked, start.centre, start.variance)

    def predict(self, state: TunedNetworks, query: CaseBatch) -> Law:
        """Return the law of each query case under its task's own network."""
        scores = torch.stack(
            [
                self._scores(
                    {name: value[task] for name, value in state.parameters.items()},
                    state.centre[task],
                    {name: block[task] for name, block in query.features.items()},
                )
                for task in range(len(query.mask))
            ]
        )
        if state.variance is None:
            return Categorical(logits=scores, validate_args=False)
        scale = state.variance.sqrt()[:, None].expand(scores.shape[:2])
        return Normal(scores[..., 0], scale, validate_args=False)

    def meta_loss(self, episodes: EpisodeBatch) -> Float[Tensor, ""]:
        """Return the multitask negative log-likelihood of support and query cases together.

        Raises:
            TaskError: multiclass tasks, or more tasks than heads.
        """
        cases = pooled(episodes)
        return self.heads.loss(unit_size(self.encoder(cases.features)), cases, episodes.task_index)
