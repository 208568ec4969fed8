"""The page: hostile text stays text, nothing is fetched, and what was not measured is a dash, never a crash."""

import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metamedica.errors import InputError
from metamedica.reports.evaluation import Evaluation
from metamedica.reports.html import Card, Figure, Section, Table, page, table_of, write_page, write_report

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}javascript:"
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Reader(HTMLParser):
    """Reads a page as a browser would: elements with attributes, and text by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[str]:
        return [text for where, text in self.text if where == tag]


def _safe(text: str) -> Reader:
    """Return the page as read, after checking that it runs nothing and fetches nothing."""
    reader = Reader(text)
    assert reader.open == []
    for tag, attributes in reader.elements:
        assert tag not in {"script", "img", "iframe", "object", "embed", "link", "base", "form", "a", "foreignobject"}
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} {name}"
            assert name not in {"src", "href", "xlink:href", "action", "srcset", "style"}, f"{tag} {name}"
            assert tag == "meta" or "javascript:" not in (value or "") or name == "aria-label"
    style = "".join(reader.of("style"))
    assert "url(" not in style
    assert "@import" not in style
    policy = [
        attributes["content"] for tag, attributes in reader.elements if tag == "meta" and "http-equiv" in attributes
    ]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    return reader


def _evaluation(tasks: list[str], *, kind: str = "regression", seed: int = 0, **blank: Any) -> Evaluation:
    """Return an evaluation of two methods; `blank` names figures to leave undefined in some rows."""
    rng = np.random.default_rng(seed)
    figures = {"regression": ("r2", "rmse"), "binary": ("delta_auprc", "roc_auc")}[kind]
    rows = [
        {"method": method, "task": task, "shots": shots, "draw": draw, "query": 40}
        | {figure: float(rng.normal(place, 1)) for figure in figures}
        for place, method in enumerate(("theirs", "ours"))
        for task in tasks
        for shots in (16, 64)
        for draw in range(2)
    ]
    frame = pd.DataFrame(rows)
    for figure, mask in blank.items():
        frame.loc[mask(frame), figure] = math.nan
    return Evaluation(kind, frame, {"name": "FS-Mol", "draws": 2}, {"maml": f"{HOSTILE} cannot learn it"})


def _report(evaluation: Evaluation, path: Path, **settings: Any) -> str:
    write_report(evaluation, path, **{"default": "ours", "baselines": ["theirs"], **settings})
    return path.read_text(encoding="utf-8")


def test_hostile_text_from_every_side_stays_text(tmp_path: Path) -> None:
    evaluation = _evaluation([f"{number} {HOSTILE}" for number in range(5)])
    evaluation.protocol[HOSTILE] = HOSTILE
    evaluation.rows["method"] = evaluation.rows["method"].replace("ours", HOSTILE)
    text = _report(
        evaluation,
        tmp_path / "report.html",
        title=HOSTILE,
        default=HOSTILE,
        leakage=HOSTILE,
        examples=[Card("<svg></svg>", [HOSTILE])],
        trust=pd.DataFrame({HOSTILE: [HOSTILE], "share": [0.5]}),
        notes=[HOSTILE],
    )
    reader = _safe(text)
    for tag in ("title", "h1", "p", "pre", "td", "th"):
        assert HOSTILE in "".join(reader.of(tag)), tag
    assert "49" not in "".join(reader.of("h1"))


def test_a_page_shows_its_parts_in_order_and_passes_drawings_through() -> None:
    plot = '<svg class="plot"><circle r="1"/></svg>'
    table = Table(["name", "value"], [["a", "1"], ["b", "2"]], "two rows", frozenset({1}), lead=1)
    sections = [
        Section("First", prose=["a line"], note="mind this", figures=[Figure("a caption", plot)]),
        Section("Second", tables=[table], text="x < y", cards=[Card(plot, ["drawn"])]),
    ]
    reader = _safe(page("Title", sections, verdict="All is well.", footer="Foot."))
    assert reader.of("h2") == ["First", "Second"]
    assert reader.of("td") == ["a", "1", "b", "2"]
    assert reader.of("pre") == ["x < y"]
    assert [tag for tag, _ in reader.elements].count("circle") == 2
    rows = [attributes for tag, attributes in reader.elements if tag == "tr"]
    assert [row.get("class") for row in rows] == [None, None, "lead"]
    cells = [attributes.get("class") for tag, attributes in reader.elements if tag == "td"]
    assert cells == [None, "number", None, "number"]


def test_writing_a_page_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "page.html"
    for title in ("One", "Two"):
        write_page(path, title, [], verdict="", footer="")
    assert "".join(_safe(path.read_text(encoding="utf-8")).of("h1")) == "Two"
    assert [each.name for each in path.parent.iterdir()] == ["page.html"]


def test_numbers_are_rounded_and_missing_ones_are_a_dash() -> None:
    frame = pd.DataFrame({"name": ["a", None], "value": [1.23456, math.nan], "count": [3, 4], "big": [math.inf, 2.0]})
    table = table_of(frame, digits=2, caption="c", lead=0)
    assert table.rows == [["a", "1.23", "3", "–"], ["None", "–", "4", "2.00"]]
    assert (table.numeric, table.caption, table.lead) == (frozenset({1, 2, 3}), "c", 0)


def test_the_verdict_says_above_only_where_the_interval_is(tmp_path: Path) -> None:
    tasks = [f"t{number}" for number in range(20)]
    text = _report(_evaluation(tasks), tmp_path / "a.html")
    assert "With 16 labelled cases, over 20 tasks, ours is in R² above theirs (+" in text
    text = _report(_evaluation(tasks), tmp_path / "b.html", default="theirs", baselines=["ours"])
    assert "theirs is in R² below ours (-" in text
    same = _evaluation(tasks)
    same.rows["r2"] = 0.5
    assert "ours is in R² not clearly different from theirs (+0.000" in _report(same, tmp_path / "c.html")
    same.rows.loc[(same.rows["method"] == "ours") & (same.rows["task"] == "t0"), "r2"] = 0.9
    assert "ours is in R² not clearly different from theirs (+0.020, 95 % interval +0.000 to" in _report(
        same, tmp_path / "e.html"
    )
    assert "ours is in R² reported alone." in _report(_evaluation(tasks), tmp_path / "d.html", baselines=[])


def test_tasks_stand_worst_first_and_only_the_worst_of_many(tmp_path: Path) -> None:
    tasks = [f"t{number}" for number in range(70)]
    evaluation = _evaluation(tasks)
    text = _report(evaluation, tmp_path / "report.html")
    assert "the worst 60 of 70" in text
    gap = evaluation.per_task().xs(16, level="shots").pipe(lambda both: both["ours"] - both["theirs"]).sort_values()
    shown = [cell for cell in Reader(text).of("td") if cell in tasks]
    assert shown == gap.index[:60].tolist()


BLANKS: dict[str, dict[str, Any]] = {
    "a figure of one method": {"rmse": lambda frame: frame["method"] == "ours"},
    "a figure at one size": {"rmse": lambda frame: frame["shots"] == 16},
    "a figure everywhere": {"rmse": lambda frame: frame["draw"] >= 0},
    "the leading figure of the baseline": {"r2": lambda frame: frame["method"] == "theirs"},
    "the leading figure of the default": {"r2": lambda frame: frame["method"] == "ours"},
    "the leading figure at the smallest size": {"r2": lambda frame: frame["shots"] == 16},
    "the leading figure of one task": {"r2": lambda frame: frame["task"] == "t1"},
}


@pytest.mark.parametrize("what", BLANKS)
def test_what_is_not_defined_is_left_out_of_the_report_and_stops_nothing(tmp_path: Path, what: str) -> None:
    text = _report(_evaluation(["t0", "t1", "t2"], **BLANKS[what]), tmp_path / "report.html")
    reader = _safe(text)
    assert {"h2", "svg"} <= {tag for tag, _ in reader.elements}
    for tag, attributes in reader.elements:
        if tag in {"line", "text", "circle", "polyline", "polygon"}:
            assert "nan" not in " ".join(value or "" for value in attributes.values())


def test_a_default_that_was_not_evaluated_is_refused_with_those_that_were(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^the evaluation has no method 'other'; it has: theirs, ours$"):
        _report(_evaluation(["t0", "t1"]), tmp_path / "report.html", default="other")
    assert list(tmp_path.iterdir()) == []


def test_the_report_says_what_was_skipped_and_by_which_protocol(tmp_path: Path) -> None:
    reader = _safe(_report(_evaluation(["t0", "t1"]), tmp_path / "report.html"))
    assert f"maml does not apply: {HOSTILE} cannot learn it." in "".join(reader.of("p"))
    assert "Protocol FS-Mol: 2 draws each." in reader.of("p")


def test_reliability_is_shown_for_binary_tasks_with_bins(tmp_path: Path) -> None:
    evaluation = _evaluation(["t0", "t1"], kind="binary")
    assert "Reliability at" not in _report(evaluation, tmp_path / "a.html")
    bins = [
        {"method": method, "shots": 16, "probability": p, "frequency": p, "cases": 9}
        for method in ("ours", "theirs")
        for p in (0.1, 0.9)
    ]
    whole = Evaluation("binary", evaluation.rows, evaluation.protocol, {}, pd.DataFrame(bins))
    assert "Reliability at 16 labelled cases, all tasks together" in _report(whole, tmp_path / "b.html")
