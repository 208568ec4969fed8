import numpy as np
import torch
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from metamedica.modalities.molecules import Molecules
from metamedica.modalities.molecules.featurise import MORE_FINGERPRINTS


def test_similarity_is_rdkits_count_tanimoto(molecules: Molecules, series: list[str]) -> None:
    some = series[::60]
    raw = molecules.raw_encoder()
    vectors = raw(molecules.prepare(some).features)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = [generator.GetCountFingerprint(Chem.MolFromSmiles(text)) for text in some]
    expected = [DataStructs.BulkTanimotoSimilarity(one, prints) for one in prints]
    torch.testing.assert_close(raw.similarity(vectors, vectors), torch.tensor(expected))


def test_kernels_to_average_are_built_from_rdkits_tanimoto_and_the_descriptors(
    molecules: Molecules, series: list[str]
) -> None:
    some = series[::60]
    raw, features = molecules.raw_encoder(), molecules.prepare(some).features
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    counts = [generator.GetCountFingerprint(Chem.MolFromSmiles(text)) for text in some]
    bits = [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in some]
    alike = torch.tensor(
        [
            [
                (
                    DataStructs.TanimotoSimilarity(counts[i], counts[j])
                    + DataStructs.TanimotoSimilarity(bits[i], bits[j])
                )
                / 2
                for j in range(len(some))
            ]
            for i in range(len(some))
        ]
    )
    near = torch.exp(-0.5 * torch.cdist(features["descriptors"], features["descriptors"]) ** 2 / 22)
    want = torch.stack([alike, alike * near, 0.75 * alike + 0.25 * near])
    torch.testing.assert_close(raw.kernels(features, features), want, atol=1e-5, rtol=0)
    assert torch.linalg.eigvalsh(raw.kernels(features, features).double()).min() > -1e-5


def test_the_rich_kernels_are_the_same_similarity_of_every_fingerprint(molecules: Molecules, series: list[str]) -> None:
    some = series[::60]
    features = {**molecules.prepare(some).features, **molecules.more_fingerprints(some)}
    plain, rich = molecules.raw_encoder(), molecules.rich_encoder()
    found = rich.kernels(features, features)
    torch.testing.assert_close(found[:2], plain.kernels(features, features)[:2])
    near = torch.exp(-0.5 * torch.cdist(features["descriptors"], features["descriptors"]) ** 2 / 22)
    torch.testing.assert_close(found[2], near, atol=1e-5, rtol=0)
    for kernel, make in zip(found[3:], MORE_FINGERPRINTS.values(), strict=True):
        prints = [make().GetCountFingerprintAsNumPy(Chem.MolFromSmiles(text)) for text in some]
        counts = [torch.from_numpy(each.astype(np.int64)).clamp(max=7) for each in prints]
        for i, mine in enumerate(counts):
            ratios = [torch.minimum(mine, other).sum() / torch.maximum(mine, other).sum() for other in counts]
            both = [((mine > 0) & (other > 0)).sum() / ((mine > 0) | (other > 0)).sum() for other in counts]
            want = (torch.stack(ratios) + torch.stack(both)) / 2
            torch.testing.assert_close(kernel[i], want, atol=1e-5, rtol=0)
    assert torch.linalg.eigvalsh(found.double()).min() > -1e-5


def test_flat_is_the_logarithm_of_counts_and_the_descriptors(molecules: Molecules) -> None:
    raw, features = molecules.raw_encoder(), molecules.prepare(["CCCCO", "c1ccccc1"]).features
    flat = raw.flat(features)
    assert raw.dim == 2048
    torch.testing.assert_close(flat[:, :2048], torch.log(1 + features["counts"].float()))
    assert torch.equal(flat[:, 2048:], features["descriptors"])


def test_the_summary_is_the_descriptors_in_floating_point(molecules: Molecules) -> None:
    raw, features = molecules.raw_encoder(), molecules.prepare(["CCCCO", "c1ccccc1"]).features
    assert torch.equal(raw.summary(features), features["descriptors"])
    assert raw.summary({**features, "descriptors": torch.ones(2, 22, dtype=torch.int16)}).dtype == torch.float32


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
