"""The pooled model fitted anew for each task, with the earlier tasks' cases that look like the task's counting for more."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metamedica.functional.density_ratio import log_density_ratio, weighted_linear
from metamedica.functional.kept_source import KeptSource
from metamedica.functional.pooled_models import SIGNALS, LinearScore, linear_fit
from metamedica.functional.pooling import FitScore, Pool
from metamedica.functional.target_cases import Target, TaskScore, Taught
from metamedica.types import Paper, RawEncoder, TaskKind


class ImportanceWeighting(KeptSource):
    """A case x of an earlier task counts for  (p_task(x) / p_earlier(x))^power  in the pooled model.

    The ratio comes from a penalised logistic regression that tells the task's cases, labelled or not, from the earlier ones, so
    its logarithm is linear in the columns: a task in the midst of the others looks like all of them. A power below 1 flattens
    the weights (Shimodaira's lambda), and 0 is the pooled model as it is. The labels of the support set intercept and slope.

    **It holds feature rows and labels of earlier tasks' cases**, at most `most_kept`: a saved model is as personal as they are.

    Deviates: Shimodaira takes both densities as known.

    Args:
        raw: its `flat` features are the inputs.
        powers: tried; 0 leaves the pooled model as it is.
        ratio_signal: prior variance of the log-odds, that a usual case is the task's.
        signals: prior variances of the score of a usual case that are tried for the pooled model.
        most_kept: cases of all earlier tasks together that are kept, drawn by chance; at least 20 a task.
    """

    paper: ClassVar[Paper] = Paper(
        "Improving predictive inference under covariate shift by weighting the log-likelihood function", "Shimodaira", 2000,
        "doi:10.1016/S0378-3758(00)00115-4",
    )  # fmt: skip

    def __init__(
        self,
        raw: RawEncoder,
        *,
        powers: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0),
        ratio_signal: float = 3.0,
        signals: tuple[float, ...] = SIGNALS,
        most_kept: int = 3000,
    ) -> None:
        self.powers = tuple(powers)
        self.ratio_signal = ratio_signal
        super().__init__(raw, signals=signals, most_kept=most_kept)

    def start(self) -> Taught:
        """Return the buffers before any task is seen."""
        return {
            "weight": torch.zeros(0),
            "rows": torch.zeros(0, 0),
            "targets": torch.zeros(0),
            "signal": torch.ones(()),
            "power": torch.zeros(()),
        }

    def settings(self) -> Sequence[Taught]:
        """Return the powers that are tried."""
        return [{"power": torch.tensor(power)} for power in self.powers]

    def pooled(self, *, signal: float) -> FitScore[LinearScore]:
        """Return how the pooled linear model is fitted."""
        return linear_fit(signal=signal)

    def source(self, pool: Pool, rows: Bool[Tensor, " n"], model: LinearScore, *, signal: float) -> Taught:
        """Return cases and targets of these rows; `weight` is their mean."""
        flat = pool.flat[rows]
        return {
            "weight": flat.mean(0),
            "rows": flat,
            "targets": pool.targets[rows],
            "signal": torch.tensor(signal),
        }

    def moved(self, taught: Taught, target: Target, kind: TaskKind) -> TaskScore:
        """Return the weighted fit of each task."""
        plain = target.flat
        rows, targets, signal, power = (taught[name].double() for name in ("rows", "targets", "signal", "power"))
        centre = rows.mean(0)
        rows = rows - centre
        shared = plain.new_ones(len(plain), len(rows), dtype=rows.dtype)
        weight = shared if not bool(power) else self._counted(rows, plain.double() - centre, target.weight, power)
        found, intercept = weighted_linear(rows, targets, weight, signal=signal, kind=kind)
        return TaskScore(found.to(plain), (intercept - found @ centre).to(plain))

    def _counted(
        self, rows: Float[Tensor, "s d"], cases: Float[Tensor, "tasks n d"], there: Tensor, power: Tensor
    ) -> Float[Tensor, "tasks s"]:
        """Return what each row counts for, 1 on average."""
        ratio = log_density_ratio(rows, cases, there.double(), signal=self.ratio_signal)
        return torch.softmax(power * ratio, dim=-1) * len(rows)
