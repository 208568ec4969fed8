"""Plots are well-formed, hold no number that is none, say their text safely, and put higher values higher."""

import math
import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metamedica.reports import figures
from metamedica.reports.figures import HEIGHT, WIDTH, Curve

NUMBER = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0])
NAME = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12) | st.sampled_from(
    ["<script>", "\"&'", "]]>"]
)


def _plot(text: str) -> ElementTree.Element:
    """Return the root of a plot after checking what every plot must keep."""
    root = ElementTree.fromstring(f"<page>{text}</page>")
    for element in root.iter():
        assert element.tag in {
            "page",
            "svg",
            "title",
            "line",
            "text",
            "circle",
            "rect",
            "polyline",
            "polygon",
            "ul",
            "li",
            "i",
        }
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert name not in ("href", "src", "style")
            if name in {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "points", "viewBox"}:
                for number in re.split(r"[ ,]+", value.strip()) if value.strip() else []:
                    assert math.isfinite(float(number)), f"{element.tag} {name}={value}"
    return root


def _dots(root: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter("circle")]


CURVE = st.lists(st.tuples(st.sampled_from([2, 16, 32, 64, 128]), NUMBER), max_size=5, unique_by=lambda point: point[0])


@settings(max_examples=60)
@given(st.dictionaries(NAME, CURVE, max_size=10), st.booleans(), NAME)
def test_learning_curves_of_any_numbers_and_names_are_well_formed(
    drawn: dict[str, list[tuple[int, float]]], interval: bool, label: str
) -> None:
    curves = {}
    for name, points in drawn.items():
        x, y = [point[0] for point in points], [point[1] for point in points]
        around = ([value - 1 for value in y], [value + 1 for value in y]) if interval else ((), ())
        curves[name] = Curve(x, y, *around)
    root = _plot(figures.learning_curves(curves, label=label))
    finite = [value for points in drawn.values() for _, value in points if math.isfinite(value)]
    assert len(_dots(root)) == len(finite)
    assert [item.text or "".join(item.itertext()) for item in root.iter("li")] == list(drawn)


@settings(max_examples=40)
@given(st.dictionaries(NAME, CURVE, max_size=6), NAME)
def test_curves_over_steps_are_a_file_of_their_own_for_any_numbers_and_names(
    drawn: dict[str, list[tuple[int, float]]], label: str
) -> None:
    curves = {name: Curve([x for x, _ in points], [y for _, y in points]) for name, points in drawn.items()}
    root = ElementTree.fromstring(figures.step_curves(curves, label=label))
    svg = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{svg}svg"
    assert next(iter(root.iter(f"{svg}style"))).text
    finite = [y for points in drawn.values() for _, y in points if math.isfinite(y)]
    assert len(list(root.iter(f"{svg}circle"))) == len(finite) + len(drawn)  # and one in the legend for each
    assert {text.text or "" for text in root.iter(f"{svg}text")} >= set(drawn)


@settings(max_examples=60)
@given(st.lists(st.tuples(NAME, NUMBER, NUMBER), max_size=12), NAME, NAME)
def test_paired_tasks_of_any_numbers_and_names_are_well_formed(
    drawn: list[tuple[str, float, float]], across: str, up: str
) -> None:
    names, x, y = ([each[place] for each in drawn] for place in range(3))
    root = _plot(figures.paired_tasks(x, y, names=names, labels=(across, up)))
    whole = [each for each in drawn if math.isfinite(each[1]) and math.isfinite(each[2])]
    titles = [dot[0].text for dot in root.iter("circle")]
    assert titles == [f"{name}: {a:.3f} and {b:.3f}" for name, a, b in whole]


PROBABILITY = st.floats(0, 1) | st.just(math.nan)


