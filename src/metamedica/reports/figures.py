"""Small plots as inline SVG that follow the page's colours, in light and dark. No script, no font, nothing fetched."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np

WIDTH, HEIGHT = 560, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 46
_SERIES = 8
_COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#57606a", "#0a7d91")
_STYLE = (
    "<style>text{font:12.5px sans-serif;fill:#6b7280}.label{fill:#374151}.grid{stroke:#d1d5db}.line{fill:none;stroke-width:1.8}"
    ".line.lead{stroke-width:3.2}.band{opacity:.12}"
    + "".join(f".line.s{i}{{stroke:{c}}}.dot.s{i},.band.s{i}{{fill:{c}}}" for i, c in enumerate(_COLOURS))
    + "</style>"
)
"""Of a file on its own; in a report the page has the colours. Middling tones, that show on white and on black."""


@dataclass(frozen=True)
class Curve:
    """A line with an interval: `low` and `high` may be empty."""

    x: Sequence[float | int]
    y: Sequence[float | int]
    low: Sequence[float | int] = ()
    high: Sequence[float | int] = ()


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    span = max(high - low, 1e-9)
    step = 10 ** np.floor(np.log10(span / count))
    step *= next(each for each in (1, 2, 5, 10) if span / (step * each) <= count)
    first = np.ceil(low / step) * step
    return [float(round(value, 10)) + 0.0 for value in np.arange(first, high + step * 1e-6, step)]  # + 0.0: never -0


class _Axes:
    """Data to pixels, and the frame around them."""

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        labels: tuple[str, str],
        x_ticks: Sequence[tuple[float, str]] = (),
    ):
        self.x, self.y, self.labels = x, y, labels
        self.x_ticks = list(x_ticks) or [(value, f"{value:g}") for value in _ticks(*x)]

    def at(self, x: float | int, y: float | int) -> tuple[float, float]:
        across = (x - self.x[0]) / max(self.x[1] - self.x[0], 1e-12)
        up = (y - self.y[0]) / max(self.y[1] - self.y[0], 1e-12)
        return (
            round(_LEFT + across * (WIDTH - _LEFT - _RIGHT), 2),
            round(HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM), 2),
        )

    def frame(self) -> str:
        parts = []
        for value in _ticks(*self.y):
            left, height = self.at(self.x[0], value)
            parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - _RIGHT}" y1="{height}" y2="{height}"/>')
            parts.append(f'<text x="{left - 8}" y="{height + 4}" text-anchor="end">{value:g}</text>')
        for value, text in self.x_ticks:
            across, bottom = self.at(value, self.y[0])
            parts.append(f'<text x="{across}" y="{bottom + 18}" text-anchor="middle">{escape(text)}</text>')
        middle = (HEIGHT - _BOTTOM + _TOP) / 2
        parts.append(
            f'<text class="label" x="{(WIDTH + _LEFT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(self.labels[0])}</text>'
        )
        parts.append(
            f'<text class="label" x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(self.labels[1])}</text>'
        )
        return "".join(parts)


def _svg(body: str, alt: str) -> str:
    return f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(alt)}"><title>{escape(alt)}</title>{body}</svg>'


def _legend(names: Sequence[str]) -> str:
    items = "".join(f'<li><i class="s{i % _SERIES}"></i>{escape(name)}</li>' for i, name in enumerate(names))
    return f'<ul class="legend">{items}</ul>'


def _range(values: Iterable[float | int]) -> tuple[float, float]:
    """Return the smallest and the largest number; 0 and 1 where there is none."""
    finite = [float(value) for value in values if np.isfinite(value)] or [0.0, 1.0]
    return min(finite), max(finite)


def _shown(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Return the points that are numbers; without the interval where an end of it is none."""
    shown = {}
    for name, curve in curves.items():
        keep = [i for i, point in enumerate(zip(curve.x, curve.y, strict=True)) if np.isfinite(point).all()]
        x, y, low, high = (
            [side[i] for i in keep] if side else [] for side in (curve.x, curve.y, curve.low, curve.high)
        )
        shown[name] = Curve(x, y, low, high) if np.isfinite([*low, *high]).all() else Curve(x, y)
    return shown


