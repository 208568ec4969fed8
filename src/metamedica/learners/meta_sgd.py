"""Meta-SGD: the start and a learning rate for every number of the network are learned."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.functional.inner_loop.loop import InnerLoop
from metamedica.functional.inner_loop.networks import start_parameters
from metamedica.types import Encoder, Paper, TaskKind

KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


class MetaSgd(InnerLoopLearner):
    """MAML with a learned rate per entry of every parameter, direction and length of a step included (Li et al., eq. 2).

    Deviates: several steps with the same rates (the paper takes one); all rates start equal (the paper draws them at random).

    Args:
        encoder: learned; without batch statistics (they would couple tasks).
        max_classes: most classes of a multiclass task.
        rate: that every learned rate starts from.
        steps: inner steps, in training and in use.
        chunk: tasks that are adapted at once where the encoder is no chain of layers (memory: each owns a copy); None for all.
    """

    paper: ClassVar[Paper] = Paper(
        "Meta-SGD: learning to learn quickly for few-shot learning", "Li et al.", 2017, "arXiv:1707.09835"
    )

    def __init__(
        self, encoder: Encoder, *, max_classes: int = 10, rate: float = 0.1, steps: int = 3, chunk: int | None = None
    ) -> None:
        super().__init__(encoder, max_classes=max_classes, rate=rate, steps=steps, chunk=chunk)
        self.rates = nn.ParameterDict()
        for kind in KINDS:
            for name, value in start_parameters(encoder, self.heads, kind).items():
                self.rates[_entry(kind, name)] = nn.Parameter(torch.full_like(value, rate))

    def loop(self, kind: TaskKind) -> InnerLoop:
        """Return steps with a rate for every entry."""

        def rate(step: int, name: str) -> Tensor:
            found: Tensor = self.rates[_entry(kind, name)]
            return found

        return InnerLoop(self.steps, rate)


def _entry(kind: TaskKind, name: str) -> str:
    """Return the name of a rate: the encoder's are shared by all kinds; module names may hold no dot."""
    return name.replace(".", "|") if name.startswith("encoder.") else f"{kind}|{name}"