@settings(max_examples=60)
@given(st.dictionaries(NAME, st.lists(st.tuples(PROBABILITY, PROBABILITY), max_size=10), max_size=4))
def test_reliability_lines_of_any_probabilities_are_well_formed(drawn: dict[str, list[tuple[float, float]]]) -> None:
    lines = {name: Curve([a for a, _ in points], [b for _, b in points]) for name, points in drawn.items()}
    root = _plot(figures.reliability(lines))
    finite = [point for points in drawn.values() for point in points if not any(map(math.isnan, point))]
    assert len(_dots(root)) == len(finite)
    for across, height in _dots(root):
        assert 0 <= across <= WIDTH
        assert 0 <= height <= HEIGHT


@settings(max_examples=60)
@given(st.dictionaries(NAME, st.lists(NUMBER, max_size=6), max_size=5), NAME)
def test_strips_of_any_numbers_are_well_formed(groups: dict[str, list[float]], label: str) -> None:
    root = _plot(figures.strips(groups, label=label))
    finite = {name: [value for value in group if math.isfinite(value)] for name, group in groups.items()}
    assert len(_dots(root)) == sum(map(len, finite.values()))
    means = [line for line in root.iter("line") if (line.get("class") or "").startswith("mean")]
    assert len(means) == sum(bool(group) for group in finite.values())


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_lie_inside_and_are_neither_few_nor_many(low: float, span: float) -> None:
    high = low + span
    assume(high - low > 1e-6)
    ticks = figures._ticks(low, high)
    room = 1e-6 * span + 1e-9
    assert all(low - room <= tick <= high + room for tick in ticks)
    assert ticks == sorted(set(ticks))
    assert 1 <= len(ticks) <= 6


def test_a_higher_value_stands_higher_and_a_larger_support_further_right() -> None:
    (left, low), (right, high) = sorted(
        _dots(_plot(figures.learning_curves({"m": Curve([16, 64], [0.1, 0.4])}, label="y")))
    )
    assert left < right
    assert low > high


def test_equal_pairs_stand_on_the_diagonal_and_better_ones_above_it() -> None:
    root = _plot(figures.paired_tasks([0.2, 0.5, 0.5], [0.2, 0.9, 0.1], names=["a", "b", "c"], labels=("x", "y")))
    diagonal = next(line for line in root.iter("line") if line.get("class") == "diagonal")
    x1, y1, x2, y2 = (float(diagonal.attrib[name]) for name in ("x1", "y1", "x2", "y2"))

    def height_of_diagonal(x: float) -> float:
        return y1 + (x - x1) / (x2 - x1) * (y2 - y1)

    gap = [height_of_diagonal(x) - y for x, y in _dots(root)]
    assert gap[0] == pytest.approx(0, abs=0.05)
    assert gap[1] > 10
    assert gap[2] < -10


def test_the_first_curve_is_drawn_last_and_strongest() -> None:
    root = _plot(
        figures.learning_curves({"ours": Curve([16, 32], [1, 2]), "theirs": Curve([16, 32], [0, 1])}, label="y")
    )
    classes = [line.attrib["class"] for line in root.iter("polyline")]
    assert classes == ["line s1", "line s0 lead"]


PLOTS: list[Callable[[str], str]] = [
    lambda name: figures.learning_curves({name: Curve([16], [1.0])}, label=name),
    lambda name: figures.paired_tasks([0.0], [1.0], names=[name], labels=(name, name)),
    lambda name: figures.reliability({name: Curve([0.5], [0.5])}),
    lambda name: figures.strips({name: [1.0, 2.0]}, label=name),
]


@pytest.mark.parametrize("plot", PLOTS)
def test_hostile_names_are_text_and_nothing_else(plot: Callable[[str], str]) -> None:
    hostile = "</title></svg><script>alert(1)</script>\" onload='x'"
    text = plot(hostile)
    assert hostile in "".join(_plot(text).itertext())
    assert "<script" not in text


