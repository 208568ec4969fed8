"""ResNet-12 and ResNet-18 against their equations in plain PyTorch, and in an inner loop against a plain one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gradient_world import check_adapted_in_any_network
from metamedica.encoders.resnet import FixedNorm, Residual, ResNet
from metamedica.errors import InputError
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch

IMAGE = (2, 16, 18)
Made = Callable[..., ResNet]


def _made(image: tuple[int, int, int] = IMAGE, **settings: Any) -> ResNet:
    """Every norm has a scale, a shift and statistics of its own."""
    torch.manual_seed(0)
    made = ResNet(image, **{"width": 4, "groups": 2, **settings}).double()
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if "norm" in name:
                value.uniform_(0.5, 1.5) if value.dim() and "bias" not in name else value.normal_()
    return made


def _images(*shape: int, image: tuple[int, int, int] = IMAGE) -> Tensor:
    flat = image[0] * image[1] * image[2]
    return torch.randn(*shape, flat, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _unit(made: ResNet, place: str, x: Tensor, *, stride: int = 1) -> Tensor:
    """A convolution and its norm by PyTorch's functions, from the state by name."""
    state = made.state_dict()
    kernel = state[f"{place}.convolution.weight"].contiguous()
    x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    scale, shift = state[f"{place}.norm.weight"], state[f"{place}.norm.bias"]
    if f"{place}.norm.mean" in state:
        return functional.batch_norm(x, state[f"{place}.norm.mean"], state[f"{place}.norm.variance"], scale, shift)
    return functional.group_norm(x, 2, scale, shift)


def _twelve(made: ResNet, x: Tensor) -> Tensor:
    """Lee et al.'s drawing: three convolutions, leaky ReLU between, sum, leaky ReLU, pooling; four times; mean."""
    for stage in range(4):
        block, h = f"stages.{stage}.0", x
        h = functional.leaky_relu(_unit(made, f"{block}.path.0", h), 0.1)
        h = functional.leaky_relu(_unit(made, f"{block}.path.1", h), 0.1)
        h = _unit(made, f"{block}.path.2", h) + _unit(made, f"{block}.shortcut", x)
        x = functional.max_pool2d(functional.leaky_relu(h, 0.1), 2)
    return x.mean((2, 3))


def _eighteen(made: ResNet, x: Tensor) -> Tensor:
    """He et al.'s table 1, 18 layers."""
    x = functional.max_pool2d(functional.relu(_unit(made, "stem", x, stride=2)), 3, stride=2, padding=1)
    for stage in range(4):
        for number in range(2):
            block, first = f"stages.{stage}.{number}", stage > 0 and number == 0
            h = functional.relu(_unit(made, f"{block}.path.0", x, stride=2 if first else 1))
            h = _unit(made, f"{block}.path.1", h)
            x = functional.relu(h + (_unit(made, f"{block}.shortcut", x, stride=2) if first else x))
    return x.mean((2, 3))


@pytest.mark.parametrize("image", [IMAGE, (1, 37, 32)])
@pytest.mark.parametrize("norm", ["group", "fixed"])
@pytest.mark.parametrize(("layers", "by_hand"), [(12, _twelve), (18, _eighteen)])
def test_it_computes_the_blocks_of_the_papers(
    layers: int, by_hand: Callable[[ResNet, Tensor], Tensor], norm: str, image: tuple[int, int, int]
) -> None:
    made, flat = _made(image, layers=layers, norm=norm), _images(3, image=image)
    torch.testing.assert_close(made({"image": flat}), by_hand(made, flat.view(3, *image)))


def _convolutions(made: ResNet) -> int:
    return sum(isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1) for layer in made.modules())


def test_the_layers_are_counted_as_in_the_papers() -> None:
    assert _convolutions(ResNet((3, 84, 84), layers=12, width=8)) == 12
    assert _convolutions(ResNet((3, 224, 224), layers=18, width=8)) + 1 == 18  # and the classifier, which is left out


def test_eighteen_layers_have_the_known_number_of_weights() -> None:
    """11,689,512 less the classifier's 513,000, as torchvision's table of resnet18 says."""
    made = ResNet((3, 224, 224), layers=18, norm="fixed")
    assert sum(value.numel() for value in made.parameters()) == 11_689_512 - 513_000
    assert made.dim == 512


