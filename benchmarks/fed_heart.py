"""The published Fed-Heart split (FLamby, Ogier du Terrail et al. 2022, arXiv:2210.04620): our rows beside pooled and federated training.

    make bench-fed-heart                       a minute; needs METAMEDICA_DATA
    make bench-fed-heart ARGS=--quick          one centre, without a verdict; writes nothing

Each centre is adapted to with its own training part and judged on its test part. A method is fitted in two ways: `left out`, on the training
parts of the other centres (the figure that is judged), and `among them`, on all four training parts, so that the centre's own count twice.
Published figures, and the split as facts: benchmarks/published/clinical/fed_heart.toml. The tables go to benchmarks/results/fed_heart.{json,md};
the last line on stdout is JSON.
"""

import argparse
import json
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks._record import RESULTS, conclude, goal, machine, say
from metamedica.data.catalogue import heart
from metamedica.data.collection import TaskCollection
from metamedica.data.episodes import gather, labelled
from metamedica.data.mirror import mirrored
from metamedica.errors import FileFormatError, MetamedicaError
from metamedica.meta_learner import MetaLearner
from metamedica.reports import metrics
from metamedica.storage import replace_file

DEFAULT = "bayesian_model_averaging"
METHODS = (DEFAULT, "recalibrated", "pooled_linear")
WAYS = ("left out", "among them")
PLAIN = "plain logistic regression, pooled"
PUBLISHED = Path(__file__).parent / "published" / "clinical" / "fed_heart.toml"
_CODES = ("cp", "restecg")
"""Columns of codes, which the published model reads as indicators."""
_BOOTSTRAP = 10_000
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
_FIGURES: dict[str, Callable[[Ints, Floats], float]] = {"roc_auc": metrics.roc_auc, "log_loss": metrics.log_loss_of}


def published() -> dict[str, Any]:
    """Return the split and the published figures."""
    return tomllib.loads(PUBLISHED.read_text("utf-8"))


@dataclass(frozen=True)
class Patients:
    """The patients of the published split, in the order of the files.

    Args:
        raw: their cells as published: 0 for an unknown cholesterol is a number, as the published model reads it.
        frame: the same patients as the catalogue declares them: there it is missing.
        roles: of `frame`, for `TaskCollection.from_table`.
        centre: of each.
        label: 1 where an artery is narrowed.
        test: which are the test part.
    """

    raw: pd.DataFrame
    frame: pd.DataFrame
    roles: Mapping[str, Any]
    centre: NDArray[np.str_]
    label: Ints
    test: Mask

    @property
    def centres(self) -> list[str]:
        return list(dict.fromkeys(self.centre.tolist()))


def sides(label: Ints, *, train_size: float, random_state: int, stratified_above: int) -> Mask:
    """Return which patients of one centre are its test part.

    Args:
        label: 0 or 1 of each, in the order of the file.
        train_size: share that trains.
        random_state: of scikit-learn's `train_test_split`.
        stratified_above: the parts are stratified where every class that is there has more cases, and there are two.
    """
    counts = np.unique_counts(label).counts
    stratify = label if len(counts) > 1 and counts.min() > stratified_above else None
    _, test = train_test_split(
        np.arange(len(label)),
        train_size=train_size,
        test_size=1 - train_size,
        random_state=random_state,
        shuffle=True,
        stratify=stratify,
    )
    mask: Mask = np.isin(np.arange(len(label)), test)
    return mask


def patients(split: Mapping[str, Any]) -> Patients:
    """Return the patients of the published split.

    Args:
        split: of the published file.

    Raises:
        InputError: METAMEDICA_DATA is not set, or has no such file.
        FileFormatError: the file does not give the published counts.
    """
    (path,) = mirrored(heart.NAME, heart.files(), source=heart.SOURCE)
    raw = pd.read_csv(path).drop(columns=split["dropped"]).dropna()
    declared = heart.declared()
    frame = declared.frame.drop(columns=split["dropped"]).iloc[raw.index]
    centre, label = raw["site"].to_numpy(str), (raw["num"] > 0).to_numpy(np.int64)
    test = np.zeros(len(raw), dtype=bool)
    rule = {name: split[name] for name in ("train_size", "random_state", "stratified_above")}
    for wanted in split["centres"]:
        own = np.flatnonzero(centre == wanted["name"])
        test[own] = sides(label[own], **rule)
        counts = [int((~test[own]).sum()), int(test[own].sum())]
        if counts != [wanted["train"], wanted["test"]]:
            raise FileFormatError(
                f"{path.name} gives {counts} training and test patients of {wanted['name']}, and {wanted['train']} and "
                f"{wanted['test']} are published; the order or number of its rows has changed"
            )
    roles = declared.roles()
    roles["case"] = [name for name in roles["case"] if name not in split["dropped"]]
    roles["schema"] = {name: facts for name, facts in roles["schema"].items() if name not in split["dropped"]}
    return Patients(raw, frame, roles, centre, label, test)