def _points(axes: _Axes, x: Sequence[float | int], y: Sequence[float | int]) -> str:
    return " ".join(f"{a},{b}" for a, b in (axes.at(u, v) for u, v in zip(x, y, strict=True)))


def _lines(axes: _Axes, curves: Mapping[str, Curve]) -> str:
    """Return every curve with its interval and points, the first on top and strongest."""
    parts = []
    for i, curve in reversed(list(enumerate(curves.values()))):
        if curve.low and curve.high:
            band = f"{_points(axes, curve.x, curve.high)} {_points(axes, list(curve.x)[::-1], list(curve.low)[::-1])}"
            parts.append(f'<polygon class="band s{i % _SERIES}" points="{band}"/>')
        parts.append(
            f'<polyline class="line s{i % _SERIES}{" lead" if i == 0 else ""}" points="{_points(axes, curve.x, curve.y)}"/>'
        )
        parts += [
            f'<circle class="dot s{i % _SERIES}" r="3.5" cx="{a}" cy="{b}"/>'
            for a, b in (axes.at(u, v) for u, v in zip(curve.x, curve.y, strict=True))
        ]
    return "".join(parts)


def _heights(curves: Mapping[str, Curve]) -> tuple[float, float]:
    """Return from where to where the curves and their intervals go, with some room."""
    low, high = _range(v for curve in curves.values() for v in (*curve.y, *curve.low, *curve.high))
    room = max((high - low) * 0.08, 0.01)
    return low - room, high + room


def learning_curves(curves: Mapping[str, Curve], *, label: str) -> str:
    """Return one line a method over support sizes (log scale), with its interval; the first is drawn strongest."""
    curves = _shown(curves)
    sizes = sorted({float(x) for curve in curves.values() for x in curve.x}) or [1.0]
    logs = [float(np.log2(size)) for size in sizes]
    axes = _Axes(
        (logs[0] - 0.15, logs[-1] + 0.15), _heights(curves),
        labels=("labelled cases", label), x_ticks=[(at, f"{size:g}") for at, size in zip(logs, sizes, strict=True)],
    )  # fmt: skip
    logged = {name: replace(curve, x=[float(np.log2(size)) for size in curve.x]) for name, curve in curves.items()}
    names = list(curves)
    alt = f"{label} against the number of labelled cases for {', '.join(names)}"
    return _svg(axes.frame() + _lines(axes, logged), alt) + _legend(names)


def step_curves(curves: Mapping[str, Curve], *, label: str) -> str:
    """Return a whole SVG file of one line a method over gradient steps, with its interval; the first is drawn strongest.

    It brings its colours and its legend, so that it stands in a folder or a README.
    """
    curves = _shown(curves)
    first, last = _range(x for curve in curves.values() for x in curve.x)
    axes = _Axes((first - 0.2, last + 0.2), _heights(curves), labels=("gradient steps", label))
    legend = [
        f'<circle class="dot s{i % _SERIES}" r="4" cx="{WIDTH - 250}" cy="{_TOP + 12 + 18 * i}"/>'
        f'<text x="{WIDTH - 240}" y="{_TOP + 16 + 18 * i}">{escape(name)}</text>'
        for i, name in enumerate(curves)
    ]
    drawn = _svg(axes.frame() + _lines(axes, curves) + "".join(legend), f"{label} for {', '.join(curves)}")
    tag, _, rest = drawn.partition(">")
    return f'{tag} xmlns="http://www.w3.org/2000/svg">{_STYLE}{rest}\n'


