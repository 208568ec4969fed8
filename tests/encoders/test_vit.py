"""The vision transformer against the paper's equations with PyTorch's own attention, and in an inner loop against a plain one."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gradient_world import check_adapted_in_any_network
from metamedica.encoders.vit import ViT
from metamedica.errors import InputError
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch

IMAGE = (2, 16, 24)
POOLINGS = pytest.mark.parametrize("pooling", ["class", "mean"])


def _made(image: tuple[int, int, int] = IMAGE, **settings: Any) -> ViT:
    """Every weight is drawn, norms too."""
    torch.manual_seed(0)
    made = ViT(image, **{"patch": 8, "width": 8, "depth": 2, "heads": 2, **settings}).double()
    with torch.no_grad():
        for value in made.parameters():
            value.normal_(std=0.3)
    return made


def _images(*shape: int, image: tuple[int, int, int] = IMAGE) -> Tensor:
    flat = image[0] * image[1] * image[2]
    return torch.randn(*shape, flat, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _by_hand(made: ViT, images: Tensor) -> Tensor:
    """Tokens by a strided convolution and `multi_head_attention_forward`, as the paper's equations go."""
    own = {name: value.detach() for name, value in made.state_dict().items()}
    kernel = own["patches.weight"].view(made.dim, images.shape[1], made.patch, made.patch)
    x = functional.conv2d(images, kernel, own["patches.bias"], stride=made.patch).flatten(2).mT
    if made.pooling == "class":
        x = torch.cat([own["class_token"].expand(len(x), -1, -1), x], 1)
    x = x + own["positions"]
    for layer in range(len(made.layers)):
        part = {n.removeprefix(f"layers.{layer}."): v for n, v in own.items() if n.startswith(f"layers.{layer}.")}

        def normed(x: Tensor, name: str, part: dict[str, Tensor] = part) -> Tensor:
            return functional.layer_norm(x, x.shape[-1:], part[f"{name}.weight"], part[f"{name}.bias"], 1e-6)

        h = normed(x, "before_attention").transpose(0, 1)
        read, _ = functional.multi_head_attention_forward(
            h, h, h, made.dim, 2, part["queries_keys_values.weight"], part["queries_keys_values.bias"], None, None,
            False, 0.0, part["joined.weight"], part["joined.bias"], training=False,
        )  # fmt: skip
        x = x + read.transpose(0, 1)
        h = functional.gelu(
            functional.linear(normed(x, "before_perceptron"), part["widened.weight"], part["widened.bias"])
        )
        x = x + functional.linear(h, part["narrowed.weight"], part["narrowed.bias"])
    x = functional.layer_norm(x, x.shape[-1:], own["last_norm.weight"], own["last_norm.bias"], 1e-6)
    return x[:, 0] if made.pooling == "class" else x.mean(1)


@POOLINGS
@pytest.mark.parametrize("image", [IMAGE, (1, 32, 32)])
def test_it_computes_the_equations_of_the_paper(pooling: str, image: tuple[int, int, int]) -> None:
    made, flat = _made(image, pooling=pooling), _images(3, image=image)
    torch.testing.assert_close(made({"image": flat}), _by_hand(made, flat.view(3, *image)))


def test_the_tiny_one_has_the_known_number_of_weights() -> None:
    """timm's vit_tiny_patch16_224 has 5,717,416, of which the head has 193,000."""
    made = ViT((3, 224, 224), patch=16, width=192, depth=12, heads=3)
    assert sum(value.numel() for value in made.parameters()) == 5_717_416 - 193_000


@POOLINGS
def test_leading_axes_are_kept_and_vmap_is_the_same(pooling: str) -> None:
    made, flat = _made(pooling=pooling), _images(2, 3)
    found = made({"image": flat})
    assert found.shape == (2, 3, 8)
    torch.testing.assert_close(made({"image": flat[1, 2]}), found[1, 2])
    torch.testing.assert_close(torch.func.vmap(made)({"image": flat}), found)
    assert made({"image": flat[:, :0]}).shape == (2, 0, 8)


