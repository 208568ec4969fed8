"""Judge a predictor on labelled cases of its task, and gather all that a report of it shows."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.distributions import Categorical

from metamedica import cells
from metamedica.errors import CaseError, InputError, MissingExtraError, TaskError
from metamedica.functional.conformal import check_coverage
from metamedica.measured import Measures
from metamedica.predictors.predictor import Predictor
from metamedica.predictors.support import as_cases
from metamedica.reports import metrics
from metamedica.reports.assessment import Abstention, Asked, Assessment, Cover, Numbers
from metamedica.reports.calibration_figures import calibration, reliability
from metamedica.reports.case_card import case_card
from metamedica.reports.decision_curve import decision_curve
from metamedica.reports.estimates import RANKED_DRAWS, Estimate, estimated, mean_estimated
from metamedica.reports.fairness import FairnessAudit, fairness_audit
from metamedica.reports.population import unadapted
from metamedica.reports.risk_coverage import risk_coverage
from metamedica.reports.site_rows import told_apart
from metamedica.reports.subgroups import sensitive_columns
from metamedica.types import Features, Law, PreparedCases, TaskKind


def assess(
    predictor: Predictor,
    cases: Any,
    targets: Sequence[Any] | NDArray[Any],
    *,
    asked: Asked | None = None,
    sites: Sequence[str] | None = None,
) -> Assessment:
    """Return how a predictor does on labelled cases that it was not adapted to.

    Args:
        predictor: adapted to the task.
        cases: raw, as `Predictor.predict` takes them; of tables a data frame, where subgroups are to be told apart.
        targets: one each, as `MetaLearner.adapt` takes them.
        asked: what is shown; None takes the defaults.
        sites: the site of each case, to tell sites apart; None: they are of one.

    Raises:
        CaseError: a case cannot be read.
        TaskError: a target is missing or unknown, all judged cases are of one class, constant or impossible predictions, an impossible coverage.
        InputError: an impossible threshold, an unknown patient, or no sensitive column where the audit is asked.
    """
    asked = asked or Asked()
    check_coverage(asked.coverage)
    if not 0 < asked.threshold < 1:
        raise InputError(
            f"got the threshold {asked.threshold}; give a risk between 0 and 1 from which one acts, such as 0.2"
        )
    cases = as_cases(cases)
    count = len(cases)
    if count == 0 or len(targets) != count:
        raise TaskError(
            f"got {count} cases and {len(targets)} targets to judge on; give one of each, of at least one case"
        )
    if asked.patient is not None and not 0 <= asked.patient <= count:
        raise InputError(f"there is no judged case {asked.patient}; there are {count}, counted from 1")
    prepared = _prepared(predictor, cases)
    truth = told_targets(predictor, targets)
    features = {name: block[torch.tensor(prepared.row)] for name, block in prepared.features.items()}
    law = predictor.law(features)
    answer = _answer(law, predictor.kind)
    _check_answer(law, predictor, truth, answer)
    reasons: dict[str, str] = {}
    made: dict[str, Any] = {"figures": _figures(law, predictor.kind, truth, asked)}
    made |= _before(predictor, features, truth, asked, reasons)
    if predictor.kind == "binary":
        labels = truth.astype(np.int64)
        made |= {
            "calibrated": calibration(labels, answer, seed=asked.seed),
            "reliable": reliability(labels, answer),
            "decision": decision_curve(labels, answer, seed=asked.seed),
        }
    else:
        reasons["decision"] = f"a decision curve is for two classes, and this is a {predictor.kind} task"
    made["fairness"] = _fairness(predictor, cases, prepared, truth, answer, asked, reasons)
    if sites is not None:
        made["sites"] = told_apart(sites, truth, answer, kind=predictor.kind, right=_right(law, truth), seed=asked.seed)
    if asked.patient is not None:
        at = asked.patient - 1 if asked.patient else int(np.argmax(answer))
        one = cases.iloc[[at]] if isinstance(cases, pd.DataFrame) else [cases[at]]
        chosen = "the judged case with the highest answer" if asked.patient == 0 else ""
        made["patient"] = case_card(predictor, one, number=at + 1, chosen=chosen, coverage=asked.coverage)
    trust, shift = predictor.trust, predictor.shift
    labelled = predictor.support.batch.targets[0]
    binary = predictor.kind == "binary"
    return Assessment(
        predictor.kind,
        predictor.model.modality.name,
        predictor.unit,
        predictor.classes,
        predictor.model.spec.learner,
        len(labelled),
        int(labelled.sum()) if binary else None,
        count,
        int(truth.sum()) if binary else None,
        answer,
        truth,
        asked.threshold,
        shift=shift.verdict,
        unlike=shift.unlike,
        trust=trust.verdict,
        candidates=dict(trust.candidates),
        record=predictor.model.record,
        cover=_cover(predictor, law, features, truth, asked),
        abstention=_abstention(predictor, law, truth, asked),
        missing=_missing(predictor, features),
        gain=_gain(predictor),
        changes=_changes(predictor, reasons),
        notes=(*_remarks(prepared), *_met_before(predictor, prepared)),
        reasons=reasons,
        **made,
    )


def told_targets(predictor: Predictor, targets: Sequence[Any] | NDArray[Any]) -> Numbers:
    """Return targets as class indices or numbers, `[cases]`.

    Raises:
        TaskError: one is missing, no number, or no label of the predictor's; the case is named, never what stands there.
    """
    read = cells.texts(pd.Series(list(targets), dtype=object))
    absent = np.flatnonzero(read.codes < 0)
    if len(absent):
        raise TaskError(
            f"the target of case {absent[0] + 1} is missing ({len(absent)} such cases); fill it, or leave the cases out"
        )
    if predictor.classes is None:
        values = cells.numbers(read)
        odd = np.flatnonzero(~np.isfinite(values))
        if len(odd):
            raise TaskError(
                f"the target of case {odd[0] + 1} is no number ({len(odd)} such cases); this is a regression task"
            )
        return values
    place = {label: at for at, label in enumerate(predictor.classes)}
    found = np.array([place.get(text, -1) for text in read.texts])[read.codes]
    odd = np.flatnonzero(found < 0)
    if len(odd):
        raise TaskError(
            f"the label of case {odd[0] + 1} is none of the predictor's, which are {', '.join(map(repr, predictor.classes))} ({len(odd)} such "
            "cases); write labels as in the cases it was adapted to"
        )
    return found.astype(np.float64)


def _prepared(predictor: Predictor, cases: Any) -> PreparedCases:
    prepared = predictor.model.prepare(cases)
    if prepared.problems:
        first = prepared.problems[0]
        raise CaseError(
            f"{len(prepared.problems)} of {len(cases)} judged cases cannot be read, the first is case {first.position + 1}: {first.reason}; mend "
            "them or leave them out"
        )
    return prepared


def _answer(law: Law, kind: TaskKind) -> Numbers:
    if isinstance(law, Categorical):
        probability = law.probs.double().numpy()
        return np.asarray(probability[:, 1] if kind == "binary" else probability.max(1))
    return np.asarray(law.mean.double().numpy())


def _right(law: Law, truth: Numbers) -> NDArray[np.bool_] | None:
    """Return whether the most probable class is the true one, `[cases]`; None for regression."""
    return np.asarray(law.probs.argmax(-1).numpy() == truth) if isinstance(law, Categorical) else None


def _check_answer(law: Law, predictor: Predictor, truth: Numbers, answer: Numbers) -> None:
    """Refuse what no report can be made of."""
    learner = predictor.model.spec.learner
    odd = np.flatnonzero(~np.isfinite(answer))
    if len(odd):
        raise TaskError(
            f"{learner} returned predictions that are not numbers (NaN or infinite) for {len(odd)} of {len(answer)} judged cases, the first is "
            f"case {odd[0] + 1}; mend the learner"
        )
    if predictor.classes is not None and len(np.unique(truth)) < 2:
        raise TaskError(
            f"all {len(truth)} judged cases are {predictor.classes[int(truth[0])]!r}; a report needs judged cases of both classes: add some of "
            "another one"
        )
    if len(answer) > 1 and np.ptp(answer) < 1e-9:
        raise TaskError(
            f"{learner} predicts the same ({answer[0]:.3g}) for all {len(answer)} judged cases, so that there is nothing to judge; give it labelled "
            "cases of every class, or columns that vary"
        )


def _figures(law: Law, kind: TaskKind, truth: Numbers, asked: Asked) -> dict[str, Estimate]:
    """Return the figures of a kind of task with intervals over the judged cases, drawn within the classes."""
    count = len(truth)
    if kind == "regression":
        mean, deviation = law.mean.double().numpy(), law.stddev.double().numpy()

        def told(name: str) -> Estimate:
            return estimated(
                lambda at: metrics.regression_figures(truth[at], mean[at], deviation[at])[name],
                count,
                draws=RANKED_DRAWS,
                seed=asked.seed,
            )

        return {name: told(name) for name in ("r2", "spearman", "rmse")}
    assert isinstance(law, Categorical)
    labels = truth.astype(np.int64)
    probability = law.probs.double().numpy()
    if kind == "multiclass":

        def of(name: str) -> Estimate:
            return estimated(
                lambda at: metrics.multiclass_figures(labels[at], probability[at])[name],
                count, strata=labels, draws=RANKED_DRAWS, seed=asked.seed,
            )  # fmt: skip

        return {name: of(name) for name in ("accuracy", "roc_auc", "log_loss")}
    risk = probability[:, 1]
    called = risk >= asked.threshold

    def share(of_class: int, right: NDArray[np.bool_]) -> Estimate:
        return mean_estimated(right[labels == of_class].astype(np.float64), seed=asked.seed)

    return {
        "roc_auc": estimated(
            lambda at: metrics.roc_auc(labels[at], risk[at]), count, strata=labels, draws=RANKED_DRAWS, seed=asked.seed
        ),
        "average_precision": estimated(
            lambda at: metrics.average_precision(labels[at], risk[at]),
            count,
            strata=labels,
            draws=RANKED_DRAWS,
            seed=asked.seed,
        ),
        "sensitivity": share(1, called),
        "specificity": share(0, ~called),
    }


def _before(
    predictor: Predictor, features: Features, truth: Numbers, asked: Asked, reasons: dict[str, str]
) -> dict[str, Any]:
    """Return what the unadapted model's figures are, or say why there are none."""
    try:
        law = unadapted(predictor, features)
    except TaskError as error:
        reasons["before"] = str(error)
        return {}
    made: dict[str, Any] = {"before": _figures(law, predictor.kind, truth, asked)}
    if predictor.kind == "binary":
        labels, risk = truth.astype(np.int64), _answer(law, predictor.kind)
        made |= {
            "calibrated_before": calibration(labels, risk, seed=asked.seed),
            "reliable_before": reliability(labels, risk),
        }
    return made


