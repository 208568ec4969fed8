"""The TRIPOD+AI checklist of a report, filled in where the software knows the answer (Collins et al. 2024, BMJ 385:e078378; 27 items).

The items' numbers and topics are the checklist's; the sentences are our own. What only the authors know is left to them, in words.
"""

from dataclasses import dataclass

from metamedica.reports.assessment import Assessment
from metamedica.types import META_SPLITS

AUTHORS = "To be stated by the authors."


@dataclass(frozen=True)
class Item:
    """One line of the checklist.

    Args:
        number: as the checklist counts, such as "12e".
        section: of the paper.
        topic: what is asked.
        answer: what the software knows, or `AUTHORS`.
    """

    number: str
    section: str
    topic: str
    answer: str

    @property
    def open(self) -> bool:
        """Whether the authors have to answer it."""
        return self.answer == AUTHORS


TOPICS: tuple[tuple[str, str, str], ...] = (
    ("1", "Title", "that a prediction model is developed or evaluated, in whom, for which outcome"),
    ("2", "Abstract", "a structured summary (TRIPOD+AI for Abstracts)"),
    ("3a", "Background", "the medical question, and the models that there are"),
    ("3b", "Background", "in whom, for what and by whom the model is meant to be used"),
    ("3c", "Background", "known inequalities of health between groups"),
    ("4", "Objectives", "whether a model is developed, evaluated, or both"),
    ("5a", "Data", "sources of the data, and how far they represent those meant"),
    ("5b", "Data", "dates of the data"),
    ("6a", "Participants", "the setting, and how many centres"),
    ("6b", "Participants", "who was eligible"),
    ("6c", "Participants", "treatments received"),
    ("7", "Data preparation", "how data were prepared and checked, alike in all groups or not"),
    ("8a", "Outcome", "what the outcome is, over which time, and how it was assessed"),
    ("8b", "Outcome", "who assessed it, where that takes judgement"),
    ("8c", "Outcome", "whether assessors knew the predictors"),
    ("9a", "Predictors", "how predictors were chosen"),
    ("9b", "Predictors", "what each predictor is, and how it was measured"),
    ("9c", "Predictors", "who assessed predictors, where that takes judgement"),
    ("10", "Sample size", "how the size of the study came about"),
    ("11", "Missing data", "how missing data were dealt with"),
    ("12a", "Analysis", "how data were divided for development and evaluation"),
    ("12b", "Analysis", "how predictors enter the model"),
    ("12c", "Analysis", "kind of model, how it was built, settings, internal validation"),
    ("12d", "Analysis", "how differences between clusters (hospitals) were dealt with"),
    ("12e", "Analysis", "figures and plots of performance"),
    ("12f", "Analysis", "how the model was updated (recalibrated)"),
    ("12g", "Analysis", "how predictions were computed where the model is evaluated"),
    ("13", "Class imbalance", "whether classes were balanced, and recalibrated after"),
    ("14", "Fairness", "what was done for fairness between groups"),
    ("15", "Model output", "what the model gives, and how a threshold came about"),
    ("16", "Development and evaluation", "differences between the data of development and of evaluation"),
    ("17", "Ethical approval", "approval and consent"),
    ("18a", "Open science", "funding, and the part that funders had"),
    ("18b", "Open science", "conflicts of interest"),
    ("18c", "Open science", "where the protocol is"),
    ("18d", "Open science", "registration"),
    ("18e", "Open science", "whether the data can be had"),
    ("18f", "Open science", "whether the code can be had"),
    ("19", "Patients and public", "how patients and the public were involved"),
    ("20a", "Participants", "flow of participants, with and without the outcome"),
    ("20b", "Participants", "their characteristics, and what is missing"),
    ("20c", "Participants", "how those of evaluation compare with those of development"),
    ("21", "Model development", "participants and outcome events of each analysis"),
    ("22", "Model specification", "the whole model, so that others can use it"),
    ("23a", "Model performance", "performance with intervals, also in groups"),
    ("23b", "Model performance", "how performance differs between clusters"),
    ("24", "Model updating", "results of updating"),
    ("25", "Interpretation", "what the results mean, fairness among it"),
    ("26", "Limitations", "what limits the study"),
    ("27a", "Usability", "what happens where inputs are poor or absent"),
    ("27b", "Usability", "what users have to do and to know"),
    ("27c", "Usability", "what comes next"),
)
"""(number, section, topic) of every line."""


def checklist(assessment: Assessment) -> list[Item]:
    """Return every line of the checklist with what is known of it."""
    known = _answers(assessment)
    return [Item(number, section, topic, known.get(number, AUTHORS)) for number, section, topic in TOPICS]


