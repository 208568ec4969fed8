"""What the finished families of `make bench-trust` say: means, harm, calibration, coverage, abstention, warnings, reasons, and the goals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks._record import goal
from benchmarks._trust_measures import COVERAGE, SIZE
from benchmarks._trust_worlds import TrustFamily

HARM = 0.02
"""A task is harmed where the default's log-loss is this share above that of the plain predictor."""
_BOOTSTRAP = 2000
_FEW_TASKS = 10
"""With fewer tasks, every support of a task is ranked as a task of its own."""
Found = Mapping[str, Mapping[str, Any]]


def summary(rows: pd.DataFrame, family: TrustFamily) -> dict[str, Any]:
    """Return as JSON values what the rows of a family say.

    Args:
        rows: of `_trust_measures.measured`, a row a task, size and draw.
        family: whose they are.
    """
    figures = [name for name in rows.columns if "." in name and not name.startswith(("conformal", "split"))]
    means, harm = {}, {}
    for size, part in rows.groupby("size"):
        by_task = part.groupby("task")[figures].mean()
        means[str(size)] = {name: _short(value) for name, value in by_task.mean().items()}
        harm[str(size)] = _harm(part, family)
    at = rows[rows["size"] == SIZE]
    found: dict[str, Any] = {"means": means, "harm": harm, "tasks": int(rows["task"].nunique())}
    if len(at):
        found |= {"trust": _trust(at, family), "sets": _sets(at)}
    if "slope" in at:
        found |= {"calibration": _calibration(at, family), "abstention": _abstention(at), "noise": _noise(at, family)}
    return found


def _drawn(values: NDArray[np.float64], statistic: Any) -> list[float | None]:
    """Return the 95 % bootstrap interval of a statistic of rows, tasks drawn anew."""
    rng = np.random.default_rng(0)
    found = [statistic(values[rng.integers(0, len(values), len(values))]) for _ in range(_BOOTSTRAP)]
    return [_short(each) for each in np.nanquantile(found, [0.025, 0.975])]


def _harm(part: pd.DataFrame, family: TrustFamily) -> dict[str, Any]:
    losses = part.groupby("task")[
        [f"{name}.log_loss" for name in {family.default, family.pooled, *family.candidates}]
    ].mean()
    others = [name for name in family.candidates if name != family.default]
    best = min(others, key=lambda name: losses[f"{name}.log_loss"].mean())
    gap = (losses[f"{family.default}.log_loss"] - losses[f"{best}.log_loss"]).to_numpy()
    plain = losses[f"{family.pooled}.log_loss"]
    worse = losses[f"{family.default}.log_loss"] > plain + HARM * plain.abs()
    return {
        "best": best,
        "gap": _short(gap.mean()),
        "interval": _drawn(gap, np.mean),
        "harmed": [str(name) for name in losses.index[worse]],
        "harmed_share": _short(worse.mean()),
    }


def _trust(at: pd.DataFrame, family: TrustFamily) -> dict[str, Any]:
    told = at.assign(gain=at[f"{family.local}.log_loss"] - at[f"{family.default}.log_loss"])
    by_task = told.groupby("task")[["expected_gain", "gain"]].mean()
    each = by_task if len(by_task) >= _FEW_TASKS else told[["expected_gain", "gain"]]
    values = each.dropna().to_numpy(dtype=float)
    return {
        "spearman": _short(_ranked_alike(values)),
        "interval": _drawn(values, _ranked_alike),
        "ranked": "tasks" if len(by_task) >= _FEW_TASKS else "supports",
    }


def _ranked_alike(values: NDArray[np.float64]) -> float:
    """Return Spearman's correlation of two columns; NaN where one is the same throughout."""
    if np.ptp(values[:, 0]) == 0 or np.ptp(values[:, 1]) == 0:
        return float("nan")
    return float(spearmanr(values[:, 0], values[:, 1]).statistic)


def _sets(at: pd.DataFrame) -> dict[str, Any]:
    """Return coverage and size; sizes are compared as ratios a task, so that units do not matter."""
    by_task = at.groupby("task")[["conformal.coverage", "conformal.size", "split.coverage", "split.size"]].mean()
    covered = by_task["conformal.coverage"].to_numpy()
    ratio = (by_task["conformal.size"] / by_task["split.size"]).to_numpy()
    return {
        "coverage": _short(covered.mean()),
        "interval": _drawn(covered, np.mean),
        "least": _short(covered.min()),
        "least_task": str(by_task["conformal.coverage"].idxmin()),
        "split_coverage": _short(by_task["split.coverage"].mean()),
        "size": _short(by_task["conformal.size"].mean()),
        "split_size": _short(by_task["split.size"].mean()),
        "size_ratio": _short(ratio.mean()),
        "ratio_interval": _drawn(ratio, np.mean),
    }


