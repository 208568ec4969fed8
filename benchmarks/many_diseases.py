"""A new disease from 20 labelled patients and no earlier site: the model of any table beside tuned methods, on tables of cohorts it has never seen.

    make bench-many-diseases                      every judged table and method (half an hour), resumes from finished parts
    make bench-many-diseases ARGS=--quick         two tables, three draws, without a verdict; writes nothing but parts
    FRESH=1 make bench-many-diseases              computes all again

Protocol: `reports/protocols/sites.py` with one size (20 patients as they come, 50 draws, the query is everyone else); scales and levels of the
columns are read from these 20 alone; tables and their division by cohort in benchmarks/_many_diseases.py. TabICL and TabPFN stand beside where
they are installed and TABICL_WEIGHTS or TABPFN_WEIGHTS name a file with their weights.
The table goes to benchmarks/results/many_diseases.{json,md}; the last line on stdout is JSON.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks._many_diseases import judged_tables, origins, parts
from benchmarks._record import PARTS, RESULTS, SOURCE, conclude, goal, machine, say, version_of
from benchmarks._tuned_baselines import GRIDS, peers, tuned
from metamedica.meta_learner import MetaLearner, model_folder
from metamedica.predictors.method import Method
from metamedica.reports.judging import judge
from metamedica.reports.protocols.sites import DRAWS, Sites
from metamedica.storage import replace_file
from metamedica.types import MetaSplit, RawEncoder

SHOTS = 20
MODEL = "any-table"
NETWORK = "prior-fitted network"
GUARDED = "any-table, guarded"
OURS = (NETWORK, GUARDED)
FIGURES = ("roc_auc", "log_loss", "brier", "ece")
_PARTS = PARTS / "many_diseases"
_BOOTSTRAP = 2000


def beside(raw: RawEncoder) -> tuple[dict[str, Method], dict[str, str]]:
    """Return the methods of others by name, and the peers that are left out with the reason."""
    found, missing = peers(raw)
    return {**tuned(raw), **found}, missing


def measured(
    ours: Mapping[str, Method], *, model: str, draws: int, most: int | None, side: MetaSplit = "meta_test"
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, str]]:
    """Return a row a judged table, method and draw, the protocol, and the peers that are left out.

    Args:
        ours: methods of ours by name.
        model: version of the model that they use; figures of other methods do not depend on it.
        draws: supports a table.
        most: tables; None for all.
        side: whose tables; "meta_valid" to choose by.
    """
    frames, told, missing = [], {}, {}
    room, protocol = Path(__file__).parent, Sites((SHOTS,))
    others = version_of(room, "_tuned_baselines.py", "_many_diseases.py", settings=[])
    for number, table in enumerate(judged_tables(side)):
        if number == most:
            break
        for draw in range(draws):
            tasks = table.read(protocol, SHOTS, seed=draw)
            theirs, missing = beside(tasks.reader().raw_encoder())
            for asked, version in ((ours, model), (theirs, others)):
                found = judge(
                    protocol,
                    asked,
                    tasks,
                    shots=(SHOTS,),
                    draws=1,
                    seed=draw,
                    parts=_PARTS / table.name,
                    version=version,
                )
                frames.append(found.rows.assign(task=table.name, draw=draw))
                told = found.protocol
        means = pd.concat(frames[-2 * draws :]).groupby("method", sort=False)["roc_auc"].mean().round(3).to_dict()
        say(f"{table.name}: {means}")
    return pd.concat(frames, ignore_index=True), told | {"draws": draws}, missing


def compared(rows: pd.DataFrame) -> dict[str, Any]:
    """Return per method the mean of each figure over tables and its mean rank by AUC; per method of ours its lead over each other one, in rank (among
    itself and those that are not ours), AUC and log-loss; and the AUC of each table. Intervals, 95 %, are over cohorts.

    Args:
        rows: `method`, `task`, `draw` and the figures.
    """
    table = {figure: rows.pivot_table(index="task", columns="method", values=figure, sort=False) for figure in FIGURES}
    area, drawn = table["roc_auc"], _drawn(np.array([origins()[str(name)] for name in table["roc_auc"].index]))
    others = [name for name in area.columns if name not in OURS]
    lead: dict[str, Any] = {}
    for ours in OURS:
        ranks = _ranks(area[[ours, *others]])
        lead[ours] = {
            name: {
                "rank": _with_interval((ranks[name] - ranks[ours]).to_numpy(), drawn),
                "roc_auc": _with_interval((area[ours] - area[name]).to_numpy(), drawn),
                "log_loss": _with_interval((table["log_loss"][name] - table["log_loss"][ours]).to_numpy(), drawn),
            }
            for name in others
        }
    ranks = _ranks(area)
    return {
        "methods": {
            name: {figure: round(float(table[figure][name].mean()), 4) for figure in FIGURES}
            | {"rank": _with_interval(ranks[name].to_numpy(), drawn)}
            for name in area.columns
        },
        "lead": lead,
        "tables": {
            str(task): {name: round(float(value), 4) for name, value in row.items()} for task, row in area.iterrows()
        },
    }


def _ranks(area: pd.DataFrame) -> pd.DataFrame:
    """Return the rank of each method in each table, 1 for the largest area; equal ones share their mean rank."""
    return area.rank(axis=1, ascending=False)


def _drawn(cohort: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Return positions of tables, cohorts drawn anew with replacement."""
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(cohort == each) for each in dict.fromkeys(cohort)]
    return [np.concatenate([groups[at] for at in rng.integers(0, len(groups), len(groups))]) for _ in range(_BOOTSTRAP)]