def plain(all_patients: Patients) -> Floats:
    """Return the probability that unpenalised logistic regression over all training parts gives each patient."""
    cells = all_patients.raw.drop(columns=["site", "num"])
    columns = pd.get_dummies(cells, columns=list(_CODES), drop_first=True).to_numpy(np.float64)
    train = ~all_patients.test
    model = make_pipeline(StandardScaler(), LogisticRegression(C=np.inf))
    model.fit(columns[train], all_patients.label[train])
    probability: Floats = model.predict_proba(columns)[:, 1]
    return probability


def adapted(all_patients: Patients, learner: str, centre: str, way: str) -> Floats:
    """Return the probability of each test patient of a centre, adapted to with its training part.

    Args:
        all_patients: of the split.
        learner: a method.
        centre: the one that is judged.
        way: one of `WAYS`: whether its training part is among the earlier tasks too.
    """
    judged = all_patients.centre == centre
    earlier = ~all_patients.test & (~judged if way == "left out" else np.ones_like(judged))
    name = f"{centre}, judged"
    rows = pd.concat(
        [
            all_patients.frame[earlier].assign(split="meta_train"),
            all_patients.frame[judged].assign(task=name, split="meta_test"),
        ],
        ignore_index=True,
    )
    tasks = TaskCollection.from_table(rows, modality="tables", split="split", **all_patients.roles)
    task, test = tasks[name], all_patients.test[judged]
    if not np.array_equal(task.targets, all_patients.label[judged]):
        raise FileFormatError(
            f"the patients of {centre} do not come in the order of the file; the split cannot be used"
        )
    method = MetaLearner(learner, guard=False).fit(tasks).method("binary")
    support = labelled(tasks, [task], [np.flatnonzero(~test)])
    law = method.adapt(support).predict(gather(tasks, [task.rows[test]]))
    probability: Floats = law.probs[0, :, 1].double().numpy()
    return probability


def judged_row(all_patients: Patients, probability: Floats, baseline: Floats) -> dict[str, Any]:
    """Return the figures of one method on the test patients, with 95 % intervals from patients drawn anew.

    Args:
        all_patients: of the split.
        probability: of each test patient.
        baseline: of each test patient, by the plain pooled model.
    """
    label, centre = all_patients.label[all_patients.test], all_patients.centre[all_patients.test]
    right, theirs = ((p > 0.5) == label for p in (probability, baseline))
    drawn = np.random.default_rng(0).integers(0, len(label), (_BOOTSTRAP, len(label)))
    by_centre = {
        name: {"accuracy": float(right[centre == name].mean()), "patients": int((centre == name).sum())}
        | {figure: _defined(of(label[centre == name], probability[centre == name])) for figure, of in _FIGURES.items()}
        for name in all_patients.centres
        if (centre == name).any()
    }
    return {
        "accuracy": float(right.mean()),
        "interval": _interval(right[drawn].mean(1)),
        "accuracy_over_centres": float(np.mean([each["accuracy"] for each in by_centre.values()])),
        "minus_plain": float(right.mean() - theirs.mean()),
        "minus_plain_interval": _interval(right[drawn].mean(1) - theirs[drawn].mean(1)),
        **{figure: _defined(of(label, probability)) for figure, of in _FIGURES.items()},
        "centres": by_centre,
    }


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


def _interval(values: Floats) -> list[float]:
    return [float(value) for value in np.quantile(values, [0.025, 0.975])]