def _calibration(at: pd.DataFrame, family: TrustFamily) -> dict[str, Any]:
    names = list(dict.fromkeys([family.default, family.pooled, *family.candidates]))
    by_task = at.groupby("task")[[*(f"{name}.ece" for name in names), "slope", "ece_floor"]].mean()
    ratio = lambda some: some[:, 0].mean() / some[:, 1].mean()  # noqa: E731
    both = by_task[[f"{family.default}.ece", f"{family.pooled}.ece"]].to_numpy()
    return {
        "ece": {name: _short(by_task[f"{name}.ece"].mean()) for name in names},
        "floor": _short(by_task["ece_floor"].mean()),
        "ratio": _short(ratio(both)),
        "ratio_interval": _drawn(both, ratio),
        "slope": _short(by_task["slope"].median()),
        "slope_interval": _drawn(by_task["slope"].to_numpy(), np.nanmedian),
        "slope_undefined": _short(at["slope"].isna().mean()),
    }


def _abstention(at: pd.DataFrame) -> dict[str, Any]:
    both, said = (at.groupby("task")[[name, f"{name}_kept"]].mean().to_numpy() for name in ("error", "said"))
    cut = lambda some: 1 - some[:, 1].mean() / some[:, 0].mean()  # noqa: E731
    return {
        "error": _short(both[:, 0].mean()),
        "kept": _short(both[:, 1].mean()),
        "cut": _short(cut(both)),
        "interval": _drawn(both, cut),
        "said_cut": _short(cut(said)),
    }


def _noise(at: pd.DataFrame, family: TrustFamily) -> dict[str, Any]:
    names = [f"{name}.{figure}" for name in (family.default, family.local) for figure in ("roc_auc", "noisy_auc")]
    values = at.groupby("task")[names].mean().to_numpy()
    share = lambda some: (some[:, 0] - some[:, 1]).mean() / (some[:, 2] - some[:, 3]).mean()  # noqa: E731
    return {
        "lost": _short((values[:, 0] - values[:, 1]).mean()),
        "local_lost": _short((values[:, 2] - values[:, 3]).mean()),
        "share": _short(share(values)),
        "interval": _drawn(values, share),
    }


def _short(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 5)


def goals(found: Found) -> list[dict[str, Any]]:
    """Return the goals that the finished families can be judged by."""
    told: list[dict[str, Any]] = []
    for name, family in found.items():
        for size, harm in family["harm"].items():
            told.append(
                _goal(
                    f"{name}, {size}: log-loss minus the best candidate's ({harm['best']})",
                    0.0,
                    harm["gap"],
                    harm["interval"],
                    lower=True,
                )
            )
            told.append(
                _goal(
                    f"{name}, {size}: share of {family['tasks']} tasks worse than {family['pooled']} by more than 2 %",
                    0.05,
                    harm["harmed_share"],
                    lower=True,
                )
            )
        trust, sets = family["trust"], family["sets"]
        told.append(
            _goal(
                f"{name}: expected and realised gain, rank correlation over {trust['ranked']}",
                0.5,
                trust["spearman"],
                trust["interval"],
            )
        )
        told.append(_goal(f"{name}: coverage of 90 % sets, at least", 0.88, sets["coverage"], sets["interval"]))
        told.append(
            _goal(f"{name}: coverage of 90 % sets, at most", 0.93, sets["coverage"], sets["interval"], lower=True)
        )
        told.append(_goal(f"{name}: coverage of the least covered task ({sets['least_task']})", 0.8, sets["least"]))
        told.append(
            _goal(
                f"{name}: size of sets beside split conformal's",
                1.0,
                sets["size_ratio"],
                sets["ratio_interval"],
                lower=True,
            )
        )
        told += _of_classes(name, family)
        told += _of_shift(name, family) + _of_reasons(name, family)
    return told


def _goal(
    name: str, wanted: float, value: float | None, interval: Sequence[Any] = (), *, lower: bool = False
) -> dict[str, Any]:
    if value is None:
        return {"name": name, "goal": wanted, "value": None, "interval": [], "met": False}
    return goal(name, wanted, value, [each for each in interval if each is not None], lower=lower)


