"""Is a table that means something else told from a true new site? Permuted columns, one wrong unit, the table of another disease."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks._clinical_families import FAMILIES, World
from metamedica.data.collection import TaskCollection
from metamedica.data.single_tables import single_tables
from metamedica.data.whole_tasks import whole_task
from metamedica.modalities.tables import Tables
from metamedica.predictors.shift import EarlierCases, Shift
from metamedica.predictors.support import unread_cells
from metamedica.reports.judging import order_of
from metamedica.reports.metrics import roc_auc
from metamedica.types import CaseBatch, LabelledBatch

SIZE = 20
DRAWS = 50
HARMS = ("permuted columns", "wrong unit", "another disease")
FACTORS = (18.0, 1 / 18, 38.67, 88.4, 10.0, 0.1, 2.205)
"""Glucose, cholesterol, creatinine, a decimal point, kilograms and pounds."""
OTHERS = ("pima_diabetes", "hepatitis", "new_thyroid", "breast_cytology_wisconsin", "pharynx")
_FEWEST_VALUES = 6


def shift_rows(family: str, *, draws: int = DRAWS) -> Iterator[dict[str, Any]]:
    """Yield a row a judged site, draw and harm ("none" for the true site): p-value, and whether an alarm was raised.

    Args:
        family: of `bench-clinical`.
        draws: supports of `SIZE` cases a site.
    """
    others = [found.frame.drop(columns=_roles(found.roles), errors="ignore") for found in single_tables(OTHERS)]
    for world in FAMILIES[family].build():
        earlier = EarlierCases.of(
            ((whole_task(world.tasks, name), None) for name in world.tasks.names("meta_train")), world.tasks.reader()
        )
        for name in world.names:
            yield from _of_site(world, earlier, name, others, draws)


def _roles(roles: dict[str, Any]) -> list[str]:
    return [str(value) for key, value in roles.items() if key != "case" and isinstance(value, str)]


def _of_site(
    world: World, earlier: EarlierCases, name: str, others: list[pd.DataFrame], draws: int
) -> Iterator[dict[str, Any]]:
    task, reader = world.tasks[name], world.tasks.reader()
    assert isinstance(reader, Tables)
    for draw in range(draws):
        random = np.random.default_rng([draw, len(task)])
        rows = task.rows[order_of(task, draw=draw, seed=0)[:SIZE]]
        frame = pd.DataFrame([json.loads(world.tasks.canonical[int(row)]) for row in rows], dtype=object)
        frame = frame.reindex(columns=list(reader.schema.columns))
        made = {
            "none": frame,
            HARMS[0]: _permuted(frame, random),
            HARMS[1]: _wrong_unit(frame, reader, world.tasks, random),
            HARMS[2]: _other(frame, others[draw % len(others)], random),
        }
        for harm, cases in made.items():
            if cases is not None:
                found = _shift(earlier, reader, cases)
                told = (0.0, True) if found is None else (found.p_value, found.unlike)
                yield {
                    "task": name,
                    "draw": draw,
                    "harm": harm,
                    "p": told[0],
                    "alarm": told[1],
                    "refused": found is None,
                }


def _shift(earlier: EarlierCases, reader: Tables, frame: pd.DataFrame) -> Shift | None:
    """Return what is told of the table; None where `adapt` refuses it, since rows cannot be read."""
    prepared = reader.prepare(frame)
    if prepared.problems:
        return None
    n = len(prepared.canonical)
    empty = LabelledBatch(CaseBatch({}, torch.zeros(1, 0).bool()), torch.zeros(1, 0, dtype=torch.int64), "binary", 2)
    rows = {block: values[:n] for block, values in prepared.features.items()}
    return earlier.shift(rows, empty, modality=reader, unit=None, unread=unread_cells(prepared))


def _permuted(frame: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Return the cells under other columns' names, none under its own."""
    turn = random.permutation(len(frame.columns))
    names = list(frame.columns[turn])
    return frame[[*names[1:], names[0]]].set_axis(names, axis=1)[list(frame.columns)]


def _wrong_unit(
    frame: pd.DataFrame, reader: Tables, tasks: TaskCollection, random: np.random.Generator
) -> pd.DataFrame | None:
    """Return the cells with one measured number in another unit; None where no column is one."""
    numeric = [
        name for name in reader.schema.named("numeric") if pd.to_numeric(frame[name]).nunique() >= _FEWEST_VALUES
    ]
    if not numeric:
        return None
    column = str(random.choice(numeric))
    return frame.assign(**{column: pd.to_numeric(frame[column]) * random.choice(FACTORS)})


def _other(frame: pd.DataFrame, other: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Return as many patients of another disease under this table's names, columns dealt in order and again from the first."""
    chosen = other.iloc[random.permutation(len(other))[: len(frame)]].reset_index(drop=True)
    columns = [chosen.iloc[:, at % chosen.shape[1]] for at in range(len(frame.columns))]
    return pd.DataFrame(
        {name: values.to_numpy(dtype=object) for name, values in zip(frame.columns, columns, strict=True)}
    )


def summary(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the AUC of each harm against true sites, all harms together, and the share of alarms among true sites and harmed ones."""
    true, p = rows["harm"] == "none", -np.log(rows["p"].clip(lower=1e-300).to_numpy(dtype=float))
    label = (~true).to_numpy().astype(np.int64)
    areas = {
        harm: roc_auc(label[(true | (rows["harm"] == harm)).to_numpy()], p[(true | (rows["harm"] == harm)).to_numpy()])
        for harm in HARMS
    }
    per_site = rows[true].groupby("task")["alarm"].mean()
    return {
        "auc": roc_auc(label, p),
        **{f"auc, {harm}": area for harm, area in areas.items()},
        "false_alarms": float(rows[true]["alarm"].mean()),
        "sites_with_false_alarms": [str(site) for site in per_site.index[per_site > 0.05]],
        "alarms": {harm: float(rows[rows["harm"] == harm]["alarm"].mean()) for harm in HARMS},
        "refused": {harm: float(rows[rows["harm"] == harm]["refused"].mean()) for harm in ("none", *HARMS)},
    }
