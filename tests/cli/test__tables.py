"""Which column is which, what kind the targets are, and what a library holds."""

from pathlib import Path

import pytest

from metamedica import registry
from metamedica.cli._tables import TableOptions, case_column, read_library, target_column
from metamedica.errors import FileFormatError, InputError, TaskError
from metamedica.modalities.molecules import Molecules


def _table(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["id", "SMILES", "pki"], "SMILES"),
        (["Canonical SMILES", "name"], "Canonical SMILES"),
        (["smiles", "canonical_smiles"], "smiles"),
        (["canonical_smiles", "molecule_name"], "canonical_smiles"),
        (["Structure", "IC50"], "Structure"),
        (["compound", "smiles"], "smiles"),
    ],
)
def test_the_column_of_cases_is_found_by_its_usual_names(columns: list[str], found: str) -> None:
    assert case_column(columns, "t.csv", Molecules()) == found


@pytest.mark.parametrize(
    ("columns", "said"),
    [(["id", "pki"], "no column that looks like"), (["smiles_a", "smiles_b"], "2 columns that may hold")],
)
def test_where_it_is_not_clear_the_columns_are_listed(columns: list[str], said: str) -> None:
    with pytest.raises(FileFormatError, match=said) as caught:
        case_column(columns, "t.csv", Molecules())
    assert ", ".join(columns) in str(caught.value)
    assert "--case" in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["smiles", "response to drug"], "response to drug"),
        (["smiles", "id", "pIC50"], "pIC50"),
        (["smiles", "id", "Activity"], "Activity"),
    ],
)
def test_the_column_of_targets_is_the_only_one_left_or_has_a_usual_name(columns: list[str], found: str) -> None:
    assert target_column(columns, "t.csv", taken=["smiles"]) == found


@pytest.mark.parametrize("columns", [["smiles", "a", "b"], ["smiles", "pki", "pic50"]])
def test_a_target_that_is_not_clear_must_be_named(columns: list[str]) -> None:
    with pytest.raises(FileFormatError, match="--target"):
        target_column(columns, "t.csv", taken=["smiles"])


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "0", "1"], "binary"),
        (["1.0", "0.0", ""], "binary"),
        (["active", "inactive", "active"], "binary"),
        (["6.1", "7", "1e-3"], "regression"),
        (["low", "high", "middle", "low", "high", "low"], "multiclass"),
    ],
)
def test_the_kind_is_read_from_the_targets(cells: list[str], kind: str, tmp_path: Path) -> None:
    table = _table(tmp_path, "smiles,y\n" + "".join(f"{'C' * (n + 1)},{cell}\n" for n, cell in enumerate(cells)))
    assert TableOptions().complete(table, many=False).kind == kind


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["6.1", ">7", "5"], "row 3, column 'y': the target is '>7' and 2 others are numbers"),
        (["six", "seven", "eight", "nine"], "row 2, column 'y': the target is 'six', not a number, and 4 of 4"),
        (["", "nan"], "no measured value in y"),
    ],
)
def test_a_target_that_should_be_a_number_is_named(cells: list[str], said: str, tmp_path: Path) -> None:
    table = _table(tmp_path, "smiles,y\n" + "".join(f"{'C' * (n + 1)},{cell}\n" for n, cell in enumerate(cells)))
    with pytest.raises(TaskError, match=said):
        TableOptions().complete(table, many=False)


def test_a_kind_that_is_named_is_not_questioned(tmp_path: Path) -> None:
    table = _table(tmp_path, "smiles,y\nC,six\nCC,seven\n")
    assert TableOptions(kind="multiclass").complete(table, many=False).kind == "multiclass"


def test_in_the_wide_form_every_other_column_can_be_a_task(tmp_path: Path) -> None:
    table = _table(tmp_path, "smiles,scaffold,a,b\nC,x,1,\nCC,x,0,1\n")
    full = TableOptions(targets="all", group="scaffold").complete(table, many=True)
    assert full.targets == ("a", "b")
    assert full.target is None
    assert TableOptions(targets="b").complete(table, many=True).targets == ("b",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (TableOptions(targets="a,zz"), "no column 'zz'"),
        (TableOptions(task="zz"), "no column 'zz'"),
        (TableOptions(targets="all", group="a", family="b"), "no column beside smiles, a, b; --targets wants"),
        (TableOptions(targets="a", task="b"), "name one form"),
        (TableOptions(), "--task"),
    ],
)
def test_several_tasks_need_a_column_of_tasks_or_several_of_targets(
    options: TableOptions, said: str, tmp_path: Path
) -> None:
    table = _table(tmp_path, "smiles,a,b\nC,1,2\n")
    with pytest.raises(InputError, match=said):
        options.complete(table, many=True)


def test_a_library_keeps_its_other_columns_and_says_the_row(tmp_path: Path) -> None:
    table = _table(tmp_path, "id,smiles,row\nA, CCO ,9\n,,\nB,CCN,8\n")
    library = read_library(table, registry.modality("molecules"), case=None)
    assert library.cases == ["CCO", "CCN"]
    assert library.about.to_dict("list") == {"row": [2, 4], "id": ["A", "B"], "row (input)": ["9", "8"]}
    assert library.place(1) == "row 4"


def test_a_library_may_come_in_the_format_of_its_modality(tmp_path: Path) -> None:
    file = _table(tmp_path, "CCO ethanol\nCCN ethylamine\n", "library.smi")
    library = read_library(file, registry.modality("molecules"), case=None)
    assert library.cases == ["CCO", "CCN"]
    assert library.about.to_dict("list") == {"row": [1, 2], "name": ["ethanol", "ethylamine"]}
    assert library.place(0) == "record 1"
