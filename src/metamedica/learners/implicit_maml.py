"""iMAML: the meta-gradient of a regularised inner optimum, by the implicit function theorem."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metamedica.functional.inner_loop.chain_forms import all_laid_out
from metamedica.functional.inner_loop.forms import Form
from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import AdaptedNetworks
from metamedica.functional.task_random import repeatable
from metamedica.types import Encoder, LabelledBatch, Paper, TaskKind


class ImplicitMaml(InnerLoopLearner):
    """Steps towards the minimum of support loss + pull / 2 |theta - start|^2; the meta-gradient (I + H / pull)^-1 g reads that minimum only.

    H is the Hessian of a task's support loss at its end, g the query gradient there (Rajeswaran et al., eq. 3 and lemma 1). The linear
    system is solved by conjugate gradients with Hessian-vector products (their algorithm 2), all tasks at once, so memory does not
    grow with the inner steps.

    Deviates: heads read the embedding divided by sqrt(dim); the regression head learns a variance; plain gradient steps.

    Args:
        encoder: learned; without batch statistics (they would couple tasks).
        max_classes: most classes of a multiclass task.
        rate: inner learning rate.
        steps: inner steps, in training and in use.
        pull: strength of the pull to the start (the paper's lambda).
        solver_steps: most steps of conjugate gradients.
        chunk: tasks that are adapted at once where the encoder is no chain of layers (memory: each owns a copy); None for all.
    """

    paper: ClassVar[Paper] = Paper(
        "Meta-learning with implicit gradients", "Rajeswaran et al.", 2019, "arXiv:1909.04630"
    )

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_classes: int = 10,
        rate: float = 0.1,
        steps: int = 16,
        pull: float = 1.0,
        solver_steps: int = 10,
        chunk: int | None = None,
    ) -> None:
        super().__init__(encoder, max_classes=max_classes, rate=rate, steps=steps, chunk=chunk)
        self.pull = pull
        self.solver_steps = solver_steps

    def loop(self, kind: TaskKind) -> InnerLoop:
        """Return the same steps for every parameter, pulled back to the start."""
        return InnerLoop(self.steps, Constant(self.rate), pull=self.pull)

    def adapt(self, support: LabelledBatch) -> AdaptedNetworks:
        """Return each task's network after the inner steps; its gradient reaches the start by the implicit function theorem.

        Raises:
            TaskError: more classes than `max_classes`.
        """
        form, start = self.begin(support)
        with torch.no_grad():
            end = all_laid_out(form.adapt(start, support))
        names = sorted(end.moved)
        solver = _Solver(form, end, support, pull=self.pull, steps=self.solver_steps, names=names)
        linked = _Implicit.apply(  # type: ignore[no-untyped-call]
            solver, *(end.parameters[name] for name in names), *(start[name] for name in names)
        )
        return AdaptedNetworks(end.parameters | dict(zip(names, linked, strict=True)), end.moved, end.n_classes)


class _Solver:
    """Solves (I + H / pull) u = g for every task at once."""

    def __init__(
        self, form: Form, end: AdaptedNetworks, support: LabelledBatch, *, pull: float, steps: int, names: list[str]
    ) -> None:
        self.end, self.support, self.pull, self.steps, self.names = end, support, pull, steps, names
        self.slopes = repeatable(form.slopes)  # one matrix in all steps, where there is dropout

    def times(self, vector: list[Tensor]) -> list[Tensor]:
        """Return (I + H / pull) times a vector of each task."""
        with torch.enable_grad():
            own = {name: self.end.parameters[name].detach().requires_grad_() for name in self.names}
            slopes = self.slopes(self.end.parameters | own, self.end.moved, self.support)
            along = torch.stack(
                [(slopes[name] * part).sum() for name, part in zip(self.names, vector, strict=True)]
            ).sum()
            curved = torch.autograd.grad(along, list(own.values()), allow_unused=True)
        return [part if h is None else part + h / self.pull for part, h in zip(vector, curved, strict=True)]

    def solve(self, goal: list[Tensor]) -> list[Tensor]:
        """Return the solution after conjugate-gradient steps (Hestenes and Stiefel 1952), each task with step lengths of its own.

        Away from a minimum the matrix may have negative directions, where conjugate gradients break down: a task stops before the
        first of them, at `goal` itself (the first-order meta-gradient) where that is the first step (Steihaug 1983), and where
        nothing is left to solve but rounding.
        """
        solution = [torch.zeros_like(part) for part in goal]
        rest, way = goal, goal
        size = _dot(rest, rest)
        least, going = size * torch.finfo(size.dtype).eps ** 2, size > 0
        for step in range(self.steps):
            turned = self.times(way)
            curvature = _dot(way, turned)
            if step == 0:
                solution = _moved(solution, (curvature <= 0).to(size.dtype), goal)
            going = going & (curvature > 0)
            length = torch.where(going, size / torch.where(going, curvature, 1), 0)
            solution = _moved(solution, length, way)
            rest = _moved(rest, -length, turned)
            new = _dot(rest, rest)
            going = going & (new > least)
            way = _moved(rest, torch.where(going, new / torch.where(going, size, 1), 0), way)
            size = new
        return solution


def _dot(left: list[Tensor], right: list[Tensor]) -> Tensor:
    """Return `[tasks]`, the inner product over all parameters."""
    return torch.stack([(a * b).flatten(1).sum(1) for a, b in zip(left, right, strict=True)]).sum(0)


def _moved(start: list[Tensor], length: Tensor, way: list[Tensor]) -> list[Tensor]:
    return [a + length.reshape(-1, *[1] * (b.dim() - 1)) * b for a, b in zip(start, way, strict=True)]


class _Implicit(torch.autograd.Function):
    """The ends as they are, with the gradient of the start that the implicit function theorem gives."""

    @staticmethod
    def forward(ctx: Any, solver: _Solver, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.solver = solver
        return tuple(value.clone() for value in values[: len(values) // 2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        solved = ctx.solver.solve(list(slopes))
        return (None, *(None for _ in slopes), *(part.sum(0) for part in solved))
