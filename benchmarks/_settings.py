"""The settings of `make bench-accuracy`: which tasks are judged, under which protocol, and what may be learned from before.

A setting has one or several worlds, each a collection of earlier tasks (meta-train and meta-valid) and the tasks that are judged after it. Methods
from scratch look at the usual spread of the earlier tasks' targets only (regression).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from benchmarks._budgets import BESIDES
from benchmarks._definitions import version_behind
from benchmarks.chembl_split import PATH, load_disjoint, load_split
from metamedica import registry
from metamedica.data import catalogue
from metamedica.data.collection import TaskCollection
from metamedica.data.splits import draw_meta_valid
from metamedica.data.whole_tasks import usual_scales
from metamedica.reports.evaluation import LEADING
from metamedica.reports.judging import TRUST, Protocol
from metamedica.reports.protocols import fsmol, kinases, moleculeace, moleculenet
from metamedica.storage import sha256
from metamedica.types import MetaSplit, TaskKind

FOLDS = 5
"""Meta-trainings of a setting in which every task is judged once."""


@dataclass(frozen=True)
class World:
    """One meta-training of a setting.

    Args:
        training: what the earlier tasks are called: worlds of one name learn from the same tasks, and share what was learned.
        earlier: returns the collection with the meta-train and meta-valid tasks.
        judged: where the judged tasks are.
        names: of the judged tasks.
    """

    training: str
    earlier: Callable[[], TaskCollection]
    judged: TaskCollection
    names: list[str]

    def unit(self) -> str | None:
        """Return the unit of the judged tasks; None for classes."""
        (unit,) = {self.judged[name].unit for name in self.names}
        return unit

    def usual_scale(self) -> float | None:
        """Return the standard deviation that earlier regression tasks of the judged tasks' unit have; None without such tasks.

        Every method may use it, those from scratch too, as they may in the product.
        """
        unit = self.unit()
        if unit is None:
            return None
        earlier = self.earlier()
        return usual_scales(earlier, earlier.names("meta_train")).get(unit)


@dataclass(frozen=True)
class Setting:
    """One column of the leaderboard, or several: one a support size.

    Args:
        name: as `--setting` takes it.
        title: as the leaderboard shows it.
        about: the protocol and what may be learned from, in one sentence.
        kind: of the judged tasks.
        data: names of the public collections that are read.
        shots: support sizes as the protocol counts them.
        columns: the figures that are kept; the first one leads.
        file: of the protocol, relative to the package.
        build: returns the protocol and the worlds; reads the data.
        no_support: the rule of the row without support ("sum", "mean"); None where there is no such row.
    """

    name: str
    title: str
    about: str
    kind: TaskKind
    data: tuple[str, ...]
    shots: tuple[int, ...]
    columns: tuple[str, ...]
    file: str
    build: "partial[tuple[Protocol, list[World]]]"
    no_support: str | None = None

    @property
    def figure(self) -> str:
        """The figure that methods are ranked by."""
        return self.columns[0]

    @property
    def roots(self) -> tuple[str, ...]:
        """What deals the tasks out and judges them, as `definitions_behind` takes it."""
        data = (f"metamedica.data.catalogue.{name}" for name in self.data)
        return (
            f"{__name__}:{self.build.func.__name__}",
            f"{__name__}:World",
            "metamedica.reports.judging:judge",
            *data,
        )

    def version(self) -> str:
        """Return a hash of the data and of the code that deals them out; nothing is read but the committed split."""
        files = {name: catalogue.entry(name).files for name in self.data}
        split = sha256(PATH) if "chembl691" in self.data else None
        dealt = [str(each) for each in self.build.args]
        told = [self.shots, files, split, registry.modality("molecules").version, FOLDS, dealt]
        return version_behind(*self.roots, settings=told, besides=BESIDES)


_BINARY = ("delta_auprc", "roc_auc", "brier", "ece", "log_loss", TRUST)
_REGRESSION = ("r2", "spearman", "rmse", "coverage", "log_loss", TRUST)
assert (_BINARY[0], _REGRESSION[0]) == (LEADING["binary"], LEADING["regression"])


@cache
def _loaded(name: str) -> TaskCollection:
    return {
        "chembl691-unseen": load_disjoint,
        "chembl691-seen": load_split,
        "davis": partial(kinases.load, "davis"),
        "kiba": partial(kinases.load, "kiba"),
    }.get(name, partial(catalogue.load, name))()


def _own(training: str, tasks: TaskCollection) -> World:
    """Return the world of a collection that holds both the earlier and the judged tasks."""
    return World(training, lambda: tasks, tasks, tasks.names("meta_test"))


def _chembl(training: str, kind: TaskKind) -> tuple[Protocol, list[World]]:
    tasks = _loaded(training)
    judged = tasks.binarised("median") if kind == "binary" else tasks
    return fsmol.FixedQuery(), [World(training, lambda: tasks, judged, tasks.names("meta_test"))]


def _kinases(name: str, kind: TaskKind) -> tuple[Protocol, list[World]]:
    panel = _loaded(name)
    judged = kinases.active(panel, name=name) if kind == "binary" else panel

    def earlier() -> TaskCollection:
        return kinases.without_kinases(_loaded("chembl691-seen"), panel)

    return kinases.Kinases(), [World(f"chembl691-for-{name}", earlier, judged, judged.names())]


def _among_kinases(name: str) -> tuple[Protocol, list[World]]:
    panel = kinases.active(_loaded(name), name=name)
    genes = sorted({_gene(task) for task in panel.names()})
    order = np.random.default_rng(0).permutation(len(genes))
    worlds = []
    for fold in range(FOLDS):
        held = {genes[at] for at in order[fold::FOLDS]}
        side: dict[str, MetaSplit] = {
            task: "meta_test" if _gene(task) in held else "meta_train" for task in panel.names()
        }
        split = draw_meta_valid(panel.with_split(side))
        worlds.append(_own(f"{name}-fold-{fold}", split))
    return kinases.Kinases(), worlds


def _gene(kinase: str) -> str:
    """Return the kinase without its mutation, phosphorylation or domain: "ABL1" of "ABL1(E255K)p"."""
    return kinase.partition("(")[0].partition("-")[0].removesuffix("p")


def _moleculenet(name: str) -> tuple[Protocol, list[World]]:
    tasks = draw_meta_valid(_loaded(name))
    return moleculenet.MoleculeNet(), [_own(name, tasks)]


def _moleculenet_unseen(name: str, parts: int) -> tuple[Protocol, list[World]]:
    worlds = [
        _own(f"{name}-unseen-{number}", tasks)
        for number, tasks in enumerate(moleculenet.unseen(draw_meta_valid(_loaded(name)), parts=parts))
    ]
    return moleculenet.MoleculeNet(), worlds


def _moleculeace() -> tuple[Protocol, list[World]]:
    sets, protocol = moleculeace.load()
    worlds = []
    for number, targets in enumerate(moleculeace.folds(sets, FOLDS)):
        tasks = moleculeace.leave_out(sets, targets)
        worlds.append(_own(f"moleculeace-fold-{number}", tasks))
    return protocol, worlds


def _chembl_settings() -> list[Setting]:
    seen = {
        "unseen": "no molecule of a judged target is in the earlier tasks",
        "seen": "molecules of a judged target may be in the earlier tasks",
    }
    return [
        Setting(
            f"chembl691-{which}" + ("" if kind == "binary" else "-regression"),
            f"chembl691, molecules {'unseen' if which == 'unseen' else 'seen elsewhere'}"
            + ("" if kind == "binary" else ", regression"),
            f"135 held-out targets; {seen[which]}; FS-Mol's nested supports, 10 draws, the query fixed over support sizes; "
            + ("active = above the target's median" if kind == "binary" else "pXC50"),
            kind,
            ("chembl691",),
            fsmol.SHOTS,
            _BINARY if kind == "binary" else _REGRESSION,
            "reports/protocols/fsmol.py",
            partial(_chembl, f"chembl691-{which}", kind),
        )
        for kind in ("binary", "regression")
        for which in ("unseen", "seen")
    ]


def _kinase_settings() -> list[Setting]:
    found = []
    for name in ("davis", "kiba"):
        title, both = name.capitalize() if name == "davis" else "KIBA", (name, "chembl691")
        apart = "earlier tasks: the chembl691 targets that measure none of the panel's compounds"
        file = "reports/protocols/kinases.py"
        found += [
            Setting(
                name, title, f"16 labels, 10 draws, AUPRC; {apart}", "binary", both, kinases.SHOTS,
                (kinases.FIGURE, *_BINARY), file, partial(_kinases, name, "binary"),
            ),
            Setting(
                f"{name}-regression", f"{title}, regression", f"16 labels, 10 draws; {apart}", "regression", both, kinases.SHOTS,
                _REGRESSION, file, partial(_kinases, name, "regression"),
            ),
            Setting(
                f"{name}-among", f"{title}, other kinases known",
                f"16 labels, 10 draws, AUPRC; earlier tasks: the panel's other kinases, {FOLDS} folds by gene; the amino acids of each are known",
                "binary", (name,),
                kinases.SHOTS, (kinases.FIGURE, *_BINARY), file, partial(_among_kinases, name),
            ),
        ]  # fmt: skip
    return found


def _moleculenet_settings() -> list[Setting]:
    found = []
    file, columns = (
        "reports/protocols/moleculenet.py",
        (moleculenet.FIGURE, "delta_auprc", "brier", "ece", "log_loss", TRUST),
    )
    rules = {"tox21": ("Tox21", "sum", 2), "sider": ("SIDER", "sum", 2), "muv": ("MUV", "mean", 1), "toxcast": ("ToxCast", "mean", 2)}  # fmt: skip
    for name, (title, rule, parts) in rules.items():
        dealt = (
            "the judged tasks' molecules are taken out of the earlier tasks"
            if parts == 1
            else f"molecules dealt into {parts} halves: judged on one, learned from the other, both ways"
        )
        found += [
            Setting(
                name, title,
                "K of each class, all other labelled molecules as query, 10 draws; the published split, meta-valid tasks drawn from its meta-train",
                "binary", (name,), moleculenet.SHOTS, columns, file, partial(_moleculenet, name), rule,
            ),
            Setting(
                f"{name}-unseen", f"{title}, molecules unseen", f"the same with {dealt}",
                "binary", (name,), moleculenet.SHOTS, columns, file, partial(_moleculenet_unseen, name, parts),
            ),
        ]  # fmt: skip
    return found


SETTINGS: dict[str, Setting] = {
    each.name: each
    for each in (
        *_chembl_settings(),
        *_kinase_settings(),
        *_moleculenet_settings(),
        Setting(
            "moleculeace",
            "MoleculeACE",
            "64 labels of each of 30 sets, 10 draws, RMSE over all other compounds and over those with an activity cliff; earlier tasks: the "
            f"sets of other targets without the judged sets' compounds, {FOLDS} folds of targets",
            "regression",
            ("moleculeace",),
            moleculeace.SHOTS,
            (moleculeace.FIGURE, moleculeace.CLIFF_FIGURE, "r2", "spearman", "coverage", "log_loss"),
            "reports/protocols/moleculeace.py",
            partial(_moleculeace),
        ),
    )
}


def chosen(names: Sequence[str]) -> list[Setting]:
    """Return the settings of these names (all of them for none), or end with one sentence."""
    unknown = [name for name in names if name not in SETTINGS]
    if unknown:
        raise SystemExit(f"there is no setting {unknown[0]!r}; choose from: {', '.join(SETTINGS)}")
    return [SETTINGS[name] for name in names] if names else list(SETTINGS.values())
