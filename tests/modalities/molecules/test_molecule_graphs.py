import torch
from rdkit import Chem

from metamedica.modalities.molecules import Molecules
from metamedica.modalities.molecules.graphs import ATOM_CODES, BOND_CODES, ELEMENTS, graph_rows


def rows(text: str) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    atoms, bonds = graph_rows(Chem.MolFromSmiles(text))
    wide, long = len(ATOM_CODES), 2 + len(BOND_CODES)
    return (
        [tuple(atoms[start : start + wide]) for start in range(0, len(atoms), wide)],
        [tuple(bonds[start : start + long]) for start in range(0, len(bonds), long)],
    )


def test_the_codes_of_acetaldehyde_are_those_of_the_tables() -> None:
    carbon, oxygen = ELEMENTS.index(6) + 1, ELEMENTS.index(8) + 1
    atoms, bonds = rows("CC=O")
    assert atoms == [
        (carbon, 1, 2, 3, 0, 3, 0, 0),
        (carbon, 2, 2, 1, 0, 2, 0, 0),
        (oxygen, 1, 2, 0, 0, 2, 0, 0),
    ]
    assert bonds == [(0, 1, 1, 0, 0, 0), (1, 2, 2, 0, 0, 0)]


def test_aromatic_rings_charges_and_stereo_have_codes() -> None:
    atoms, bonds = rows("c1cc[nH+]cc1")
    assert {atom[4] for atom in atoms} == {1}
    assert atoms[3][2] == 3
    assert {bond[2:5] for bond in bonds} == {(4, 1, 1)}
    assert rows("N[C@@H](C)C(=O)O")[0][1][7] != rows("N[C@H](C)C(=O)O")[0][1][7]
    assert rows("F/C=C/F")[1][1][5] == 1
    assert rows("F/C=C\\F")[1][1][5] == 2


def test_every_code_is_below_the_size_of_its_column(series: list[str]) -> None:
    odd = ["[U+15]", "C[N+](C)(C)C", "S(F)(F)(F)(F)(F)F", "C#N", "N->[Pt]", "C$C", "[SiH4]", "[2H]C"]
    for text in [*series[::50], *odd]:
        atoms, bonds = rows(text)
        assert all(0 <= code < size for atom in atoms for code, size in zip(atom, ATOM_CODES, strict=True))
        assert all(0 <= code < size for bond in bonds for code, size in zip(bond[2:], BOND_CODES, strict=True))
        assert all(atom[0] > 0 for atom in atoms)


def test_blocks_are_padded_to_the_largest_molecule_and_hold_one_row_a_case(molecules: Molecules) -> None:
    blocks = molecules.graphs(["C", "CCO", "C1CC1"])
    assert blocks["atoms"].shape == (3, 3 * len(ATOM_CODES))
    assert blocks["bonds"].shape == (3, 3 * (2 + len(BOND_CODES)))
    assert blocks["atoms"].dtype == torch.int16
    assert not blocks["atoms"][0, len(ATOM_CODES) :].any()
    assert not blocks["bonds"][0].any()


def test_message_passing_gives_a_molecule_the_same_vector_in_any_company(
    molecules: Molecules, series: list[str]
) -> None:
    torch.manual_seed(0)
    encoder = molecules.encoder("message_passing", width=16, dim=8)
    some = series[:300:30]
    together = encoder(molecules.graphs(some))
    alone = torch.cat([encoder(molecules.graphs([text])) for text in some])
    torch.testing.assert_close(together, alone)
    assert torch.pdist(together).min() > 1e-6


def test_message_passing_does_not_depend_on_how_the_smiles_is_written(molecules: Molecules) -> None:
    torch.manual_seed(0)
    encoder = molecules.encoder("message_passing", width=16, dim=8)
    torch.testing.assert_close(
        encoder(molecules.graphs(["OC(=O)[C@@H](N)Cc1ccccc1"])),
        encoder(molecules.graphs(["N[C@@H](Cc1ccccc1)C(O)=O"])),
    )
