"""Finished cells of `make bench-accuracy`: one method in one setting, per task and support size, as committed JSON."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks._record import RESULTS, commit, say
from benchmarks._settings import SETTINGS, Setting
from metamedica.reports.evaluation import Evaluation
from metamedica.storage import replace_file

CELLS = RESULTS / "accuracy"
NO_SUPPORT = "no_support"
"""The row in which a molecule is ranked by its own labels in the meta-train tasks."""
_DIGITS = 5


@dataclass(frozen=True)
class Cell:
    """The figures of one method in one setting.

    Args:
        setting: its name.
        method: its name.
        version: of the code and data that the figures rest on.
        commit: that they were measured at.
        minutes: that it took, finished parts not counted.
        protocol: as the evaluation tells it.
        figures: support size -> `task` (names) and figure -> its mean over draws, one per task; None where it is not defined.
    """

    setting: str
    method: str
    version: str
    commit: str
    minutes: float
    protocol: dict[str, Any]
    figures: dict[str, dict[str, list[Any]]]

    @classmethod
    def of(
        cls,
        setting: Setting,
        method: str,
        rows: pd.DataFrame,
        *,
        version: str,
        protocol: Mapping[str, Any],
        minutes: float,
    ) -> "Cell":
        """Return the cell of an evaluation's rows (`task`, `shots`, `draw` and the figures)."""
        kept = [column for column in setting.columns if column in rows.columns]
        means = rows.groupby(["shots", "task"], sort=False)[kept].mean()
        figures = {}
        for shots in setting.shots:
            if shots not in means.index.get_level_values("shots"):
                continue
            part = means.xs(shots, level="shots")
            columns = {name: [_rounded(value) for value in part[name]] for name in kept}
            figures[str(shots)] = {"task": list(part.index), **columns}
        return cls(setting.name, method, version, commit(), round(minutes, 2), dict(protocol), figures)

    def frames(self) -> dict[int, pd.DataFrame]:
        """Return support size -> one row a task, one column a figure."""
        return {
            int(shots): pd.DataFrame(table).set_index("task").astype(float) for shots, table in self.figures.items()
        }


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), _DIGITS)


def _path(setting: str, method: str) -> Path:
    return CELLS / setting / f"{method}.json"


def cell_of(setting: str, method: str) -> Cell | None:
    """Return the finished cell; None where there is none, or where it is damaged (which is said)."""
    path = _path(setting, method)
    if not path.is_file():
        return None
    try:
        return Cell(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError):
        say(f"damaged, and measured again: {setting}, {method}")
        return None


def write_cell(cell: Cell) -> None:
    """Write a cell, whole or not at all."""
    path = _path(cell.setting, cell.method)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(asdict(cell)) + "\n").encode())


def every_cell() -> list[Cell]:
    """Return all finished cells of the settings that there are, in the order of the settings."""
    found = []
    for name in SETTINGS:
        for path in sorted((CELLS / name).glob("*.json")):
            cell = cell_of(name, path.stem)
            if cell is not None:
                found.append(cell)
    return found


def evaluation_of(setting: Setting, cells: Iterable[Cell]) -> Evaluation:
    """Return the cells of a setting as one evaluation with one draw: the mean."""
    parts = [
        frame.reset_index().assign(method=cell.method, shots=shots, draw=0)
        for cell in cells
        if cell.setting == setting.name
        for shots, frame in cell.frames().items()
    ]
    return Evaluation(setting.kind, pd.concat(parts, ignore_index=True), {"name": setting.title})
