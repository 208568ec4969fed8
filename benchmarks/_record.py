"""What the benchmarks share: what a figure rests on, how a goal is told, who measured."""

import ast
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

SOURCE = Path(__file__).parents[1] / "src" / "metamedica"
RESULTS = Path(__file__).parent / "results"
PARTS = RESULTS / "parts"


def say(text: str) -> None:
    """Write progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def modules_behind(source: Path, *roots: str) -> list[Path]:
    """Return the files of the package in `source` that these files of it rest on: themselves and all that they import, directly or not."""
    found: set[Path] = set()
    left = [source / root for root in roots]
    while left:
        path = left.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "metamedica":
                base = source.joinpath(*(node.module or "").split(".")[1:])
                nearby = [base / f"{a.name}.py" for a in node.names]
                if base != source:  # the front door imports everything, for type checkers only
                    nearby += [base.with_suffix(".py"), base / "__init__.py"]
                left += [file for file in nearby if file.is_file()]
    return sorted(found)


def version_of(source: Path, *roots: str, settings: Any) -> str:
    """Return a hash of the code that these files of the package rest on, and of the settings (JSON)."""
    digest = hashlib.sha256()
    for path in modules_behind(source, *roots):
        digest.update(path.read_bytes())
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def machine() -> str:
    """Return what ran this, in words."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, one thread"


def spread(values: Any) -> list[float]:
    """Return the 10th and 90th percentile."""
    return [float(v) for v in np.quantile(np.asarray(values, dtype=float), [0.1, 0.9])]


def goal(
    name: str, wanted: float | None, value: float, interval: list[float], *, lower: bool = False
) -> dict[str, Any]:
    """Return one goal's line; without a wanted value it is told, not judged."""
    met = None if wanted is None else bool(value <= wanted if lower else value >= wanted)
    return {
        "name": name,
        "goal": wanted,
        "value": round(value, 4),
        "interval": [round(v, 4) for v in interval],
        "met": met,
    }


def conclude(
    bench: str,
    goals: Sequence[Mapping[str, Any]],
    *,
    seconds: float,
    quick: bool,
    more: Mapping[str, Any] | None = None,
) -> int:
    """Print the one line of JSON that a benchmark ends with, and return its exit status: 1 where a goal is missed, which a quick run does not judge.

    Args:
        bench: its name.
        goals: as `goal` makes them.
        seconds: that it took.
        quick: whether it was the small version.
        more: further entries of the line.
    """
    line: dict[str, Any] = {"bench": bench, "commit": commit(), "machine": machine(), "goals": list(goals)}
    line |= {**(more or {}), "minutes": round(seconds / 60, 2)}
    print(json.dumps(line | {"quick": True} if quick else line))
    return 0 if quick or all(each["met"] is not False for each in goals) else 1


def commit() -> str:
    """Return the commit, or "unknown"."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=SOURCE, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
