import torch
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from metamedica.modalities.molecules import Molecules


def test_similarity_is_rdkits_count_tanimoto(molecules: Molecules, series: list[str]) -> None:
    some = series[::60]
    raw = molecules.raw_encoder()
    vectors = raw(molecules.prepare(some).features)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = [generator.GetCountFingerprint(Chem.MolFromSmiles(text)) for text in some]
    expected = [DataStructs.BulkTanimotoSimilarity(one, prints) for one in prints]
    torch.testing.assert_close(raw.similarity(vectors, vectors), torch.tensor(expected))


def test_flat_is_the_logarithm_of_counts_and_the_descriptors(molecules: Molecules) -> None:
    raw, features = molecules.raw_encoder(), molecules.prepare(["CCCCO", "c1ccccc1"]).features
    flat = raw.flat(features)
    assert raw.dim == 2048
    torch.testing.assert_close(flat[:, :2048], torch.log(1 + features["counts"].float()))
    assert torch.equal(flat[:, 2048:], features["descriptors"])


def test_leading_axes_and_precision_of_the_blocks_are_kept(molecules: Molecules) -> None:
    raw, features = molecules.raw_encoder(), molecules.prepare(["CCO", "CCC", "CCN", "CCF"]).features
    shaped = {name: block.double().reshape(2, 2, -1) for name, block in features.items()}
    vectors = raw(shaped)
    assert vectors.shape == (2, 2, 2048)
    assert vectors.dtype == raw.flat(shaped).dtype == torch.float64
    assert raw.similarity(vectors, vectors).shape == (2, 2, 2)
    assert raw(features).dtype == torch.float32


def test_it_has_nothing_to_learn(molecules: Molecules) -> None:
    assert not list(molecules.raw_encoder().parameters())