@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_says_in_words_what_it_shows(plot: Callable[[str], str]) -> None:
    svg = next(_plot(plot("forest")).iter("svg"))
    assert svg.attrib["role"] == "img"
    assert "forest" in svg.attrib["aria-label"]
    assert svg[0].tag == "title"
    assert svg[0].text == svg.attrib["aria-label"]


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.booleans()), min_size=0, max_size=12))
@settings(max_examples=30)
def test_a_search_has_a_point_a_trial_and_a_line_that_never_falls(trials: list[tuple[float, bool]]) -> None:
    scores, kept = [score for score, _ in trials], [whole for _, whole in trials]
    root = _plot(figures.search_history(list(range(1, len(trials) + 1)), scores, kept=kept))
    assert len(list(root.iter("circle"))) == len(trials)
    (line,) = root.iter("polyline")
    heights = [float(point.split(",")[1]) for point in line.attrib["points"].split()]
    assert heights == sorted(heights, reverse=True)


@given(st.dictionaries(NAME, st.floats(0, 1), max_size=8))
@settings(max_examples=30)
def test_a_longer_bar_is_a_larger_share(shares: dict[str, float]) -> None:
    root = _plot(figures.bars(shares))
    widths = [float(bar.attrib["width"]) for bar in root.iter("rect")]
    assert len(widths) == len(shares)
    ranked = sorted(zip(shares.values(), widths, strict=True))
    assert [width for _, width in ranked] == sorted(widths)


def test_a_decision_curve_is_cut_off_far_below_nothing_and_keeps_every_other_point() -> None:
    x = [0.1, 0.2, 0.3]
    lines = {
        "model": Curve(x, [0.3, 0.2, 0.1], [0.2, 0.1, 0.0], [0.4, 0.3, 0.2]),
        "everybody": Curve(x, [0.3, 0.1, -9.0]),
    }
    drawn = figures.decision_curves(lines, label="risk <b>")
    assert "risk &lt;b&gt;" in drawn
    counts = [line.count(",") for line in re.findall(r'<polyline[^>]*points="([^"]*)"', drawn)]
    assert sorted(counts) == [2, 3]
    assert drawn.count("<polygon") == 1


def test_an_interval_is_drawn_for_every_case_and_told_apart_where_it_misses() -> None:
    curve = Curve([], [1.0, 2.0, 3.0], [0.5, 1.5, 2.5], [1.5, 2.5, 3.5])
    drawn = figures.intervals([1.1, 2.0, 9.0], curve, label="pKi")
    assert drawn.count('class="whisker s0"') == 2
    assert drawn.count('class="whisker s1"') == 1
    assert "measured pKi" in drawn


def test_reliability_shows_intervals_where_there_are_some() -> None:
    plain = figures.reliability({"a": Curve([0.1, 0.9], [0.2, 0.8])})
    assert "whisker" not in plain
    both = figures.reliability({"a": Curve([0.1, 0.9], [0.2, 0.8], [0.1, 0.7], [0.3, 0.9])})
    assert both.count("whisker") == 2


def test_shares_are_lines_without_points_between_0_and_1() -> None:
    drawn = figures.shares({"a": Curve([0.5, 1.0], [0.0, 0.4])}, labels=("share", "error"))
    assert "<circle" not in drawn
    assert drawn.count("<polyline") == 1


def test_a_waterfall_ends_where_its_steps_sum_to_and_puts_the_small_ones_together() -> None:
    steps = [("age <x>", 1.5), ("sex", -0.5), *((f"c{i}", 0.01) for i in range(10))]
    drawn = figures.waterfall(steps, start=0.25, label="log-odds", most=4)
    assert "without: 0.25" in drawn
    assert "with all: 1.35" in drawn
    assert drawn.count("<rect") == 5
    assert "8 more" in drawn
    assert "age &lt;x&gt;" in drawn
    assert drawn.count('class="dot s0"') == 1
    ElementTree.fromstring(drawn)


def test_a_waterfall_without_a_step_is_still_a_picture() -> None:
    ElementTree.fromstring(figures.waterfall([], start=0.0, label="value"))
