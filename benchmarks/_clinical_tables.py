"""What the finished families of `make bench-clinical` say: means over sites, the default paired with every method, harm, and the goals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._record import goal
from metamedica.reports.evaluation import LOWER_IS_BETTER
from metamedica.reports.influence import Gap, mean_gap, site_gap

HARM = 0.01
"""A site is harmed where the default's AUC is this much below the pooled model's, beyond its interval; it gains where it is as much above."""
RIVALS = ("pooled_linear", "pooled_trees")
"""Whom the page compares with site by site."""
_BOOTSTRAP = 2000
Found = Mapping[str, Mapping[str, Any]]


def summary(
    rows: pd.DataFrame, cases: pd.DataFrame, *, figures: Sequence[str], reference: str, seed: int
) -> dict[str, Any]:
    """Return, as JSON values: the mean of each figure over sites per support size and method; `reference` minus each method, paired over sites and
    draws (positive is better), with its intervals; and the sites of the difference in AUC.

    Args:
        rows: `method`, `task`, `shots`, `draw` and the figures.
        cases: `method`, `task`, `shots`, `case`, `label`, `patient` and the influence of each case on those figures that have one.
        figures: their names.
        reference: the method that is compared with all others.
        seed: of the bootstrap.
    """
    means: dict[str, Any] = {}
    paired: dict[str, Any] = {}
    sites: dict[str, Any] = {}
    for shots, part in rows.groupby("shots"):
        tables = {
            figure: part.pivot_table(index="method", columns=["task", "draw"], values=figure, sort=False)
            for figure in figures
        }
        means[str(shots)] = {
            method: {
                figure: _short(table.loc[method].groupby(level="task").mean().mean())
                for figure, table in tables.items()
            }
            for method in tables[figures[0]].index
        }
        paired[str(shots)], sites[str(shots)] = {}, {}
        asked = cases[cases["shots"] == shots].set_index(["method", "task"]).sort_index()
        for method in tables[figures[0]].index:
            if method == reference:
                continue
            compared = {}
            for figure, table in tables.items():
                sign = -1 if figure in LOWER_IS_BETTER else 1
                gaps = sign * (table.loc[reference] - table.loc[method])
                by_site = site_gaps(gaps, asked, figure, (reference, method), sign) if figure in asked else {}
                compared[figure] = _interval(gaps, seed) | {"these_sites": _of_these(by_site)}
                if figure == "roc_auc":
                    sites[str(shots)][method] = _sites(by_site)
            paired[str(shots)][method] = compared
    return {"means": means, "paired": paired, "sites": sites}


def site_gaps(
    gaps: "pd.Series[float]", asked: pd.DataFrame, figure: str, pair: tuple[str, str], sign: int
) -> dict[str, Gap]:
    """Return the gap of each site at which the figure is defined in some draw.

    Args:
        gaps: by `task` and `draw`.
        asked: the cases, by `method` and `task`.
        figure: whose influences are taken.
        pair: first minus second.
        sign: -1 turns the influences round.
    """
    found = {}
    for site, each in gaps.groupby(level="task"):
        values = each.dropna().to_numpy()
        if len(values) == 0:
            continue
        ours, theirs = (asked.loc[(method, site)] for method in pair)
        influence = sign * (ours[figure].to_numpy() - theirs[figure].to_numpy())
        labels = ours["label"].to_numpy()
        strata = labels if figure == "roc_auc" else np.zeros_like(labels)
        found[str(site)] = site_gap(values, influence, strata=strata, patients=ours["patient"].to_numpy())
    return found


def _by_site(gap: "pd.Series[float]") -> list[Any]:
    return [each.dropna().to_numpy() for _, each in gap.groupby(level="task") if each.notna().any()]


def _interval(gap: "pd.Series[float]", seed: int) -> dict[str, Any]:
    """Return the mean over sites of the mean over draws, and its 95 % interval with the sites, and within each its draws, drawn anew.

    Sites differ by their patients too, so that is in the interval already; in that over the draws alone it is not.
    """
    groups = _by_site(gap)
    if not groups:
        return {"mean": None, "interval": [None, None], "over_draws": [None, None], "sites": 0}
    rng = np.random.default_rng(seed)
    each = np.stack([group[rng.integers(0, len(group), (_BOOTSTRAP, len(group)))].mean(1) for group in groups])
    chosen = rng.integers(0, len(groups), (_BOOTSTRAP, len(groups)))
    both = np.take_along_axis(each.T, chosen, axis=1).mean(1)
    return {
        "mean": _short(np.mean([group.mean() for group in groups])),
        "interval": [_short(value) for value in np.quantile(both, [0.025, 0.975])],
        "over_draws": [_short(value) for value in np.quantile(each.mean(0), [0.025, 0.975])],
        "sites": len(groups),
    }


def _of_these(gaps: Mapping[str, Gap]) -> list[float | None]:
    """Return the interval of the mean over these very sites, with draws and patients drawn anew; None where one of them cannot tell."""
    return [_short(value) for value in mean_gap(list(gaps.values())).interval()] if gaps else [None, None]


def _sites(gaps: Mapping[str, Gap]) -> dict[str, Any]:
    """Return how many sites there are, those where the difference is below -`HARM` or above it beyond its interval, how many have none (one
    patient of a class), and the worst with its difference and interval."""
    ends = {site: gap.interval() for site, gap in gaps.items()}
    worst = min(gaps, key=lambda site: gaps[site].mean, default="")
    told = [gaps[worst].mean, *ends[worst]] if worst else [0.0, 0.0, 0.0]
    return {
        "sites": len(gaps),
        "harmed": [site for site, (_, high) in ends.items() if high < -HARM],
        "better": [site for site, (low, _) in ends.items() if low > HARM],
        "unsure": sum(bool(np.isnan(low)) for low, _ in ends.values()),
        "worst": [worst, *map(_short, told)],
    }


def _short(value: float) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), 5)


def goals(found: Found, *, default: str, pooled: Sequence[str], speed: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the goals that the finished families can be judged by."""
    told: list[dict[str, Any]] = []
    for name, family in found.items():
        if name == "heart-extra":
            told += _extra(family)
            continue
        for shots, means in family["means"].items():
            best = max(pooled, key=lambda method: means[method]["roc_auc"])
            gain = family["paired"][shots][best]["roc_auc"]
            told.append(
                goal(
                    f"{name}, {shots}: AUC minus the better pooled model ({best})", 0.0, gain["mean"], gain["interval"]
                )
            )
            harmed = family["sites"][shots][best]
            told.append(
                goal(
                    f"{name}, {shots}: sites of {harmed['sites']} worse than {best} by more than .01 AUC beyond the interval",
                    0.0,
                    float(len(harmed["harmed"])),
                    [float(len(harmed["harmed"])), float(len(harmed["harmed"]) + harmed["unsure"])],
                    lower=True,
                )
            )
            better = float(len(harmed["better"]))
            told.append(
                goal(
                    f"{name}, {shots}: sites of {harmed['sites']} better than {best} by more than .01 AUC beyond the interval",
                    None,
                    better,
                    [better, better + harmed["unsure"]],
                )
            )
        for shots in ("20",) if "20" in family["means"] else ():
            for figure in ("log_loss", "brier"):
                against = family["paired"][shots]["recalibrated"][figure]
                told.append(
                    goal(
                        f"{name}, {shots}: {figure}, recalibrated minus the default",
                        0.0,
                        against["mean"],
                        against["interval"],
                    )
                )
        if name == "heart" and "20" in family["means"]:
            for figure in ("log_loss", "brier"):
                base = family["means"]["20"]["pooled_linear"][figure]
                gain = family["paired"]["20"]["pooled_linear"][figure]
                told.append(
                    goal(
                        f"heart, 20: share of the pooled model's {figure} that is saved",
                        0.10,
                        gain["mean"] / base,
                        [value / base for value in gain["interval"]],
                    )
                )
    told.append(
        goal(
            "CPU ms to adapt to 20 and predict 1,000",
            20.0,
            speed["median_ms"],
            [speed["low_ms"], speed["high_ms"]],
            lower=True,
        )
    )
    return told


