"""What adaptation returns to a user: a frozen predictor for one task. scikit-learn manners; a law inside, numbers outside."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr
from sklearn.metrics import accuracy_score, r2_score
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.errors import BundleError, CaseError, TaskError
from metamedica.functional.leaning import WeighsItself
from metamedica.predictors.explanation import Explanation, explain
from metamedica.predictors.guard import AdaptedMixture, cohesion
from metamedica.predictors.method import AdaptedLearner
from metamedica.predictors.model import FittedModel
from metamedica.predictors.support import Support, as_cases, case_number, shown_cases
from metamedica.predictors.task_explanation import TaskExplanation, explain_task
from metamedica.predictors.trust import NOTHING, Trust
from metamedica.storage import read_bundle, write_bundle
from metamedica.types import CaseBatch, Features, LabelledBatch, Law, PreparedCases, Progress, TaskKind

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
    """

    def __init__(self, model: FittedModel, support: Support, *, guard: bool = True) -> None:
        self.model = model
        self.support = support
        self.guard = guard
        method = model.method(support.kind, unit=support.unit, guard=guard and support.compares)
        self._adapted = method.adapt(support.batch, support.unlabelled)

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

    @property
    def trust(self) -> Trust:
        """How far the predictor leans on earlier tasks, and on which."""
        rows = self.model.raw(self.support.rows)
        near = self.model.earlier.near(self.model.raw, rows)
        closeness = float(cohesion(self.model.raw, self.support.batch)[0])
        earlier, distinct = self.model.earlier, self.model.modality.distinct
        seen = float(earlier.seen(self.model.raw, self.support.batch)[0]) if distinct else None
        name = self.model.spec.learner
        if isinstance(self._adapted, AdaptedLearner) and isinstance(self.model.learner, WeighsItself):
            leaning = self.model.learner.leaning(self._adapted.state)
            shares = {part: float(share[0]) for part, share in leaning.shares.items()}
            return Trust(float(leaning.learned[0]), float(leaning.gain[0]), shares, closeness, seen, near)
        if not isinstance(self._adapted, AdaptedMixture):
            learned = float(self.model.learner.learns_from_tasks())
            compared = not self.guard or self.support.compares or not self.model.guards(self.model.learner)
            others = () if compared else self.model.from_scratch
            return Trust(
                learned, 0.0, {name: 1.0, **dict.fromkeys(others, 0.0)}, closeness, seen, near, compared=compared
            )
        weights = self._adapted.weighed.weights[0]
        held_out = self._adapted.weighed.evidence.held_out[0]
        candidates = dict(zip([name, *self.model.from_scratch], [float(w) for w in weights], strict=True))
        return Trust(float(weights[0]), float(held_out[0] - held_out[1:].max()), candidates, closeness, seen, near)

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
        """
        size = len(next(iter(features.values())))
        laws: list[Law] = []
        for start in range(0, size, _CHUNK):
            chunk = {name: _ready(block[start : start + _CHUNK])[None] for name, block in features.items()}
            count = len(next(iter(chunk.values()))[0])
            laws.append(self._adapted.predict(CaseBatch(chunk, torch.ones(1, count, dtype=torch.bool))))
        if self.kind == "regression":
            return Normal(
                torch.cat([law.mean[0] for law in laws] or [torch.zeros(0)]),
                torch.cat([law.stddev[0] for law in laws] or [torch.ones(0)]),
                validate_args=False,
            )
        n_classes = len(self.classes or ())
        logits = [law.logits[0] for law in laws if isinstance(law, Categorical)] or [torch.zeros(0, n_classes)]
        return Categorical(logits=torch.cat(logits), validate_args=False)

    def _law_of(self, cases: Any) -> Law:
        prepared = self._prepare(cases)
        rows = torch.tensor(prepared.row, dtype=torch.int64)
        return self.law({name: block[rows] for name, block in prepared.features.items()})

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

        Raises:
            TaskError: coverage is not between 0 and 1, or the task has classes.
            CaseError: a case cannot be read.
        """
        if not 0 < coverage < 1:
            raise TaskError(f"got coverage {coverage}; give a number between 0 and 1, such as 0.9")
        law = self._law_of(cases)
        if not isinstance(law, Normal):
            raise TaskError(f"this is a {self.kind} task, which has no intervals; use predict_proba")
        return _interval(law, coverage)

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

        Columns: `case`, `canonical` (where cases are texts); regression: `prediction`, `low`, `high`; classes: `prediction` and
        `p_<label>`; `nearest_labelled`, `similarity` (raw similarity to it, 0 to 1); with `skip_invalid`, `problem`, with no prediction
        where a case cannot be read. `attrs["remarks"]` says which cells were read otherwise than they stand there.

        Raises:
            CaseError: a case cannot be read and `skip_invalid` is false.
        """
        cases = as_cases(cases)
        prepared = self.model.prepare(cases, progress=progress)
        if prepared.problems and not skip_invalid:
            prepared = self._prepare(cases)
        row = np.array(prepared.row, dtype=np.int64)
        good = row >= 0
        law = self.law(prepared.features)
        near, similarity = self._nearest(prepared.features)
        text = np.array([*prepared.canonical, ""], dtype=object)
        columns: dict[str, Any] = {"case": shown_cases(cases), "canonical": text[row]}
        known = self.support.canonical
        if not self.model.modality.distinct:  # a row is a person's: told by its number
            del columns["canonical"]
            known = [f"labelled case {number}" for number in range(1, len(known) + 1)]

        def spread(values: NDArray[Any], empty: Any) -> NDArray[Any]:
            padded = np.concatenate([values, np.array([empty], dtype=values.dtype)])
            return padded[np.where(good, row, len(values))]

        if isinstance(law, Categorical):
            probability = law.probs.double().numpy()
            labels = np.array(self.classes, dtype=object)
            columns["prediction"] = spread(labels[probability.argmax(-1)] if len(probability) else labels[:0], "")
            for index, label in enumerate(self.classes or ()):
                columns[f"p_{label}"] = spread(probability[:, index], np.nan)
        else:
            low_high = _interval(law, coverage)
            columns["prediction"] = spread(law.mean.double().numpy(), np.nan)
            columns["low"] = spread(low_high[:, 0], np.nan)
            columns["high"] = spread(low_high[:, 1], np.nan)
        columns["nearest_labelled"] = spread(np.array([*known, ""], dtype=object)[near], "")
        columns["similarity"] = spread(similarity, np.nan)
        if skip_invalid:
            problem = np.full(len(cases), "", dtype=object)
            for each in prepared.problems:
                problem[each.position] = each.reason
            columns["problem"] = problem
        table = pd.DataFrame(columns)
        table.attrs["remarks"] = [
            f"{case_number(each)}column {each.text!r}: {each.reason}" for each in prepared.remarks
        ]
        return table

    def _nearest(self, features: Features) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return place in `support.canonical` and similarity of the nearest labelled case; -1 and NaN where there is none."""
        known = self.model.raw(self.support.batch.features)[0]
        size = len(next(iter(features.values())))
        if len(known) == 0:
            return np.full(size, -1), np.full(size, np.nan)
        best, index = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
        for start in range(0, size, _CHUNK):
            chunk = {name: block[start : start + _CHUNK].to(torch.float32) for name, block in features.items()}
            value, where = self.model.raw.similarity(self.model.raw(chunk), known).max(-1)
            best.append(value.double().numpy())
            index.append(where.numpy())
        return np.concatenate(index), np.concatenate(best)

    def explain(
        self, cases: Any, *, label: object | None = None, coalitions: int | None = None, seed: int = 0
    ) -> list[Explanation]:
        """Return, for each case, what each of its parts (atom, column) contributes to its answer, and the nearest labelled cases.

        Args, errors: those of `predictors/explanation.explain`; the answer is the log-odds of a class, or the expected value in the task's unit.
        """
        return explain(self, self._adapted, self._prepare(cases), label=label, coalitions=coalitions, seed=seed)

    def explain_task(
        self, *, label: object | None = None, coalitions: int | None = None, seed: int = 0
    ) -> TaskExplanation:
        """Return what the task's labels changed against what earlier tasks say alone; see `predictors/task_explanation.explain_task`."""
        return explain_task(self, self._adapted, self._adapted, label=label, coalitions=coalitions, seed=seed)

    def card(self) -> str:
        """Return a short Markdown card: what it is, how far it may be trusted, and that it holds the labelled cases."""
        trust = self.trust
        learned = self.model.spec.learner if trust.weight >= NOTHING else "nothing learned"
        lines = [
            "# Predictor",
            "",
            f"- Task: {self.kind}{f', in {self.unit}' if self.unit else ''}; {len(self.support.canonical)} labelled cases"
            + (f", {self.support.unlabelled.n_cases:,} without label" if self.support.unlabelled is not None else "")
            + (f"; all labels are {self.support.only_class!r}" if self.support.only_class is not None else ""),
            f"- Leans on: {learned}. {trust.verdict}",
            "- **Personal data**: this folder contains the cases themselves; keep it as you keep them.",
            *filter(None, [self.model.personal().strip()]),
            "- Research use only; not a medical device.",
        ]
        return "\n".join(lines) + "\n"

    def save(self, folder: str | Path) -> None:
        """Write the predictor, whole: model, labelled cases, checksums. Loading adapts again and gives the same numbers."""
        tensors, documents = self.model.parts()
        support: dict[str, Tensor] = {f"block.{name}": block for name, block in self.support.batch.features.items()}
        support["targets"] = self.support.batch.targets
        if self.support.unlabelled is not None:
            support |= {f"unlabelled.{name}": block for name, block in self.support.unlabelled.features.items()}
        documents["predictor"] = {
            "canonical": self.support.canonical,
            "classes": list(self.classes) if self.classes is not None else None,
            "unit": self.unit,
            "kind": self.kind,
            "guard": self.guard,
            "trust": self.trust.as_dict(),
        }
        write_bundle(Path(folder), KIND, {**tensors, "support": support}, documents, texts={"CARD.md": self.card()})

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

        return file.write(self, self._adapted, path)

    @classmethod
    def load(cls, folder: str | Path) -> "Predictor":
        """Return the predictor saved in a folder.

        Raises:
            BundleError: the folder is not a predictor, or is damaged.
        """
        tensors, documents = read_bundle(Path(folder), KIND)
        model = FittedModel.from_parts(tensors, documents, source=str(folder))
        try:
            saved, blocks = documents["predictor"], tensors["support"]
            features, unlabelled = (
                {name.removeprefix(part): value for name, value in blocks.items() if name.startswith(part)}
                for part in ("block.", "unlabelled.")
            )
            classes = tuple(saved["classes"]) if saved["classes"] is not None else None
            targets = blocks["targets"]
            batch = LabelledBatch(
                CaseBatch(features, torch.ones(targets.shape, dtype=torch.bool)),
                targets,
                saved["kind"],
                None if classes is None else len(classes),
            )
            others = None
            if unlabelled:
                size = next(iter(unlabelled.values())).shape[:2]
                others = CaseBatch(unlabelled, torch.ones(size, dtype=torch.bool))
            support = Support(list(saved["canonical"]), batch, classes, saved["unit"], unlabelled=others)
            return cls(model, support, guard=bool(saved["guard"]))
        except (KeyError, TypeError) as error:
            raise BundleError(
                f"{folder} does not describe a predictor that this version can build ({error})"
            ) from error

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
        }


def _ready(block: Tensor) -> Tensor:
    """Return floating point in single precision; whole numbers stay, since encoders that compare bytes do it faster than numbers."""
    return block.to(torch.float32) if block.is_floating_point() else block


def _interval(law: Law, coverage: float) -> NDArray[Any]:
    width = float(norm.ppf(0.5 + coverage / 2)) * law.stddev
    return torch.stack([law.mean - width, law.mean + width], dim=-1).double().numpy()
