"""What reaches the terminal, and what reaches a machine."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.cli._console import Session, one_line, plain


@given(st.text())
def test_no_text_from_a_file_can_command_the_terminal(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    assert "\x1b" not in shown


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=10))
def test_every_result_is_strict_json(value: object) -> None:
    json.loads(json.dumps(plain({"value": value}), allow_nan=False))


def test_numbers_of_numpy_become_plain_ones() -> None:
    assert plain({"a": np.float64(0.5), "b": np.int64(3), "c": (np.nan, np.inf), "d": np.bool_(True)}) == {
        "a": 0.5,
        "b": 3,
        "c": [None, None],
        "d": True,
    }


def test_with_json_nothing_but_the_result_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session()
    session.json = True
    session.say("words")
    session.table("title", ["a"], [[1]])
    session.markdown("# words")
    session.left_out({"rows": 2})
    with session.progress("working") as progress:
        assert progress is None
    session.result({"done": True})
    assert json.loads(capsys.readouterr().out) == {"done": True}


def test_without_json_no_result_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    Session().result({"done": True})
    assert capsys.readouterr().out == ""


def test_a_table_fits_the_terminal_and_keeps_its_numbers_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    Session().table(
        "Ranked", ["row", "case", "value", "near"], [[12345, "C" * 90, 7.25, "N" * 90]], wide=["case", "near"]
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert "12,345" in lines[-2]
    assert "7.250" in lines[-2]
    assert lines[-2].count("…") == 2


def test_brackets_of_smiles_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session()
    session.say("c1cc[nH]c1 [red]")
    session.table("t", ["case"], [["[O-][N+](=O)c1[bold]"]])
    shown = capsys.readouterr().out
    assert "c1cc[nH]c1 [red]" in shown
    assert "[O-][N+](=O)c1[bold]" in shown


def test_lines_fold_between_words_and_leave_a_path_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    path = "/" + "a-long-folder/" * 6 + "report.html"
    Session().say(f"Wrote the report with all that was found to {path}.\n\nOpen it.")
    assert capsys.readouterr().out.splitlines() == [
        "Wrote the report with all that was found",
        "to",
        f"{path}.",
        "",
        "Open it.",
    ]


def test_no_bar_is_drawn_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Session().progress("working") as progress:
        assert progress is None
    assert capsys.readouterr().err == ""


def test_on_a_terminal_the_bar_shows_how_far_the_work_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Session().progress("learning") as progress:
        assert progress is not None
        progress(0, 10, "")
        progress(5, 10, "loss 0.5, \x1b[31m")
        progress(1, 3, "another stage")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "learning" in printed.err
    assert "1/3" in printed.err
    assert "another stage" in printed.err
