"""Weights that a user brings: networks written here with the key names of torchvision and timm give the same vectors through ours."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from metamedica.encoders.conv4 import Conv4
from metamedica.encoders.resnet import ResNet
from metamedica.encoders.vit import ViT
from metamedica.errors import FileFormatError, InputError
from metamedica.functional.weights import load_weights
from metamedica.types import Encoder

WIDTH = 4


class BasicBlock(nn.Module):
    """He et al.'s block under the names that torchvision gives its parts."""

    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, leaving, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(leaving)
        self.downsample: nn.Module | None = None
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(entering, leaving, 1, stride, bias=False), nn.BatchNorm2d(leaving)
            )

    def forward(self, x: Tensor) -> Tensor:
        found = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(found + (x if self.downsample is None else self.downsample(x)))


class TheirResNet18(nn.Module):
    """ResNet-18 under the names that torchvision gives its parts; the vector enters `fc`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        for stage in range(4):
            wide, stride = WIDTH * 2**stage, 2 if stage else 1
            blocks = BasicBlock(wide // stride, wide, stride), BasicBlock(wide, wide, 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(8 * WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(4):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x.mean((2, 3))


class TheirViT(nn.Module):
    """A vision transformer under the names that timm gives its parts; image 32, patch 8."""

    def __init__(self, *, side: int = 32, width: int = 8, heads: int = 2) -> None:
        super().__init__()

        def block() -> nn.ModuleDict:
            attention = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
            mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
            norms = {name: nn.LayerNorm(width, eps=1e-6) for name in ("norm1", "norm2")}
            return nn.ModuleDict({**norms, "attn": attention, "mlp": mlp})

        self.heads = heads
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 8, 8)})
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + (side // 8) ** 2, width))
        self.blocks = nn.ModuleList(block() for _ in range(2))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed["proj"](x).flatten(2).mT
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            n, tokens, width = x.shape
            split = block["attn"]["qkv"](block["norm1"](x)).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            read = functional.scaled_dot_product_attention(*split).transpose(1, 2).reshape(n, tokens, width)
            x = x + block["attn"]["proj"](read)
            x = x + block["mlp"]["fc2"](functional.gelu(block["mlp"]["fc1"](block["norm2"](x))))
        return self.norm(x)[:, 0]


def _drawn(module: Any) -> Any:
    """Return it in evaluation mode, every number of it drawn."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in module.double().state_dict().items():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5) if name.endswith(("running_var", "1.weight")) else value.normal_(std=0.3)
    return module.eval()


def _written(folder: Path, state: dict[str, Tensor], name: str = "weights.safetensors") -> Path:
    save_file({key: value.contiguous() for key, value in state.items()}, folder / name)
    return folder / name


def _images(channels: int, side: int = 32) -> Tensor:
    return torch.randn(3, channels, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _vectors(encoder: Encoder, images: Tensor) -> Tensor:
    found: Tensor = encoder({"image": images.flatten(1)})
    return found


def _resnet(channels: int = 3, **settings: Any) -> ResNet:
    return ResNet((channels, 32, 32), **{"layers": 18, "width": WIDTH, "norm": "fixed", **settings}).double()


def _vit(channels: int = 3, side: int = 32, **settings: Any) -> ViT:
    return ViT((channels, side, side), **{"width": 8, "depth": 2, "heads": 2, **settings}).double()


def test_a_resnet_of_torchvision_gives_the_same_vectors(tmp_path: Path) -> None:
    theirs, ours = _drawn(TheirResNet18()), _resnet()
    load_weights(ours, _written(tmp_path, theirs.state_dict()))
    torch.testing.assert_close(_vectors(ours, _images(3)), theirs(_images(3)))


def test_a_vision_transformer_of_timm_gives_the_same_vectors(tmp_path: Path) -> None:
    theirs, ours = _drawn(TheirViT()), _vit()
    load_weights(ours, _written(tmp_path, theirs.state_dict()))
    torch.testing.assert_close(_vectors(ours, _images(3)), theirs(_images(3)))


def test_grey_images_are_seen_as_a_colour_network_sees_them_with_equal_channels(tmp_path: Path) -> None:
    grey = _images(1)
    for theirs, ours in ((TheirResNet18(), _resnet(1)), (TheirViT(), _vit(1))):
        load_weights(ours, _written(tmp_path, _drawn(theirs).state_dict()))
        torch.testing.assert_close(_vectors(ours, grey), theirs(grey.expand(-1, 3, -1, -1)))


def test_positions_of_another_grid_are_interpolated_and_the_class_token_keeps_its_own(tmp_path: Path) -> None:
    theirs, ours = _drawn(TheirViT(side=64)), _vit(side=32)
    load_weights(ours, _written(tmp_path, theirs.state_dict()))
    laid = theirs.pos_embed[:, 1:].detach().float().view(1, 8, 8, 8).permute(0, 3, 1, 2)
    want = functional.interpolate(laid, size=(4, 4), mode="bicubic", antialias=True).flatten(2).mT.double()
    torch.testing.assert_close(ours.positions.detach()[:, 1:], want)
    torch.testing.assert_close(ours.positions[:, :1], theirs.pos_embed[:, :1].double())


@pytest.mark.parametrize(
    "made",
    [lambda: Conv4((3, 32, 32), width=4), lambda: ResNet((3, 32, 32), width=8), lambda: _vit(pooling="mean")],
)
def test_our_own_keys_come_back_as_they_were(made: Any, tmp_path: Path) -> None:
    kept, other = _drawn(made()), made().double()
    load_weights(other, _written(tmp_path, kept.state_dict()))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in kept.state_dict().items())


