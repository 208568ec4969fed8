"""What a data scientist would fit to a small table today: logistic regression, random forest and gradient boosting, each tuned on its labelled cases;
and published in-context models, where a user has their weights."""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.distributions import Categorical

from metamedica.functional.classes import HALF
from metamedica.types import CaseBatch, LabelledBatch, RawEncoder

Array = NDArray[np.float64]
_FOLDS = 5
_CLIP = 0.01


def _standardised(strength: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))


Make = Callable[[], Any]
Loss = Callable[[Make, Array, NDArray[np.int64]], float]


def _log_loss(labels: NDArray[np.int64], probability: Array) -> float:
    return float(log_loss(labels, np.clip(probability, _CLIP, 1 - _CLIP), labels=[0, 1]))


def cross_validated(make: Make, cases: Array, labels: NDArray[np.int64]) -> float:
    """Return the log-loss of stratified cross-validation, in five parts where the rarer class has as many cases."""
    parts = StratifiedKFold(min(_FOLDS, int(np.bincount(labels).min())), shuffle=True, random_state=0)
    return _log_loss(labels, cross_val_predict(make(), cases, labels, cv=parts, method="predict_proba")[:, 1])


def out_of_bag(make: Make, cases: Array, labels: NDArray[np.int64]) -> float:
    """Return the log-loss of each case under the trees that have not seen it."""
    forest = make().set_params(oob_score=True).fit(cases, labels)
    return _log_loss(labels, np.nan_to_num(forest.oob_decision_function_[:, 1], nan=float(labels.mean())))


_STRENGTHS = (0.1, 0.003, 0.01, 0.03, 0.3, 1.0, 10.0)
GRIDS: dict[str, tuple[Loss, list[Make]]] = {
    "logistic regression, tuned": (
        cross_validated,
        [
            *(partial(_standardised, strength) for strength in _STRENGTHS),
            *(partial(LogisticRegression, C=strength, max_iter=500) for strength in _STRENGTHS),
        ],
    ),
    "random forest, tuned": (
        out_of_bag,
        [
            partial(RandomForestClassifier, 100, max_features=share, min_samples_leaf=leaf, random_state=0)
            for share in ("sqrt", 0.5)
            for leaf in (1, 3)
        ],
    ),
    "gradient boosting, tuned": (
        cross_validated,
        [
            partial(
                GradientBoostingClassifier,
                n_estimators=trees,
                max_depth=depth,
                subsample=0.8,
                min_samples_leaf=2,
                random_state=0,
            )
            for trees in (20, 60)
            for depth in (1, 3)
        ],
    ),
}
"""Method -> how a setting is judged, and the settings that are tried; the first where the labelled cases cannot tell.

Logistic regression also chooses between columns in standard units of the labelled cases and as the modality reads them.
"""

PEERS = {"tabicl": ("TabICLClassifier", "TABICL_WEIGHTS"), "tabpfn": ("TabPFNClassifier", "TABPFN_WEIGHTS")}
"""Package -> its classifier, and the environment variable that names a file with the weights."""


@dataclass(frozen=True)
class Fitted:
    """An estimator a task, and what it needs beside."""

    raw: RawEncoder
    each: Sequence[Callable[[Array], Array]]

    def predict(self, query: CaseBatch) -> Categorical:
        """Return the law of each query case."""
        flat = self.raw.flat(query.features).double().numpy()
        probability = torch.from_numpy(np.stack([score(cases) for score, cases in zip(self.each, flat, strict=True)]))
        return Categorical(probs=torch.stack([1 - probability, probability], dim=-1), validate_args=False)


@dataclass(frozen=True)
class Tuned:
    """A scikit-learn classifier with the settings that have the least log-loss on labelled cases that it was not fitted to."""

    raw: RawEncoder
    loss: Loss
    grid: Sequence[Make]

    def adapt(self, support: LabelledBatch) -> Fitted:
        """Return the classifier of each task."""
        flat, mask = self.raw.flat(support.features).double().numpy(), support.mask.numpy()
        tasks = zip(flat, support.targets.numpy(), mask, strict=True)
        return Fitted(self.raw, [self._one(cases[real], labels[real]) for cases, labels, real in tasks])

    def __call__(self, support: LabelledBatch, query: CaseBatch) -> Categorical:
        """Return the law of each query case."""
        return self.adapt(support).predict(query)

    def _one(self, cases: Array, labels: NDArray[np.int64]) -> Callable[[Array], Array]:
        if len(np.unique(labels)) < 2:
            share = float((labels.sum() + HALF) / (len(labels) + 2 * HALF))
            return lambda asked: np.full(len(asked), share)
        chosen = self.best(cases, labels)().fit(cases, labels)
        return lambda asked: np.clip(chosen.predict_proba(asked)[:, 1], _CLIP, 1 - _CLIP)

    def best(self, cases: Array, labels: NDArray[np.int64]) -> Make:
        """Return the setting with the least loss; the first where a class has one case."""
        if len(self.grid) == 1 or np.bincount(labels).min() < 2:
            return self.grid[0]
        return self.grid[int(np.argmin([self.loss(make, cases, labels) for make in self.grid]))]


def tuned(raw: RawEncoder) -> dict[str, Tuned]:
    """Return the baselines by name."""
    return {name: Tuned(raw, loss, grid) for name, (loss, grid) in GRIDS.items()}


def peers(raw: RawEncoder) -> tuple[dict[str, Tuned], dict[str, str]]:
    """Return published in-context models that are installed and whose weights the environment names, and why the others are left out.

    Their packages read weights with pickle: name a file that you trust.
    """
    found, missing = {}, {}
    for package, (classifier, variable) in PEERS.items():
        if find_spec(package) is None:
            missing[package] = "not installed"
        elif not os.environ.get(variable):
            missing[package] = f"{variable} names no file with its weights"
        else:
            made = getattr(importlib.import_module(package), classifier)
            found[package] = Tuned(raw, cross_validated, [partial(made, model_path=os.environ[variable], device="cpu")])
    return found, missing