def _with_interval(values: NDArray[np.float64], drawn: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    means = [float(values[chosen].mean()) for chosen in drawn]
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": round(float(values.mean()), 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def goals(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the goals: a better mean rank than each tuned method; a tie is none."""
    told = []
    for ours in OURS:
        for name in GRIDS:
            lead = found["lead"][ours][name]["rank"]
            each = goal(
                f"lead of {ours} in mean AUC rank at {SHOTS} labelled over {name}", 0.0, lead["mean"], lead["interval"]
            )
            told.append(each | {"met": lead["mean"] > 0})
    return told


def markdown(found: dict[str, Any], protocol: dict[str, Any], missing: dict[str, str]) -> str:
    """Return the page."""
    sides = pd.Series(parts()).value_counts()
    lines = [
        "# Many diseases: a new table, 20 labelled patients, no earlier site",
        "",
        f"Made by `make bench-many-diseases`. {len(found['tables'])} tables of cohorts that nothing was trained or chosen on "
        f"({sides['meta_train']} tables and made-up ones taught the network, {sides['meta_valid']} chose its step); {SHOTS} patients as they come, "
        f"{protocol['draws']} draws, all other patients are asked. Ranks are of the AUC among the methods of a table, 1 is best; intervals draw the "
        "cohorts anew.",
        "",
        "| method | mean rank | AUC | log-loss | Brier | ECE |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in sorted(found["methods"].items(), key=lambda item: float(item[1]["rank"]["mean"])):
        low, high = each["rank"]["interval"]
        lines.append(
            f"| {name} | {each['rank']['mean']:.2f} ({low:.2f} to {high:.2f}) | {each['roc_auc']:.3f} | {each['log_loss']:.3f} | "
            f"{each['brier']:.3f} | {each['ece']:.3f} |"
        )
    lines += ["", "Ours beside each, over tables (positive is better; ranks among the method of ours and the others):"]
    lines += ["", "| ours | beside | rank | AUC | log-loss |", "|---|---|---|---|---|"]
    for ours, beside in found["lead"].items():
        for name, each in beside.items():
            told = [
                f"{each[what]['mean']:+.3f} ({each[what]['interval'][0]:+.3f} to {each[what]['interval'][1]:+.3f})"
                for what in ("rank", "roc_auc", "log_loss")
            ]
            lines.append(f"| {ours} | {name} | {' | '.join(told)} |")
    names = list(found["methods"])
    lines += ["", "AUC of each table:", "", f"| table | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    lines += [
        f"| {task} | {' | '.join(f'{row[name]:.3f}' for name in names)} |" for task, row in found["tables"].items()
    ]
    if missing:
        lines += ["", "Not beside it: " + "; ".join(f"{name} ({why})" for name, why in missing.items()) + "."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write the table, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL, help=f"folder of another model than {MODEL}")
    parser.add_argument(
        "--valid",
        action="store_true",
        help="judge on the meta-valid tables instead, to choose by; prints the page, writes nothing but parts",
    )
    parser.add_argument("--quick", action="store_true", help="a small version, without a verdict")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if os.environ.get("FRESH") == "1":
        shutil.rmtree(_PARTS, ignore_errors=True)
    began = time.monotonic()
    model = MetaLearner.load(arguments.model)
    manifest = (model_folder(arguments.model) / "MANIFEST.json").read_text("utf-8")
    version = version_of(SOURCE, "learners/prior_fitted_network.py", "predictors/guard.py", settings=[manifest])
    ours = {NETWORK: model.model_.method("binary", guard=False), GUARDED: model.model_.method("binary")}
    quick = arguments.quick
    side: MetaSplit = "meta_valid" if arguments.valid else "meta_test"
    draws, most = (3, 2) if quick else (DRAWS, None)
    rows, protocol, missing = measured(ours, model=version, draws=draws, most=most, side=side)
    for name, why in missing.items():
        say(f"skipped: {name}, {why}")
    found = compared(rows)
    judged = goals(found)
    seconds = time.monotonic() - began
    if arguments.valid:
        say(markdown(found, protocol, missing))
    if quick or arguments.valid:
        judged = [{**each, "met": None} for each in judged]
    else:
        table = {"machine": machine(), "goals": judged, "protocol": protocol, "left_out": missing, **found}
        replace_file(RESULTS / "many_diseases.json", (json.dumps(table, indent=1) + "\n").encode())
        replace_file(RESULTS / "many_diseases.md", markdown(found, protocol, missing).encode())
    return conclude("many-diseases", judged, seconds=seconds, quick=quick or arguments.valid)


if __name__ == "__main__":
    sys.exit(main())
