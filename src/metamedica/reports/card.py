"""A model card: what a meta-model was made from, by which command, how well it does, and where it should not be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metamedica import registry
from metamedica.functional.leaning import WeighsItself
from metamedica.functional.profiles import Profiles
from metamedica.meta_learner import MetaLearner
from metamedica.reports.subgroups import declared_sensitive
from metamedica.types import META_SPLITS


@dataclass(frozen=True)
class About:
    """What the software cannot know by itself.

    Args:
        name: of the model.
        data: what it was fitted on, in words.
        source: where that data comes from.
        licence: of the data.
        attribution: as the licence asks.
        command: the exact command that made the model.
        figures: lines of Markdown (a table, a sentence), each with its protocol and command.
        limits: what it must not be used for, or does badly.
    """

    name: str
    data: str
    source: str
    licence: str
    attribution: str
    command: str
    figures: Sequence[str] = ()
    limits: Sequence[str] = ()


def card(model: MetaLearner, about: About) -> str:
    """Return the card of a fitted model as Markdown."""
    says, record = model.as_dict(), model.model_.record
    split = record.get("split", {})
    sides = ", ".join(f"{sum(1 for side in split.values() if side == each)} {each}" for each in META_SPLITS)
    parameters = ", ".join(f"{name} {value}" for name, value in sorted(record.get("parameters", {}).items()))
    over = f" over {says['encoder']}" if registry.takes(says["learner"], "encoder") else ""
    guarded = "not weighed against methods from scratch"
    if isinstance(model.model_.learner, WeighsItself):
        guarded = "which weighs itself what earlier tasks taught"
    elif model.guard and model.model_.guards(model.model_.learner):
        guarded = f"guarded by {', '.join(says['from_scratch'])}"
    hashes = " and 64-bit hashes of their cases" if len(model.model_.earlier.known) else ""
    values = sum(len(part["residuals"]) for part in model.model_.learner.modules() if isinstance(part, Profiles))
    if values:
        hashes += f", with {values:,} of their values: who has a case can look up what it measured in each task"
    spreads = ", means and spreads of their columns and labels" if len(model.model_.cases.values.mean) else ""
    kept = " and features of cases, as said below" if model.model_.personal() else ", no case in readable form"
    lines = [
        f"# {about.name}",
        "",
        f"A meta-model for {says['modality']}: {says['learner']}{over}, {guarded}.",
        "",
        "## Data",
        "",
        f"- {about.data}",
        f"- Source: {about.source}",
        f"- Licence: {about.licence}",
        f"- Attribution: {about.attribution}",
        f"- Meta-split: {sides} tasks; {record.get('cases', 0):,} cases, {record.get('values', 0):,} values",
        *(f"- Left out: {count:,} {what}" for what, count in sorted(record.get("left_out", {}).items())),
        "",
        "## Made by",
        "",
        f"    {about.command}",
        "",
        f"Parameters: {parameters}. {_versions(record)}",
        "",
        "## Figures",
        "",
        *(about.figures or ["None were measured."]),
        "",
        "## What its predictors say",
        "",
        *(f"- {line}" for line in _said(model)),
        "",
        "## Intended use and limits",
        "",
        "- Adapting to a new task from a handful of labelled cases; `predictor.trust` says how far it leans on earlier tasks.",
        "- Research use only; not a medical device.",
        *(f"- {limit}" for limit in about.limits),
        f"- The model holds weights, mean feature vectors of its earlier tasks{spreads}{hashes}{kept}.",
        "- A predictor adapted from it contains the labelled cases it was given: keep it as you keep them.",
    ]
    return "\n".join(lines) + "\n"


def _said(model: MetaLearner) -> list[str]:
    """Return what a predictor of the model answers beside its prediction, as far as it can."""
    fitted = model.model_
    sensitive = declared_sensitive(fitted.modality)
    compared = len(fitted.cases.values.mean)
    subgroups = ["Subgroups: no column is declared sensitive; `metamedica report --sensitive` names some."]
    if sensitive:
        subgroups = [
            f"Subgroups: `metamedica report` tells results apart by {', '.join(sensitive)}, declared sensitive."
        ]
    if fitted.modality.distinct:  # no columns, nobody's
        subgroups = []
    shift = (
        f"Shift: whether a new task's values, what it misses and its labels look unlike those of {compared:,} earlier tasks (`predictor.shift`)."
        if compared > 1
        else "Shift: cannot be told; too few earlier tasks can be compared with a new one."
    )
    return [
        "Calibration: probabilities are those of the method; `Predictor(calibration=...)` sets them right by the task's own labelled cases, each "
        "hidden in turn (temperature, beta or isotonic, by their number).",
        "Conformal sets and intervals: hold the share of true answers that is asked for, by the labelled cases, each hidden in turn; n of them vouch "
        "for at most n / (n + 1) (`predict_set`, `predict_interval`).",
        "Abstention: how sure each answer is, and about which cases to ask a person (`sureness`, `asks`).",
        "Explanation: what each part of a case contributes, and the labelled cases most like it (`explain`).",
        shift,
        *subgroups,
        "`metamedica report` judges a predictor on labelled cases and fills in the TRIPOD+AI checklist.",
    ]


def _versions(record: Mapping[str, Any]) -> str:
    versions = record.get("versions", {})
    return f"Versions: {', '.join(f'{name} {value}' for name, value in sorted(versions.items()))}." if versions else ""