def _fairness(
    predictor: Predictor,
    cases: Any,
    prepared: PreparedCases,
    truth: Numbers,
    answer: Numbers,
    asked: Asked,
    reasons: dict[str, str],
) -> FairnessAudit | None:
    wanted = asked.fairness or bool(asked.sensitive)
    try:
        if predictor.kind != "binary":
            raise TaskError(f"the audit by sensitive columns is for two classes, and this is a {predictor.kind} task")
        columns = sensitive_columns(predictor.model.modality, asked.sensitive)
        if not isinstance(cases, pd.DataFrame):
            raise InputError(
                "sensitive columns are told apart in a table of cases; give the judged cases as a data frame"
            )
        return fairness_audit(
            truth.astype(np.int64),
            answer,
            _as_read(cases, prepared, columns),
            threshold=asked.threshold,
            cuts=asked.cuts,
            seed=asked.seed,
        )
    except (InputError, MissingExtraError) as error:
        if wanted:
            raise
        reasons["fairness"] = str(error)
        return None


def _as_read(cases: pd.DataFrame, prepared: PreparedCases, columns: Sequence[str]) -> pd.DataFrame:
    """Return the sensitive columns as the modality read them (codes for missing cells are gone), others as they stand."""
    read = pd.DataFrame([json.loads(prepared.canonical[row]) for row in prepared.row], dtype=object)
    absent = [name for name in columns if name not in cases.columns]
    if absent:
        raise InputError(
            f"the judged cases have no sensitive column {absent[0]!r}; they have: {', '.join(map(str, cases.columns[:20]))}"
        )
    return pd.DataFrame(
        {name: (read[name] if name in read.columns else cases[name]).to_numpy(dtype=object) for name in columns}
    )


