"""Event tables: what is taken agrees with a plain loop over the events, and nothing after the index time reaches a column."""

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pytest

from metamedica.data.declared import Declared
from metamedica.errors import FileFormatError, InputError

Declare = Callable[..., Declared]

CASES = "id,start,y\n1,2031-01-02,0\n2,2031-01-05,1\n3,2031-01-01,1\n"
EVENTS = """who,when,what,much
1,2031-01-01 06:00,Na,130
1,2031-01-01 18:00,Na,140
1,2031-01-02 00:00,Na,138
1,2031-01-02 00:01,Na,999
1,2030-12-20 00:00,Na,100
1,,Na,5
2,2031-01-04 12:00,K,-9
2,2031-01-04 13:00,K,4.5
2,2031-01-04 14:00,K,
2,2031-01-09 00:00,Na,120
9,2031-01-01 00:00,Na,1
"""
HEAD = "case: id\nindex: {time: start}\nlabel: {column: y, positive: 1}\n"
TABLE = "events:\n  - table: e.csv\n    on: {id: who}\n    time: when\n    code: what\n    value: much\n    take:\n"
FILES = {"a.csv": CASES, "e.csv": EVENTS}


def _values(found: Declared, name: str) -> list[object]:
    return [None if value is None or value != value else value for value in found.frame[name]]


@pytest.mark.parametrize(
    ("take", "values"),
    [
        ("{codes: Na, how: last}", [138, None, None]),
        ("{codes: Na, how: first}", [100, None, None]),
        ("{codes: Na, how: first, window: {hours: 24}}", [140 - 10, None, None]),
        ("{codes: Na, how: first, window: {hours: 12}}", [140, None, None]),
        ("{codes: [Na, K], how: max}", [140, 4.5, None]),
        ("{codes: [Na, K], how: min}", [100, -9, None]),
        ("{codes: [Na, K], how: min, missing: -9}", [100, 4.5, None]),
        ("{codes: Na, how: mean, window: {days: 1}}", [136, None, None]),
        ("{codes: Na, how: count}", [4, 0, 0]),
        ("{how: count}", [4, 3, 0]),
        ("{codes: K, how: any}", [0, 1, 0]),
        ("{how: code}", ["Na", "K", None]),
        ("{codes: K, how: last, missing: -9}", [None, 4.5, None]),
    ],
)
def test_a_column_is_made_of_the_events_up_to_the_index_time(declare: Declare, take: str, values: list[object]) -> None:
    found = declare(f"{HEAD}{TABLE}      z: {take}\n", FILES)
    assert found.columns == ("z",)
    assert _values(found, "z") == values
    assert (found.left_out or {})["events of e.csv without a time"] == 1


def test_a_span_added_to_the_index_moves_the_end_of_every_window(declare: Declare) -> None:
    later = HEAD.replace("start}", "start, plus: {days: 4}}")
    found = declare(
        f"{later}{TABLE}      z: {{codes: Na, how: last}}\n      w: {{codes: Na, how: any, window: {{days: 1}}}}\n",
        FILES,
    )
    assert _values(found, "z") == [999, 120, None]
    assert _values(found, "w") == [0, 1, 0]


def test_what_is_taken_of_the_future_serves_labels_and_is_refused_as_a_column(declare: Declare) -> None:
    text = (
        "case: id\nindex: {time: start}\nlabel: {column: low, above: 0}\n"
        f"{TABLE}      low: {{codes: Na, how: count, future: {{days: 4}}}}\n      potassium: {{codes: K, how: last}}\n"
    )
    found = declare(text, FILES)
    assert found.columns == ("potassium",)
    assert found.frame["label"].tolist() == [1, 1, 0]
    assert declare(text.replace("{days: 4}", "{days: 3}"), FILES).frame["label"].tolist() == [1, 0, 0]
    with pytest.raises(InputError, match=r"has 'low' among the columns, which lies after the index time \(a leak\)"):
        declare(f"columns: [low]\n{text}", FILES)
    spare = text.replace("      low", "      spare: {codes: Na, how: count, future: any}\n      low")
    assert declare(spare, FILES).columns == ("potassium",)
    with pytest.raises(InputError, match=r"has 'spare' among the columns, which lies after the index time \(a leak\)"):
        declare(f"columns: [spare]\n{spare}", FILES)


def test_the_time_of_an_event_to_come_makes_a_label_within_days(declare: Declare) -> None:
    text = (
        "case: id\nindex: {time: start}\nlabel: {column: next_low, within: {span: {days: 4}}}\n"
        f"{TABLE}      next_low: {{codes: Na, how: time, future: any}}\n      n: {{how: count}}\n"
    )
    assert declare(text, FILES).frame["label"].tolist() == [1, 1, 0]
    assert declare(text.replace("{days: 4}", "{hours: 95}"), FILES).frame["label"].tolist() == [1, 0, 0]