def _extra(family: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the goals of the extra columns, against pooled on the shared columns and the site alone; intervals of these four sites."""
    told = []
    for shots in ("20", "50"):
        for rival, what in (("pooled_linear", "pooled on shared columns"), ("linear", "the site alone, all columns")):
            for figure in ("roc_auc", "log_loss"):
                gain = family["paired"][shots][rival][figure]
                line = goal(
                    f"heart-extra, {shots}: {figure}, gain over {what} (interval of these sites clear of 0)",
                    0.0,
                    gain["mean"],
                    gain["these_sites"],
                )
                line["met"] = bool(gain["these_sites"][0] > 0)
                told.append(line)
    return told


def markdown(
    found: Found,
    judged: Sequence[Mapping[str, Any]],
    *,
    families: Mapping[str, Any],
    machine: str,
    stale: Sequence[str],
    default: str,
) -> str:
    """Return the page: a table a family, then the goals."""
    lines = [
        "# A new site with few labelled patients",
        "",
        f"`make bench-clinical`, on {machine}. Means over sites of means over 50 draws.",
        "",
        "Intervals of a mean come from a bootstrap of sites and, within each, draws; sites differ by their patients too, so what patients leave "
        "open is in them. The interval of one site's difference, and of the mean over these very sites where a goal says so, adds what draws and "
        "the patients asked leave open (`reports/influence`; DeLong et al. 1988). Of many sites, 2.5 in 100 are called worse, or better, by chance "
        "where the truth lies at the margin.",
    ]
    if stale:
        lines += ["", f"Stale, their code or data has changed since: {', '.join(stale)}."]
    if missing := [name for name in families if name not in found]:
        lines += ["", f"Not measured yet, or in an older way: {', '.join(missing)}."]
    for name, family in found.items():
        about = families[name]
        lines += [
            "",
            f"## {about.title}",
            "",
            f"{about.about[0].upper()}{about.about[1:]}; {family['protocol']['tasks']} sites judged.",
            "",
        ]
        lines += ["| method | labelled | AUC | log-loss | Brier | ECE |", "|---|---|---|---|---|---|"]
        for shots, means in family["means"].items():
            ranked = sorted(means, key=lambda method: means[method]["log_loss"])
            for method in ranked:
                figures = means[method]
                cells = " | ".join(
                    "" if figures[f] is None else f"{figures[f]:.4f}" for f in ("roc_auc", "log_loss", "brier", "ece")
                )
                shown = f"**{method}**" if method == default else method
                lines.append(f"| {shown} | {shots} | {cells} |")
    lines += _site_lines(found, default)
    lines += ["", "## Goals", "", "| goal | wanted | value | 95 % interval | met |", "|---|---|---|---|---|"]
    for each in judged:
        low, high = each["interval"]
        met = {None: "told", True: "yes", False: "no"}[each["met"]]
        wanted = "" if each["goal"] is None else each["goal"]
        lines.append(f"| {each['name']} | {wanted} | {each['value']} | {low} to {high} | {met} |")
    return "\n".join(lines) + "\n"


def _site_lines(found: Found, default: str) -> list[str]:
    """Return the table of sites at which the default is worse or better than the pooled models."""
    lines = [
        "",
        "## Sites",
        "",
        f"AUC of {default} minus that of a pooled model, site by site: worse (better) where it is below -{HARM} (above {HARM}) beyond the "
        "site's interval. Open: a class was asked of one patient only, so that there is no interval.",
        "",
        "| family | labelled | against | sites | worse | better | open | lowest site | its difference | 95 % interval |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, family in found.items():
        for shots, each in family["sites"].items():
            for rival in sorted(set(each) & set(RIVALS)):
                sites = each[rival]
                worst, gap, low, high = sites["worst"]
                ends = "open" if low is None else f"{low:.3f} to {high:.3f}"
                lines.append(
                    f"| {name} | {shots} | {rival} | {sites['sites']} | {len(sites['harmed'])} | {len(sites['better'])} | {sites['unsure']} "
                    f"| {worst} | {gap:.3f} | {ends} |"
                )
    return lines
