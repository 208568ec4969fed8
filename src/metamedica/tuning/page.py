"""A search to look at: one self-contained page."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamedica.reports import figures
from metamedica.reports.html import Figure, Section, Table, write_page

if TYPE_CHECKING:
    from metamedica.tuning.results import Found

_MOST_ROWS = 60


def shown(value: Any) -> str:
    """Return a setting's value as people read it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write_tuning_page(path: Path, found: "Found") -> None:
    """Write the page: how the score rose, which settings mattered, the best ones, every trial."""
    best, rows = found.best, found.rows
    good = [row for row in rows if row.score is not None]
    plots = [
        Figure(
            "Score of each trial (mean query log-likelihood per case on meta-valid tasks); the line is the best so far",
            figures.search_history(
                [row.number for row in good],
                [float(row.score or 0) for row in good],
                kept=[row.state == "complete" for row in good],
            ),
        )
    ]
    if found.importance:
        plots.append(
            Figure(
                f"How much each setting of {best.learner} mattered (share of the score's variance, fANOVA)",
                figures.bars(found.importance),
            )
        )
    chosen = Table(
        ["setting", "value"],
        [[place, shown(value)] for place, value in best.values.items()],
        f"The best trial, number {best.number}",
    )
    ranked = sorted(rows, key=lambda row: (row.score is None, row.state != "complete", -(row.score or 0.0)))[
        :_MOST_ROWS
    ]
    trials = Table(
        ["trial", "learner", "state", "score", "steps", "seconds", "settings"],
        [
            [str(row.number), row.learner, row.state, "–" if row.score is None else f"{row.score:.4f}", str(row.steps), f"{row.seconds:.1f}",
             row.why or ", ".join(f"{place.split('.', 1)[1]} {shown(value)}" for place, value in row.values.items())]
            for row in ranked
        ],
        f"Best first{f'; {_MOST_ROWS} of {len(rows)}' if len(rows) > _MOST_ROWS else ''}",
        frozenset({0, 3, 4, 5}),
        0,
    )  # fmt: skip
    ended = {state: sum(row.state == state for row in rows) for state in ("complete", "pruned", "failed")}
    first = next((row for row in rows if row.learner == best.learner), best)
    verdict = f"{best.learner} with these settings scores {best.score:.4f} on meta-valid tasks"
    if first.score is not None and first is not best:
        verdict += f"; its defaults score {first.score:.4f}"
    write_page(
        path,
        "Search for settings",
        [Section("At a glance", figures=plots, tables=[chosen]), Section("Trials", tables=[trials])],
        verdict=verdict + ".",
        footer=f"{len(rows)} trials: {', '.join(f'{count} {state}' for state, count in ended.items())}. Settings were selected on meta-valid "
        "tasks, so the score is a little too good; no meta-test task was looked at.",
    )
