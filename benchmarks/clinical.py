"""A new site with few labelled patients: families of clinical tables x methods, paired with one pooled model.

    make bench-clinical                                    every family and method (an hour or two), resumes from finished parts
    make bench-clinical ARGS="--family heart,impact"       these families
    make bench-clinical ARGS=--pages                       nothing is measured: the tables are written again from the finished families
    make bench-clinical ARGS=--quick                       a small version in under two minutes, without a verdict; writes nothing but parts
    FRESH=1 make bench-clinical                            computes the families that are asked for again

Protocol: `reports/protocols/sites.py` (supports of 5, 10, 20, 50 as patients come, 50 draws, one query for all sizes), families in
benchmarks/_clinical_families.py. A finished family is benchmarks/results/clinical/<family>.json, keyed by the version of its code and data
(benchmarks/_definitions.py); methods of it that have not changed are not measured again. The
tables go to benchmarks/results/clinical.{json,md}; the last line on stdout is JSON.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.distributions import Categorical

from benchmarks._budgets import MLP, STEPS
from benchmarks._clinical_families import FAMILIES, Family, World
from benchmarks._clinical_tables import goals, markdown, summary
from benchmarks._definitions import PACKAGES, averaged_by, definitions_behind, version_of_definitions
from benchmarks._record import PARTS, RESULTS, SOURCE, commit, conclude, machine, say
from metamedica import registry
from metamedica.data import catalogue
from metamedica.data.episodes import gather, labelled
from metamedica.errors import MetamedicaError
from metamedica.functional.remembered import remembering
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.method import Adapted, LearnerMethod, Method
from metamedica.reports.evaluation import Evaluation
from metamedica.reports.judging import judge
from metamedica.reports.protocols.sites import DRAWS, SHOTS, Sites
from metamedica.storage import replace_file
from metamedica.types import CaseBatch, LabelledBatch, Law

DEFAULT = "bayesian_model_averaging"
POOLED = ("pooled_linear", "pooled_trees")
CLOSED = (
    DEFAULT, "hierarchical_bayes", "additive_transfer", *POOLED, "recalibrated", "linear", "pooled_and_local", "parameter_transfer",
)  # fmt: skip
LEARNED = ("maml", "prototypical")
"""Trained by steps, with the budget that they have on molecules (benchmarks/_budgets.py)."""
LEARNED_IN = frozenset({"heart", "heart-extra", "impact", "eicu-region"})
"""Families that these are measured in: those of few sites."""
TWO_CLASSES = frozenset({"prototypical"})
"""Methods that refuse a support of one class."""
FIGURES = ("roc_auc", "log_loss", "brier", "ece")
ROOM = RESULTS / "clinical"
_PARTS = PARTS / "clinical"
BESIDES = (
    "metamedica.predictors.guard",
    "metamedica.functional.remembered",
    "metamedica.checkpoints",
    "metamedica.modalities.tables.modality:Tables.parts",
    "metamedica.modalities.tables.columns:Remark",
    "metamedica.modalities.tables.columns:_remarks",
    "metamedica.modalities.tables.modality:_told",
    "metamedica.types:CaseProblem",
)
"""What changes no figure here: no method is guarded, a model that is remembered is the one that would have been fitted, no run is resumed, `parts`
is what reasons are told of (the training loop has another one), and remarks are what a person is told of cells, not how they are read."""
IN_STEPS = ("metamedica.run", "metamedica.ranks", "metamedica.outer_gradient", "metamedica.validation")
"""Modules that only a method asks that is trained by steps."""
UNCOUNTED = ("metamedica.registry",)
"""It makes what `settings` says."""
LAYOUT = 2
"""Of the file of a finished family: since 2 a site's interval knows its patients."""
_REPEATS = 40
_LIBRARY = 1000


