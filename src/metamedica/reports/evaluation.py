"""The result of an evaluation: one row per method, task, support size and draw; summaries; JSON in and out."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metamedica.errors import FileFormatError
from metamedica.storage import replace_file
from metamedica.types import TaskKind

KEYS = ("method", "task", "shots", "draw")
LEADING: dict[str, str] = {"binary": "delta_auprc", "regression": "r2", "multiclass": "accuracy"}
"""The figure that a kind of task is ranked by."""
LOWER_IS_BETTER = frozenset({"brier", "ece", "log_loss", "rmse", "cliff_rmse"})
_BOOTSTRAP = 2000
_FORMAT = 1


@dataclass(frozen=True)
class Evaluation:
    """How methods did on tasks.

    Args:
        kind: of every task.
        rows: `method`, `task`, `shots`, `draw`, `seconds`, `query` (number of cases), the kind's figures, and `trust` for guarded methods.
        protocol: name, seed, shots, draws and what was skipped, for the footer.
        skipped: method -> why it does not apply.
        reliability: one row per method, support size and bin: `probability`, `frequency`, `cases` (binary only; empty otherwise).
        cases: one row per method, task, support size and case of it, where the protocol keeps something of each; never written to a file.
    """

    kind: TaskKind
    rows: pd.DataFrame
    protocol: dict[str, Any]
    skipped: dict[str, str] = field(default_factory=dict)
    reliability: pd.DataFrame = field(default_factory=pd.DataFrame)
    cases: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def leading(self) -> str:
        """The figure that methods are ranked by."""
        return LEADING[self.kind]

    @property
    def figures(self) -> list[str]:
        return [column for column in self.rows.columns if column not in (*KEYS, "query")]

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(self.rows["method"]))

    @property
    def shots(self) -> list[int]:
        return sorted({int(size) for size in self.rows["shots"]})

    def per_task(self, figure: str | None = None) -> pd.DataFrame:
        """Return the mean over draws of a figure: one row per task and support size, one column a method."""
        table = self.rows.pivot_table(
            index=["task", "shots"], columns="method", values=figure or self.leading, aggfunc="mean", sort=False
        )
        return table.reindex(columns=[name for name in self.methods if name in table.columns])

    def summary(self, figure: str | None = None) -> pd.DataFrame:
        """Return mean over tasks with a 95 % bootstrap interval: one row per support size and method, best first."""
        table, rows = self.per_task(figure), []
        for shots in self.shots:
            if shots not in table.index.get_level_values("shots"):
                continue
            part = table.xs(shots, level="shots")
            for method in part.columns:
                values = part[method].dropna().to_numpy()
                low, high = bootstrap(values)
                rows.append(
                    {
                        "shots": shots,
                        "method": method,
                        "mean": float(values.mean()) if len(values) else float("nan"),
                        "low": low,
                        "high": high,
                        "tasks": len(values),
                    }
                )
        ascending = (figure or self.leading) in LOWER_IS_BETTER
        return pd.DataFrame(rows, columns=["shots", "method", "mean", "low", "high", "tasks"]).sort_values(
            ["shots", "mean"], ascending=[True, ascending], kind="stable", ignore_index=True
        )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value that `from_dict` reads."""

        def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
            lines = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
            return [{str(k): v.item() if isinstance(v, np.generic) else v for k, v in line.items()} for line in lines]

        return {
            "format": _FORMAT,
            "kind": self.kind,
            "protocol": self.protocol,
            "skipped": self.skipped,
            "rows": records(self.rows),
            "reliability": records(self.reliability),
        }

    @classmethod
    def from_dict(cls, value: Any) -> "Evaluation":
        """Return the evaluation that `as_dict` wrote.

        Raises:
            FileFormatError: something else.
        """
        try:
            if value["format"] != _FORMAT or value["kind"] not in LEADING:
                raise FileFormatError(
                    f"got an evaluation of format {value['format']}, {_FORMAT} was wanted; evaluate again"
                )
            rows = pd.DataFrame(value["rows"])
            missing = [key for key in (*KEYS, LEADING[value["kind"]]) if key not in rows.columns]
            if missing:
                raise FileFormatError(f"the evaluation's rows lack {', '.join(missing)}; evaluate again")
            for column in rows.columns.difference([*KEYS, "query"]):
                rows[column] = rows[column].astype(float)  # a column of None only comes back as objects
            return cls(value["kind"], rows, value["protocol"], value["skipped"], pd.DataFrame(value["reliability"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, FileFormatError):
                raise
            raise FileFormatError(
                f"this is not an evaluation ({type(error).__name__}: {error}); give the JSON of `evaluate`"
            ) from None

    def to_json(self, path: str | Path) -> None:
        """Write the evaluation, whole or not at all."""
        replace_file(Path(path), (json.dumps(self.as_dict(), indent=0) + "\n").encode())

    @classmethod
    def from_json(cls, path: str | Path) -> "Evaluation":
        """Return the evaluation written by `to_json`.

        Raises:
            FileFormatError: the file is missing or not an evaluation.
        """
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileFormatError(f"there is no file {Path(path).name!r}; check the path") from None
        except (ValueError, OSError):
            raise FileFormatError(f"{Path(path).name} is not readable JSON; give the JSON of `evaluate`") from None
        return cls.from_dict(value)


def bootstrap(values: Any, *, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean; NaN without values."""
    values = np.asarray(values, dtype=float)
    if len(values) == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), size=(_BOOTSTRAP, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
