"""A fitted meta-model as scikit-learn's estimators: `fit(X, y)` adapts it to one table, so that it goes into pipelines, searches and calibration."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from warnings import warn

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from metamedica.errors import InputError, TaskError
from metamedica.meta_learner import MetaLearner, model_folder
from metamedica.modalities.any_table import AnyTable
from metamedica.modalities.tables import Tables
from metamedica.predictors.model import FittedModel
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.support import Support, read_support
from metamedica.storage import MANIFEST
from metamedica.types import TaskKind

Fitted = TypeVar("Fitted", bound="AdaptedEstimator")
_LEAST = 2
"""Labelled rows that a task needs."""
_AT_ONCE = 64
"""Rows that are answered together."""


class AdaptedEstimator(BaseEstimator, ABC):  # type: ignore[misc]
    """A meta-model that `fit` adapts to the rows of one table; the model itself stays as it was.

    Rows are a data frame (numbers, texts, categories, missing cells) or an array of numbers, in which NaN is a missing cell; the columns of an
    array are called x0, x1, ... A column that tells two classes apart without error, which `MetaLearner.adapt` refuses, is warned of here.

    After `fit`: `predictor_` (which knows `trust`, and holds the rows: it is as personal as they are), `n_features_in_`, and `feature_names_in_`
    where the columns have names.

    Args:
        model: a shipped model by name, a saved one by its folder, or a fitted `MetaLearner`, which `clone` empties unless it is wrapped in
            `sklearn.frozen.FrozenEstimator`. It must read tables.
        guard: whether it is weighed against methods from scratch (do no harm).
    """

    def __init__(self, model: str | Path | MetaLearner | FrozenEstimator, *, guard: bool = True) -> None:
        self.model = model
        self.guard = guard

    @abstractmethod
    def _support(self, model: FittedModel, frame: pd.DataFrame, y: NDArray[Any]) -> Support:
        """Return the rows as the support of a task."""

    def fit(self: Fitted, X: Any, y: Any) -> Fitted:
        """Adapt the model to labelled rows.

        Args:
            X: `[rows, columns]`, at least 2 rows.
            y: `[rows]`, a label or a number each.

        Raises:
            InputError: the model does not read tables, is not fitted, or cannot learn such a task; a cell cannot be read.
            ValueError: what scikit-learn refuses: sparse or complex numbers, a missing or infinite target, other lengths.
        """
        frame, y = self._labelled(X, y)
        model = fitted_model(self.model)
        if not isinstance(model.modality, Tables | AnyTable):
            raise InputError(
                f"the model reads {model.modality.name}, and a table came; use its own `adapt`, or give a model of tables such as 'any-table'"
            )
        model.learner.check_kind(self._kind(y))
        model = model.with_own(frame)
        self.predictor_ = Predictor(model, self._support(model, frame, y), guard=self.guard)
        return self

    @abstractmethod
    def _kind(self, y: NDArray[Any]) -> TaskKind:
        """Return the kind of task that checked targets ask, and remember their classes."""

    def _labelled(self, X: Any, y: Any) -> tuple[pd.DataFrame, NDArray[Any]]:
        if y is None:
            raise TaskError(
                f"{type(self).__name__} requires y to be passed, but the target y is None; give one target per row"
            )
        frame = self._frame(X, reset=True)
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_consistent_length(frame, y)
        return frame, y

    def _frame(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """Return rows as a data frame whose columns are called as in `fit`."""
        least = _LEAST if reset else 1
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if len(X) < least or X.shape[1] == 0:
                raise InputError(
                    f"Found a data frame with {len(X)} sample(s) and {X.shape[1]} feature(s); give at least {least} and 1"
                )
            frame = X.copy(deep=False)
        else:
            frame = pd.DataFrame(
                validate_data(
                    self, X, reset=reset, dtype="numeric", ensure_all_finite="allow-nan", ensure_min_samples=least
                )
            )
        names = getattr(self, "feature_names_in_", [f"x{number}" for number in range(self.n_features_in_)])
        frame.columns = pd.Index([str(name) for name in names])
        return frame.reset_index(drop=True)

    def _answers(self, X: Any, answer: Callable[[Predictor, pd.DataFrame], NDArray[Any]]) -> NDArray[Any]:
        """Return what the predictor answers for each row, the same to the bit whatever rows are asked with it: sums in single precision are
        rounded otherwise in batches of another size, so all have one size, filled up with the last row."""
        check_is_fitted(self)
        frame = self._frame(X, reset=False)
        place = np.minimum(np.arange(-(-len(frame) // _AT_ONCE) * _AT_ONCE), len(frame) - 1)
        parts = [answer(self.predictor_, frame.iloc[rows]) for rows in place.reshape(-1, _AT_ONCE)]
        return np.concatenate(parts)[: len(frame)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class AdaptedClassifier(ClassifierMixin, AdaptedEstimator):  # type: ignore[misc]
    """A meta-model adapted to labelled rows of two classes or more; see `AdaptedEstimator`. After `fit` also `classes_`.

    Args:
        model: see `AdaptedEstimator`; the shipped `any-table` reads tables of any columns.
        guard: see `AdaptedEstimator`.
    """

    def __init__(self, model: str | Path | MetaLearner | FrozenEstimator = "any-table", *, guard: bool = True) -> None:
        super().__init__(model, guard=guard)

    def _kind(self, y: NDArray[Any]) -> TaskKind:
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise TaskError("the labels are all of one class; give rows of at least two classes")
        return "binary" if len(self.classes_) == 2 else "multiclass"

    def _support(self, model: FittedModel, frame: pd.DataFrame, y: NDArray[Any]) -> Support:
        place = np.searchsorted(self.classes_, y)
        digits = len(str(len(self.classes_) - 1))
        kind: TaskKind = "binary" if len(self.classes_) == 2 else "multiclass"
        support = read_support(model, frame, [f"{each:0{digits}d}" for each in place], kind=kind)
        if kind == "binary":
            for name in model.modality.leaks(frame, place.tolist()):
                warn(
                    f"the column {name!r} tells the two classes apart without error: if it is the label, or was written after it, leave it out",
                    stacklevel=3,
                )
        return replace(support, classes=tuple(str(label) for label in self.classes_))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return class probabilities `[rows, classes]`, columns in the order of `classes_`.

        Raises:
            NotFittedError: `fit` was not called.
            InputError: a cell cannot be read.
        """
        return self._answers(X, Predictor.predict_proba)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label `[rows]`; raises as `predict_proba`."""
        chosen = self.predict_proba(X).argmax(1)
        labels: NDArray[Any] = self.classes_[chosen]
        return labels


class AdaptedRegressor(RegressorMixin, AdaptedEstimator):  # type: ignore[misc]
    """A meta-model adapted to rows with a number each; see `AdaptedEstimator`.

    Args:
        model: see `AdaptedEstimator`; none that ships learns numbers from tables.
        guard: see `AdaptedEstimator`.
        unit: of the targets; where earlier tasks had this unit, their usual spread steadies the scale of a few rows.
    """

    def __init__(
        self, model: str | Path | MetaLearner | FrozenEstimator, *, guard: bool = True, unit: str | None = None
    ) -> None:
        super().__init__(model, guard=guard)
        self.unit = unit

    def _kind(self, y: NDArray[Any]) -> TaskKind:
        return "regression"

    def _support(self, model: FittedModel, frame: pd.DataFrame, y: NDArray[Any]) -> Support:
        return read_support(model, frame, y.tolist(), kind="regression", unit=self.unit)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the expected targets `[rows]`.

        Raises:
            NotFittedError: `fit` was not called.
            InputError: a cell cannot be read.
        """
        return self._answers(X, Predictor.predict)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> NDArray[np.float64]:
        """Return intervals `[rows, 2]` that hold the target with probability `coverage`; raises as `predict`."""
        return self._answers(X, lambda predictor, frame: predictor.predict_interval(frame, coverage))


def fitted_model(model: str | Path | MetaLearner | FrozenEstimator) -> FittedModel:
    """Return the fitted model that a name, a folder or a meta-learner stands for; one from a folder is read once and shared.

    Raises:
        BundleError: there is no such model, or it is damaged.
        InputError: the meta-learner is not fitted, or it is something else.
    """
    if isinstance(model, FrozenEstimator):
        model = model.estimator
    if isinstance(model, MetaLearner):
        if not hasattr(model, "model_"):
            raise InputError(
                "the MetaLearner is not fitted (`clone`, and so every search and cross-validation, empties one); fit it, and give "
                "FrozenEstimator(it), or the folder that it is saved in"
            )
        found: FittedModel = model.model_
        return found
    if not isinstance(model, str | Path):
        raise InputError(f"got a {type(model).__name__} as model; give a name, a folder or a fitted MetaLearner")
    folder = model_folder(model)
    return _read(str(folder), (folder / MANIFEST).read_text(encoding="utf-8"))


@lru_cache(maxsize=4)
def _read(folder: str, manifest: str) -> FittedModel:
    """Return the model in a folder; another manifest is another model."""
    return FittedModel.load(folder)
