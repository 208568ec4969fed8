"""Texts of options -> settings, lists, and paths that may be written to."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.cli import _options as options
from metamedica.errors import FileFormatError, InputError
from metamedica.storage import write_bundle

_VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none(), st.text()
)


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.one_of(_VALUES, st.lists(_VALUES, max_size=3)))
)
def test_settings_come_back_as_they_were_written(settings: dict[str, object]) -> None:
    written = [f"{name}={value!r}" for name, value in settings.items()]
    assert options.literals(written, "--set") == settings


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("length", "name=value"),
        ("=3", "name=value"),
        ("a b=3", "name=value"),
        ("kind=euclid", "in quotes"),
        ("n=1+", "write a number"),
    ],
)
def test_a_setting_that_is_no_literal_is_refused(setting: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        options.literals([setting], "--set")


def test_a_setting_is_never_run_as_a_program() -> None:
    with pytest.raises(InputError, match="write a number"):
        options.literals(["length=__import__('os').getpid()"], "--set")


def test_a_setting_that_comes_twice_is_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        options.literals(["a=1", "a=2"], "--set")


def test_lists_of_names_and_numbers_are_split_at_commas() -> None:
    assert options.words("a, b,c", "--baseline") == ["a", "b", "c"]
    assert options.numbers("16,32", "--shots", least=2) == [16, 32]


@pytest.mark.parametrize("text", ["16,x", "1", "-4", "1.5", ""])
def test_a_number_that_is_not_whole_or_too_small_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--shots got"):
        options.numbers(text, "--shots", least=2)


def test_a_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(InputError, match="'a' twice"):
        options.words("a,b,a", "--baseline")


def test_a_new_or_empty_folder_may_hold_a_bundle(tmp_path: Path) -> None:
    options.check_bundle(tmp_path / "deep" / "new", "model", overwrite=False)
    options.check_bundle(tmp_path, "model", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileFormatError, match="is no whole model"):
        options.check_bundle(tmp_path, "model", overwrite=True)


def test_a_model_is_replaced_only_where_that_was_asked_for(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", "model", {}, {})
    with pytest.raises(FileFormatError, match="add --overwrite"):
        options.check_bundle(tmp_path / "model", "model", overwrite=False)
    options.check_bundle(tmp_path / "model", "model", overwrite=True)
    with pytest.raises(FileFormatError, match="is no whole predictor"):
        options.check_bundle(tmp_path / "model", "predictor", overwrite=True)


def test_a_file_is_replaced_only_where_that_was_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "ranked.csv"
    options.check_file(out, (".csv",), overwrite=False)
    out.write_text("a")
    with pytest.raises(FileFormatError, match="add --overwrite"):
        options.check_file(out, (".csv",), overwrite=False)
    options.check_file(out, (".csv",), overwrite=True)


def test_a_command_never_overwrites_its_own_input(tmp_path: Path) -> None:
    library = tmp_path / "library.csv"
    library.write_text("smiles\nC\n")
    with pytest.raises(FileFormatError, match="the input itself"):
        options.check_file(tmp_path / "x" / ".." / "library.csv", (".csv",), overwrite=True, inputs=(library,))


def test_an_unknown_suffix_a_folder_and_a_file_as_parent_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"ends with \.csv or \.parquet"):
        options.check_file(tmp_path / "ranked.xlsx", (".csv", ".parquet"), overwrite=False)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileFormatError, match="is a folder"):
        options.check_file(tmp_path / "folder.csv", (".csv",), overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileFormatError, match="is a file"):
        options.check_file(tmp_path / "file" / "ranked.csv", (".csv",), overwrite=True)
    with pytest.raises(FileFormatError, match="is a file"):
        options.check_folder(tmp_path / "file", ("report.html",), overwrite=True)


def test_a_folder_that_holds_one_of_the_files_is_refused(tmp_path: Path) -> None:
    options.check_folder(tmp_path, ("report.html",), overwrite=False)
    (tmp_path / "report.html").write_text("")
    with pytest.raises(FileFormatError, match="add --overwrite"):
        options.check_folder(tmp_path, ("report.html",), overwrite=False)
    options.check_folder(tmp_path, ("report.html",), overwrite=True)
