"""Which column holds what: two roles for one column are refused by name."""

import pytest

from metamedica.data.roles import Columns
from metamedica.errors import InputError


def test_a_case_of_several_columns_lists_them_before_the_roles() -> None:
    columns = Columns(("age", "sex"), target="died", task="hospital", group="patient")
    assert columns.of_case == ("age", "sex")
    assert columns.roles() == ["died", "hospital", "patient"]
    assert columns.named() == ["age", "sex", "died", "hospital", "patient"]
    assert Columns("smiles", target="pki").of_case == ("smiles",)


@pytest.mark.parametrize("role", ["target", "task", "group", "split", "family", "about"])
def test_a_case_column_with_another_role_is_refused(role: str) -> None:
    roles = {"target": "died", role: "age"}
    with pytest.raises(
        InputError, match="the column 'age' is named as part of the cases and has another role; take it out"
    ):
        Columns(("age", "sex"), **roles)
