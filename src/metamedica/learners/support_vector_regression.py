"""Support vector regression from scratch on the modality's own similarity (scikit-learn solves it)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.svm import SVR
from torch import Tensor
from torch.distributions import Normal

from metamedica.types import CaseBatch, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind

COSTS = (0.3, 1.0, 3.0, 10.0, 30.0)
_FOLDS = 5
_PRIOR_CASES = 2.0
_LEAST_VARIANCE = 0.05


@dataclass(frozen=True)
class Machine:
    """Each task's regression: a weight per support case, an offset, and the variance that hidden cases showed."""

    rows: Float[Tensor, "tasks n dim"]
    weight: Float[Tensor, "tasks n"]
    offset: Float[Tensor, " tasks"]
    variance: Float[Tensor, " tasks"]


def _solved(kernel: NDArray[np.float64], targets: NDArray[np.float64], cost: float, tube: float) -> SVR:
    return SVR(kernel="precomputed", C=cost, epsilon=tube).fit(kernel, targets)


def _residuals(
    kernel: NDArray[np.float64], targets: NDArray[np.float64], cost: float, tube: float
) -> NDArray[np.float64]:
    """Return target minus prediction of each case when its fold is hidden; cases are dealt to folds in turn."""
    found = np.array(targets)
    fold = np.arange(len(targets)) % min(_FOLDS, len(targets))
    for number in np.unique(fold):
        hidden, known = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if len(known):
            machine = _solved(kernel[np.ix_(known, known)], targets[known], cost, tube)
            found[hidden] -= machine.predict(kernel[np.ix_(hidden, known)])
    return found


class SupportVectorRegression(Learner[Machine]):
    """Epsilon-insensitive support vector regression with the raw similarity as kernel (Tanimoto over counts for molecules).

    The cost is chosen per task by the squared error over five folds of the support; that error, pulled towards 1 (the variance of
    standardised targets) by two cases, is the variance of the law. Learns nothing from tasks. Cases are sorted by content first,
    so that their order decides no fold.

    Deviates: a support vector machine has no law; here it is a Normal with one variance for all cases.

    Args:
        raw: its `similarity`, 1 on the diagonal, compares cases.
        costs: C of the machine, tried per task; targets are standardised.
        tube: half width of the band without a loss, in standard deviations of the targets.
    """

    paper: ClassVar[Paper] = Paper(
        "Graph kernels for chemical informatics", "Ralaivola, Swamidass, Saigo and Baldi", 2005, "doi:10.1016/j.neunet.2005.07.009"
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"regression"})

    def __init__(self, raw: RawEncoder, *, costs: tuple[float, ...] = COSTS, tube: float = 0.1) -> None:
        super().__init__()
        self.raw = raw
        self.costs = tuple(costs)
        self.tube = tube

    def adapt(self, support: LabelledBatch) -> Machine:
        """Return the regression of each task."""
        self.check_kind(support.kind)
        rows = self.raw(support.features).detach()
        kernels = self.raw.similarity(rows, rows).to("cpu", torch.float64).numpy()
        contents, targets = rows.cpu().numpy(), support.targets.to("cpu", torch.float64).numpy()
        weight, offset, variance = np.zeros(targets.shape), np.zeros(len(targets)), np.ones(len(targets))
        for task, mask in enumerate(support.mask.cpu().numpy()):
            cases = sorted(
                np.flatnonzero(mask), key=lambda i: (contents[task, i].tobytes(), targets[task, i].tobytes())
            )
            kernel, wanted = kernels[task][np.ix_(cases, cases)], targets[task][cases]
            squares = [float((_residuals(kernel, wanted, cost, self.tube) ** 2).sum()) for cost in self.costs]
            best = int(np.argmin(squares))
            machine = _solved(kernel, wanted, self.costs[best], self.tube)
            weight[task, np.array(cases)[machine.support_]] = machine.dual_coef_[0]
            offset[task] = machine.intercept_[0]
            variance[task] = max((_PRIOR_CASES + squares[best]) / (_PRIOR_CASES + len(cases)), _LEAST_VARIANCE)
        made = (torch.from_numpy(each).to(rows.device, rows.dtype) for each in (weight, offset, variance))
        return Machine(rows, *made)

    def predict(self, state: Machine, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        likeness = self.raw.similarity(self.raw(query.features), state.rows)
        mean = (likeness @ state.weight[..., None])[..., 0] + state.offset[:, None]
        return Normal(mean, state.variance.sqrt()[:, None].expand_as(mean), validate_args=False)
