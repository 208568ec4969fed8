"""A new site with few labelled patients or none, and many whom nobody has labelled: domain adaptation beside the pooled model.

    make bench-unlabelled                      heart hospitals and eICU regions (a quarter of an hour); writes results/unlabelled.{json,md}
    make bench-unlabelled ARGS=--quick         one hospital in under two minutes; writes nothing

Protocol: a site is left out at a time. Half of its patients, drawn once, are judged. Of the others 0, 5 or 20 are labelled (10 draws, nested,
as patients come) and the rest comes without label; methods that cannot use those get the labelled ones alone. Each method stands there as it
is fitted, where earlier sites decide how far cases without label count, and `always`, where they count whatever earlier sites say. Every
figure is a mean over draws, then over sites. The last line on stdout is JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from benchmarks._clinical_families import FAMILIES, World
from benchmarks._record import RESULTS, commit, conclude, goal, machine, say
from metamedica.data.collection import IntArray, Task
from metamedica.data.draws import group_codes
from metamedica.data.episodes import gather, labelled
from metamedica.meta_learner import MetaLearner
from metamedica.storage import replace_file
from metamedica.unlabelled import Unlabelled

CASES = [30.0]
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "pooled_linear": ("pooled_linear", {}),
    "recalibrated": ("recalibrated", {}),
    "coral": ("coral", {}),
    "subspace_alignment": ("subspace_alignment", {}),
    "entropic_transport": ("entropic_transport", {}),
    "deep_adaptation": ("deep_adaptation", {}),
    "domain_adversarial": ("domain_adversarial", {}),
    "coral, always": ("coral", {"mean_cases": CASES, "spread_cases": [3.0]}),
    "subspace_alignment, always": ("subspace_alignment", {"mean_cases": CASES, "spread_cases": [3.0]}),
    "entropic_transport, always": ("entropic_transport", {"cases": CASES}),
    "deep_adaptation, always": ("deep_adaptation", {"strengths": [1.0]}),
    "domain_adversarial, always": ("domain_adversarial", {"strengths": [1.0]}),
}
NEW = ("subspace_alignment", "entropic_transport", "deep_adaptation", "domain_adversarial")
WORLDS = ("heart", "eicu-region")
SHOTS = (0, 5, 20)
DRAWS = 10
HARM = 0.01
"""Log-loss above that of the pooled model, without a label, that is still none."""
_CHOSEN = ("strength", "cases", "mean_cases", "spread_cases")
_LEAST = 1e-7


def halves(task: Task, *, seed: int = 0) -> tuple[IntArray, IntArray]:
    """Return the positions of the judged patients and of the others: no patient stands on both sides."""
    codes = group_codes(task)
    codes = np.arange(len(task)) if codes is None else codes
    order = np.random.default_rng(seed).permutation(codes.max() + 1)
    judged = np.isin(codes, order[: len(order) // 2])
    return np.flatnonzero(judged), np.flatnonzero(~judged)


def figures(chance: "np.ndarray[Any, Any]", labels: "np.ndarray[Any, Any]") -> dict[str, float]:
    """Return log-loss, Brier score and AUC of probabilities `[draws, cases]`, means over draws."""
    clear = chance.clip(_LEAST, 1 - _LEAST)
    likelihood = np.where(labels == 1, np.log(clear), np.log1p(-clear))
    return {
        "log_loss": float(-likelihood.mean()),
        "brier": float(((chance - labels) ** 2).mean()),
        "roc_auc": float(np.mean([roc_auc_score(labels, each) for each in chance])),
    }


def measured(world: World, name: str, *, draws: int) -> list[dict[str, Any]]:
    """Return the figures of a method on the judged sites of a world, a row a site and number of labels."""
    learner, settings = METHODS[name]
    began = time.process_time()
    method: Any = MetaLearner(learner, settings=dict(settings), guard=False).fit(world.tasks).method("binary")
    fit, rows = time.process_time() - began, []
    for site in world.names:
        task = world.tasks[site]
        judged, others = halves(task)
        orders = [np.random.default_rng(draw).permutation(others) for draw in range(draws)]
        for shots in SHOTS:
            some = orders if shots else orders[:1]
            support = labelled(world.tasks, [task] * len(some), [order[:shots] for order in some])
            rest = gather(world.tasks, [task.rows[order[shots:]] for order in some])
            query = gather(world.tasks, [task.rows[judged]] * len(some))
            began = time.process_time()
            adapted = method.adapt(support, rest) if isinstance(method.learner, Unlabelled) else method.adapt(support)
            spent = time.process_time() - began
            found = figures(adapted.predict(query).probs[..., 1].double().numpy(), task.targets[judged])
            rows.append({"site": site, "method": name, "shots": shots, **found, "adapt_ms": 1000 * spent / len(some)})
    kept = method.learner.taught.of("binary") if hasattr(method.learner, "taught") else None
    told = {} if kept is None else {key: float(value) for key, value in kept.named_buffers() if key in _CHOSEN}
    say(f"{', '.join(world.names)}: {name} {told or ''}")
    # JSON has no infinity.
    return [{**row, "fit_s": fit, "chosen": {key: str(value) for key, value in told.items()}} for row in rows]


def means(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the figures of each method and number of labels, means over sites, with methods in the order of `METHODS`."""
    columns = ["log_loss", "brier", "roc_auc", "adapt_ms", "fit_s"]
    mean = pd.DataFrame(rows).groupby(["shots", "method"])[columns].mean()
    order = {name: place for place, name in enumerate(METHODS)}
    return mean.sort_index(level=1, key=lambda names: names.map(order)).sort_index(
        level=0, sort_remaining=False, kind="stable"
    )


