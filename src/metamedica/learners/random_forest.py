"""Random forest from scratch on the modality's flat features (scikit-learn grows the trees)."""

import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.functional.classes import membership, smoothed
from metamedica.functional.trees import GrownTree, TreeArrays, tree_arrays, walk
from metamedica.types import CaseBatch, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind

_PRIOR_CASES = 2.0
_LEAST_VARIANCE = 0.05
_ROUNDING = 256


@dataclass(frozen=True)
class Forest:
    """Each task's trees, and what its support says beside them."""

    trees: TreeArrays
    depth: int
    residual: Float[Tensor, " tasks"]
    """Variance that the spread between trees does not explain (regression; 0 for classes)."""
    counts: Float[Tensor, "tasks outputs"]
    """Support cases per class; the number of cases for regression."""
    regression: bool


def in_order(
    cases: NDArray[np.float32], goals: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64], int]:
    """Return one task's cases and goals sorted by content, and a seed made of the cases.

    Content is rounded to 1/256 first, so that the last bit of a float decides neither order nor seed.

    Args:
        cases: `[n, flat]`.
        goals: `[n, outputs]`.
    """
    rounded = np.rint(cases * _ROUNDING).astype(np.int32)
    order = sorted(range(len(cases)), key=lambda i: (rounded[i].tobytes(), goals[i].tobytes(), cases[i].tobytes()))
    return cases[order], goals[order], zlib.crc32(rounded[order].tobytes())


def unexplained_variance(forest: Any, cases: NDArray[np.float32], targets: NDArray[np.float64]) -> float:
    """Return the out-of-bag mean of squared residual minus spread between trees, pulled towards 1 by two cases, at least 0.05.

    Args:
        forest: a scikit-learn forest fitted to these cases in this order.
        cases: `[n, flat]`.
        targets: `[n]`, in standard units.
    """
    each = np.stack([tree.tree_.predict(cases).reshape(-1) for tree in forest.estimators_])
    out = np.ones(each.shape, dtype=bool)
    for number, drawn in enumerate(forest.estimators_samples_):
        out[number, drawn] = False
    count = out.sum(0)
    mean = (each * out).sum(0) / np.maximum(count, 1)
    spread = ((each - mean) ** 2 * out).sum(0) / np.maximum(count, 1)
    excess = ((targets - mean) ** 2 - spread)[count > 1]
    return float(max((_PRIOR_CASES + excess.sum()) / (_PRIOR_CASES + len(excess)), _LEAST_VARIANCE))


def _grown(tree: Any) -> GrownTree:
    value = tree.value.reshape(tree.node_count, -1)
    leaf = tree.children_left < 0
    return GrownTree(tree.feature, tree.threshold, tree.children_left, tree.children_right, value, leaf)


class RandomForest(Learner[Forest]):
    """Breiman's forest: bootstrap trees, sqrt of the features tried per split for classes, a third for regression.

    Class probabilities are the mean leaf frequencies p, smoothed to (n p + 1/2) / (n + C/2) with n support cases, so that none is 0
    or 1. Regression: a Normal with the mean of the trees and, as variance, their spread plus what out-of-bag residuals show
    beyond it. Learns nothing from tasks. A support of one class is allowed.

    Classes are learned as one-hot outputs, whose variance is half the Gini impurity: the trees are those of a classification forest.
    Same set of support cases, same forest: cases are sorted by content and the seed is a checksum of them.

    Args:
        raw: its `flat` features are the inputs.
        trees: number of trees.
    """

    paper: ClassVar[Paper] = Paper("Random forests", "Breiman", 2001, "doi:10.1023/A:1010933404324")
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(self, raw: RawEncoder, *, trees: int = 100) -> None:
        super().__init__()
        self.raw = raw
        self.trees = trees

    def adapt(self, support: LabelledBatch) -> Forest:
        """Return the forest of each task, as tensors."""
        self.check_kind(support.kind)
        flat = self.raw.flat(support.features).detach()
        regression = support.kind == "regression"
        goals = support.targets[..., None].to(flat.dtype) if regression else membership(support, flat.dtype)
        forests, residuals = [], []
        for task in range(len(flat)):
            real = support.mask[task]
            cases, wanted, seed = in_order(
                flat[task, real].to("cpu", torch.float32).numpy(), goals[task, real].to("cpu", torch.float64).numpy()
            )
            features = 1 / 3 if regression else "sqrt"
            forest = RandomForestRegressor(self.trees, max_features=features, random_state=seed, n_jobs=1)
            forests.append(forest.fit(cases, wanted[:, 0] if regression else wanted))
            residuals.append(unexplained_variance(forest, cases, wanted[:, 0]) if regression else 0.0)
        trees = [[tree.tree_ for tree in forest.estimators_] for forest in forests]
        nodes = max(tree.node_count for forest in trees for tree in forest)
        arrays = zip(*(tree_arrays([_grown(tree) for tree in forest], nodes) for forest in trees), strict=True)
        stacked = TreeArrays(*(torch.stack(each).to(flat.device) for each in arrays))
        stacked = stacked._replace(value=stacked.value.to(flat.dtype))
        depth = max(tree.max_depth for forest in trees for tree in forest)
        residual = flat.new_tensor(residuals)
        counts = support.counts()[:, None].to(flat.dtype) if regression else goals.sum(1)
        return Forest(stacked, depth, residual, counts, regression)

    def predict(self, state: Forest, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        flat = self.raw.flat(query.features)
        each = torch.stack(
            [
                walk(TreeArrays(*(part[task] for part in state.trees)), flat[task], state.depth)
                for task in range(len(flat))
            ]
        )
        mean = each.mean(1)
        if not state.regression:
            return Categorical(probs=smoothed(mean, state.counts), validate_args=False)
        variance = each.var(1, correction=0)[..., 0] + state.residual[:, None]
        return Normal(mean[..., 0], variance.sqrt(), validate_args=False)