def _cover(predictor: Predictor, law: Law, features: Features, truth: Numbers, asked: Asked) -> Cover:
    reach = predictor.certainty.reach()
    if isinstance(law, Categorical):
        sets = predictor.set_of(law, features, asked.coverage)
        held = sets[np.arange(len(truth)), truth.astype(np.int64)]
        share = mean_estimated(held.astype(np.float64), seed=asked.seed)
        return Cover(asked.coverage, share, float(sets.sum(1).mean()), reach)
    low, high = predictor.interval_of(law, features, asked.coverage).T
    inside = (truth >= low) & (truth <= high)
    share = mean_estimated(inside.astype(np.float64), seed=asked.seed)
    return Cover(asked.coverage, share, float((high - low).mean()), reach, low, high)


def _abstention(predictor: Predictor, law: Law, truth: Numbers, asked: Asked) -> Abstention:
    sure = predictor.certainty.sureness(law)
    if isinstance(law, Categorical):
        error, what = 1.0 - np.asarray(_right(law, truth), dtype=np.float64), "share of wrong classes"
    else:
        error, what = np.abs(law.mean.double().numpy() - truth), "mean absolute error"
    curve = risk_coverage(error, sure)
    try:
        asks = sure < predictor.certainty.least_sure(asked.share)
    except TaskError as problem:
        return Abstention(curve, what, asked.share, reason=str(problem))
    left = float(error[~asks].mean()) if (~asks).any() else float("nan")
    return Abstention(curve, what, asked.share, float(asks.mean()), left)