def test_a_case_whose_time_does_not_come_after_the_index_is_excluded(declare: Declare) -> None:
    files = {"a.csv": "x,start,end,y\n1,2031-01-01,2031-01-03,0\n2,2031-01-01,2031-01-02,1\n3,2031-01-01,,1\n"}
    text = (
        "columns: [x]\nindex: {time: start, plus: {hours: 24}}\nlabel: {column: y, positive: 1}\n"
        "exclude: [{column: end, not_after_index: true, because: gone within a day}]\n"
    )
    found = declare(text, files)
    assert found.frame["x"].tolist() == [1, 3]
    assert found.left_out == {"gone within a day (exclusion 1)": 1}


def test_without_an_index_the_whole_table_counts(declare: Declare) -> None:
    text = "case: id\nlabel: {column: y, positive: 1}\nevents:\n  - {table: e.csv, on: {id: who}, value: much, take: {top: {how: max}}}\n"
    assert _values(declare(text, FILES), "top") == [999, 120, None]
    only = text.replace("value: much,", "value: much, where: {what: [K]}, missing: [-9],")
    assert _values(declare(only, FILES), "top") == [None, 4.5, None]


def test_random_events_agree_with_a_loop_over_them(declare: Declare) -> None:
    random = np.random.default_rng(3)
    base = datetime(2031, 1, 1)
    starts = [base + timedelta(hours=int(hours)) for hours in random.integers(0, 200, 30)]
    events = [
        (
            int(random.integers(0, 30)),
            base + timedelta(hours=int(random.integers(0, 240))),
            "ab"[number % 2],
            number * 0.5,
        )
        for number in random.permutation(400)
    ]
    files = {
        "a.csv": "id,start,y\n" + "".join(f"{i},{start},{i % 2}\n" for i, start in enumerate(starts)),
        "e.csv": "who,when,what,much\n" + "".join(f"{who},{when},{what},{much}\n" for who, when, what, much in events),
    }
    takes = {"n": "count", "top": "max", "low": "min", "mid": "mean", "end": "last", "begin": "first"}
    text = "".join(f"      {name}: {{codes: a, how: {how}, window: {{days: 3}}}}\n" for name, how in takes.items())
    frame = declare(f"{HEAD}{TABLE}{text}", files).frame
    for position, start in enumerate(starts):
        seen = sorted(
            (
                (when, number, much)
                for number, (who, when, what, much) in enumerate(events)
                if who == position and what == "a" and start - timedelta(days=3) <= when <= start
            ),
            key=lambda event: event[:2],
        )
        much = [event[2] for event in seen]
        row = frame.iloc[position]
        assert row["n"] == len(much)
        wanted = [max(much), min(much), np.mean(much), much[-1], much[0]] if much else [np.nan] * 5
        np.testing.assert_allclose(row[["top", "low", "mid", "end", "begin"]].astype(float), wanted)
    assert (frame["n"] > 0).sum() > 15


@pytest.mark.parametrize(
    ("old", "new", "error", "sentence"),
    [
        ("z: {codes: Na", "z: {codes: Mg", InputError, r"demo takes 'z' of 'Mg', which no event of e\.csv has; check the codes"),
        ("    time: when\n", "", InputError, r"events of e\.csv: 'z' needs the key time; name its column"),
        ("    value: much\n", "", InputError, r"events of e\.csv: 'z' needs the key value; name its column"),
        ("    code: what\n", "", InputError, r"events of e\.csv: 'z' needs the key code; name its column"),
        ("time: when", "time: wen", FileFormatError, r"e\.csv has no column 'wen'; name one of: who, when, what, much"),
        ("time: when", "time: what", InputError, r"e\.csv, row 2, column 'what': 'Na' came and a time such as 2031-05-20"),
        ("how: last", "how: max, codes: []", InputError, r"e\.csv, row 2, column 'value': 'ten' came and a number was wanted"),
        ("      z:", "      start:", InputError, r"takes a column 'start' of events that is there already; give it another"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_events_is_told(
    declare: Declare, old: str, new: str, error: type[Exception], sentence: str
) -> None:
    text = f"{HEAD}{TABLE}      z: {{codes: Na, how: last}}\n"
    events = EVENTS
    if "max" in new:
        events, text = EVENTS.replace("Na,130", "Na,ten"), text.replace("{codes: Na, how: last}", "{how: max}")
    else:
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(error, match=sentence):
        declare(text, {"a.csv": CASES, "e.csv": events})


def test_more_pairs_of_cases_and_events_than_fit_are_refused(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamedica.data.declared.events._MOST_PAIRS", 8)
    assert _values(declare(f"{HEAD}{TABLE}      z: {{codes: Na, how: count}}\n", FILES), "z") == [4, 0, 0]
    with pytest.raises(
        InputError, match=r"e\.csv would be compared with the cases in 9 pairs and 8 are the most; name fewer"
    ):
        declare(f"{HEAD}{TABLE}      z: {{how: count}}\n", FILES)