def _answers(of: Assessment) -> dict[str, str]:
    record, split = of.record, dict(of.record.get("split", {}))
    sides = ", ".join(
        f"{sum(1 for side in split.values() if side == each)} {each.replace('_', '-')}" for each in META_SPLITS
    )
    left_out = ", ".join(f"{count:,} {what}" for what, count in record.get("left_out", {}).items()) or "nothing"
    settings = ", ".join(
        f"{name} {value}" for name, value in sorted(record.get("parameters", {}).items()) if value is not None
    )
    positive = "" if of.positive is None else f", {of.positive:,} of them positive"
    labelled = "" if of.labelled_positive is None else f", {of.labelled_positive:,} of them positive"
    answers = {
        "5a": f"The model learned from {record.get('cases', 0):,} cases of {len(split):,} earlier tasks; where they come from stands on its card. "
        f"How far they represent those meant: {AUTHORS[:-1].lower()}.",
        "6a": f"{len(split):,} earlier tasks (centres); judged at {max(len(of.sites), 1)}. The setting: {AUTHORS[:-1].lower()}.",
        "12a": f"Meta-split of the earlier tasks: {sides}. Adapted to {of.labelled:,} labelled cases of the new task and judged on {of.judged:,} "
        "others of it.",
        "12c": f"{of.learner}, chosen on earlier tasks and adapted to this one. {settings}.",
        "12d": "Each centre is a task of its own; the model learns what they share and how they differ, and is adapted to the new one.",
        "12e": "Discrimination, calibration (slope, intercept, in the large, reliability curve), coverage, and error over the share that is "
        "answered" + ("" if of.decision is None else ", net benefit") + "; 95 % bootstrap intervals over the judged cases.",
        "12f": f"Adapted to {of.labelled:,} labelled cases{labelled}; {_lower(of.trust)}",
        "12g": "By the software from the adapted predictor; the same input gives the same output.",
        "16": of.shift,
        "18f": "The software is open (Apache-2.0); the command that made the model stands on its card.",
        "20a": f"{of.judged:,} judged cases{positive}; {of.labelled:,} labelled ones{labelled}. Left out before the model was fitted: {left_out}.",
        "21": f"{record.get('values', 0):,} labels of {record.get('cases', 0):,} cases in earlier tasks; {of.labelled:,} of the new task{labelled}.",
        "22": "The saved model holds every weight, its settings and checksums; it can be loaded and exported (ONNX).",
        "23a": f"See the first table: {', '.join(f'{_NAMES.get(name, name)} {each.text()}' for name, each in of.figures.items())}.",
        "27a": "A cell that is missing, out of range or of an unknown level is read as missing and reported; a row that cannot be read is refused."
        if of.modality == "tables"
        else "A case that cannot be read is refused, with the reason.",
        "27b": f"Where the software is unsure it asks a person ({of.abstention.share:.0%} of cases by default). What users have to know: "
        f"{AUTHORS[:-1].lower()}.",
    }  # fmt: skip
    if of.modality in ("tables", "any_table"):
        answers["11"] = (
            "A missing cell is information of its own (a column says that it is missing); nothing is imputed, no case is left out for it."
        )
        answers["9b"] = f"The columns are those of the model's schema ({len(of.missing):,}), with type, unit and range where declared. How they " \
            f"were measured: {AUTHORS[:-1].lower()}."  # fmt: skip
        answers["12b"] = (
            "Numbers on the scale that the schema declares or the earlier tasks show, categories by level, missing cells by an indicator."
        )
        if of.missing:
            most = max(of.missing, key=lambda name: of.missing[name])
            answers["20b"] = (
                f"Missing most often among the judged cases: {most} ({of.missing[most]:.0%}); the report has every column."
            )
    if of.kind == "binary":
        answers["13"] = (
            "Classes were not balanced by weighting or resampling; the level of risk is that of the new task's labelled cases."
        )
        answers["15"] = (
            f"A probability, a set of classes that holds the true one with {of.cover.asked:.0%}, and whether to ask a person. Figures at a "
            f"threshold use {of.threshold:.0%}; why that one: {AUTHORS[:-1].lower()}."
        )
    elif of.kind == "regression":
        answers["15"] = (
            f"An expected value and an interval that holds the true one with {of.cover.asked:.0%}, and whether to ask a person."
        )
    if of.fairness is not None:
        answers["14"] = (
            f"Results are told apart by {', '.join(audit.column for audit in of.fairness.columns)}; see the subgroup table."
        )
    else:
        answers["14"] = f"Not audited: {of.reasons.get('fairness', 'no sensitive column was named')}."
    if len(of.sites) > 1:
        answers["23b"] = f"See the table of {len(of.sites)} sites."
    if of.before:
        first = next(iter(of.before))
        answers["24"] = (
            f"{_NAMES.get(first, first)} before adapting {of.before[first].text()}, after {of.figures[first].text()}; calibration of both is shown."
        )
    return answers


_NAMES = {
    "roc_auc": "ROC-AUC", "average_precision": "average precision", "r2": "R²", "spearman": "Spearman", "rmse": "RMSE",
}  # fmt: skip


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
