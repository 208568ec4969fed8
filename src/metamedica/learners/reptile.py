"""Reptile: move the start towards where each task's own steps end."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.inner_loop.chain_forms import WideChain
from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.functional.inner_loop.loop import InnerLoop, constant
from metamedica.functional.inner_loop.networks import AdaptedNetworks
from metamedica.functional.multitask import side_by_side
from metamedica.functional.sparse import affine
from metamedica.types import EpisodeBatch, LabelledBatch, Paper, TaskKind


class Reptile(InnerLoopLearner):
    """The meta-gradient is (start - end of the steps) / rate, mean over tasks (Nichol et al., algorithm 1 and section 2).

    In meta-training a task's steps run on support and query together, all its labelled cases, as the paper's do; no second derivative and no
    query loss is needed.

    Deviates: full-batch steps instead of mini-batches; heads read the embedding divided by sqrt(dim); the regression head learns a
    variance. The value of `meta_loss` is the negative log-likelihood at the end of the steps, its gradient is Reptile's.

    Args:
        encoder: learned; without batch statistics (they would couple tasks).
        max_classes: most classes of a multiclass task.
        rate: inner learning rate.
        steps: inner steps, in training and in use.
        chunk: tasks that are adapted at once where the encoder is no chain of layers (memory: each owns a copy); None for all.
    """

    paper: ClassVar[Paper] = Paper(
        "On first-order meta-learning algorithms", "Nichol, Achiam and Schulman", 2018, "arXiv:1803.02999"
    )

    def loop(self, kind: TaskKind) -> InnerLoop:
        """Return the same steps for every parameter."""
        return InnerLoop(self.steps, constant(self.rate))

    def adapt(self, support: LabelledBatch) -> AdaptedNetworks:
        """Return each task's network after the inner steps; its gradient is passed to the start unchanged.

        Raises:
            TaskError: more classes than `max_classes`.
        """
        return self.adapt_first_order(support)

    def meta_loss(self, episodes: EpisodeBatch) -> Float[Tensor, ""]:
        """Return a number whose gradient is Reptile's: the way from each task's end back to the start, over the rate, mean over tasks."""
        cases = side_by_side(episodes)
        form, start = self.begin(cases)
        with torch.no_grad():
            end = form.adapt(start, cases)
            reached = -cases.log_likelihood(form.law(end, cases.cases)).mean()
        n_tasks = len(cases.mask)
        way = [
            (start[name] * (start[name] - end.parameters[name]).sum(0).detach()).sum()
            for name in end.moved
            if end.parameters[name] is not start[name]
        ]
        if isinstance(form, WideChain) and end.front is not None and end.front.weight_step is not None:
            # minus the way is weight_step^T inputs there, and its product with the weight needs no matrix of a task's own
            bias = start[form.first.bias]
            plain = affine(end.front.inputs, start[form.first.weight].mT, bias) - bias
            way += [-(plain * end.front.weight_step).sum(), -(bias * end.front.weight_step.sum((0, 1))).sum()]
        toward = torch.stack(way).sum() / (self.rate * n_tasks)
        return reached + (toward - toward.detach())
