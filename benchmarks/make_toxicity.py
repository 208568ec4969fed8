"""Train the meta-model `toxicity` that ships, on Tox21 and ToxCast, and judge it on held-out assays with new molecules.

    python -m benchmarks.make_toxicity              writes src/metamedica/models/toxicity/ and benchmarks/results/toxicity.json, prints the figures
    python -m benchmarks.make_toxicity --card-only  writes the card of the model that stands there again, from the figures of the last run
    python -m benchmarks.make_toxicity --quick --out FOLDER     a small version of the figures, written to FOLDER only

Ten minutes of CPU time; killed, it goes on from what is finished (benchmarks/results/parts/toxicity). Learned from the meta-train assays of
benchmarks/toxicity_split.py, selected and weighed on the meta-valid ones, judged once on the meta-test ones, whose molecules stand in no other assay.
SIDER is not in it: its licence does not allow commercial use.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import toxicity_split
from benchmarks._budgets import LEARNED
from benchmarks._made_models import Row, beside_scratch, fitted, harmed, lines_of, megabytes, rows_of
from benchmarks._record import PARTS, RESULTS, machine
from metamedica.data.catalogue import tox21, toxcast
from metamedica.errors import MetamedicaError
from metamedica.meta_learner import MetaLearner
from metamedica.reports.card import About, card
from metamedica.reports.judging import DRAWS
from metamedica.reports.protocols import fsmol
from metamedica.storage import replace_file, sha256

NAME = "toxicity"
FOLDER = Path(__file__).parents[1] / "src" / "metamedica" / "models" / NAME
FIGURES = RESULTS / f"{NAME}.json"
COMMAND = "python -m benchmarks.make_toxicity"
LARGEST_MB = 25.0
SHOTS = (16, 32, 64)
COLUMNS = ("delta_auprc", "roc_auc")
QUICK_ASSAYS = 4
QUICK_DRAWS = 2
PROTOCOL = (
    "FS-Mol's nested supports, stratified, 16 to 64 labels in total, {draws} draws, the query fixed over support sizes (seed 0); means over the "
    "meta-test assays that have both classes in every support and 16 molecules beyond it; 95 % bootstrap intervals over assays, differences paired. "
    "More labels let assays with rarer positives in, so sizes are not to be compared."
)
QUICK = "A quick run on a few assays: it shows that the command works, and measures nothing."
SPLIT = (
    "All twelve assays of Tox21 stand in ToxCast too, and many assays are twins, so assays whose labels agree (phi above .5) are kept together; "
    "groups were dealt 70 / 10 / 20 to meta-train, meta-valid and meta-test (benchmarks/toxicity_split.json, seed 0): no meta-test assay agrees "
    "with an earlier one. A quarter of the molecules is kept for the meta-test assays and 15 % for the meta-valid ones."
)


def configured() -> MetaLearner:
    """Return the meta-learner with the settings of the shipped model: the leaderboard's default, all of its settings being defaults."""
    return MetaLearner(LEARNED, seed=0)


def limits(found: dict[str, Any]) -> list[str]:
    """Return what the model must not be used for, or does badly, with what was measured of it."""
    harm = ", ".join(f"{share:.0%} at {size}" for size, share in found["harmed"].items())
    return [
        "Active or not in an assay of proteins, cells or zebrafish, often at concentrations near cytotoxicity: no prediction of harm to a person, of "
        "a dose, or of safety.",
        f"Share of new assays that it ranks worse than the Tanimoto process by more than .03 ΔAUPRC: {harm} labels.",
        "Molecules and assays of one screening programme: pesticides, industrial chemicals and failed drugs. Some assays read autofluorescence or "
        "viability of the cells that another assay uses.",
        "Trained on classes: numbers can be adapted to, but nothing was learned from numbers.",
        "SIDER (side effects of drugs) is not in it: its licence does not allow commercial use.",
    ]