def _of_classes(name: str, family: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "calibration" not in family:
        return []
    found, abstention, noise = family["calibration"], family["abstention"], family["noise"]
    told = []
    if family["kind"] == "tables":
        told.append(
            _goal(
                f"{name}: ECE beside the unadapted pooled model's",
                0.5,
                found["ratio"],
                found["ratio_interval"],
                lower=True,
            )
        )
    else:
        ours = found["ece"][family["default"]]
        best = min((found["ece"][other], other) for other in (family["pooled"], family["local"]))
        told.append(
            _goal(
                f"{name}: ECE minus that of the best method from scratch ({best[1]})", 0.0, ours - best[0], lower=True
            )
        )
    told.append(_goal(f"{name}: calibration slope, at least", 0.85, found["slope"], found["slope_interval"]))
    told.append(_goal(f"{name}: calibration slope, at most", 1.15, found["slope"], found["slope_interval"], lower=True))
    if name in ("heart", "impact"):
        told.append(
            _goal(
                f"{name}: error cut by abstaining on the least sure fifth",
                0.35,
                abstention["cut"],
                abstention["interval"],
            )
        )
    told.append(
        _goal(
            f"{name}: AUC lost to 20 % of labels flipped, share of the local method's loss",
            0.7,
            noise["share"],
            noise["interval"],
            lower=True,
        )
    )
    return told


def _of_shift(name: str, family: Mapping[str, Any]) -> list[dict[str, Any]]:
    shift = family["shift"]
    if shift is None:
        return []
    return [
        *(
            _goal(f"{name}: AUC of shift warnings, {harm.removeprefix('auc, ')}", 0.9, value)
            for harm, value in shift.items()
            if harm.startswith("auc, ")
        ),
        _goal(f"{name}: false alarms at true new sites", 0.05, shift["false_alarms"], lower=True),
    ]


def _of_reasons(name: str, family: Mapping[str, Any]) -> list[dict[str, Any]]:
    told = []
    for row in family["explanations"] or []:
        who = f"{name}, {row['method']}"
        told.append(_goal(f"{who}: explanations add up to within", 1e-3, row["additivity_error"], lower=True))
        if row["exact_error"] is not None:
            told.append(_goal(f"{who}: error of exact explanations", 1e-8, row["exact_error"], lower=True))
        deletion = row["deletion"]
        name_of = f"{who}: deletion by contribution minus by chance, lower end of the interval"
        told.append(_goal(name_of, 0.0, deletion["interval"][0], deletion["interval"]))
        told.append(_goal(f"{who}: CPU ms to explain a case, median", 200.0, row["p50_ms"], lower=True))
    return told


def markdown(found: Found, judged: Sequence[Mapping[str, Any]], *, machine: str, stale: Sequence[str]) -> str:
    """Return the page."""
    lines = [
        "# Predictions one may act on",
        "",
        f"`make bench-trust`, on {machine}. 50 supports a task and size, one query for all sizes; means over tasks of means over supports, 95 % "
        "intervals with the tasks drawn anew (they say little where there are four). Judged tasks were used for nothing else.",
        "",
    ]
    if stale:
        lines += [f"Stale, their code or data has changed since: {', '.join(stale)}.", ""]
    for family in found.values():
        lines += [f"## {family['title']}", "", *_of_family(family)]
    lines += ["## Goals", "", "| goal | wanted | value | interval | met |", "|---|---|---|---|---|"]
    for each in judged:
        interval = " to ".join(f"{value:.4g}" for value in each["interval"])
        value = "-" if each["value"] is None else f"{each['value']:.4g}"
        lines.append(f"| {each['name']} | {each['goal']:g} | {value} | {interval} | {'yes' if each['met'] else 'no'} |")
    return "\n".join(lines) + "\n"


def _of_family(family: Mapping[str, Any]) -> list[str]:
    names = list(dict.fromkeys([family["default"], *family["candidates"]]))
    lines = [
        "| method | labelled | log-loss | " + ("AUC | ECE |" if "calibration" in family else "R² |"),
        "|---|---|---|---|" + ("---|" if "calibration" in family else ""),
    ]
    for size, means in family["means"].items():
        for name in names:
            more = [
                f"{means[f'{name}.{figure}']:.4f}"
                for figure in (("roc_auc", "ece") if "calibration" in family else ("r2",))
            ]
            shown = f"**{name}**" if name == family["default"] else name
            lines.append(f"| {shown} | {size} | {means[f'{name}.log_loss']:.4f} | {' | '.join(more)} |")
    lines += ["", *(_said(family)), ""]
    return lines


def _said(family: Mapping[str, Any]) -> list[str]:
    sets = family["sets"]
    told = [
        f"- 90 % sets at {SIZE} labels cover {sets['coverage']:.3f} (least {sets['least']:.3f}, {sets['least_task']}), of size {sets['size']:.3f}; "
        f"split conformal with the same labels covers {sets['split_coverage']:.3f} with {sets['split_size']:.3f}.",
    ]
    if "calibration" in family:
        found, cut = family["calibration"], family["abstention"]
        told.append(
            f"- ECE {found['ece'][family['default']]:.4f}; predictions right as often as they say would have {found['floor']:.4f} on queries "
            f"of this size. Calibration slope {found['slope']:.2f} (median over tasks)."
        )
        said = (
            ""
            if "said_cut" not in cut
            else f"; predictions right as often as they say would have {cut['said_cut']:.0%}"
        )
        told.append(
            f"- Error {cut['error']:.3f}, and {cut['kept']:.3f} without the least sure fifth: a cut of {cut['cut']:.0%}{said}."
        )
    if family["shift"] is not None:
        shift = family["shift"]
        told.append(
            f"- Alarms: {shift['false_alarms']:.1%} at true new sites; "
            + ", ".join(f"{harm} {share:.0%}" for harm, share in shift["alarms"].items())
            + f" (AUC {shift['auc']:.3f} over all)."
        )
    return told


assert COVERAGE == 0.9