@dataclass
class Lazy:
    """A method that is made when it is first asked, so that finished parts cost no training."""

    make: Callable[[], Method]
    made: Method | None = None

    def adapt(self, support: LabelledBatch) -> Adapted:
        """Return what the method makes of the support."""
        if self.made is None:
            with torch.enable_grad():  # who judges has turned it off
                self.made = self.make()
        return self.made.adapt(support)

    def __call__(self, support: LabelledBatch, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        return self.adapt(support).predict(query)


@dataclass
class ShownClasses:
    """A method that needs a support of two classes; one of n cases of one class is answered with (1/2) / (n + 1) for the other.

    That is what prototypes say of a class without support cases where they know another.
    """

    method: Method

    def adapt(self, support: LabelledBatch) -> "AdaptedToShown":
        """Return what the method makes of the supports of two classes, and the number of cases of the others."""
        ones, counts = (support.targets * support.mask).sum(1), support.counts()
        both = (ones > 0) & (ones < counts)
        able = self.method.adapt(support.map(lambda block: block[both])) if bool(both.any()) else None
        rare = torch.log(0.5 / (counts + 0.5))
        return AdaptedToShown(able, both, torch.where(ones == 0, rare, -rare))

    def __call__(self, support: LabelledBatch, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        return self.adapt(support).predict(query)


@dataclass
class AdaptedToShown:
    """`ShownClasses` after the supports."""

    able: Adapted | None
    both: torch.Tensor
    log_odds: torch.Tensor

    def predict(self, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        found = self.log_odds[:, None].expand(query.mask.shape).clone()
        if self.able is not None:
            law = self.able.predict(query.map(lambda block: block[self.both]))
            assert isinstance(law, Categorical)
            found[self.both] = (law.logits[..., 1] - law.logits[..., 0]).to(found)
        return Categorical(logits=torch.stack([torch.zeros_like(found), found], dim=-1), validate_args=False)


@dataclass
class Unmoved:
    """A method whose law does not depend on the support: asked for one support of a batch, as the others would say the same."""

    method: Method

    def adapt(self, support: LabelledBatch) -> "AdaptedUnmoved":
        """Return what the method makes of the first support."""
        return AdaptedUnmoved(self.method.adapt(support.map(lambda block: block[:1])))

    def __call__(self, support: LabelledBatch, query: CaseBatch) -> Law:
        """Return the law of each query case, which is that of the first task's cases: all tasks must have the same."""
        return self.adapt(support).predict(query)


@dataclass
class AdaptedUnmoved:
    """`Unmoved` after the supports."""

    one: Adapted

    def predict(self, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        law = self.one.predict(query.map(lambda block: block[:1]))
        assert isinstance(law, Categorical)
        return Categorical(logits=law.logits.expand(query.n_tasks, -1, -1), validate_args=False)


def methods(family: Family) -> tuple[str, ...]:
    """Return the methods that are measured in a family."""
    return CLOSED + LEARNED if family.name in LEARNED_IN else CLOSED


def definitions(method: str, family: Family) -> dict[tuple[str, str], str]:
    """Return the code that the figures of a method in a family rest on, as `definitions_behind` does."""
    roots = [
        "benchmarks._clinical_families:_worlds",
        f"metamedica.data.catalogue.{family.data}",
        "metamedica.data.collection:TaskCollection",
        "metamedica.modalities.tables.modality:Tables",
        "metamedica.predictors.method:LearnerMethod",
        "metamedica.registry:build_learner",
        "metamedica.reports.judging:judge",
        "metamedica.reports.protocols.sites:Sites",
        *(f"metamedica.learners.{name}" for name in (method, *averaged_by(method))),
    ]
    change = family.build.args[-1]
    if change is not None:
        roots.append(f"benchmarks._clinical_families:{change.__name__}")
    if method != "linear":
        roots.append("metamedica.training:train")
    if method in LEARNED:
        roots += ["metamedica.encoders.mlp", "metamedica.registry:build_encoder"]
    if method in TWO_CLASSES:
        roots.append("benchmarks.clinical:ShownClasses")
    besides = BESIDES if method in LEARNED else BESIDES + IN_STEPS
    return definitions_behind(PACKAGES, *roots, besides=besides, uncounted=UNCOUNTED)


@cache
def version(method: str, family: Family) -> str:
    """Return a hash of the code and data that the figures of a method in a family rest on, definition by definition."""
    _, variant, folds, least, _ = family.build.args
    declaration = (SOURCE / "data" / "catalogue" / f"{family.data}.yaml").read_text("utf-8")
    data = [catalogue.entry(family.data).files, declaration, variant, folds, least, family.name, list(family.shots)]
    return version_of_definitions(definitions(method, family), [data, settings(method)])


def settings(method: str) -> dict[str, Any]:
    """Return what a method is told beside its defaults."""
    if method not in LEARNED:
        return {}
    return {"encoder_settings": MLP, "learning_rate": 2e-3, "validate_every": 100} | STEPS[method]


def fitted(method: str, world: World) -> Method:
    """Return a method fitted on the earlier sites of a world; one from scratch as it is."""
    if method == "linear":
        return LearnerMethod(registry.build_learner(method, world.alone.reader()))
    found = MetaLearner(method, guard=False, **settings(method)).fit(world.tasks).method("binary")
    if method in POOLED:
        return Unmoved(found)
    return ShownClasses(found) if method in TWO_CLASSES else found


def measured(family: Family, *, draws: int = DRAWS, quick: bool = False) -> dict[str, Any]:
    """Return the figures of all methods in a family, from finished parts where there are some."""
    began, frames, cases = time.monotonic(), [], []
    protocol: dict[str, Any] = {}
    for number, world in enumerate(family.build()):
        with remembering():
            for method in methods(family):
                found = _judged(method, family, world, number, draws=draws)
                frames.append(found.rows)
                cases.append(found.cases)
                protocol = found.protocol
        say(f"{family.name}: {number + 1}, {', '.join(world.names[:3])}{' ...' if len(world.names) > 3 else ''}")
        if quick:
            break
    rows = pd.concat(frames, ignore_index=True)
    asked = pd.concat(cases, ignore_index=True)
    return {
        "family": family.name,
        "layout": LAYOUT,
        "versions": {method: version(method, family) for method in methods(family)},
        "commit": commit(),
        "minutes": round((time.monotonic() - began) / 60, 2),
        "protocol": protocol | {"tasks": int(rows["task"].nunique())},
        **summary(rows, asked, figures=FIGURES, reference=DEFAULT, seed=0),
    }


def _judged(method: str, family: Family, world: World, number: int, *, draws: int) -> Evaluation:
    return judge(
        Sites(family.shots),
        {method: Lazy(lambda: fitted(method, world))},
        world.alone if method == "linear" else world.tasks,
        names=world.names,
        shots=family.shots,
        draws=draws,
        parts=_PARTS / family.name,
        version=f"{version(method, family)} {number}",
    )


def speed() -> dict[str, float]:
    """Return the median CPU milliseconds of adapting the default to 20 cases and predicting 1,000, and the 10th and 90th percentile."""
    world = FAMILIES["heart"].build()[0]
    method = fitted(DEFAULT, world)
    task = world.tasks[world.names[0]]
    earlier = np.concatenate([world.tasks[name].rows for name in world.tasks.names("meta_train")])
    query = gather(world.tasks, [np.resize(earlier, _LIBRARY)])
    support = labelled(world.tasks, [task], [np.arange(20)])
    times = []
    for _ in range(_REPEATS):
        began = time.process_time()
        method.adapt(support).predict(query)
        times.append(1000 * (time.process_time() - began))
    low, middle, high = np.quantile(times[5:], [0.1, 0.5, 0.9])
    return {"median_ms": round(float(middle), 2), "low_ms": round(float(low), 2), "high_ms": round(float(high), 2)}


def finished(family: Family) -> bool:
    """Return whether the family is there and of this version; a stale one is named."""
    found = read(family.name)
    if found is None or os.environ.get("FRESH") == "1":
        return False
    if found["versions"] == {method: version(method, family) for method in methods(family)}:
        return True
    say(f"stale, its code or data has changed: {family.name}")
    return False


def read(name: str) -> dict[str, Any] | None:
    """Return a finished family; None where there is none, or one of an older layout, which is named."""
    path = ROOM / f"{name}.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if found.get("layout") != LAYOUT:
        say(f"finished in an older layout, and left out until it is measured again: {name}")
        return None
    return found


def write_pages(*, seconds: float) -> list[dict[str, Any]]:
    """Write the tables from all finished families, and return the goals."""
    found = {name: each for name in FAMILIES if (each := read(name)) is not None}
    stale = [
        name
        for name, each in found.items()
        if each["versions"] != {method: version(method, FAMILIES[name]) for method in methods(FAMILIES[name])}
    ]
    fast = speed()
    judged = goals(found, default=DEFAULT, pooled=POOLED, speed=fast)
    table = {
        "machine": machine(),
        "commit": commit(),
        "stale": stale,
        "minutes": round(seconds / 60, 2),
        "speed": fast,
        "goals": judged,
    }
    replace_file(RESULTS / "clinical.json", (json.dumps(table | {"families": found}, indent=1) + "\n").encode())
    page = markdown(found, judged, families=FAMILIES, machine=machine(), stale=stale, default=DEFAULT)
    replace_file(RESULTS / "clinical.md", page.encode())
    return judged


def run(families: Sequence[Family]) -> None:
    """Measure every family that is not finished."""
    ROOM.mkdir(parents=True, exist_ok=True)
    for family in families:
        if not finished(family):
            found = measured(family)
            replace_file(ROOM / f"{family.name}.json", (json.dumps(found) + "\n").encode())
            say(f"{family.name}: {found['minutes']} min")


def chosen(names: str | None) -> list[Family]:
    """Return the families of these names, separated by commas (all for None), or end with one sentence."""
    asked = list(FAMILIES) if names is None else names.split(",")
    for name in asked:
        if name not in FAMILIES:
            raise SystemExit(f"there is no family {name!r}; choose from: {', '.join(FAMILIES)}")
    return [FAMILIES[name] for name in asked]


def main() -> int:
    """Measure, write the tables, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", help=f"these, separated by commas (default: all): {', '.join(FAMILIES)}")
    parser.add_argument(
        "--pages", action="store_true", help="write the tables from the finished families, and measure nothing"
    )
    parser.add_argument("--quick", action="store_true", help="a small version, without a verdict")
    arguments = parser.parse_args()
    families = chosen(arguments.family)
    torch.set_num_threads(1)
    if os.environ.get("FRESH") == "1":
        shutil.rmtree(_PARTS, ignore_errors=True)
    began = time.monotonic()
    judged: list[dict[str, Any]] = []
    try:
        if arguments.quick:
            found = measured(FAMILIES["heart"], draws=3, quick=True)
            say(json.dumps(found["means"][str(max(SHOTS))]))
        elif not arguments.pages:
            run(families)
    except MetamedicaError as error:
        raise SystemExit(str(error)) from None
    seconds = time.monotonic() - began
    if not arguments.quick:
        judged = write_pages(seconds=seconds)
    return conclude("clinical", judged, seconds=seconds, quick=arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
