"""Pre-training: the loss of its paper, a network that tells what no label told, the same after a crash."""

from pathlib import Path

import numpy as np
import pytest
import torch

from metamedica.errors import BundleError, InputError
from metamedica.functional.augmentation import Augmentation
from metamedica.pretraining import ImageSet, PretrainingSettings, contrastive_loss, pretrain

SMALL = {"layers": 10, "width": 8, "groups": 2}


def _settings(**changes: object) -> PretrainingSettings:
    return PretrainingSettings(**{"encoder_settings": SMALL, "steps": 4, "batch": 8} | changes)  # type: ignore[arg-type]


def _stripes(n: int = 24, *, seed: int = 0) -> ImageSet:
    """Stripes that stand or lie, on noise."""
    random = np.random.default_rng(seed)
    lying = random.integers(0, 2, n)
    images = random.normal(128, 20, (n, 16, 16))
    for at, way in enumerate(lying):
        wave = 60 * np.sin(np.arange(16) * 2 * np.pi / 4 + random.uniform(0, 6))
        images[at] += wave[:, None] if way else wave[None]
    squares = np.repeat(images.clip(0, 255).astype(np.uint8)[..., None], 3, axis=3)
    return ImageSet("stripes", squares, lying.astype(np.int64), Augmentation(degrees=5.0))


def test_the_contrastive_loss_is_that_of_its_paper() -> None:
    random = torch.Generator().manual_seed(0)
    left, right = (torch.randn(3, 5, generator=random, dtype=torch.float64) for _ in range(2))
    views = [*left, *right]
    total = 0.0
    for i, view in enumerate(views):
        alike = [float(torch.cosine_similarity(view, other, dim=0)) / 0.3 for other in views]
        total += np.log(sum(np.exp(each) for k, each in enumerate(alike) if k != i)) - alike[(i + 3) % 6]
    assert float(contrastive_loss(left, right, temperature=0.3)) == pytest.approx(total / 6, rel=1e-9)


def test_the_same_seed_gives_the_same_network_and_another_one_another() -> None:
    one, same, other = (pretrain([_stripes()], _settings(seed=seed)) for seed in (0, 0, 1))
    squares = _stripes(seed=1).images
    assert torch.equal(one.embed(squares), same.embed(squares))
    assert not torch.equal(one.embed(squares), other.embed(squares))
    assert one.record["settings"]["steps"] == 4
    assert one.record["sets"] == [["stripes", 24, 2]]


def test_vectors_have_mean_0_and_variance_1_over_the_training_images() -> None:
    found = pretrain([_stripes()], _settings()).embed(_stripes().images)
    torch.testing.assert_close(found.mean(0), torch.zeros(found.shape[1]), atol=1e-3, rtol=0.0)
    spread = found.var(0)
    torch.testing.assert_close(spread[spread > 0.01], torch.ones_like(spread[spread > 0.01]), atol=1e-2, rtol=0.0)


@pytest.mark.parametrize("contrast", [1.0, 0.0])
def test_an_interrupted_run_goes_on_to_the_same_network(
    contrast: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metamedica.pretraining._SAVE_EVERY", 2)
    settings = _settings(steps=5, contrast=contrast)
    whole = pretrain([_stripes()], settings)

    def dies(done: int, total: int, message: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain([_stripes()], settings, checkpoints=tmp_path / "ck", progress=dies)
    with pytest.raises(BundleError, match="holds checkpoints; resume from them, or name another folder"):
        pretrain([_stripes()], settings, checkpoints=tmp_path / "ck")
    with pytest.raises(BundleError, match="of other images or settings"):
        pretrain([_stripes()], _settings(steps=6, contrast=contrast), checkpoints=tmp_path / "ck", resume=True)
    resumed = pretrain([_stripes()], settings, checkpoints=tmp_path / "ck", resume=True)
    squares = _stripes(seed=1).images
    assert torch.equal(whole.embed(squares), resumed.embed(squares))


def test_labels_teach_what_new_images_show() -> None:
    made = pretrain([_stripes(64)], _settings(steps=60, batch=16, contrast=0.0, learning_rate=5e-3))
    fresh = _stripes(40, seed=1)
    known, asked = made.embed(_stripes(64).images), made.embed(fresh.images)
    labels = _stripes(64).labels
    assert labels is not None
    nearest = torch.cdist(asked, known).argmin(1)
    assert (labels[nearest] == fresh.labels).mean() > 0.9


def test_what_cannot_be_learned_from_is_refused() -> None:
    few, other = _stripes(8), _stripes(24)
    small = ImageSet("small", np.zeros((20, 8, 8, 3), np.uint8))
    plain = ImageSet("plain", other.images)
    for sets, told in (
        ([few], "got 8 images to learn from; give at least 16"),
        ([other, small], "bring all to one side"),
        ([other, _stripes(20)], "two sets of one name"),
        ([other, ImageSet("one", other.images[:1])], "has 1 image; give at least 2"),
    ):
        with pytest.raises(InputError, match=told):
            pretrain(sets, _settings())
    with pytest.raises(InputError, match="there is nothing to learn"):
        pretrain([plain], _settings(contrast=0.0))
    for wrong in ({"steps": 0}, {"batch": 1}, {"learning_rate": 0.0}, {"contrast": 0.0, "supervised": 0.0}):
        with pytest.raises(InputError, match="give"):
            _settings(**wrong)
