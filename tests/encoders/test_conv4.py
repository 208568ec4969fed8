"""Conv-4 against its equations in NumPy, and in an inner loop against a plain one."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import correlate
from torch import Tensor, nn

from gradient_world import check_adapted_in_any_network
from metamedica.encoders.conv4 import Conv4
from metamedica.errors import InputError
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch

IMAGE = (2, 16, 18)
Images = NDArray[np.float64]


def _made(image: tuple[int, int, int] = IMAGE, *, width: int = 4, groups: int = 2) -> Conv4:
    """Every norm has a scale and shift of its own."""
    torch.manual_seed(0)
    made = Conv4(image, width=width, groups=groups).double()
    with torch.no_grad():
        for layer in made.convolutions:
            if isinstance(layer, nn.GroupNorm):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_()
    return made


def _images(*shape: int, image: tuple[int, int, int] = IMAGE) -> Tensor:
    flat = image[0] * image[1] * image[2]
    return torch.randn(*shape, flat, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _by_hand(made: Conv4, image: Images) -> Images:
    """One image through the papers' blocks, a channel after another, with group norm."""
    for conv, norm in zip(made.convolutions[0::4], made.convolutions[1::4], strict=True):
        kernel, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
        out = [
            sum(correlate(image[i], k[i], "same") for i in range(len(k))) + b for k, b in zip(kernel, bias, strict=True)
        ]
        groups = np.stack(np.split(np.stack(out), norm.num_groups))
        mean, variance = (f(groups, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.var))
        unit = ((groups - mean) / np.sqrt(variance + norm.eps)).reshape(-1, *out[0].shape)
        scale, shift = (value.detach().numpy()[:, None, None] for value in (norm.weight, norm.bias))
        image = np.maximum(unit * scale + shift, 0)
        high, wide = (side // 2 for side in image.shape[1:])
        image = image[:, : 2 * high, : 2 * wide].reshape(-1, high, 2, wide, 2).max((2, 4))
    return image.ravel()


@pytest.mark.parametrize("image", [IMAGE, (1, 37, 32)])
def test_it_computes_the_blocks_of_the_papers(image: tuple[int, int, int]) -> None:
    made, flat = _made(image), _images(3, image=image)
    want = [_by_hand(made, one.view(image).numpy()) for one in flat]
    torch.testing.assert_close(made({"image": flat}), torch.tensor(np.array(want)))


def test_the_usual_sizes_have_the_papers_lengths() -> None:
    assert Conv4((1, 28, 28)).dim == 64
    assert Conv4((3, 84, 84)).dim == 1600


def test_leading_axes_are_kept_and_vmap_is_the_same() -> None:
    made, flat = _made(), _images(2, 3)
    found = made({"image": flat})
    assert found.shape == (2, 3, made.dim)
    torch.testing.assert_close(made({"image": flat[1, 2]}), found[1, 2])
    torch.testing.assert_close(torch.func.vmap(made)({"image": flat}), found)
    assert made({"image": flat[:, :0]}).shape == (2, 0, made.dim)


def test_whole_numbers_are_read_as_numbers() -> None:
    made = _made().float()
    pixels = torch.randint(0, 3, (2, 2 * 16 * 18), dtype=torch.uint8)
    assert torch.equal(made({"image": pixels}), made({"image": pixels.float()}))


def _episodes() -> EpisodeBatch:
    def part(sizes: list[int], first: int) -> LabelledBatch:
        mask = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        images = _images(2, first + max(sizes))[:, first:]
        targets = (torch.arange(max(sizes)) % 3).repeat(2, 1) * mask
        return LabelledBatch(CaseBatch({"image": images}, mask), targets, "multiclass", 3)

    return EpisodeBatch(part([4, 3], 0), part([3, 3], 4), torch.arange(2))


@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_the_second_order_meta_gradient_is_that_of_a_plain_loop_over_tasks(chunk: int | None) -> None:
    check_adapted_in_any_network(_made(), _episodes(), chunk=chunk)


@pytest.mark.parametrize(
    ("image", "settings", "said"),
    [
        ((0, 28, 28), {}, "got images of 0 channels"),
        ((1, 28, 15), {}, r"28 x 15 pixels; give at least one channel and 16 pixels a side"),
        ((1, 28, 28), {"width": 6}, "width 6 and 4 groups"),
        ((1, 28, 28), {"groups": 0}, "64 and 0 groups"),
    ],
)
def test_what_cannot_be_built_is_refused(image: tuple[int, int, int], settings: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Conv4(image, **settings)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="'image' has 5 columns and the encoder wants 576"):
        _made()({"image": torch.zeros(2, 5)})
    with pytest.raises(InputError, match="needs a block 'image' and got counts"):
        _made()({"counts": torch.zeros(2, 5)})