def measured(all_patients: Patients, *, centres: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return name of a row -> its figures on the test patients of these centres."""
    chosen = replace(all_patients, test=all_patients.test & np.isin(all_patients.centre, list(centres)))
    baseline = plain(all_patients)[chosen.test]
    found = {PLAIN: judged_row(chosen, baseline, baseline)}
    for learner in METHODS:
        for way in WAYS:
            parts = [adapted(all_patients, learner, centre, way) for centre in centres]
            found[f"{learner}, {way}"] = judged_row(chosen, np.concatenate(parts), baseline)
            say(f"{learner}, {way}: accuracy {found[f'{learner}, {way}']['accuracy']:.4f}")
    return found


def goals(found: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the goal, and what is told beside it."""
    theirs = {row["name"]: row["accuracy"] for row in facts["rows"]}
    ours, again = found[f"{DEFAULT}, left out"], found[PLAIN]
    return [
        goal("accuracy of the default, beside the best published (FedAdagrad)", theirs["fed_adagrad"], ours["accuracy"], ours["interval"]),
        goal(f"accuracy of {PLAIN}; published: {theirs['pooled']}", None, again["accuracy"], again["interval"]),
        goal("accuracy of the default minus the plain pooled model's", None, ours["minus_plain"], ours["minus_plain_interval"]),
    ]  # fmt: skip


def markdown(
    found: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any], judged: Sequence[Mapping[str, Any]]
) -> str:
    """Return the page: published rows, ours, the goals."""
    names = [each["name"] for each in facts["split"]["centres"]]
    lines = [
        "# Fed-Heart: the published split, our rows beside it",
        "",
        f"`make bench-fed-heart`, on {machine()}. {facts['protocol']}. Published: {facts['paper']['title']} "
        f"(arXiv:{facts['paper']['arxiv']}), {facts['paper']['where']}.",
        "",
        f"Accuracy at a threshold of one half: {facts['figure']} (the published average), its 95 % interval from patients drawn anew, the mean "
        "over centres, then each centre. Left out: fitted on the training parts of the other centres, adapted on the centre's own. Among them: "
        "fitted on all four. pooled_linear does not adapt, so left out it has seen no patient of the centre; among them it is the published pooling.",
        "",
        f"| row | accuracy | 95 % interval | over centres | {' | '.join(names)} | AUC | log-loss |",
        "|---|---|---|---|" + "---|" * len(names) + "---|---|",
    ]
    for row in facts["rows"]:
        own = [row["centres"][name] for name in names]
        cells = " | ".join(f"{value:.4f}" for value in own)
        lines.append(f"| {row['method']}, published | {row['accuracy']:.4f} | | {np.mean(own):.4f} | {cells} | | |")
    for name, row in found.items():
        low, high = row["interval"]
        cells = " | ".join(f"{row['centres'][centre]['accuracy']:.4f}" for centre in names)
        shown = f"**{name}**" if name == f"{DEFAULT}, left out" else name
        lines.append(
            f"| {shown} | {row['accuracy']:.4f} | {low:.4f} to {high:.4f} | {row['accuracy_over_centres']:.4f} | {cells} | "
            f"{row['roc_auc']:.4f} | {row['log_loss']:.4f} |"
        )
    lines += ["", "## Goals", "", "| goal | wanted | value | 95 % interval | met |", "|---|---|---|---|---|"]
    for each in judged:
        low, high = each["interval"]
        met = {True: "yes", False: "no", None: "told"}[each["met"]]
        lines.append(f"| {each['name']} | {each['goal'] or ''} | {each['value']} | {low} to {high} | {met} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write the tables, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one centre, without a verdict")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    facts = published()
    try:
        everyone = patients(facts["split"])
        found = measured(everyone, centres=everyone.centres[:1] if arguments.quick else everyone.centres)
    except MetamedicaError as error:
        raise SystemExit(str(error)) from None
    judged = goals(found, facts)
    seconds = time.monotonic() - began
    if not arguments.quick:
        table = {"machine": machine(), "minutes": round(seconds / 60, 2), "goals": judged, "rows": found}
        replace_file(RESULTS / "fed_heart.json", (json.dumps(table, indent=1) + "\n").encode())
        replace_file(RESULTS / "fed_heart.md", markdown(found, facts, judged).encode())
    told = [{**each, "met": None} for each in judged] if arguments.quick else judged
    return conclude("fed-heart", told, seconds=seconds, quick=arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
