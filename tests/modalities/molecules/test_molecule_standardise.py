import pandas
import pytest
from rdkit import Chem
from rdkit.rdBase import BlockLogs

from metamedica.errors import CaseError
from metamedica.modalities.molecules.standardise import MAX_CHARACTERS, Standardiser, objection


def standard(text: str) -> str:
    with BlockLogs():
        return str(Chem.MolToSmiles(Standardiser().molecule(text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OCC", "CCO"),
        ("CC(=O)[O-].[Na+]", "CC(=O)O"),
        ("C[NH3+].[Cl-]", "CN"),
        ("[NH3+]CC(=O)[O-]", "NCC(=O)O"),
        ("C[N+](C)(C)C.[I-]", "C[N+](C)(C)C"),
        ("C[N+](C)(C)CC(=O)[O-]", "C[N+](C)(C)CC(=O)[O-]"),
        ("[O-][N+](=O)c1ccccc1", "O=[N+]([O-])c1ccccc1"),
        ("C[n+]1ccccc1[O-]", "C[n+]1ccccc1[O-]"),
        ("c1ccccc1.OCC(O)C", "c1ccccc1"),
        ("CCBr.CCCl", "CCBr"),
        ("[Pt](Cl)(Cl)(Cl)Cl.CC", "CC"),
        ("[2H]C([2H])([2H])O", "[2H]C([2H])([2H])O"),
        ("N[C@@H](C)C(=O)O", "C[C@H](N)C(=O)O"),
        ("[H]OC([H])([H])[H]", "CO"),
    ],
)
def test_the_standard_form_is_the_largest_organic_fragment_made_neutral(text: str, expected: str) -> None:
    assert standard(text) == expected


@pytest.mark.parametrize("text", ["OC.CO.CC", "CC.OC.CO", "CO.CC.OC"])
def test_the_order_of_the_fragments_does_not_matter(text: str) -> None:
    assert standard(text) == "CO"


def test_an_ion_without_a_readable_neutral_form_stays_as_it_is() -> None:
    assert standard("[cH-]1cccc1") == "c1cc[cH-]c1"


def test_the_standard_form_of_a_standard_form_is_itself(series: list[str]) -> None:
    for text in [*series[::10], "C[N+](C)(C)CC(=O)[O-]", "[O-][n+]1ccccc1.Cl", "CN=[N+]=[N-]"]:
        once = standard(text)
        assert standard(once) == once


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("xx", "not SMILES: cannot go on at 'x' (character 1)"),
        ("CC%", "not SMILES: cannot go on at '%' (character 3)"),
        ("C(C", "'(' is opened and never closed"),
        ("CC)C", "')' is closed and was never opened"),
        ("C1CC", "a ring is opened and never closed"),
        ("CC(C)(C)(C)C", "atom 2 (C) has more bonds"),
        ("c1cccc1", "cannot be given alternating double bonds"),
        ("cC", "lower case"),
        ("CC>>CO", "it is a reaction"),
        ("C~C", "search pattern"),
        ("*CC", "wildcard"),
        ("[1*]c1ccccc1", "wildcard"),
        ("[#0]C", "wildcard"),
        ("[$(CC)]", "not SMILES: cannot go on at '$'"),
        ("[H][H]", "no heavy atom"),
        ("[H+]", "no heavy atom"),
        ("." * 3, "not SMILES"),
        ("C" * 501, "501 heavy atoms, at most 500"),
        ("(" * 900, "not SMILES"),
        ("[" * 900, "not SMILES"),
        ("C(" * 300, "never closed"),
    ],
)
def test_a_text_that_is_no_molecule_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(CaseError) as caught:
        standard(text)
    assert reason in str(caught.value)


def test_many_equivalent_rings_are_refused() -> None:
    from_twelve = "C12CCC(CC1)" + "C3CCC(CC3)" * 10 + "C3CCC2CC3"
    with pytest.raises(CaseError, match=r"4,108 rings counting equivalent ones"):
        standard(from_twelve)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (None, "it is empty"),
        (float("nan"), "it is empty"),
        (pandas.NA, "it is empty"),
        ("", "it is empty"),
        (" \t", "it is empty"),
        (3.5, "it is of type float, not text"),
        (b"CC", "it is of type bytes, not text"),
        ("CC ethane", "white space"),
        ("C\nC", "white space"),
        ("C\x00C", r"'\x00'"),
        ("C\u0421", r"'\u0421'"),
        ("\ud800", r"'\ud800'"),
        ("C" * 1001, "1,001 characters, at most 1,000"),
        ("C" * 150_000, "150,000 characters"),
    ],
)
def test_a_case_that_cannot_be_smiles_is_objected_to_without_parsing(case: object, reason: str) -> None:
    said = objection(case)
    assert said is not None
    assert reason in said


@pytest.mark.parametrize("case", ["C", " CC \n", "CC\x85", "C" * MAX_CHARACTERS])
def test_there_is_no_objection_to_a_text_without_white_space_inside(case: str) -> None:
    assert objection(case) is None