def _gain(predictor: Predictor) -> str:
    gain = predictor.expected_gain
    if gain is None or not np.isfinite([gain.mean, gain.low, gain.high]).all():
        return ""
    source = (
        "as earlier tasks with such evidence fared"
        if gain.source == "earlier tasks"
        else "by what both say of its cases, and by its labelled cases, each hidden in turn"
    )
    return (
        f"Leaning on earlier tasks is expected to add {gain.mean:+.3f} nats of log-likelihood a case over the best method from scratch "
        f"(90 % interval {gain.low:+.3f} to {gain.high:+.3f}), {source}."
    )


def _changes(predictor: Predictor, reasons: dict[str, str]) -> tuple[str, ...]:
    try:
        return predictor.explain_task().sentences
    except (InputError, TaskError) as error:
        reasons["changes"] = str(error)
        return ()


def _missing(predictor: Predictor, features: Features) -> dict[str, float]:
    modality = predictor.model.modality
    if not isinstance(modality, Measures):
        return {}
    measured = modality.measured(features)
    lacks = (~measured.there).double().mean(0).tolist()
    return dict(zip(measured.sources, lacks, strict=True))


def _remarks(prepared: PreparedCases) -> tuple[str, ...]:
    if not prepared.remarks:
        return ()
    columns = list(dict.fromkeys(remark.text for remark in prepared.remarks))
    shown = ", ".join(columns[:6]) + (", ..." if len(columns) > 6 else "")
    return (
        f"{len(prepared.remarks):,} cells or columns of the judged cases were read otherwise than they stand there (columns {shown}).",
    )


def _met_before(predictor: Predictor, prepared: PreparedCases) -> tuple[str, ...]:
    """Return a sentence where judged cases are equal to labelled ones, which makes every figure too good."""
    known = set(predictor.support.canonical)
    same = sum(prepared.canonical[row] in known for row in prepared.row)
    if not same:
        return ()
    return (
        f"{same} of the judged cases equal one that the predictor was adapted to: the figures are too good; leave those out.",
    )