def about(found: dict[str, Any]) -> About:
    """Return what the card says beside what the model knows.

    Args:
        found: as `main` writes it to `FIGURES`.
    """
    figures = [
        "New assays and new molecules, active or not:",
        "",
        *lines_of(found["rows"], name=NAME, what="assays"),
        f"Command: `{COMMAND}`. {PROTOCOL.format(draws=found['draws'])}",
        *([QUICK] if found["quick"] else []),
        "",
        SPLIT,
        "",
        f"One training: {found['minutes']:.1f} minutes of CPU time ({found['machine']}); {found['megabytes']:.1f} MB on disk.",
    ]
    return About(
        name=NAME,
        data="Tox21 (12 assays) and ToxCast (518 assays): each molecule active in an assay or not; every molecule on one side of the meta-split only",
        source=f"{tox21.SOURCE}; {toxcast.SOURCE}",
        licence=f"Tox21: {tox21.LICENCE}. ToxCast: {toxcast.LICENCE}",
        attribution=f"{tox21.ATTRIBUTION} {toxcast.ATTRIBUTION}",
        command=COMMAND,
        figures=figures,
        limits=limits(found),
    )


def shown(rows: list[Row]) -> str:
    """Return the figures as they are printed."""
    return "\n".join(lines_of(rows, name=NAME, what="assays"))


def made(out: Path, *, parts: Path, quick: bool) -> dict[str, Any]:
    """Train, judge, write the model with its card to a folder, and return its figures and what it cost as a JSON value."""
    tasks = toxicity_split.load_disjoint()
    data = [sha256(toxicity_split.PATH), {**tox21.files(), **toxcast.files()}, toxicity_split.PARTS]
    trained = fitted(configured(), tasks, parts=parts, data=data)
    judged, draws = tasks.names("meta_test"), QUICK_DRAWS if quick else DRAWS
    evaluation = beside_scratch(
        NAME,
        trained,
        tasks,
        judged[:QUICK_ASSAYS] if quick else judged,
        fsmol.FixedQuery(SHOTS),
        shots=SHOTS,
        draws=draws,
        parts=parts,
        file="reports/protocols/fsmol.py",
    )
    trained.model.save(out)
    found = {
        "model": NAME,
        "command": COMMAND,
        "quick": quick,
        "draws": draws,
        "machine": machine(),
        "minutes": trained.minutes,
        "megabytes": megabytes(out),
        "harmed": harmed(evaluation, name=NAME),
        "rows": rows_of(evaluation, COLUMNS, name=NAME),
    }
    trained.model.save(out, card=card(trained.model, about(found)))
    return found


def main() -> int:
    """Train, judge, save, and print the figures; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the model (default: where it ships from)")
    parser.add_argument("--parts", type=Path, default=PARTS / NAME, help="folder of finished parts, to go on from")
    parser.add_argument(
        "--card-only", action="store_true", help="write the card again, from the figures of the last run"
    )
    parser.add_argument("--quick", action="store_true", help="judge four assays with two draws; needs --out")
    arguments = parser.parse_args()
    if arguments.quick and arguments.out == FOLDER:
        parser.error("a quick run does not replace the model that ships: name another folder with --out")
    torch.set_num_threads(1)
    try:
        if arguments.card_only:
            model = MetaLearner.load(arguments.out)
            found = json.loads(FIGURES.read_text("utf-8"))
            model.save(arguments.out, card=card(model, about(found)))
            return 0
        found = made(arguments.out, parts=arguments.parts, quick=arguments.quick)
    except MetamedicaError as error:
        raise SystemExit(str(error)) from None
    if arguments.out == FOLDER:
        replace_file(FIGURES, (json.dumps(found, indent=1) + "\n").encode())
    print(shown(found["rows"]))
    print(json.dumps({name: value for name, value in found.items() if name != "rows"}))
    return int(found["megabytes"] > LARGEST_MB)


if __name__ == "__main__":
    sys.exit(main())