def goals(name: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each of the new methods, by how much cases without label alone harm it: log-loss less that of the pooled model."""
    alone = pd.DataFrame(rows).query("shots == 0").pivot(index="site", columns="method", values="log_loss")
    found = []
    for method in NEW:
        harm = alone[method] - alone["pooled_linear"]
        say(f"{name} {method}: {harm.to_dict()}")
        found.append(
            goal(
                f"{name}: {method} without label, log-loss less pooled's",
                HARM,
                float(harm.mean()),
                [float(harm.min()), float(harm.max())],
                lower=True,
            )
        )
    return found


def page(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the tables as Markdown."""
    lines = [
        "# Cases that nobody has labelled",
        "",
        "`make bench-unlabelled`; protocol in benchmarks/unlabelled.py. " + machine() + ".",
    ]
    for name, rows in found.items():
        lines += ["", f"## {FAMILIES[name].title}: {FAMILIES[name].about}", ""]
        lines += [
            "| labelled | method | log-loss | Brier | AUC | adapt, ms | fit, s |",
            "|---|---|---|---|---|---|---|",
        ]
        for key, row in means(rows).iterrows():
            assert isinstance(key, tuple)
            quality = " | ".join(f"{row[name]:.4f}" for name in ("log_loss", "brier", "roc_auc"))
            lines.append(f"| {key[0]} | {key[1]} | {quality} | {row['adapt_ms']:.1f} | {row['fit_s']:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write the tables, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one hospital, without a verdict")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    began = time.monotonic()
    if quick:
        world = FAMILIES["heart"].build()[0]
        rows = [row for name in list(METHODS)[:7] for row in measured(world, name, draws=2)]
        say(means(rows).to_string())
        return conclude("unlabelled", goals("heart", rows), seconds=time.monotonic() - began, quick=True)
    found = {
        name: [
            row
            for world in FAMILIES[name].build()
            for method in METHODS
            for row in measured(world, method, draws=DRAWS)
        ]
        for name in WORLDS
    }
    judged = [each for name, rows in found.items() for each in goals(name, rows)]
    table = {"machine": machine(), "commit": commit(), "draws": DRAWS, "goals": judged, "sites": found}
    replace_file(RESULTS / "unlabelled.json", (json.dumps(table, indent=1) + "\n").encode())
    replace_file(RESULTS / "unlabelled.md", page(found).encode())
    return conclude("unlabelled", judged, seconds=time.monotonic() - began, quick=False)


if __name__ == "__main__":
    sys.exit(main())