def paired_tasks(
    x: Sequence[float | int], y: Sequence[float | int], *, names: Sequence[str], labels: tuple[str, str]
) -> str:
    """Return one point a task, baseline across and method up; above the diagonal the method is better."""
    low, high = _range((*x, *y))
    room = max((high - low) * 0.06, 0.01)
    axes = _Axes((low - room, high + room), (low - room, high + room), labels=labels)
    start, end = axes.at(low - room, low - room), axes.at(high + room, high + room)
    parts = [axes.frame(), f'<line class="diagonal" x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"/>']
    for name, across, up in zip(names, x, y, strict=True):
        if np.isfinite(across) and np.isfinite(up):
            a, b = axes.at(across, up)
            parts.append(
                f'<circle class="dot {"s0" if up >= across else "s1"} soft" r="4" cx="{a}" cy="{b}">'
                f"<title>{escape(name)}: {across:.3f} and {up:.3f}</title></circle>"
            )
    return _svg("".join(parts), f"{labels[1]} against {labels[0]}, one point a task")


def reliability(lines: Mapping[str, Curve]) -> str:
    """Return predicted probability against observed frequency; the diagonal is perfect."""
    lines = _shown(lines)
    axes = _Axes((0.0, 1.0), (0.0, 1.0), labels=("predicted probability", "observed share of positives"))
    start, end = axes.at(0, 0), axes.at(1, 1)
    parts = [axes.frame(), f'<line class="diagonal" x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"/>']
    for i, curve in reversed(list(enumerate(lines.values()))):
        parts.append(
            f'<polyline class="line s{i % _SERIES}{" lead" if i == 0 else ""}" points="{_points(axes, curve.x, curve.y)}"/>'
        )
        parts += [
            f'<circle class="dot s{i % _SERIES}" r="3" cx="{a}" cy="{b}"/>'
            for a, b in (axes.at(u, v) for u, v in zip(curve.x, curve.y, strict=True))
        ]
        parts += [
            _whisker(axes, *ends, f"s{i % _SERIES}") for ends in zip(curve.x, curve.low, curve.high, strict=False)
        ]
    return _svg("".join(parts), f"Reliability of {', '.join(lines)}") + _legend(list(lines))


def _whisker(axes: _Axes, x: float | int, low: float | int, high: float | int, series: str) -> str:
    """Return a thin upright line from low to high."""
    (a, top), (_, bottom) = axes.at(x, high), axes.at(x, low)
    return f'<line class="whisker {series}" x1="{a}" x2="{a}" y1="{top}" y2="{bottom}"/>'


def decision_curves(curves: Mapping[str, Curve], *, label: str) -> str:
    """Return net benefit over thresholds, one line a way to act; far below nothing the lines are cut off."""
    curves = _shown(curves)
    ceiling = max([0.02, *(v for curve in curves.values() for v in (*curve.y, *curve.high))])
    floor = -0.35 * ceiling
    axes = _Axes(
        (0.0, _range(x for curve in curves.values() for x in curve.x)[1]),
        (floor, ceiling * 1.08),
        labels=(label, "net benefit a case"),
    )
    parts = [axes.frame()]
    for i, curve in reversed(list(enumerate(curves.values()))):
        keep = [at for at, value in enumerate(curve.y) if value >= floor]
        x, y = [curve.x[at] for at in keep], [curve.y[at] for at in keep]
        if curve.low and curve.high:
            low, high = ([max(side[at], floor) for at in keep] for side in (curve.low, curve.high))
            band = f"{_points(axes, x, high)} {_points(axes, x[::-1], low[::-1])}"
            parts.append(f'<polygon class="band s{i % _SERIES}" points="{band}"/>')
        parts.append(
            f'<polyline class="line s{i % _SERIES}{" lead" if i == 0 else ""}" points="{_points(axes, x, y)}"/>'
        )
    return _svg("".join(parts), f"Net benefit over thresholds for {', '.join(curves)}") + _legend(list(curves))


