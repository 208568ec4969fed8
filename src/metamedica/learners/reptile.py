"""Reptile: move the start towards where each task's own steps end."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metamedica.functional.inner_loop.chain_forms import WideChain
from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import AdaptedNetworks
from metamedica.functional.multitask import side_by_side
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
        return InnerLoop(self.steps, Constant(self.rate))

    def adapt(self, support: LabelledBatch) -> AdaptedNetworks:
        """Return each task's network after the inner steps; its gradient is passed to the start unchanged.

        Raises:
            TaskError: more classes than `max_classes`.
        """
        return self.adapt_first_order(support)

    def meta_loss(self, episodes: EpisodeBatch) -> Float[Tensor, ""]:
        """Return a number whose gradient is Reptile's: the way from each task's end back to the start, over the rate, mean over tasks.

        Its value is the negative log-likelihood of the tasks' cases before the last step, which costs nothing more.
        """
        cases = side_by_side(episodes)
        form, start = self.begin(cases)
        with torch.no_grad():
            end, told = form.descend(start, cases)
            front = end.front if end.front is not None and end.front.weight_step is not None else None
            here = [name for name in sorted(end.moved) if end.parameters[name] is not start[name]]
            ways = {name: (start[name] - end.parameters[name]).mean(0) for name in here}
            if isinstance(form, WideChain) and front is not None:
                weight, bias = front.summed()
                ways |= {form.first.weight: -weight / len(cases.mask), form.first.bias: -bias / len(cases.mask)}
        toward = torch.stack([(start[name] * way).sum() for name, way in ways.items()]).sum() / self.rate
        return (toward - toward.detach()) - told.mean()
