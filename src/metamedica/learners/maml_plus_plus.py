"""MAML++: a learned rate per layer and step, and a loss after every step."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.functional.inner_loop.loop import InnerLoop
from metamedica.types import Between, Encoder, EpisodeBatch, Paper, Ranges, TaskKind

HEADS = "head"


class MamlPlusPlus(InnerLoopLearner):
    """MAML with per-layer per-step learned rates (LSLR) and the multi-step loss (Antoniou et al., section 4, eq. 2 and 4).

    Deviates: the weights of the multi-step loss are fixed (the paper moves them to the last step during training, which a loss that is
    a pure function of the episodes cannot know); second-order from the start; layer norm, which needs no per-step statistics, stands
    for batch norm.

    Args:
        encoder: learned; without batch statistics (they would couple tasks).
        max_classes: most classes of a multiclass task.
        rate: that every learned rate starts from.
        steps: inner steps, in training and in use.
        early: weight of the loss after each step but the last; the last has what is left to 1.
        chunk: tasks that are adapted at once where the encoder is no chain of layers (memory: each owns a copy); None for all.
    """

    paper: ClassVar[Paper] = Paper("How to train your MAML", "Antoniou, Edwards and Storkey", 2019, "arXiv:1810.09502")
    ranges: ClassVar[Ranges] = {"early": Between(0.0, 0.05)}  # their sum stays below 1 for up to 20 steps

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_classes: int = 10,
        rate: float = 0.1,
        steps: int = 5,
        early: float = 0.05,
        chunk: int | None = None,
    ) -> None:
        super().__init__(encoder, max_classes=max_classes, rate=rate, steps=steps, chunk=chunk)
        self.early = early
        layers = {_layer(f"encoder.{name}") for name, _ in encoder.named_parameters()} | {HEADS}
        self.rates = nn.ParameterDict({layer: nn.Parameter(torch.full((steps,), rate)) for layer in sorted(layers)})

    def loop(self, kind: TaskKind) -> InnerLoop:
        """Return steps with a rate for every layer and step."""

        def rate(step: int, name: str) -> Tensor:
            found: Tensor = self.rates[_layer(name)][step]
            return found

        return InnerLoop(self.steps, rate)

    def meta_loss(self, episodes: EpisodeBatch) -> Float[Tensor, ""]:
        """Return the query negative log-likelihood after every step, weighted, mean over tasks."""
        form, start = self.begin(episodes.support)
        _, *walked = form.walk(start, episodes.support)
        losses = torch.stack(
            [-episodes.query.log_likelihood(form.law(adapted, episodes.query.cases)).mean() for adapted in walked]
        )
        weights = torch.full_like(losses, self.early)
        weights[-1] = 1 - self.early * (self.steps - 1)
        return (weights * losses).sum()


def _layer(name: str) -> str:
    """Return the layer that a parameter belongs to; module names may hold no dot."""
    return name.rpartition(".")[0].replace(".", "|") if name.startswith("encoder.") else HEADS