def test_tokens_stand_where_their_patches_are() -> None:
    """Without attention a token knows its own patch and position alone."""
    made = _made()
    with torch.no_grad():
        for layer in made.layers:
            layer.joined.weight.zero_()
    images = _images(1).view(1, *IMAGE)
    changed = images.clone()
    changed[:, :, 8:, 16:] += 1
    different = (made.maps(images) != made.maps(changed)).any(1)[0]
    assert different.tolist() == [[False, False, False], [False, False, True]]


def test_the_mean_of_the_map_is_the_vector_of_the_mean() -> None:
    made, flat = _made(pooling="mean"), _images(2)
    torch.testing.assert_close(made.maps(flat.view(2, *IMAGE)).mean((2, 3)), made({"image": flat}))


def test_positions_of_other_sizes_are_interpolated() -> None:
    """Positions that rise evenly are seen to rise evenly, away from the border that bicubic filters feel."""
    made = _made((2, 64, 64), depth=1)
    assert made.maps(torch.zeros(1, 2, 96, 32, dtype=torch.float64)).shape == (1, 8, 12, 4)
    with torch.no_grad():
        rows = torch.arange(8, dtype=torch.float64)[:, None].expand(8, 8).reshape(-1)
        made.positions[0, 1:] = rows[:, None]
        finer = made._at(made.positions, (8, 8), (16, 8))[0, 1:].view(16, 8, 8)
    want = (torch.arange(16, dtype=torch.float64) + 0.5) / 2 - 0.5
    torch.testing.assert_close(finer[4:12, 3, 0], want[4:12])
    torch.testing.assert_close(made._at(made.positions, (8, 8), (16, 8))[:, 0], made.positions[:, 0])


def _episodes() -> EpisodeBatch:
    def part(sizes: list[int], first: int) -> LabelledBatch:
        mask = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        images = _images(2, first + max(sizes))[:, first:]
        targets = (torch.arange(max(sizes)) % 3).repeat(2, 1) * mask
        return LabelledBatch(CaseBatch({"image": images}, mask), targets, "multiclass", 3)

    return EpisodeBatch(part([4, 3], 0), part([3, 3], 4), torch.arange(2))


@pytest.mark.parametrize("chunk", [None, 1])
def test_the_second_order_meta_gradient_is_that_of_a_plain_loop_over_tasks(chunk: int | None) -> None:
    check_adapted_in_any_network(_made(depth=1), _episodes(), chunk=chunk)


@pytest.mark.parametrize(
    ("image", "settings", "said"),
    [
        ((0, 32, 32), {}, "got images of 0 channels"),
        ((1, 32, 8), {}, "32 x 8 pixels; give at least one channel and 16 pixels a side"),
        ((1, 32, 36), {}, "got 32 x 36 pixels and patches of 8; give sides that are multiples"),
        ((1, 32, 32), {"patch": 0}, "patches of 0"),
        ((1, 32, 32), {"heads": 3}, "got width 8, depth 2 and 3 heads"),
        ((1, 32, 32), {"depth": 0}, "depth 0"),
        ((1, 32, 32), {"pooling": "max"}, "got pooling 'max'; give 'class' or 'mean'"),
    ],
)
def test_what_cannot_be_built_is_refused(image: tuple[int, int, int], settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        _made(image, **settings)


def test_images_of_another_size_or_colour_are_refused() -> None:
    made = _made()
    with pytest.raises(InputError, match="'image' has 5 columns and the encoder wants 768"):
        made({"image": torch.zeros(2, 5)})
    with pytest.raises(InputError, match="got images of 3 channels"):
        made.maps(torch.zeros(1, 3, 16, 16))
    with pytest.raises(InputError, match="20 x 16 pixels and patches of 8; resize them"):
        made.maps(torch.zeros(1, 2, 20, 16))
