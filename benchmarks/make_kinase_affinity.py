"""Train a meta-model of kinase inhibitors, `kinase-affinity`, on Davis and KIBA, and write it to a folder of yours. It does not ship: neither set's
source states a licence.

    python -m benchmarks.make_kinase_affinity --out FOLDER            trains, judges, writes FOLDER with its card, prints the figures
    python -m benchmarks.make_kinase_affinity --out FOLDER --quick    a small version of the figures

A quarter of an hour on one core; killed, it goes on from what is finished (benchmarks/results/parts/kinase-affinity). The kinases are the tasks,
learned as numbers (pKd of Davis, KIBA scores) and judged as active or not at 16 labels. Each is described by its amino acids, so that a new kinase
leans on those with a sequence like its own; sequences also keep the same kinase of both panels on one side.

The figures are those of two more models that were each fitted without the judged kinases; the one that is written has learned from all of them.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import _kinase_tasks
from benchmarks._budgets import LEARNED
from benchmarks._kinase_tasks import PANELS, of_panel
from benchmarks._made_models import beside_scratch, fitted, harmed, lines_of, megabytes, rows_of
from benchmarks._record import PARTS, RESULTS, machine
from metamedica.data.catalogue import davis, kiba
from metamedica.data.collection import TaskCollection
from metamedica.errors import MetamedicaError
from metamedica.meta_learner import MetaLearner
from metamedica.reports.card import About, card
from metamedica.reports.judging import DRAWS
from metamedica.reports.protocols import kinases
from metamedica.storage import replace_file

NAME = "kinase-affinity"
FIGURES = RESULTS / f"{NAME}.json"
COMMAND = "python -m benchmarks.make_kinase_affinity --out FOLDER"
COLUMNS = (kinases.FIGURE, "delta_auprc", "roc_auc")
QUICK_KINASES = 3
QUICK_DRAWS = 2
SETTINGS = {
    "compounds measured on other kinases": "Earlier kinases may have measured the same compounds; in Davis all of them have.",
    "new compounds": "No compound of a judged kinase is in the earlier tasks: half of each panel's is kept for the judged kinases.",
}
"""Title of each setting -> what may be learned from before."""
TITLES = {"davis": "Davis", "kiba": "KIBA"}
PROTOCOL = (
    "Supports of FS-Mol, stratified, 16 labels in total, {draws} draws, all other compounds as query (seed 0); active = binds more strongly than the "
    "kinase's median, that of Davis kept within 10 µM and 1 nM; means over held-out kinases, 95 % bootstrap intervals over kinases, differences "
    "paired. Kinases of one gene or alike in sequence were dealt together, 70 / 10 / 20 to meta-train, meta-valid and meta-test."
)
QUICK = "A quick run on a few kinases: it shows that the command works, and measures nothing. "
LICENCE = (
    f"Davis: {davis.LICENCE}. KIBA: {kiba.LICENCE}. So the weights do not ship with the package: keep this model for your own use, or ask the "
    "owners of the data before you pass it on"
)


def configured() -> MetaLearner:
    """Return the meta-learner with the leaderboard's default learner, guarded; all of its settings are defaults."""
    return MetaLearner(LEARNED, seed=0)


def about(found: dict[str, Any]) -> About:
    """Return what the card says beside what the model knows.

    Args:
        found: as `main` makes it.
    """
    return About(
        name=NAME,
        data="pKd of 68 inhibitors on 442 kinases and mutants (Davis), and KIBA scores of 2,068 compounds on 229 kinases: each kinase a task",
        source=f"{davis.SOURCE}; {kiba.SOURCE}",
        licence=LICENCE,
        attribution=f"{davis.ATTRIBUTION} {kiba.ATTRIBUTION}",
        command=COMMAND,
        figures=lines(found),
        limits=[
            "The figures are those of models fitted without the judged kinases; this one has learned from all kinases.",
            "In the figures each kinase is described by its amino acids (`metamedica adapt --about @kinase.fasta`), which helps for compounds that "
            "other kinases have measured; without a description, and for other compounds, expect less.",
            f"Two scales: pKd ({davis.UNIT}) and KIBA scores ({kiba.UNIT!r}). Give `unit` when you adapt to numbers, so that the usual spread is "
            "that of the scale.",
            "Seven of ten values of Davis are a ceiling (no binding seen at 10 µM).",
        ],
    )


