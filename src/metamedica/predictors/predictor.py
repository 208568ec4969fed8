"""What adaptation returns to a user: a frozen predictor for one task. scikit-learn manners; a law inside, numbers outside."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, r2_score
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.errors import CaseError, TaskError
from metamedica.functional.conformal import check_coverage
from metamedica.predictors import saving
from metamedica.predictors.calibration import (
    AdaptedCalibrated,
    Calibration,
    check_calibration,
    check_enough,
    chosen,
    fit_map,
)
from metamedica.predictors.certainty import Certainty
from metamedica.predictors.expected_gain import ExpectedGain
from metamedica.predictors.explanation import Explanation, explain
from metamedica.predictors.method import Adapted
from metamedica.predictors.model import FittedModel
from metamedica.predictors.self_report import expected_gain_of, predictor_card, trust_of
from metamedica.predictors.shift import Shift
from metamedica.predictors.slopes import Slopes
from metamedica.predictors.support import Support, as_cases
from metamedica.predictors.table import answer_table
from metamedica.predictors.task_explanation import TaskExplanation, explain_task
from metamedica.predictors.trust import Trust
from metamedica.storage import read_bundle, write_bundle
from metamedica.types import CaseBatch, Features, Law, PreparedCases, Progress, TaskKind

KIND = "predictor"
_CHUNK = 1024
"""Featurised cases at a time: larger chunks no longer save time."""
_SHOWN = 3


class Predictor:
    """A meta-model adapted to one task. Predicting never changes it, and it shares nothing mutable with other predictors.

    Args:
        model: the fitted meta-model (shared, frozen).
        support: the task's cases. They are kept: a saved predictor contains them and is as personal as they are.
        guard: False trusts the learned method alone; so does a support whose labels show fewer than two classes, which `trust` says.
        calibration: map that sets probabilities right by the labelled cases, one of `calibration.CALIBRATIONS`; "auto" chooses by their number.
    """

    def __init__(
        self, model: FittedModel, support: Support, *, guard: bool = True, calibration: Calibration = "none"
    ) -> None:
        self.model = model
        self.support = support
        self.guard = guard
        self.calibration = check_calibration(calibration)
        method = model.method(support.kind, unit=support.unit, guard=guard and support.compares)
        self._adapted = method.adapt(support.batch, support.unlabelled)
        self.certainty = Certainty(method, self._adapted, support, model.raw)
        how = chosen(self.calibration, support.kind, support.batch.targets.shape[1])
        if how != "none" and self.calibration != "auto":
            check_enough(self.certainty.held_out, how, support.classes)
        change = None if how == "none" else fit_map(how, self.certainty.held_out)
        self._answers: Adapted = self._adapted if change is None else AdaptedCalibrated(self._adapted, change)

    @property
    def kind(self) -> TaskKind:
        return self.support.kind

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Labels by class index; None for regression."""
        return self.support.classes

    @property
    def unit(self) -> str | None:
        return self.support.unit

    @cached_property
    def shift(self) -> Shift:
        """Whether the task looks unlike all earlier ones: its values, what it has measured, its labels."""
        support = self.support
        return self.model.cases.shift(
            support.rows, support.batch, modality=self.model.modality, unit=self.unit, unread=support.unread
        )

    @cached_property
    def expected_gain(self) -> ExpectedGain | None:
        """How much better than the best method from scratch its answers are expected to be; None where too few labels tell."""
        return expected_gain_of(self, self._adapted)

    @cached_property
    def trust(self) -> Trust:
        """How far the predictor leans on earlier tasks, and on which."""
        return trust_of(self, self._adapted)

    def _prepare(self, cases: Any) -> PreparedCases:
        prepared = self.model.prepare(as_cases(cases))
        if prepared.problems:
            shown = "; ".join(f"case {p.position + 1} ({p.text!r}): {p.reason}" for p in prepared.problems[:_SHOWN])
            raise CaseError(
                f"{len(prepared.problems)} of {len(cases)} cases cannot be read: {shown}; mend them, leave them out, or use predict_table"
            )
        return prepared

    def law(self, features: Features) -> Law:
        """Return the law of featurised cases, batch shape `[cases]`: `Categorical` over classes, or `Normal` in the task's unit.

        Args:
            features: the modality's blocks, `[cases, size]`.

        Raises:
            TaskError: the learner gave what is no number.
        """
        return self._law(self._answers, features)

    def _law(self, adapted: Adapted, features: Features) -> Law:
        size = len(next(iter(features.values())))
        laws: list[Law] = []
        for start in range(0, size, _CHUNK):
            chunk = {name: _ready(block[start : start + _CHUNK])[None] for name, block in features.items()}
            count = len(next(iter(chunk.values()))[0])
            laws.append(adapted.predict(CaseBatch(chunk, torch.ones(1, count, dtype=torch.bool))))
        if self.kind == "regression":
            mean = torch.cat([law.mean[0] for law in laws] or [torch.zeros(0)])
            deviation = torch.cat([law.stddev[0] for law in laws] or [torch.ones(0)])
            self._check(
                torch.isfinite(mean) & torch.isfinite(deviation) & (deviation > 0), "mean or standard deviation"
            )
            return Normal(mean, deviation, validate_args=False)
        n_classes = len(self.classes or ())
        logits = torch.cat(
            [law.logits[0] for law in laws if isinstance(law, Categorical)] or [torch.zeros(0, n_classes)]
        )
        self._check(~logits.isnan().any(-1) & torch.isfinite(logits.amax(-1)), "probability")
        return Categorical(logits=logits, validate_args=False)

    def _check(self, good: Bool[Tensor, " cases"], what: str) -> None:
        """Refuse answers that are no numbers.

        Raises:
            TaskError: there is one.
        """
        if not bool(good.all()):
            raise TaskError(
                f"the learner {self.model.spec.learner!r} gave a {what} that is no number for {int((~good).sum()):,} of {len(good):,} cases; "
                "no answer is given: mend the learner, or fit another"
            )

    def _features_of(self, cases: Any) -> Features:
        prepared = self._prepare(cases)
        rows = torch.tensor(prepared.row, dtype=torch.int64)
        return {name: block[rows] for name, block in prepared.features.items()}

    def _law_of(self, cases: Any) -> Law:
        return self.law(self._features_of(cases))

    def predict(self, cases: Any) -> NDArray[Any]:
        """Return the expected target `[cases]` (regression, in the task's unit) or the most probable label `[cases]`.

        Raises:
            CaseError: a case cannot be read.
        """
        law = self._law_of(cases)
        if isinstance(law, Categorical):
            labels: NDArray[Any] = np.array(self.classes, dtype=object)
            chosen: NDArray[Any] = labels[law.probs.argmax(-1).numpy()]
            return chosen
        return law.mean.double().numpy()

    def predict_proba(self, cases: Any) -> NDArray[Any]:
        """Return class probabilities `[cases, classes]`, columns in the order of `classes`.

        Raises:
            TaskError: a regression task has no classes.
            CaseError: a case cannot be read.
        """
        law = self._law_of(cases)
        if not isinstance(law, Categorical):
            raise TaskError(
                "this is a regression task, which has no class probabilities; use predict or predict_interval"
            )
        return law.probs.double().numpy()

    def predict_interval(self, cases: Any, coverage: float = 0.9) -> NDArray[Any]:
        """Return central intervals `[cases, 2]` that hold the target with probability `coverage`, in the task's unit.

        The labelled cases, each hidden in turn, say how far a target may lie from its mean (`functional/conformal.half_width`); n of them vouch
        for a coverage up to n / (n + 1), and what is wider goes on as the normal law does.

        Raises:
            TaskError: coverage is not between 0 and 1, or the task has classes.
            CaseError: a case cannot be read.
        """
        check_coverage(coverage)
        features = self._features_of(cases)
        law = self.law(features)
        if not isinstance(law, Normal):
            raise TaskError(f"this is a {self.kind} task, which has no intervals; use predict_set or predict_proba")
        return self.interval_of(law, features, coverage)

    def interval_of(self, law: Law, features: Features, coverage: float) -> NDArray[np.float64]:
        """Return the interval of each case, `[cases, 2]`, from its law. Arguments as those of `law` and `predict_interval`."""
        plain = self._uncalibrated(law, features)
        width = self.certainty.half_widths(features, coverage).numpy() * plain.stddev.double().numpy()
        centre = plain.mean.double().numpy()
        return np.stack([centre - width, centre + width], axis=-1)

    def _uncalibrated(self, law: Law, features: Features) -> Law:
        """Return the law that the scores of hidden cases are measured by: that before any calibration."""
        return law if self._answers is self._adapted else self._law(self._adapted, features)

    def predict_set(self, cases: Any, coverage: float = 0.9) -> NDArray[np.bool_]:
        """Return which classes belong to the set of each case, `[cases, classes]`, columns in the order of `classes`.

        A set holds the true class with probability `coverage` (`functional/conformal`): the labelled cases, each hidden in turn, say how
        improbable a true class may be called. n of them vouch for at most n / (n + 1); beyond that a set holds every class. With
        unlabelled cases (`adapt(..., unlabelled=)`) they are weighted by how much denser such cases lie.

        Raises:
            TaskError: coverage is not between 0 and 1, or the task is a regression.
            CaseError: a case cannot be read.
        """
        check_coverage(coverage)
        features = self._features_of(cases)
        law = self.law(features)
        if not isinstance(law, Categorical):
            raise TaskError("this is a regression task, which has no sets of classes; use predict_interval")
        return self.set_of(law, features, coverage)

    def set_of(self, law: Law, features: Features, coverage: float) -> NDArray[np.bool_]:
        """Return which classes belong to the set of each case, `[cases, classes]`, from its law. Arguments as those of `interval_of`."""
        plain = self._uncalibrated(law, features)
        assert isinstance(plain, Categorical)
        return self.certainty.sets(plain, features, coverage).numpy()

    def sureness(self, cases: Any) -> NDArray[np.float64]:
        """Return how sure the answer of each case is, `[cases]`, 0 to 1, larger is surer (`Certainty.sureness`).

        Raises:
            CaseError: a case cannot be read.
        """
        return self.certainty.sureness(self._law_of(cases))

    def asks(self, cases: Any, share: float = 0.2) -> NDArray[np.bool_]:
        """Return for which cases a person should be asked, `[cases]`: those less sure than the least sure `share` of the labelled cases were
        while each was hidden. Asking about a larger share never leaves out a case of a smaller one.

        Raises:
            TaskError: a share that is not from 0 to 1, or too few labelled cases to tell.
            CaseError: a case cannot be read.
        """
        return self.sureness(cases) < self.certainty.least_sure(share)

    def score(self, cases: Any, targets: Sequence[Any] | NDArray[Any]) -> float:
        """Return R² (regression) or accuracy (classes), as scikit-learn's estimators do."""
        predicted = self.predict(cases)
        if self.kind == "regression":
            return float(r2_score(np.asarray(targets, dtype=float), predicted))
        return float(accuracy_score([str(t) for t in targets], [str(p) for p in predicted]))

    def rank_correlation(self, cases: Any, targets: Sequence[float] | NDArray[Any]) -> float:
        """Return Spearman's rank correlation between predicted and measured targets."""
        return float(spearmanr(self.predict(cases), np.asarray(targets, dtype=float)).statistic)

    def predict_table(
        self,
        cases: Any,
        *,
        coverage: float = 0.9,
        skip_invalid: bool = False,
        progress: Progress | None = None,
    ) -> pd.DataFrame:
        """Return one row per case, in input order: prediction, uncertainty, and the most similar labelled case.

        Columns: `case`, `canonical` (where cases are texts); regression: `prediction`, `low`, `high`; classes: `prediction`, `p_<label>`
        and `set` (the labels that belong to the set, `|` between them); `nearest_labelled`, `similarity` (raw similarity to it, 0 to 1); with
        `skip_invalid`, `problem`, with no prediction where a case cannot be read. `attrs["remarks"]` says which cells were read otherwise than
        they stand there.

        Raises:
            CaseError: a case cannot be read and `skip_invalid` is false.
            TaskError: an impossible coverage.
        """
        check_coverage(coverage)
        cases = as_cases(cases)
        prepared = self.model.prepare(cases, progress=progress)
        if prepared.problems and not skip_invalid:
            prepared = self._prepare(cases)
        return answer_table(self, cases, prepared, coverage=coverage, problems=skip_invalid)

    def explain(
        self, cases: Any, *, label: object | None = None, coalitions: int | None = None, seed: int = 0
    ) -> list[Explanation]:
        """Return, for each case, what each of its parts (atom, column) contributes to its answer, and the nearest labelled cases.

        Args, errors: those of `predictors/explanation.explain`; the answer is the log-odds of a class, or the expected value in the task's unit.
        """
        return explain(self, self._answers, self._prepare(cases), label=label, coalitions=coalitions, seed=seed)

    def slopes(self, block: str) -> Slopes:
        """Return the log-odds of a class as a function that gradients pass through, in what a network sees; see `predictors/slopes.Slopes`."""
        return Slopes(self, self._adapted, block)

    def explain_task(
        self, *, label: object | None = None, coalitions: int | None = None, seed: int = 0
    ) -> TaskExplanation:
        """Return what the task's labels changed against what earlier tasks say alone; see `predictors/task_explanation.explain_task`."""
        return explain_task(self, self._answers, self._adapted, label=label, coalitions=coalitions, seed=seed)

    def card(self) -> str:
        """Return a short Markdown card: what it is, how far it may be trusted, and that it holds the labelled cases."""
        return predictor_card(self)

    def save(self, folder: str | Path) -> None:
        """Write the predictor, whole: model, labelled cases, checksums. Loading adapts again and gives the same numbers."""
        write_bundle(Path(folder), KIND, *saving.parts(self), texts={"CARD.md": self.card()})

    def export_onnx(self, path: str | Path) -> dict[str, Any]:
        """Write the whole predictor as one ONNX file, for places without PyTorch, and two that say how to run it; return what they say.

        Inputs are the modality's blocks `[cases, size]`; outputs class probabilities, or mean and standard deviation in the task's unit.
        The files come from the labelled cases and are as personal as they are.

        Args:
            path: of the file, `NAME.onnx`; beside it `NAME.onnx.json` and `NAME.onnx.md` are written.

        Raises:
            FileFormatError: the name does not end with `.onnx`.
            InputError: the method uses what ONNX cannot say.
            MissingExtraError: `onnx` or `onnxruntime` is not installed.
        """
        from metamedica.predictors.export import file

        return file.write(self, self._answers, path)

    @classmethod
    def load(cls, folder: str | Path) -> "Predictor":
        """Return the predictor saved in a folder.

        Raises:
            BundleError: the folder is not a predictor, or is damaged.
        """
        tensors, documents = read_bundle(Path(folder), KIND)
        model = FittedModel.from_parts(tensors, documents, source=str(folder))
        support, settings = saving.read_parts(tensors, documents, source=str(folder))
        return cls(model, support, **settings)

    def as_dict(self) -> dict[str, Any]:
        """Return what the predictor says of itself, as a JSON value; no labelled case is in it."""
        return {
            "kind": self.kind,
            "unit": self.unit,
            "classes": list(self.classes) if self.classes is not None else None,
            "labelled_cases": len(self.support.canonical),
            "unlabelled_cases": 0 if self.support.unlabelled is None else self.support.unlabelled.n_cases,
            "learner": asdict(self.model.spec)["learner"],
            "trust": self.trust.as_dict(),
            "expected_gain": None if self.expected_gain is None else self.expected_gain.as_dict(),
            "shift": self.shift.as_dict(),
            "calibration": self.calibration,
        }


def _ready(block: Tensor) -> Tensor:
    """Return floating point in single precision; whole numbers stay, since encoders that compare bytes do it faster than numbers."""
    return block.to(torch.float32) if block.is_floating_point() else block
