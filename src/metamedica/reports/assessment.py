"""What a report of a predictor shows: the predictor judged on labelled cases of its task, for any modality and kind of task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamedica.reports.calibration_figures import Calibration, Reliability
from metamedica.reports.case_card import CaseCard
from metamedica.reports.decision_curve import DecisionCurve
from metamedica.reports.estimates import Estimate
from metamedica.reports.fairness import THRESHOLD, FairnessAudit
from metamedica.reports.risk_coverage import RiskCoverage
from metamedica.reports.robustness import Robustness
from metamedica.reports.site_rows import SiteRow
from metamedica.types import TaskKind

Numbers = NDArray[np.float64]
COVERAGE = 0.9
ASKED = 0.2


@dataclass(frozen=True)
class Cover:
    """What sets or intervals hold.

    Args:
        asked: the coverage that was asked for.
        held: share of the judged cases whose true class or value is inside.
        size: mean number of classes in a set, or mean width of an interval in the task's unit.
        reach: the largest coverage that so many labelled cases vouch for.
        low: lower ends of intervals, `[cases]`; empty for classes.
        high: their upper ends.
    """

    asked: float
    held: Estimate
    size: float
    reach: float
    low: Numbers = field(default_factory=lambda: np.zeros(0))
    high: Numbers = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Abstention:
    """What leaving the least sure to a person does.

    Args:
        curve: error over the share that is answered.
        error_is: what counts as error, in words.
        asked: share of the judged cases that the predictor asks a person about when told to ask about `share`.
        share: that share.
        answered_error: mean error of the others.
        reason: why it cannot be told; empty where it can.
    """

    curve: RiskCoverage
    error_is: str
    share: float
    asked: float = float("nan")
    answered_error: float = float("nan")
    reason: str = ""


@dataclass(frozen=True)
class Assessment:
    """What a report of a predictor shows. `reasons` says, by the name of a part, why it is not there.

    Args:
        kind: of the task.
        modality: name of the modality.
        unit: of a regression.
        classes: labels by class index; None for regression.
        learner: the method.
        labelled: cases that the predictor was adapted to.
        labelled_positive: how many of them are of class 1; None but for binary tasks.
        judged: cases that it is judged on, none of them among the labelled ones as far as that can be told.
        positive: how many of them are of class 1; None but for binary tasks.
        answer: probability of class 1 (binary), of the most probable class, or the expected value, `[cases]`.
        target: class index or value, `[cases]`.
        threshold: the risk from which a case counts as positive.
        figures: figure -> value with interval, of the predictor.
        before: the same of the model unadapted, as far as it answers.
        calibrated: of the predictor (binary).
        calibrated_before: of the unadapted model.
        reliable: reliability curve of the predictor (binary).
        reliable_before: of the unadapted model.
        decision: net benefit (binary).
        fairness: the audit by sensitive columns.
        sites: a row a site.
        cover: of sets or intervals.
        abstention: risk and coverage.
        patient: one case with its reasons.
        missing: column -> share of the judged cases that miss it.
        shift: verdict on whether the task looks unlike earlier ones.
        unlike: whether it does.
        trust: verdict on how far the answer leans on earlier tasks.
        candidates: what it is made of -> weight.
        gain: what leaning on earlier tasks is expected to add, in words; empty where there is nothing to say.
        changes: what the labelled cases changed against the model unadapted, sentences.
        record: how the model was made.
        robust: what spoilt data do to the method.
        notes: what a reader must know of how this was judged.
        reasons: part -> why it is not there.
    """

    kind: TaskKind
    modality: str
    unit: str | None
    classes: tuple[str, ...] | None
    learner: str
    labelled: int
    labelled_positive: int | None
    judged: int
    positive: int | None
    answer: Numbers
    target: Numbers
    threshold: float
    figures: Mapping[str, Estimate]
    shift: str
    unlike: bool
    trust: str
    candidates: Mapping[str, float]
    record: Mapping[str, Any]
    cover: Cover
    abstention: Abstention
    before: Mapping[str, Estimate] = field(default_factory=dict)
    calibrated: Calibration | None = None
    calibrated_before: Calibration | None = None
    reliable: Reliability | None = None
    reliable_before: Reliability | None = None
    decision: DecisionCurve | None = None
    fairness: FairnessAudit | None = None
    sites: tuple[SiteRow, ...] = ()
    patient: CaseCard | None = None
    missing: Mapping[str, float] = field(default_factory=dict)
    robust: Robustness | None = None
    gain: str = ""
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    def with_notes(self, *notes: str) -> "Assessment":
        """Return the assessment with further notes."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class Asked:
    """What a report is asked to show.

    Args:
        coverage: of sets and intervals, between 0 and 1.
        threshold: the risk from which a case counts as positive, between 0 and 1.
        share: of the cases to leave to a person, from 0 to 1.
        sensitive: columns by which results are told apart; None takes the declared ones.
        fairness: whether the audit must be there: without a sensitive column that is then an error, not a remark.
        cuts: bounds of numeric sensitive columns.
        patient: number of the judged case whose card is shown, from 1; 0 shows that with the highest risk (or value), None no card.
        seed: of bootstrap samples.
    """

    coverage: float = COVERAGE
    threshold: float = THRESHOLD
    share: float = ASKED
    sensitive: Sequence[str] | None = None
    fairness: bool = False
    cuts: Mapping[str, Sequence[float | int]] | None = None
    patient: int | None = 0
    seed: int = 0