def test_half_precision_is_read_into_the_type_of_the_network(tmp_path: Path) -> None:
    ours, state = _resnet(), _drawn(TheirResNet18()).half().state_dict()
    load_weights(ours, _written(tmp_path, state))
    assert ours.stem.convolution.weight.dtype == torch.float64
    assert torch.equal(ours.stem.convolution.weight, state["conv1.weight"].double())


def _refused(encoder: Encoder, path: Path, said: str) -> None:
    """It raises, and the network is as it was."""
    kept = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(InputError, match=said):
        load_weights(encoder, path)
    assert all(torch.equal(value, encoder.state_dict()[name]) for name, value in kept.items())


def test_all_that_does_not_fit_stands_in_one_error(tmp_path: Path) -> None:
    state = _drawn(TheirResNet18()).state_dict()
    state["odd.weight"] = torch.zeros(2)
    state["bn1.weight"] = torch.zeros(5)
    state["bn1.bias"] = torch.full((WIDTH,), torch.nan)
    del state["layer4.1.conv2.weight"]
    said = (
        r"weights.safetensors does not fit ResNet: 1 keys that the network does not have: odd.weight; "
        r"2 weights of another kind: .*bn1.bias with entries that are no finite numbers.*; "
        r"1 weights that the file lacks: stages.3.1.path.1.convolution.weight; build the encoder"
    )
    _refused(_resnet(), _written(tmp_path, state), said)
    _refused(_resnet(), _written(tmp_path, state), r"bn1.weight \[5\] where \[4\] is wanted")


def test_batch_norm_does_not_become_group_norm_unseen(tmp_path: Path) -> None:
    path = _written(tmp_path, _drawn(TheirResNet18()).state_dict())
    _refused(
        _resnet(norm="group", groups=2),
        path,
        "40 keys that the network does not have: bn1.running_mean, .*the norm that",
    )


def test_weights_of_another_size_or_depth_are_refused(tmp_path: Path) -> None:
    path = _written(tmp_path, _drawn(TheirViT()).state_dict())
    _refused(_vit(width=16), path, "weights of another kind")
    _refused(_vit(depth=1), path, "12 keys that the network does not have: blocks.1")
    _refused(_vit(pooling="mean"), path, "cls_token")


def test_two_keys_of_one_weight_are_refused(tmp_path: Path) -> None:
    state = _drawn(TheirResNet18()).state_dict()
    state["stem.norm.bias"] = state["bn1.bias"].clone()
    _refused(_resnet(), _written(tmp_path, state), "1 keys that the network does not have: ")


def test_a_pickle_is_refused_by_name_with_the_way_to_convert_it(tmp_path: Path) -> None:
    for name in ("resnet18.pth", "model.bin", "a.PT"):
        with pytest.raises(
            FileFormatError, match=r"is a pickle by its name.*save_file\(torch.load\(path, weights_only=True"
        ):
            load_weights(_resnet(), tmp_path / name)


def test_a_file_that_is_missing_broken_or_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"there is no file none.safetensors there"):
        load_weights(_resnet(), tmp_path / "none.safetensors")
    with pytest.raises(FileFormatError, match=r"got weights in weights.npz"):
        load_weights(_resnet(), tmp_path / "weights.npz")
    path = _written(tmp_path, _drawn(TheirResNet18()).state_dict())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileFormatError, match=r"weights.safetensors cannot be read as safetensors \(SafetensorError\)"):
        load_weights(_resnet(), path)