def shares(curves: Mapping[str, Curve], *, labels: tuple[str, str]) -> str:
    """Return one line a name over shares from 0 to 1, without points: risk over coverage."""
    curves = _shown(curves)
    highest = max([1e-9, *(v for curve in curves.values() for v in curve.y)])
    axes = _Axes((0.0, 1.0), (0.0, highest * 1.1), labels=labels)
    parts = [axes.frame()]
    for i, curve in reversed(list(enumerate(curves.values()))):
        lead = " lead" if i == 0 else ""
        parts.append(f'<polyline class="line s{i % _SERIES}{lead}" points="{_points(axes, curve.x, curve.y)}"/>')
    return _svg("".join(parts), f"{labels[1]} over {labels[0]} for {', '.join(curves)}") + _legend(list(curves))


def intervals(measured: Sequence[float | int], curve: Curve, *, label: str) -> str:
    """Return the predicted value with its interval over the measured one, a point a case; the diagonal is perfect.

    Args:
        measured: of each case.
        curve: `x` is not used; `y` the prediction, `low` and `high` its interval.
        label: of the values.
    """
    low, high = _range([*measured, *curve.y, *curve.low, *curve.high])
    room = max((high - low) * 0.05, 1e-9)
    axes = _Axes(
        (low - room, high + room), (low - room, high + room), labels=(f"measured {label}", f"predicted {label}")
    )
    start, end = axes.at(low - room, low - room), axes.at(high + room, high + room)
    parts = [axes.frame(), f'<line class="diagonal" x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"/>']
    for value, predicted, bottom, top in zip(measured, curve.y, curve.low, curve.high, strict=True):
        series = "s0" if bottom <= value <= top else "s1"
        a, b = axes.at(value, predicted)
        parts.append(
            _whisker(axes, value, bottom, top, series) + f'<circle class="dot {series}" r="3" cx="{a}" cy="{b}"/>'
        )
    return _svg("".join(parts), f"Predicted against measured {label}") + _legend(["inside its interval", "outside"])


def strips(groups: Mapping[str, Sequence[float | int]], *, label: str) -> str:
    """Return one column of points a group with its mean as a bar: draws side by side."""
    low, high = _range(v for group in groups.values() for v in group)
    room = max((high - low) * 0.08, 0.01)
    axes = _Axes(
        (-0.5, max(len(groups), 1) - 0.5),
        (low - room, high + room),
        labels=("", label),
        x_ticks=[(float(i), name) for i, name in enumerate(groups)],
    )
    parts = [axes.frame()]
    for i, group in enumerate(groups.values()):
        finite = [v for v in group if np.isfinite(v)]
        for k, value in enumerate(finite):
            a, b = axes.at(i + 0.36 * ((k * 0.618) % 1 - 0.5), value)
            parts.append(f'<circle class="dot s{i % _SERIES} soft" r="4" cx="{a}" cy="{b}"/>')
        if not finite:
            continue
        mean = float(np.mean(finite))
        left, height = axes.at(i - 0.28, mean)
        right, _ = axes.at(i + 0.28, mean)
        parts.append(f'<line class="mean s{i % _SERIES}" x1="{left}" x2="{right}" y1="{height}" y2="{height}"/>')
        parts.append(f'<text class="value" x="{right + 4}" y="{height + 4}">{mean:.2f}</text>')
    return _svg("".join(parts), f"{label} of each draw for {', '.join(groups)}")