def lines(found: dict[str, Any]) -> list[str]:
    """Return the figures as Markdown, a heading for each setting and panel."""
    told = []
    for each in found["settings"]:
        told += [
            f"### {TITLES[each['panel']]}, {each['setting']}",
            "",
            f"{SETTINGS[each['setting']]}",
            "",
        ]
        told += lines_of(each["rows"], name=NAME, what="kinases")
        share = each["harmed"][str(kinases.SHOTS[0])]
        told += [f"Kinases ranked worse than by the Tanimoto process by more than .03 ΔAUPRC: {share:.0%}.", ""]
    cost = f"Fitting took {found['minutes']:.1f} minutes of CPU time ({found['machine']}); {found['megabytes']:.1f} MB on disk."
    protocol = PROTOCOL.format(draws=found["draws"])
    return [*told, f"{QUICK if found['quick'] else ''}Command: `{COMMAND}`. {protocol} {cost}"]


def judged(setting: str, tasks: TaskCollection, *, parts: Path, quick: bool) -> list[dict[str, Any]]:
    """Return how a model fitted on the earlier kinases does on the meta-test ones, a JSON value for each panel."""
    trained = fitted(configured(), tasks, parts=parts, data=[setting, {**davis.files(), **kiba.files()}])
    found = []
    for panel in PANELS:
        names = of_panel(tasks, panel, "meta_test")
        binary = kinases.active(tasks.select(names), name=panel)
        evaluation = beside_scratch(
            NAME,
            trained,
            binary,
            names[:QUICK_KINASES] if quick else names,
            kinases.Kinases(),
            shots=kinases.SHOTS,
            draws=QUICK_DRAWS if quick else DRAWS,
            parts=parts,
            file="reports/protocols/kinases.py",
        )
        rows = rows_of(evaluation, COLUMNS, name=NAME)
        found.append({"setting": setting, "panel": panel, "rows": rows, "harmed": harmed(evaluation, name=NAME)})
    return found


def made(out: Path, *, parts: Path, quick: bool) -> dict[str, Any]:
    """Train, judge, write the model with its card to a folder, and return its figures and what it cost as a JSON value."""
    tasks = _kinase_tasks.dealt(_kinase_tasks.load())
    settings = []
    for setting, apart in zip(SETTINGS, (tasks, _kinase_tasks.new_compounds(tasks)), strict=True):
        settings += judged(setting, apart, parts=parts, quick=quick)
    kept = _kinase_tasks.all_earlier(tasks)
    trained = fitted(configured(), kept, parts=parts, data=["all", {**davis.files(), **kiba.files()}])
    trained.model.save(out)
    found = {
        "model": NAME,
        "command": COMMAND,
        "quick": quick,
        "draws": QUICK_DRAWS if quick else DRAWS,
        "machine": machine(),
        "minutes": trained.minutes,
        "megabytes": megabytes(out),
        "settings": settings,
    }
    trained.model.save(out, card=card(trained.model, about(found)))
    return found


def main() -> int:
    """Train, judge, save, and print the figures; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the model, new or that of an earlier run")
    parser.add_argument("--parts", type=Path, default=PARTS / NAME, help="folder of finished parts, to go on from")
    parser.add_argument("--quick", action="store_true", help="judge three kinases of each panel with two draws")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        found = made(arguments.out, parts=arguments.parts, quick=arguments.quick)
    except MetamedicaError as error:
        raise SystemExit(str(error)) from None
    if not arguments.quick:
        replace_file(FIGURES, (json.dumps(found, indent=1) + "\n").encode())
    print("\n".join(lines(found)))
    print(json.dumps({name: value for name, value in found.items() if name != "settings"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
