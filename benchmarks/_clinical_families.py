"""The families of `make bench-clinical`: whose sites are judged, and what may be learned from before.

Every site is judged once, by models that have seen no case of it; what the columns hold (scales, levels) is read from the other sites alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from metamedica.data.collection import TaskCollection
from metamedica.reports.protocols.sites import LEAST_QUERY, SHOTS

FOLDS = 5
"""Meta-trainings of a family with many sites."""
MOST_CASES = 1500
"""Of a judged site; a larger one is cut down by chance."""
EXTRA = ("thal", "ca", "oldpeak")


@dataclass(frozen=True)
class World:
    """One meta-training of a family.

    Args:
        tasks: the earlier sites (meta-train) and the judged ones (meta-test).
        names: of the judged sites.
        alone: the judged sites as a method from scratch reads them: all of their columns.
    """

    tasks: TaskCollection
    names: list[str]
    alone: TaskCollection


@dataclass(frozen=True)
class Family:
    """Sites that ask one question.

    Args:
        name: as `--family` takes it.
        title: as the table shows it.
        about: the question, the sites and what is left out at a time, in one sentence.
        data: name of the public collection.
        shots: support sizes.
        build: returns its worlds; reads the data.
    """

    name: str
    title: str
    about: str
    data: str
    shots: tuple[int, ...]
    build: "partial[list[World]]"


@cache
def _declared(name: str, variant: str | None) -> Any:
    return import_module(f"metamedica.data.catalogue.{name}").declared(variant)


def _worlds(
    name: str,
    variant: str | None,
    folds: int | None,
    least: int,
    change: Callable[[pd.DataFrame, "pd.Series[bool]"], pd.DataFrame] | None = None,
) -> list[World]:
    """Return the worlds of a declared collection: a site left out at a time, or a fold of sites."""
    declared = _declared(name, variant)
    frame, roles = declared.frame, declared.roles()
    sites = frame["task"].astype(str)
    sizes = sites.value_counts()
    judged = [site for site in dict.fromkeys(sites) if sizes[site] >= least]
    order = [judged[at] for at in np.random.default_rng(0).permutation(len(judged))]
    parts = [[site] for site in judged] if folds is None else [order[fold::folds] for fold in range(folds)]
    worlds = []
    for held in parts:
        away = sites.isin(held)
        kept = _thinned(frame, sites, away)
        seen = frame if change is None else change(frame, away)
        side = np.where(away, "meta_test", "meta_train")
        tasks = _read(seen.assign(split=side)[kept], roles)
        alone = tasks if change is None else _read(frame[kept & away], roles)
        names = [site for site in held if site in tasks.tasks]
        if names:
            worlds.append(World(tasks, names, alone))
    return worlds


def _read(frame: pd.DataFrame, roles: dict[str, Any]) -> TaskCollection:
    split = "split" if "split" in frame.columns else None
    return TaskCollection.from_table(frame, modality="tables", split=split, **roles)


def _thinned(frame: pd.DataFrame, sites: "pd.Series[str]", away: "pd.Series[bool]") -> "pd.Series[bool]":
    """Return which rows stay: of a large judged site as many by chance as are judged."""
    rng = np.random.default_rng(0)
    keep = pd.Series(True, index=frame.index)
    for site in dict.fromkeys(sites[away]):
        rows = frame.index[sites == site]
        if len(rows) > MOST_CASES:
            keep[rng.permutation(rows.to_numpy())[MOST_CASES:]] = False
    return keep


def _without_extra(frame: pd.DataFrame, away: "pd.Series[bool]") -> pd.DataFrame:
    """Return the table in which only the judged site has measured the extra columns."""
    changed = frame.copy()
    for column in EXTRA:
        changed[column] = changed[column].astype(object).where(away, None)
    return changed


def _family(
    name: str, title: str, about: str, data: str, *, variant: str | None = None, folds: int | None = None, shots: Sequence[int] = SHOTS,
    change: Callable[[pd.DataFrame, "pd.Series[bool]"], pd.DataFrame] | None = None,
) -> Family:  # fmt: skip
    least = min(shots) + LEAST_QUERY
    return Family(name, title, about, data, tuple(shots), partial(_worlds, data, variant, folds, least, change))


FAMILIES: dict[str, Family] = {
    each.name: each
    for each in (
        _family("heart", "Heart disease, 4 hospitals", "a narrowed coronary artery; a hospital is left out at a time", "heart"),
        _family("impact", "IMPACT brain injury, 15 studies", "death within six months; a study is left out at a time", "impact"),
        _family(
            "eicu-region", "eICU, 4 regions", "death in hospital; a region is left out at a time", "eicu_demo", variant="region",
        ),
        _family(
            "eicu-hospital", "eICU, hospitals of 15 stays and more",
            f"death in hospital; a fifth of the hospitals is left out at a time ({FOLDS} folds)",
            "eicu_demo", folds=FOLDS, shots=(5, 10),
        ),
        _family(
            "diabetes130", "Diabetes in 130 hospitals, 28 specialties",
            f"readmission within 30 days; a fifth of the specialties is left out at a time ({FOLDS} folds)",
            "diabetes130", folds=FOLDS,
        ),
        _family(
            "scottish", "Scottish health survey, 312 areas",
            f"cardiovascular disease; a fifth of the areas is left out at a time ({FOLDS} folds)",
            "scottish_survey", folds=FOLDS, shots=(5, 10, 20),
        ),
        _family(
            "heart-extra", "Heart disease, three columns at the new hospital only",
            f"as heart; {', '.join(EXTRA)} are blanked in the earlier hospitals and kept in the one that is left out", "heart", change=_without_extra,
        ),
    )
}  # fmt: skip
