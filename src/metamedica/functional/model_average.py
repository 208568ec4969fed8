"""Several models of a task averaged by what its labels say of each, under weights that the earlier tasks teach.

Model k has the log evidence e_k of a task's support and the weight w_k before any label; the law is the sum over k of softmax(log w + e)_k p_k.
(Hoeting et al. 1999, doi:10.1214/ss/1009212519, eq. 1 to 3.) The w_k make earlier tasks likely that are played as new ones: stacking of
predictive laws (Yao et al. 2018, doi:10.1214/17-BA1091, eq. 2.1), with each task's own evidence inside.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.pooling import Pool
from metamedica.functional.rehearsal import Rehearsal

_TEMPER = 0.5
"""Power of the earlier tasks' likelihood: cases of one task are not quite independent of each other (Gruenwald 2012, The safe Bayesian)."""
_MOST_CASES = 100
"""What a task counts for at most: what makes it differ from other tasks is shared by all of its cases, and a new task differs in its own way."""
_STEPS = 300


class Played(NamedTuple):
    """How one model does where an earlier task is played as a new one, several draws at once."""

    log_evidence: Float[Tensor, " draws"]
    """Of the support."""
    log_likelihood: Float[Tensor, "draws m"]
    """Of each query case."""


class Averageable(ABC):
    """What a learner adds that holds a proper prior over tasks: how likely it held a task's labels, so that it can be averaged with others."""

    reads_own: ClassVar[bool] = False
    """Whether it learns from the block of columns that only one task has (`blocks.OWN_BLOCK`)."""

    @abstractmethod
    def fit_pool(self, pool: Pool) -> Float[Tensor, " n"]:
        """Fit to the earlier tasks of one kind, and return the score of each case by models that have not seen its task."""

    @abstractmethod
    def play(self, pool: Pool, held_out: Float[Tensor, " n"], play: Rehearsal) -> Played:
        """Return how the fitted learner does on an earlier task that is played as a new one.

        Args:
            pool: that it was fitted to.
            held_out: as `fit_pool` returned it.
            play: which cases are labelled and which are asked.
        """

    @abstractmethod
    def log_evidence(self, state: Any) -> Float[Tensor, " tasks"]:
        """Return the log marginal likelihood of each support, up to what all models of the same targets share."""

    @abstractmethod
    def shares(self, state: Any) -> dict[str, Float[Tensor, " tasks"]]:
        """Return the posterior weight of each way in which a task may relate to earlier ones; `leaning.SCRATCH` is that of none."""

    @abstractmethod
    def log_sides(self, state: Any) -> tuple[Float[Tensor, "tasks 2"], Float[Tensor, " 2"]]:
        """Return the log weight of what leans on earlier tasks and of what does not, after the labels and before them."""


class Contest(NamedTuple):
    """How several models do on the same play.

    Args:
        models: one each, of the same draws.
        cases: of the task that are asked.
        share: of the task's plays, where it is played several times.
    """

    models: Sequence[Played]
    cases: int
    share: float = 1.0


def fit_model_weights(
    contests: Sequence[Contest], n_models: int, *, start: Float[Tensor, " models"] | None = None
) -> Float[Tensor, " models"]:
    """Return the log weights of the models, before any label of a new task, that make the queries of the plays most likely.

    They are held to `start` by a Dirichlet prior of one case a model: few tasks leave them near it, and every model stays possible.

    Args:
        contests: none leaves the weights where they start.
        n_models: of each contest.
        start: log weights; None: even.
    """
    even = torch.full((n_models,), 1 / n_models, dtype=torch.float64).log()
    begin = even if start is None else start.double().log_softmax(0)
    evidence = [torch.stack([model.log_evidence for model in one.models], dim=-1).double() for one in contests]
    likelihood = [torch.stack([model.log_likelihood for model in one.models], dim=-1).double() for one in contests]
    logits = begin.clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.05)
    with torch.enable_grad():
        for _ in range(_STEPS):
            height = n_models * (begin.exp() * logits.log_softmax(0)).sum()
            for one, known, asked in zip(contests, evidence, likelihood, strict=True):
                share = (logits + known).log_softmax(-1)
                counted = _TEMPER * one.share * min(one.cases, _MOST_CASES)
                height = height + counted * torch.logsumexp(share[:, None] + asked, dim=-1).mean()
            (logits.grad,) = torch.autograd.grad(-height, [logits])
            optimiser.step()
    return logits.detach().log_softmax(0)
