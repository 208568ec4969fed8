"""The families of `make bench-trust`: new sites of clinical tables, and held-out targets and toxicities of molecules."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks._budgets import DEFAULT, LEARNED, trained
from benchmarks._clinical_families import FAMILIES as CLINICAL
from benchmarks._clinical_families import World
from benchmarks._settings import SETTINGS
from benchmarks._trust_measures import Contest
from metamedica import registry
from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.predictors.expected_gain import foretold
from metamedica.predictors.method import LearnerMethod, Method

TABLES_DEFAULT = "bayesian_model_averaging"
TABLES = (TABLES_DEFAULT, "pooled_linear", "pooled_trees", "recalibrated", "linear")
"""The default weighs by itself what leans on earlier tasks more, less or not at all; the others are what it weighs, as methods of their own."""
FROM_SCRATCH = ("multi_kernel_gp", "tanimoto_gp")
MOLECULES = (LEARNED, *FROM_SCRATCH)
MOST_TARGETS = 45
"""Of the held-out targets of chembl691, drawn by name; each is asked 50 times at 4 sizes."""


@dataclass(frozen=True)
class TrustWorld:
    """Tasks that one fitted model is judged on.

    Args:
        contest: the methods, fitted.
        tasks: as the learned methods read them.
        alone: as the method from scratch reads them.
        names: of the judged tasks.
    """

    contest: Contest
    tasks: TaskCollection
    alone: TaskCollection
    names: list[str]


@dataclass(frozen=True)
class TrustFamily:
    """One column of the page.

    Args:
        name: as `--family` takes it.
        title: as the page shows it.
        data: names of the public collections.
        kind: "tables" or "molecules".
        learner: behind the default; its code is part of the version.
        most_query: query cases a draw.
        default: name of what the product answers with.
        candidates: names of what it chooses between.
        pooled: the one that it may not be worse than.
        local: the plain method from scratch.
        worlds: fits what is judged, a world at a time.
        of_a_class: cases of each class that a support begins with.
    """

    name: str
    title: str
    data: tuple[str, ...]
    kind: str
    learner: str
    most_query: int
    default: str
    candidates: tuple[str, ...]
    pooled: str
    local: str
    worlds: Callable[[], Iterator[TrustWorld]]
    of_a_class: int = 0


def _clinical(name: str) -> Iterator[TrustWorld]:
    for world in CLINICAL[name].build():
        methods = {method: _fitted(method, world) for method in TABLES}
        contest = Contest(methods, TABLES_DEFAULT, TABLES, "pooled_linear", "linear")
        yield TrustWorld(contest, world.tasks, world.alone, world.names)


def _fitted(method: str, world: World) -> Method:
    if method == "linear":
        return LearnerMethod(registry.build_learner(method, world.alone.reader()))
    return MetaLearner(method, guard=False).fit(world.tasks).method("binary")


def _molecules(setting: str, most: int | None) -> Iterator[TrustWorld]:
    asked = SETTINGS[setting]
    _, worlds = asked.build()
    for world in worlds:
        learned = trained(DEFAULT, world.earlier(), data=world.training)
        model, judged = learned.model_, learned.readable(world.judged)
        unit, scale = world.unit(), world.usual_scale()
        reader = judged.reader()
        methods = {
            DEFAULT: model.method(asked.kind, unit=unit),
            LEARNED: model.method(asked.kind, unit=unit, guard=False),
            **{name: LearnerMethod(registry.build_learner(name, reader), usual_scale=scale) for name in FROM_SCRATCH},
        }
        names = sorted(world.names)[:: max(1, len(world.names) // most)][:most] if most else world.names
        gate, gain = model.gates[asked.kind], model.gains.get(asked.kind)
        told = None if gain is None else partial(foretold, gate=gate, fitted=gain)
        contest = Contest(methods, DEFAULT, MOLECULES, "tanimoto_gp", FROM_SCRATCH[0], told)
        yield TrustWorld(contest, judged, judged, list(names))


def _molecular(setting: str, title: str, *, most: int | None = None) -> TrustFamily:
    found = SETTINGS[setting]
    return TrustFamily(
        setting, title, found.data, "molecules", LEARNED, 300, DEFAULT, MOLECULES, "tanimoto_gp", FROM_SCRATCH[0],
        partial(_molecules, setting, most), of_a_class=2,
    )  # fmt: skip


def _tables(name: str) -> TrustFamily:
    found = CLINICAL[name]
    return TrustFamily(
        name, found.title, (found.data,), "tables", TABLES_DEFAULT, 1500, TABLES_DEFAULT, TABLES, "pooled_linear", "linear", partial(_clinical, name)
    )  # fmt: skip


FAMILIES: dict[str, TrustFamily] = {
    each.name: each
    for each in (
        *(_tables(name) for name in ("heart", "impact", "eicu-region")),
        _molecular("chembl691-unseen", f"chembl691, {MOST_TARGETS} held-out targets, active or not", most=MOST_TARGETS),
        _molecular(
            "chembl691-unseen-regression", f"chembl691, {MOST_TARGETS} held-out targets, pXC50", most=MOST_TARGETS
        ),
        _molecular("tox21", "Tox21, held-out assays"),
    )
}
