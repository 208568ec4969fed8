"""Regularised linear and logistic regression from scratch on the modality's flat features."""

from typing import ClassVar

from metamedica.functional.additive import Additive, LinearIn
from metamedica.functional.classes import membership
from metamedica.functional.logistic import SIGNALS, LogisticFit, fit_logistic, logistic_law
from metamedica.functional.ridge import RELATIVE_PENALTIES, RidgeFit, fit_ridge, ridge_law
from metamedica.types import CaseBatch, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind


class Linear(Learner[RidgeFit | LogisticFit], Additive):
    """Ridge regression, or L2-regularised softmax regression (binary: two classes), solved in the dual per task.

    The penalty is chosen per task by leave-one-out: exact for ridge, approximate (one Newton step) for classes. Learns nothing
    from tasks. A support of one class is allowed: the bias has a prior, so the answer is a probability below 1.

    Args:
        raw: its `flat` features are the inputs.
        relative_penalties: ridge penalties tried, times the mean squared distance of a case from the support's centre.
        signals: prior variances of a class score tried, for classes.
    """

    paper: ClassVar[Paper] = Paper(
        "Ridge regression: biased estimation for nonorthogonal problems", "Hoerl and Kennard", 1970, "doi:10.1080/00401706.1970.10488634"
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(
        self,
        raw: RawEncoder,
        *,
        relative_penalties: tuple[float, ...] = RELATIVE_PENALTIES,
        signals: tuple[float, ...] = SIGNALS,
    ) -> None:
        super().__init__()
        self.raw = raw
        self.relative_penalties = tuple(relative_penalties)
        self.signals = tuple(signals)

    def adapt(self, support: LabelledBatch) -> RidgeFit | LogisticFit:
        """Return the linear model of each task."""
        self.check_kind(support.kind)
        flat = self.raw.flat(support.features)
        if support.kind == "regression":
            return fit_ridge(flat, support.targets, support.mask, relative_penalties=self.relative_penalties)
        return fit_logistic(flat, membership(support, flat.dtype), support.mask, signals=self.signals)

    def predict(self, state: RidgeFit | LogisticFit, query: CaseBatch) -> Law:
        """Return the predictive law of each query case."""
        flat = self.raw.flat(query.features)
        return ridge_law(state, flat) if isinstance(state, RidgeFit) else logistic_law(state, flat)

    def additive(self, state: RidgeFit | LogisticFit) -> LinearIn | None:
        """Return the linear model of each task; None for more than two classes, whose log-odds against all others are no sum."""
        if isinstance(state, RidgeFit):
            weight, offset = state.weight.double(), state.offset.double()
        elif state.bias.shape[1] == 2:
            weight = state.weight[..., 1].double() - state.weight[..., 0].double()
            offset = state.bias[:, 1].double() - state.bias[:, 0].double()
        else:
            return None
        return LinearIn(weight, offset - (state.centre.double() * weight).sum(-1))