@pytest.mark.parametrize("layers", [12, 18])
def test_leading_axes_are_kept_and_vmap_is_the_same(layers: int) -> None:
    made, flat = _made(layers=layers), _images(2, 3)
    found = made({"image": flat})
    assert found.shape == (2, 3, 32)
    torch.testing.assert_close(made({"image": flat[1, 2]}), found[1, 2])
    torch.testing.assert_close(torch.func.vmap(made)({"image": flat}), found)
    assert made({"image": flat[:, :0]}).shape == (2, 0, 32)


@pytest.mark.parametrize("norm", ["group", "fixed"])
def test_a_vector_depends_on_its_own_image_alone_in_training_mode_too(norm: str) -> None:
    made, flat = _made(norm=norm).train(), _images(4)
    both = made({"image": flat})
    torch.testing.assert_close(torch.cat([made({"image": one[None]}) for one in flat]), both)
    made({"image": flat + 5})
    torch.testing.assert_close(made({"image": flat}), both)


@pytest.mark.parametrize("layers", [12, 18])
def test_the_mean_of_the_map_is_the_vector_and_other_sizes_have_maps_too(layers: int) -> None:
    made, flat = _made(layers=layers), _images(2)
    torch.testing.assert_close(made.maps(flat.view(2, *IMAGE)).mean((2, 3)), made({"image": flat}))
    sides = [tuple(each.shape[1:]) for each in made.stage_maps(torch.zeros(1, 2, 64, 96, dtype=torch.float64))]
    coarse = 1 if layers == 12 else 2
    assert sides == [(4 * 2**i, 64 // 2 ** (i + 1) // coarse, 96 // 2 ** (i + 1) // coarse) for i in range(4)]


def test_statistics_are_no_parameters_and_take_no_gradient() -> None:
    made = _made(norm="fixed")
    assert not any("mean" in name or "variance" in name for name, _ in made.named_parameters())
    made({"image": _images(2)}).sum().backward()
    norms = [layer for layer in made.modules() if isinstance(layer, FixedNorm)]
    assert len(norms) == 16
    assert all(bool(layer.weight.grad.any()) for layer in norms if layer.weight.grad is not None)
    assert all(layer.weight.grad is not None for layer in norms)


def test_a_block_that_keeps_size_and_channels_has_no_weights_on_its_shortcut() -> None:
    block = Residual(4, 4, depth=2, slope=0.0, norm="group", groups=2)
    assert isinstance(block.shortcut, nn.Identity)


def _episodes() -> EpisodeBatch:
    def part(sizes: list[int], first: int) -> LabelledBatch:
        mask = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        images = _images(2, first + max(sizes))[:, first:]
        targets = (torch.arange(max(sizes)) % 3).repeat(2, 1) * mask
        return LabelledBatch(CaseBatch({"image": images}, mask), targets, "multiclass", 3)

    return EpisodeBatch(part([4, 3], 0), part([3, 3], 4), torch.arange(2))


@pytest.mark.parametrize(("layers", "norm", "chunk"), [(12, "group", 2), (18, "fixed", 2), (12, "fixed", None)])
def test_the_second_order_meta_gradient_is_that_of_a_plain_loop_over_tasks(
    layers: int, norm: str, chunk: int | None
) -> None:
    check_adapted_in_any_network(_made(layers=layers, norm=norm), _episodes(), chunk=chunk)


@pytest.mark.parametrize(
    ("image", "settings", "said"),
    [
        ((0, 28, 28), {}, "got images of 0 channels"),
        ((1, 28, 15), {}, r"28 x 15 pixels; give at least one channel and 16 pixels a side"),
        ((1, 28, 28), {"width": 6}, "width 6 and 8 groups"),
        ((1, 28, 28), {"width": 0, "norm": "fixed"}, "width 0"),
        ((1, 28, 28), {"layers": 34}, "got 34 layers and norm 'group'; give 10, 12 or 18"),
        ((1, 28, 28), {"norm": "batch"}, "norm 'batch'"),
    ],
)
def test_what_cannot_be_built_is_refused(image: tuple[int, int, int], settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ResNet(image, **settings)


def test_images_of_another_size_or_colour_are_refused() -> None:
    made = _made()
    with pytest.raises(InputError, match="'image' has 5 columns and the encoder wants 576"):
        made({"image": torch.zeros(2, 5)})
    with pytest.raises(InputError, match="got images of 3 channels and 16 x 16 pixels; give 2 channels"):
        made.maps(torch.zeros(1, 3, 16, 16))
    with pytest.raises(InputError, match="2 channels and 8 x 16 pixels"):
        made.maps(torch.zeros(1, 2, 8, 16))