def search_history(trials: Sequence[int], scores: Sequence[float | int], *, kept: Sequence[bool]) -> str:
    """Return one point a trial of a search, and the best score so far as a line; trials that were stopped early are drawn soft."""
    low, high = _range(scores)
    room = max((high - low) * 0.08, 1e-3)
    last = max(trials, default=1)
    axes = _Axes(
        (0.5, last + 0.5),
        (low - room, high + room),
        labels=("trial", "score"),
        x_ticks=[(at, f"{at:g}") for at in _ticks(1.0, float(last)) if at == round(at)],
    )
    parts, best = [axes.frame()], -float("inf")
    steps: list[tuple[float, float]] = []
    for trial, score, whole in zip(trials, scores, kept, strict=True):
        a, b = axes.at(trial, score)
        parts.append(
            f'<circle class="dot {"s0" if whole else "s6 soft"}" r="4" cx="{a}" cy="{b}"><title>trial {trial}: {score:.4f}</title></circle>'
        )
        if whole:
            steps += [(trial, best)] if np.isfinite(best) else []
            best = max(best, score)
            steps.append((trial, best))
    steps += [(last + 0.5, best)] if steps else []
    parts.append(
        f'<polyline class="line s1 lead" points="{_points(axes, [x for x, _ in steps], [y for _, y in steps])}"/>'
    )
    return _svg("".join(parts), "Score of each trial and the best so far") + _legend(["trial", "best so far"])


def bars(shares: Mapping[str, float]) -> str:
    """Return one horizontal bar a name, in the given order; lengths are shares of the longest."""
    height = (HEIGHT - 2 * _TOP) / max(len(shares), 1)
    longest = max([*shares.values(), 1e-12])
    left, room = 250, WIDTH - 250 - 60
    parts = []
    for i, (name, share) in enumerate(shares.items()):
        top, width = round(_TOP + i * height, 2), round(room * share / longest, 2)
        middle = round(top + height / 2 + 4, 2)
        parts.append(f'<text x="{left - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>')
        parts.append(
            f'<rect class="dot s0" x="{left}" y="{round(top + height * 0.2, 2)}" width="{width}" height="{round(height * 0.6, 2)}" rx="3"/>'
        )
        parts.append(f'<text class="value" x="{left + width + 6}" y="{middle}">{share:.0%}</text>')
    return _svg("".join(parts), f"Shares of {', '.join(shares)}")


def waterfall(steps: Sequence[tuple[str, float]], *, start: float, label: str, most: int = 10) -> str:
    """Return how a number comes about: from `start`, one bar a step, raising (second colour) or lowering it (first), to the sum, under which it ends.

    Args:
        steps: name and size, the most important first; beyond `most` they are put together.
        start: where the first bar begins.
        label: of the number.
        most: bars.
    """
    shown = list(steps[:most])
    rest = [size for _, size in steps[most:]]
    if rest:
        shown.append((f"{len(rest)} more", float(np.sum(rest))))
    ends = start + np.cumsum([0.0, *(size for _, size in shown)])
    low, high = _range(ends)
    room = max((high - low) * 0.1, 1e-6)
    left, height = 190, (HEIGHT - _TOP - _BOTTOM) / max(len(shown), 1)

    def across(value: float | int) -> float:
        return round(left + (value - low + room) / (high - low + 2 * room) * (WIDTH - left - 60), 2)

    parts = []
    for at, name in ((start, "without"), (float(ends[-1]), "with all")):
        parts.append(
            f'<line class="diagonal" x1="{across(at)}" x2="{across(at)}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
            f'<text x="{across(at)}" y="{HEIGHT - _BOTTOM + (14 if name == "without" else 28)}" text-anchor="middle">{name}: {at:.3g}</text>'
        )
    for i, (name, size) in enumerate(shown):
        top = round(_TOP + i * height, 2)
        first, last = sorted((across(ends[i]), across(ends[i + 1])))
        middle, short = round(top + height / 2 + 4, 2), name if len(name) <= 28 else name[:27] + "…"
        parts.append(
            f'<text class="label" x="{left - 8}" y="{middle}" text-anchor="end">{escape(short)}<title>{escape(name)}</title></text>'
            f'<rect class="dot s{int(size > 0)}" x="{first}" y="{round(top + height * 0.18, 2)}" width="{max(round(last - first, 2), 1)}" '
            f'height="{round(height * 0.64, 2)}" rx="2"/><text class="value" x="{last + 5}" y="{middle}">{size:+.2g}</text>'
        )
    return _svg("".join(parts), f"{label} and what each part contributes to it")
