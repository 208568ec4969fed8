"""The parts of a molecule: what is left without an atom, against RDKit's own account; large molecules in groups; hostile ones in time."""

import time

import numpy as np
import pytest
import torch
from rdkit import Chem

from metamedica.errors import CaseError, InputError
from metamedica.modalities.molecules.environments import MOST_GROUPS, generators, groups_of, part_codes
from metamedica.modalities.molecules.modality import Molecules
from metamedica.modalities.molecules.parts import WHOLE, atom_weights, read_codes
from metamedica.parts import CaseParts
from metamedica.types import Features

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
IMATINIB = "Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(-c2cccnc2)n1"


def _features(molecules: Molecules, canonical: list[str]) -> Features:
    prepared = molecules.prepare(canonical)
    return {**prepared.features, **molecules.blocks(("atoms", "bonds", *molecules.rich_blocks), prepared.canonical)}


def _parts(molecules: Molecules, smiles: str, background: Features | None = None) -> tuple[CaseParts, Features]:
    canonical = molecules.prepare([smiles]).canonical
    features = _features(molecules, canonical)
    return molecules.parts(canonical, features, background or {})[0], features


@pytest.mark.parametrize("smiles", [ASPIRIN, IMATINIB, "C", "C1CC2CCC1CC2N"])
def test_without_any_part_nothing_is_counted_and_with_an_atom_away_no_feature_that_touches_it(
    molecules: Molecules, smiles: str
) -> None:
    parts, features = _parts(molecules, smiles)
    count = len(parts.names)
    assert parts.names[-1] == WHOLE
    assert all(not rows.any() for rows in parts.without(torch.zeros(1, count, dtype=torch.bool)).values())
    without_first = torch.ones(1, count, dtype=torch.bool)
    without_first[0, 0] = False
    left = parts.without(without_first)
    for block, rows in left.items():
        if block == "descriptors":
            assert torch.equal(rows, features[block])
        else:
            assert bool((rows <= features[block]).all()), block
            assert block in ("bonds", "torsions", "atom_pairs", "paths") or not torch.equal(rows, features[block])


def test_morgan_counts_without_an_atom_are_those_of_environments_that_a_walk_over_bonds_finds(
    molecules: Molecules,
) -> None:
    parts, _ = _parts(molecules, ASPIRIN)
    molecule = Chem.MolFromSmiles(molecules.prepare([ASPIRIN]).canonical[0])
    distance = Chem.GetDistanceMatrix(molecule)
    maker = generators()["counts"]
    from rdkit.Chem.rdFingerprintGenerator import AdditionalOutput

    found = AdditionalOutput()
    found.AllocateBitInfoMap()
    maker.GetCountFingerprint(molecule, additionalOutput=found)
    for away in range(molecule.GetNumAtoms()):
        want = np.zeros(2048, dtype=int)
        for column, places in found.GetBitInfoMap().items():
            want[column] = sum(distance[atom, away] > radius for atom, radius in places)
        kept = torch.ones(1, len(parts.names), dtype=torch.bool)
        kept[0, away] = False
        np.testing.assert_array_equal(parts.without(kept)["counts"][0].numpy(), want)


def test_atom_pairs_are_counted_where_both_atoms_are_there(molecules: Molecules) -> None:
    parts, features = _parts(molecules, IMATINIB)
    atoms = len(parts.names) - 1
    kept = torch.ones(1, atoms + 1, dtype=torch.bool)
    kept[0, 5] = False
    full, left = (int(rows["atom_pairs"].sum()) for rows in (features, parts.without(kept)))
    assert full - left <= atoms - 1  # counts above 7 are cut, so that fewer may go
    assert left < full


def test_the_whole_molecules_properties_become_those_of_the_background_on_average(molecules: Molecules) -> None:
    background = _features(molecules, ["CCO", "CCCC"])
    parts, _ = _parts(molecules, ASPIRIN, background)
    kept = torch.ones(1, len(parts.names), dtype=torch.bool)
    kept[0, -1] = False
    torch.testing.assert_close(parts.without(kept)["descriptors"][0], background["descriptors"].mean(0))


def test_a_large_molecule_has_at_most_forty_groups_that_hold_every_atom_once_and_are_in_one_piece() -> None:
    for smiles in ("C" * 120, "CCCCCCCCCCCC" + "OC1CCC(CC1)" * 14 + "N", "C1CC1." + "C" * 60):
        molecule = Chem.MolFromSmiles(smiles)
        groups = groups_of(molecule)
        assert len(groups) == MOST_GROUPS
        assert sorted(atom for group in groups for atom in group) == list(range(molecule.GetNumAtoms()))
        for group in groups:
            near = Chem.GetAdjacencyMatrix(molecule)[np.ix_(group, group)]
            reached = np.linalg.matrix_power(near + np.eye(len(group), dtype=int), len(group)) > 0
            assert reached.all()
    assert groups_of(Chem.MolFromSmiles(ASPIRIN)) == [[atom] for atom in range(13)]


def test_groups_are_named_by_their_atoms_and_their_structure(molecules: Molecules) -> None:
    parts, _ = _parts(molecules, "C" * 60)
    assert parts.names[0].startswith("atoms 1-")
    assert _parts(molecules, "CN")[0].names == ("atom 1, C", "atom 2, N", WHOLE)


def test_a_group_shares_its_contribution_among_its_atoms_in_the_drawing(molecules: Molecules) -> None:
    molecule = Chem.MolFromSmiles("CCO")
    told = read_codes(np.array(part_codes(molecule, [[0, 1], [2]], generators()), np.int16), ["ethyl", "hydroxyl"])
    assert atom_weights(told, [1.0, -2.0, 9.0]) == [0.5, 0.5, -2.0]
    assert molecules.draw_parts("CCO", [1.0, 0.0, -1.0]).startswith("<svg")
    with pytest.raises(InputError, match="got 2 contributions for a molecule of 3 parts"):
        molecules.draw_parts("CCO", [1.0, 0.0])


def test_what_is_no_molecule_has_no_parts(molecules: Molecules) -> None:
    with pytest.raises(CaseError, match="no usable molecule"):
        molecules.parts(["not a molecule"], {}, {})


def test_hundreds_of_atoms_take_no_minutes(molecules: Molecules) -> None:
    began = time.process_time()
    parts, features = _parts(molecules, "C1CCC2(CC1)CCCCC2" + "C(=O)NCCc1ccc(O)cc1" * 1 + "CCOCC" * 60)
    left = parts.without(torch.ones(100, len(parts.names), dtype=torch.bool))
    assert torch.equal(left["paths"][0], features["paths"][0])
    assert time.process_time() - began < 5


def test_many_linked_rings_are_taken_apart_by_a_worker_process(molecules: Molecules, harmless: str) -> None:
    canonical = molecules.prepare([harmless]).canonical
    features = molecules.prepare(canonical).features
    (parts,) = molecules.parts(canonical, features, {})
    whole = parts.without(torch.ones(1, len(parts.names), dtype=torch.bool))
    assert torch.equal(whole["counts"], features["counts"])
