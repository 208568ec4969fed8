"""Entropic optimal transport: earlier cases are carried to where the task's lie, and the pooled model is fitted to them there."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from metamedica.functional.density_ratio import weighted_linear
from metamedica.functional.kept_source import KeptSource, some_of, trusted
from metamedica.functional.pooled_models import SIGNALS, LinearScore, linear_fit
from metamedica.functional.pooling import FitScore, Pool
from metamedica.functional.target_cases import Target, TaskScore, Taught
from metamedica.functional.transport import transported, usual_cost
from metamedica.types import Paper, RawEncoder, TaskKind

AS_IT_IS = float("inf")


class EntropicTransport(KeptSource):
    """An earlier case s moves to  s + n / (n + cases) (T(s) - T_0(s)),  and the pooled linear model is fitted to all of them there.

    T(s) is the mean of the task's n cases, labelled or not, weighted by row s of the entropic transport plan from the earlier cases
    to them (`functional/transport`); T_0 is the same from the earlier cases to themselves, so that a task like all others moves
    nothing. The labels of the support set intercept and slope. Transport carries all earlier cases to the task, whatever their
    label: where the prevalence differs as well, some are carried to those of the other class.

    **It holds feature rows and labels of earlier tasks' cases**, at most `most_kept`: a saved model is as personal as they are.

    Deviates: Courty et al. move a case to T(s) in full; T draws all cases towards their centre, and T_0 makes up for that (as in the
    Sinkhorn divergence of Feydy et al. 2019, arXiv:1810.08278). How far they move, earlier tasks say. There is no
    class regulariser, which their best variants have.

    Args:
        raw: its `flat` features are the inputs.
        cases: what the earlier cases' own places may be worth, in cases; infinitely many first: they stay where they are.
        blur: weight of the plan's entropy, in units of the mean squared distance between earlier cases.
        rounds: Sinkhorn's iterations.
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        most_kept: cases of all earlier tasks together that are kept, drawn by chance; at least 20 a task.
        most_compared: cases of the task that they are moved to at most, drawn by chance.
    """

    paper: ClassVar[Paper] = Paper(
        "Optimal transport for domain adaptation", "Courty, Flamary, Tuia and Rakotomamonjy", 2017, "arXiv:1507.00504"
    )

    def __init__(
        self,
        raw: RawEncoder,
        *,
        cases: tuple[float, ...] = (AS_IT_IS, 30.0),
        blur: float = 0.05,
        rounds: int = 50,
        signals: tuple[float, ...] = SIGNALS,
        most_kept: int = 1000,
        most_compared: int = 300,
    ) -> None:
        self.cases = tuple(cases)
        self.blur = blur
        self.rounds = rounds
        self.most_compared = most_compared
        super().__init__(raw, signals=signals, most_kept=most_kept)

    def start(self) -> Taught:
        """Return the buffers before any task is seen."""
        return {
            "weight": torch.zeros(0),
            "rows": torch.zeros(0, 0),
            "home": torch.zeros(0, 0),
            "targets": torch.zeros(0),
            "signal": torch.ones(()),
            "cases": torch.tensor(AS_IT_IS),
        }

    def settings(self) -> Sequence[Taught]:
        """Return what the cases' own places may be worth."""
        return [{"cases": torch.tensor(cases)} for cases in self.cases]

    def pooled(self, *, signal: float) -> FitScore[LinearScore]:
        """Return how the pooled linear model is fitted."""
        return linear_fit(signal=signal)

    def source(self, pool: Pool, rows: Bool[Tensor, " n"], model: LinearScore, *, signal: float) -> Taught:
        """Return cases and targets of these rows, and where transport to each other carries them; `weight` is their mean."""
        flat = pool.flat[rows]
        home = self._carried(flat, Target(flat[None], torch.ones_like(flat[None, :, 0])))[0]
        targets = pool.targets[rows]
        return {"weight": flat.mean(0), "rows": flat, "home": home, "targets": targets, "signal": torch.tensor(signal)}

    def _carried(self, rows: Tensor, target: Target) -> Tensor:
        blur = self.blur * usual_cost(rows)
        return transported(rows, target.flat, target.weight, blur=blur, rounds=self.rounds)

    def moved(self, taught: Taught, target: Target, kind: TaskKind) -> TaskScore:
        """Return the pooled model of the cases as moved for each task."""
        plain = target.flat
        names = ("rows", "home", "targets", "signal", "cases")
        rows, home, targets, signal, cases = (taught[name].double() for name in names)
        some = some_of(Target(plain.double(), target.weight.double()), self.most_compared)
        share = trusted(some.weight, cases)[:, None, None]
        there = rows.expand(len(plain), *rows.shape)
        if bool(share.any()):
            there = there + share * (self._carried(rows, some) - home)
        centre = there.mean(1)
        every = torch.ones_like(there[..., 0])
        found, intercept = weighted_linear(there - centre[:, None], targets, every, signal=signal, kind=kind)
        return TaskScore(found.to(plain), (intercept - (found * centre).sum(-1)).to(plain))
