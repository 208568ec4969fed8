"""Images in parts, and group norm of maps in any layout."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from metamedica.errors import InputError
from metamedica.functional import feature_maps
from metamedica.functional.feature_maps import (
    GroupNormOfMaps,
    channels_last,
    check_readable,
    checked_image,
    in_parts,
)


def _maps(n: int = 5) -> Tensor:
    return torch.randn(n, 6, 8, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("n", "sizes"), [(0, [0]), (3, [3]), (7, [4, 3]), (8, [4, 4]), (9, [3, 3, 3])])
def test_parts_hold_no_more_than_the_cache_and_join_to_the_whole(
    n: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_maps, "NUMBERS_AT_ONCE", 400)
    seen: list[int] = []

    def run(part: Tensor) -> Tensor:
        seen.append(len(part))
        return part.sum(1) ** 2

    images = _maps(n)
    found = in_parts(run, images, widest=100)
    assert seen == sizes
    assert torch.equal(found, images.sum(1) ** 2)


def test_an_image_wider_than_the_cache_is_taken_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_maps, "NUMBERS_AT_ONCE", 10)
    seen: list[int] = []
    in_parts(lambda part: seen.append(len(part)) or part, _maps(3), widest=100)
    assert seen == [1, 1, 1]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_group_norm_is_pytorchs_in_every_layout_with_its_gradients(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    norm = GroupNormOfMaps(3, 6).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = _maps().to(memory_format=layout).requires_grad_()
    plain = _maps().requires_grad_()
    found, want = norm(x), functional.group_norm(plain, 3, norm.weight, norm.bias)
    torch.testing.assert_close(found, want)
    slopes = torch.autograd.grad(found.pow(3).sum(), [x, norm.weight, norm.bias])
    for one, other in zip(slopes, torch.autograd.grad(want.pow(3).sum(), [plain, norm.weight, norm.bias]), strict=True):
        torch.testing.assert_close(one, other)


def test_under_autocast_a_norm_computes_in_the_type_of_its_weights() -> None:
    norm = GroupNormOfMaps(3, 6)
    assert norm(_maps().bfloat16()).dtype == torch.float32


def test_channels_last_changes_the_layout_and_no_number() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(6, 4, 3)
    before = module.weight.detach().clone()
    channels_last(module)
    assert torch.equal(module.weight, before)
    assert module.weight.is_contiguous(memory_format=torch.channels_last)
    assert module(_maps().float()).is_contiguous(memory_format=torch.channels_last)


def test_images_that_cannot_be_read_are_refused() -> None:
    assert checked_image((1, 16, 20), least=16) == (1, 16, 20)
    with pytest.raises(
        InputError, match="got images of 1 channels and 16 x 15 pixels; give at least one channel and 16"
    ):
        checked_image((1, 16, 15), least=16)
    check_readable(_maps(), channels=6, least=8)
    with pytest.raises(InputError, match="got images of 6 channels and 8 x 10 pixels; give 6 channels and at least 9"):
        check_readable(_maps(), channels=6, least=9)
