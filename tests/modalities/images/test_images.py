"""The modality `images`: distinct cases, blocks, a network, texts that stand for images, patches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.feature import hog

from metamedica import registry
from metamedica.data.cache import _key
from metamedica.errors import BundleError, CaseError, FileFormatError, InputError
from metamedica.modalities.images import Images
from metamedica.modalities.images.hog import classical
from metamedica.modalities.images.network import Network, entering
from metamedica.modalities.images.patches import GRID


def _images(n: int = 3, *, side: int = 32, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def network() -> Network:
    """A small, untrained network."""
    settings = {"layers": 10, "width": 8, "groups": 2}
    torch.manual_seed(0)
    made = registry.encoder_class("resnet")((3, 32, 32), **settings)
    dim = made.dim
    return Network(
        "resnet", settings, 32, dict(made.state_dict()), torch.randn(dim), torch.rand(dim) + 0.5, {"why": "a test"}
    )


def test_equal_images_are_one_case_and_a_broken_one_is_a_problem_with_its_place() -> None:
    one, other = _images(2)
    prepared = Images(side=32).prepare([one, b"PK\x03\x04", other, one.copy()])
    assert prepared.row == [0, -1, 1, 0]
    assert len(prepared.canonical) == 2
    assert prepared.features["hog"].shape == (2, 2052)
    (problem,) = prepared.problems
    assert (problem.position, problem.text) == (1, "bytes")
    assert "zip" in problem.reason


def test_what_prepare_returns_is_prepared_again_to_the_same(network: Network) -> None:
    reader = Images(side=32, network=network)
    first = reader.prepare(_images())
    again = reader.prepare(first.canonical)
    assert again.canonical == first.canonical
    for name, block in first.features.items():
        torch.testing.assert_close(again.features[name], block)


def test_no_image_sees_another(network: Network) -> None:
    reader, images = Images(side=32, network=network), _images(5)
    alone, together = reader.prepare(images[3:4]), reader.prepare(images)
    for name, block in together.features.items():
        torch.testing.assert_close(block[3:4], alone.features[name], atol=1e-5, rtol=1e-5)


def test_the_network_s_block_is_its_vector_in_units_of_its_training_images(network: Network) -> None:
    squares = np.stack(_images())
    with torch.no_grad():
        plain = network.built()({"image": entering(squares).flatten(1)})
    found = Images(side=32, network=network).prepare(list(squares)).features["network"]
    torch.testing.assert_close(found, (plain - network.centre) / network.spread)


def test_classical_features_are_those_of_scikit_image() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (1, 64, 64), dtype=np.uint8)
    (found,) = classical(grey)
    want = hog(grey[0] / 255, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
    np.testing.assert_allclose(found[: len(want)], want, atol=1e-6)
    np.testing.assert_allclose(found[-32:].sum(), 1, atol=1e-6)
    assert abs(found[len(want) : -32].mean() * 255 - grey.mean()) < 1


def test_a_modality_is_built_again_from_its_settings(network: Network) -> None:
    for reader in (Images(), Images(window="bone"), Images(window=(40.0, 80.0)), Images(side=32, network=network)):
        reader = registry.modality("images", reader.settings())  # its network's weights in half precision
        again = registry.modality("images", reader.settings())
        assert isinstance(again, Images)
        assert isinstance(reader, Images)
        assert again.side == reader.side
        assert again.window == reader.window
        images = _images()
        for name, block in reader.prepare(images).features.items():
            torch.testing.assert_close(again.prepare(images).features[name], block)


def test_a_network_is_saved_in_half_precision_and_read_again(network: Network, tmp_path: Path) -> None:
    network.save(tmp_path / "net")
    again = Network.load(tmp_path / "net")
    squares = np.stack(_images())
    torch.testing.assert_close(again.embed(squares), Network.of_value(network.as_value()).embed(squares))
    assert dict(again.record) == {"why": "a test"}
    assert (again.side, again.dim) == (32, 64)
    weights = dict(network.weights)
    weights.popitem()
    with pytest.raises(BundleError, match="the weights are not those of such an encoder 'resnet'"):
        Network("resnet", network.settings, 32, weights, network.centre, network.spread, {}).built()


def test_a_network_of_another_side_is_refused(network: Network) -> None:
    with pytest.raises(
        InputError, match="got images of side 64 and a network of images of side 32; give the same side"
    ):
        Images(network=network)
    with pytest.raises(InputError, match="got images of side 8; give at least 16"):
        Images(side=8)


def test_an_encoder_like_the_network_begins_with_its_weights(network: Network) -> None:
    reader = Images(side=32, network=network)
    same = reader.encoder("resnet", **network.settings)
    for name, value in same.state_dict().items():
        torch.testing.assert_close(value, network.weights[name].float())
    assert reader.extra_blocks("resnet") == ("image",)
    assert reader.extra_blocks("mlp") == ()
    pixels = reader.blocks(["image"], reader.prepare(_images()).canonical)["image"]
    torch.testing.assert_close(pixels, entering(np.stack(_images())).flatten(1))


def test_a_block_that_is_not_there_and_a_text_that_is_no_image_are_refused() -> None:
    reader = Images(side=32)
    with pytest.raises(InputError, match="images have no block atoms"):
        reader.blocks(["atoms"], [])
    for ask in (reader.squares, lambda texts: reader.draw(texts[0]), lambda texts: reader.draw_parts(texts[0], [0.0])):
        with pytest.raises(CaseError, match="prepare the cases first"):
            ask(["scan.png"])


def test_paths_of_a_table_stay_below_its_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "secret.png"
    (inside / "a").mkdir(parents=True)
    Image.fromarray(_images(1)[0]).save(outside)
    Image.fromarray(_images(1)[0]).save(inside / "a" / "x.png")
    (inside / "link.png").symlink_to(outside)
    reader = Images(side=32)
    assert reader.beside(["a/x.png", "a\\x.png", "v.nii.gz#3", ""], str(inside)) == [
        str(inside / "a" / "x.png"), str(inside / "a" / "x.png"), f"{inside}/v.nii.gz#3", "",
    ]  # fmt: skip
    for wrong in ("../secret.png", str(outside), "a/../../secret.png"):
        with pytest.raises(FileFormatError, match="names no file below the folder of the table"):
            reader.beside([wrong], str(inside))
    with pytest.raises(FileFormatError, match="is a link out of the folder"):
        reader.beside(["link.png"], str(inside))
    cases, names = reader.read_file(str(inside)) or ([], [])
    assert names == ["a/x.png"]
    assert not reader.prepare(cases).problems


def test_a_file_that_changed_is_another_case_for_the_cache(tmp_path: Path) -> None:
    path, (one, other) = tmp_path / "x.png", _images(2)
    reader, keys = Images(side=32), []
    for pixels in (one, other, one):
        Image.fromarray(pixels).save(path)
        keys.append(_key(reader, [str(path)]))
    assert keys[0] == keys[2] != keys[1]
    assert _key(Images(side=32, window="bone"), [str(path)]) != keys[0]


def test_an_image_with_all_its_patches_is_itself_and_one_without_any_is_blurred() -> None:
    reader = Images(side=32)
    prepared = reader.prepare(_images(1))
    (parts,) = reader.parts(prepared.canonical, prepared.features, {})
    assert len(parts.names) == GRID**2
    whole, none = torch.ones(1, GRID**2, dtype=torch.bool), torch.zeros(1, GRID**2, dtype=torch.bool)
    torch.testing.assert_close(parts.without(whole)["hog"], prepared.features["hog"])
    blurred = parts.without(none)["hog"]
    assert blurred[0, -32:].max() > prepared.features["hog"][0, -32:].max()  # its greys are few


def test_a_drawing_shades_every_patch_and_wants_a_number_for_each() -> None:
    reader = Images(side=32)
    (text,) = reader.prepare(_images(1)).canonical
    drawn = reader.draw_parts(text, [1.0] + [-0.5] * (GRID**2 - 1))
    assert drawn.count("<rect") == GRID**2
    assert drawn.count("#e66100") == 1
    assert text in reader.draw(text)
    with pytest.raises(InputError, match="got 1 contributions for an image of 64 patches"):
        reader.draw_parts(text, [1.0])


def test_texture_is_scattering_of_the_image_at_its_usual_side() -> None:
    for side in (32, 64):
        reader = Images(side=side)
        canonical = reader.prepare(_images(2, side=side)).canonical
        block = reader.prepare(canonical).features["texture"]
        assert block.shape == (2, 13_888)
        assert bool(block.isfinite().all())
        torch.testing.assert_close(block[1:], reader.prepare(canonical[1:]).features["texture"], atol=2e-3, rtol=0.0)
