"""The report of one predictor as a self-contained page: what a clinician, a chemist or a reviewer asks of it."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np

from metamedica.reports import figures
from metamedica.reports.assessment import Assessment
from metamedica.reports.calibration_figures import Reliability
from metamedica.reports.estimates import Estimate
from metamedica.reports.explained import FOOTER
from metamedica.reports.fairness import FIGURES as FAIR
from metamedica.reports.fairness import ColumnAudit
from metamedica.reports.html import Card, Figure, Section, Table, write_page
from metamedica.reports.site_rows import worst
from metamedica.reports.tripod import checklist

NOT_A_DEVICE = "This report describes research software; it is not a medical device and must not decide about a patient on its own."
NAMES: Mapping[str, str] = {
    "roc_auc": "ROC-AUC", "average_precision": "average precision", "sensitivity": "sensitivity", "specificity": "specificity",
    "accuracy": "accuracy", "log_loss": "log loss (nats)", "r2": "R²", "spearman": "Spearman", "rmse": "RMSE", "slope": "calibration slope",
    "intercept": "calibration intercept", "in_the_large": "mean risk minus observed share", "ece": "ECE", "brier": "Brier",
    "coverage": "90 % interval covers",
}  # fmt: skip
_MOST_POINTS = 400
_OF_ROWS = ("tables", "any_table")
_ROBUST = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}
_CALIBRATED = {"binary": "ece", "multiclass": "log_loss", "regression": "coverage"}
_SITE_FIGURE = {"binary": "ROC-AUC", "multiclass": "accuracy", "regression": "Spearman"}


def write_assessment(assessment: Assessment, path: str | Path, *, title: str = "Report of a predictor") -> None:
    """Write the page, whole or not at all.

    Args:
        assessment: what it shows.
        path: of the HTML file.
        title: of the page.
    """
    write_page(path, title, sections(assessment), verdict=verdict(assessment), footer=_footer(assessment))


def verdict(of: Assessment) -> str:
    """Return the sentences on top: what was judged, how well it does, and what stands against trusting it."""
    name, leading = next(iter(of.figures.items()))
    share = "" if of.positive is None else f" ({of.positive:,} of class {(of.classes or ('', 'positive'))[1]!r})"
    lines = [
        f"Adapted to {of.labelled:,} labelled cases and judged on {of.judged:,} others{share}: {NAMES.get(name, name)} {leading.text(2)}.",
        f"{of.trust} {of.shift}",
        NOT_A_DEVICE,
    ]
    return "\n".join(lines)


def sections(of: Assessment) -> list[Section]:
    """Return the parts of the page, in order; one that is not there says why."""
    every = [
        _how_well(of),
        _calibration(of),
        _decision(of),
        _values(of),
        _fairness(of),
        _sites(of),
        _patient(of),
        _abstention(of),
    ]
    every += [_trust(of), _robust(of), _checklist(of)]
    return [section for section in every if section is not None]


def _how_well(of: Assessment) -> Section:
    header = ["figure", "after adapting (95 % interval)"]
    rows = [[NAMES.get(name, name), each.text()] for name, each in of.figures.items()]
    if of.before:
        header.append("before adapting (95 % interval)")
        rows = [[*row, of.before[name].text()] for row, name in zip(rows, of.figures, strict=True)]
    what = (
        f"sets hold the true class ({of.cover.asked:.0%} asked)"
        if of.classes
        else f"intervals hold the value ({of.cover.asked:.0%} asked)"
    )
    size = "classes a set, mean" if of.classes else f"width of an interval, mean{f' ({of.unit})' if of.unit else ''}"
    blank = ["–"] * (len(header) - 2)
    rows += [[what, of.cover.held.text(), *blank], [size, f"{of.cover.size:.3g}", *blank]]
    if of.kind == "binary":
        rows.append(["figures at the threshold use a risk of", f"{of.threshold:.0%}", *blank])
    notes = list(of.notes)
    if of.cover.asked > of.cover.reach:
        notes.append(
            f"{of.labelled} labelled cases vouch for a coverage of at most {of.cover.reach:.0%}: beyond that a set holds every class, and an "
            "interval goes on as the normal law does."
        )
    if "before" in of.reasons and of.classes:
        notes.append(f"Before adapting: {of.reasons['before']}.")
    return Section("How well it does", prose=notes, tables=[Table(header, rows, "On the judged cases")])


def _reliability_curve(of: Reliability) -> figures.Curve:
    return figures.Curve(*(side.tolist() for side in (of.predicted, of.observed, of.low, of.high)))


def _calibration(of: Assessment) -> Section | None:
    if of.calibrated is None or of.reliable is None:
        return None
    plots = [
        Figure(
            "After adapting, 95 % intervals",
            _reliability_svg("after adapting", of.reliable),
        )
    ]
    if of.reliable_before is not None:
        plots.insert(
            0,
            Figure(
                "Before adapting: as earlier tasks left it, 95 % intervals",
                _reliability_svg("before adapting", of.reliable_before),
            ),
        )
    names = [each.name for each in fields(of.calibrated)]
    after: list[Estimate] = [getattr(of.calibrated, name) for name in names]
    header = ["figure", "right is", "after adapting (95 % interval)"]
    right = {"slope": "1", "intercept": "0", "in_the_large": "0", "ece": "0"}
    rows = [[NAMES[name], right.get(name, "low"), each.text()] for name, each in zip(names, after, strict=True)]
    if of.calibrated_before is not None:
        header.append("before adapting (95 % interval)")
        rows = [[*row, getattr(of.calibrated_before, name).text()] for row, name in zip(rows, names, strict=True)]
    reasons = list(dict.fromkeys(each.reason for each in after if each.reason))
    prose = ["Of patients with a predicted risk of 20 %, about 20 in 100 should have the outcome.", *reasons]
    return Section("Are the risks right?", prose=prose, figures=plots, tables=[Table(header, rows)])


def _reliability_svg(name: str, of: Reliability) -> str:
    return figures.reliability({name: _reliability_curve(of)})


def _decision(of: Assessment) -> Section | None:
    curve = of.decision
    if curve is None:
        return None
    x = curve.thresholds.tolist()
    lines = {
        "act on the prediction": figures.Curve(x, curve.model.tolist(), curve.low.tolist(), curve.high.tolist()),
        "act on everybody": figures.Curve(x, curve.treat_all.tolist()),
        "act on nobody": figures.Curve(x, [0.0] * len(x)),
    }
    svg = figures.decision_curves(lines, label="risk from which one acts")
    rows = []
    for threshold in (0.05, 0.1, 0.2, 0.3, 0.5):
        at = int(np.argmin(np.abs(curve.thresholds - threshold)))
        gain = Estimate(float(curve.gain[at]), float(curve.gain_low[at]), float(curve.gain_high[at]))
        rows.append(
            [f"{curve.thresholds[at]:.0%}", f"{curve.model[at]:.3f}", f"{curve.treat_all[at]:.3f}", gain.text()]
        )
    header = ["act from a risk of", "on the prediction", "on everybody", "gain over the better of everybody and nobody"]
    prose = [
        "Net benefit counts those rightly acted on, less those needlessly acted on at the price that the threshold says (Vickers and Elkin 2006).",
        curve.verdict(),
    ]
    table = Table(header, rows, "Net benefit a case", frozenset({1, 2, 3}))
    plot = Figure("Decision curve, 95 % interval", svg)
    return Section("Is it worth acting on?", prose=prose, figures=[plot], tables=[table])


def _values(of: Assessment) -> Section | None:
    if of.kind != "regression":
        return None
    kept = np.linspace(0, of.judged - 1, min(of.judged, _MOST_POINTS)).round().astype(int)
    curve = figures.Curve(
        *([float(v) for v in side[kept]] for side in (of.target, of.answer, of.cover.low, of.cover.high))
    )
    svg = figures.intervals([float(v) for v in of.target[kept]], curve, label=of.unit or "value")
    caption = f"{of.cover.asked:.0%} intervals" + (
        f", {len(kept)} of {of.judged:,} cases" if len(kept) < of.judged else ""
    )
    return Section("Predicted against measured", figures=[Figure(caption, svg)])


def _fairness(of: Assessment) -> Section | None:
    heading = "Does it serve all alike?"
    if of.fairness is None and of.modality not in _OF_ROWS:
        return None
    if of.fairness is None:
        return Section(
            heading, prose=[f"Not told apart: {of.reasons.get('fairness', 'no sensitive column was named')}."]
        )
    tables = [_subgroups(audit) for audit in of.fairness.columns]
    differences = [
        [audit.column, audit.demographic_parity.text(), audit.equalised_odds.text(), audit.demographic_parity.reason]
        for audit in of.fairness.columns
    ]
    header = ["column", "selected: largest minus smallest", "sensitivity or false alarms: largest minus smallest", ""]
    tables.append(
        Table(
            header, differences, "Differences between subgroups (demographic parity, equalised odds)", frozenset({1, 2})
        )
    )
    prose = [
        f"A case counts as selected from a risk of {of.fairness.threshold:.0%} on. Small subgroups differ by chance; groups of fewer than ten "
        "cases, or of fewer than three of a class, get no figure."
    ]
    return Section(heading, prose=prose, tables=tables)


def _subgroups(audit: ColumnAudit) -> Table:
    rows = []
    for group in audit.subgroups:
        told = [group.figures[name].text(2) if name in group.figures else "–" for name in FAIR]
        rows.append([group.name, f"{group.cases}", f"{group.positives}" if group.figures else "–", *told, group.reason])
    header = [audit.column, "cases", "positive", *FAIR.values()]
    if any(row[-1] for row in rows):
        header.append("")
    else:
        rows = [row[:-1] for row in rows]
    caption = f"By {audit.column}" + (f" ({audit.how})" if audit.how else "")
    return Table(header, rows, caption, frozenset(range(1, 8)))


def _sites(of: Assessment) -> Section | None:
    if not of.sites:
        return None
    lowest = worst(of.sites)
    ranked = sorted(of.sites, key=lambda row: row.figure.value if row.figure.defined else np.inf)
    last = "mean risk minus observed" if of.kind == "binary" else "mean error"
    header = ["site", "cases", f"{_SITE_FIGURE[of.kind]} (95 % interval)", f"{last} (95 % interval)", ""]
    rows = [[row.name, f"{row.cases}", row.figure.text(2), row.large.text(2), row.reason] for row in ranked]
    said = "No site is large enough to judge alone."
    if lowest is not None:
        said = f"Worst site: {lowest.name}, {_SITE_FIGURE[of.kind]} {lowest.figure.text(2)} on {lowest.cases:,} cases."
    return Section(
        "Sites", prose=[said], tables=[Table(header, rows, "Worst first", frozenset({1, 2, 3}), 0 if lowest else -1)]
    )


def _patient(of: Assessment) -> Section | None:
    card = of.patient
    if card is None:
        return None
    told = card.explanation
    prose = [
        f"Case {card.number}{f', {card.chosen}' if card.chosen else ''}.",
        card.reason if told is None else told.sentence,
    ]
    plots, tables = [], []
    if told is not None:
        steps = [(part.told, part.contribution) for part in told.parts]
        how = "exact" if told.exact else "estimated from a sample of coalitions"
        plots.append(
            Figure(
                f"{told.what}: what each part contributes ({how})",
                figures.waterfall(steps, start=told.base, label=told.what),
            )
        )
        near = [[each.told, f"{each.similarity:.2f}"] for each in told.nearest]
        tables = [Table(["most similar labelled cases", "similarity"], near, FOOTER, frozenset({1}))]
    note = "These are one person's data: keep this page as you keep the record." if of.modality != "molecules" else ""
    heading = "One patient" if of.modality != "molecules" else "One case"
    return Section(
        heading, prose=prose, note=note, figures=plots, tables=tables, cards=[Card(card.drawing, card.answer)]
    )


def _abstention(of: Assessment) -> Section:
    left, curve = of.abstention, of.abstention.curve
    prose = []
    if left.share < 1:
        prose.append(
            f"Without the {left.share:.0%} least sure, which a person is asked about, the error ({left.error_is}) is {curve.at(1 - left.share):.3f}; "
            f"it is {curve.error:.3f} when every case is answered."
        )
    if left.reason:
        prose.append(f"{left.reason}.")
    else:
        prose.append(
            f"Told to ask about {left.share:.0%}, it asks about {left.asked:.0%} of the judged cases, as its own labelled cases tell it, and "
            f"the error of the others is {left.answered_error:.3f}."
        )
    kept = np.linspace(0, of.judged - 1, min(of.judged, _MOST_POINTS)).round().astype(int)
    lines = {
        "as sure as it says": figures.Curve(curve.coverage[kept].tolist(), curve.risk[kept].tolist()),
        "best possible": figures.Curve(curve.coverage[kept].tolist(), curve.best[kept].tolist()),
    }
    svg = figures.shares(lines, labels=("share of cases that is answered", left.error_is))
    return Section(
        "When to ask a person",
        prose=prose,
        figures=[Figure("Error over the share that is answered, surest first", svg)],
    )


def _trust(of: Assessment) -> Section:
    rows = [[name, f"{weight:.0%}"] for name, weight in of.candidates.items()]
    tables = [Table(["what the answer is made of", "weight"], rows, "", frozenset({1}))]
    lacking = sorted(((share, name) for name, share in of.missing.items() if share > 0), reverse=True)
    if lacking:
        told = [[name, f"{share:.0%}"] for share, name in lacking]
        tables.append(Table(["column", "missing among the judged cases"], told, "", frozenset({1})))
    prose = [each for each in (of.trust, of.gain, *of.changes) if each]
    return Section("What it leans on", prose=prose, note=of.shift if of.unlike else "", tables=tables)


def _robust(of: Assessment) -> Section | None:
    if of.robust is None:
        return None
    tables = []
    for figure in (_ROBUST[of.robust.kind], _CALIBRATED[of.robust.kind]):
        table = of.robust.summary(figure)
        rows = [
            [harm, f"{share:.0%}", method, f"{clean:.3f}", f"{spoilt:.3f}", Estimate(loss, low, high).text()]
            for harm, share, method, clean, spoilt, loss, low, high in table.drop(columns="tasks").itertuples(
                index=False, name=None
            )
        ]
        header = ["what is spoilt", "share", "method", "clean", "spoilt", "worse by (95 % interval)"]
        tables.append(Table(header, rows, NAMES.get(figure, figure), frozenset({1, 3, 4, 5})))
    draws = int(of.robust.rows["draw"].nunique())
    prose = [
        f"The method as the product offers it beside the plain local one, on the same {draws} draws of labelled cases.",
        *of.robust.notes,
    ]
    return Section("When the data are poor", prose=prose, tables=tables)


def _checklist(of: Assessment) -> Section:
    items = checklist(of)
    rows = [[item.number, item.section, item.topic, item.answer] for item in items]
    prose = [
        f"TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378): {sum(not item.open for item in items)} of {len(items)} lines are answered by the "
        "software, in whole or in part; the others are the authors'."
    ]
    table = Table(["item", "section", "what is asked", "answer"], rows, wrapped=frozenset({2, 3}))
    return Section("TRIPOD+AI checklist", prose=prose, tables=[table])


def _footer(of: Assessment) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in sorted(of.record.get("versions", {}).items()))
    made = "; ".join(each for each in (f"{of.learner}, {of.modality}", versions) if each)
    return f"Intervals: 95 % bootstrap over the judged cases, the predictor held fixed. Made by {made}."
