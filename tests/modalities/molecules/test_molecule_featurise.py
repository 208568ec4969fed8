import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors
from rdkit.rdBase import BlockLogs

from metamedica.modalities.molecules.featurise import (
    CLIP,
    DESCRIPTORS,
    FINGERPRINT_SIZE,
    MORE_FINGERPRINTS,
    MORE_MOST,
    MORE_SIZE,
    Featuriser,
)

SLOW = {"BertzCT", "CrippenClogP", "CrippenMR", "NumRotatableBonds", "NumHBA", "chi3n", "chi4n", "kappa3"}


def counts(molecule: Chem.Mol) -> np.ndarray:
    out = np.zeros(FINGERPRINT_SIZE, np.uint8)
    Featuriser().counts(molecule, out)
    return out


def descriptors(molecule: Chem.Mol) -> np.ndarray:
    out = np.zeros(len(DESCRIPTORS), np.float32)
    Featuriser().descriptors(molecule, out)
    return out


def test_counts_are_rdkits_count_morgan_fingerprint(series: list[str]) -> None:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    for text in series[::50]:
        molecule = Chem.MolFromSmiles(text)
        assert np.array_equal(counts(molecule), generator.GetCountFingerprintAsNumPy(molecule))


def test_a_count_above_255_becomes_255_and_does_not_wrap() -> None:
    chain = counts(Chem.MolFromSmiles("C" * 450))
    assert chain.max() == 255
    assert (chain == 255).sum() >= 2  # the middle carbons at radius 0, 1 and 2


@pytest.mark.parametrize("block", MORE_FINGERPRINTS)
def test_further_fingerprints_are_rdkits_and_stop_at_seven(block: str, series: list[str]) -> None:
    featuriser, generator = Featuriser(), MORE_FINGERPRINTS[block]()
    for text in [*series[::90], "C" * 450]:
        molecule, out = Chem.MolFromSmiles(text), np.zeros(MORE_SIZE, np.uint8)
        featuriser.more(block, molecule, out)
        assert np.array_equal(out, np.minimum(generator.GetCountFingerprintAsNumPy(molecule), 7))
    assert out.max() == MORE_MOST == 7


@pytest.mark.parametrize("atoms", [85, 86, 120])
def test_counts_around_the_size_where_a_count_could_overflow_are_right(atoms: int) -> None:
    molecule = Chem.MolFromSmiles("C" * atoms)
    plain = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048).GetCountFingerprintAsNumPy(molecule)
    assert np.array_equal(counts(molecule), np.minimum(plain, 255))


def test_descriptors_are_rdkits_centred_and_scaled() -> None:
    molecule = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")
    found = dict(zip(DESCRIPTORS, descriptors(molecule), strict=True))
    expected = {
        "amw": 180.159,
        "tpsa": 63.60,
        "NumHeavyAtoms": 13,
        "NumRings": 1,
        "FractionCSP3": 1 / 9,
        "lipinskiHBA": 4,
        "lipinskiHBD": 1,
    }
    for name, raw in expected.items():
        centre, scale = DESCRIPTORS[name]
        assert found[name] == pytest.approx((raw - centre) / scale, abs=1e-4)


def test_every_element_and_odd_molecules_have_finite_descriptors_within_the_clip() -> None:
    table = Chem.GetPeriodicTable()
    texts = [f"[{table.GetElementSymbol(number)}]" for number in range(1, 119)]
    texts += ["C" * 450, "C1CC1" * 90, "[U+15]", "[2H]C", "N->[Pt]", "C$C", "S(F)(F)(F)(F)(F)F"]
    with BlockLogs():
        found = np.stack([descriptors(Chem.MolFromSmiles(text)) for text in texts])
    assert np.isfinite(found).all()
    assert np.abs(found).max() == CLIP


def test_slow_descriptors_are_left_out_and_the_names_are_rdkits() -> None:
    assert not SLOW & set(DESCRIPTORS)
    assert set(DESCRIPTORS) <= set(rdMolDescriptors.Properties.GetAvailableProperties())


@pytest.mark.mirror
def test_the_scaling_table_fits_the_molecules_it_was_measured_on(chembl: list[str]) -> None:
    found = np.stack([descriptors(Chem.MolFromSmiles(text)) for text in chembl])
    assert np.abs(np.median(found, axis=0)).max() < 0.6
    assert np.abs(found.mean(0)).max() < 0.15
    assert found.std(0).min() > 0.7
    assert found.std(0).max() < 1.25
