"""Grad-CAM: class activation mapping where the answer is linear in the mean of the maps, the equations of the paper, what cannot be watched."""

import pytest
import torch
from torch import nn

from metamedica import registry
from metamedica.errors import InputError
from metamedica.functional.class_activation import heat_of, watched


def _images(n: int = 1, side: int = 32) -> torch.Tensor:
    return torch.randn(n, 3 * side * side, generator=torch.Generator().manual_seed(n))


def _resnet() -> nn.Module:
    torch.manual_seed(0)
    return registry.encoder_class("resnet")((3, 32, 32), layers=10, width=4, groups=2).eval()


def test_with_a_linear_answer_on_the_mean_of_the_maps_it_is_class_activation_mapping() -> None:
    encoder, weight = _resnet(), torch.randn(32, generator=torch.Generator().manual_seed(5))
    images = _images().requires_grad_()
    with watched(encoder) as seen:
        answer = encoder({"image": images})[0] @ weight
    maps = encoder.maps(images.detach().reshape(1, 3, 32, 32))[0]  # type: ignore[operator]
    want = torch.einsum("k,khw->hw", weight, maps) / maps[0].numel()
    torch.testing.assert_close(answer, want.sum())  # all that the maps say, place by place
    torch.testing.assert_close(seen.heat(answer), want.clamp(min=0).detach())
    assert 0 < float((want > 0).float().mean()) < 1


def test_the_heat_is_the_relu_of_the_maps_weighed_by_the_mean_slopes() -> None:
    maps = torch.tensor([[[1.0, 2.0], [0.0, -1.0]], [[0.0, 1.0], [3.0, 1.0]]])
    slopes = torch.tensor([[[4.0, 0.0], [0.0, 0.0]], [[-2.0, -1.0], [0.0, 1.0]]])  # means 1 and -0.5
    torch.testing.assert_close(heat_of(maps, slopes), torch.tensor([[1.0, 1.5], [0.0, 0.0]]))
    torch.testing.assert_close(heat_of(maps.expand(3, 2, 2, 2), slopes.expand(3, 2, 2, 2))[2], heat_of(maps, slopes))


def test_an_answer_bent_after_the_vector_takes_its_slope_along() -> None:
    encoder, weight = _resnet(), torch.randn(32, generator=torch.Generator().manual_seed(6))
    images, heats = _images().requires_grad_(), []
    for bent in (lambda value: value, lambda value: torch.exp(3 * value)):
        with watched(encoder) as seen:
            answer = bent(encoder({"image": images})[0] @ weight)
        heats.append(seen.heat(answer))
    torch.testing.assert_close(heats[1], 3 * answer.detach() * heats[0])


@pytest.mark.parametrize(
    ("name", "settings", "places"),
    [
        ("conv4", {"width": 4, "groups": 2}, (2, 2)),
        ("resnet", {"layers": 12, "width": 4, "groups": 2}, (2, 2)),
        ("vit", {"patch": 8, "width": 8, "heads": 2, "depth": 2}, (4, 4)),
        ("vit", {"patch": 4, "width": 8, "heads": 2, "depth": 1, "pooling": "mean"}, (8, 8)),
    ],
)
def test_every_encoder_of_images_has_maps_that_its_vector_is_made_of(
    name: str, settings: dict[str, object], places: tuple[int, int]
) -> None:
    torch.manual_seed(1)
    encoder = registry.encoder_class(name)((3, 32, 32), **settings).eval()
    images = _images().requires_grad_()
    with watched(encoder) as seen:
        vector = encoder({"image": images})
    torch.testing.assert_close(vector, encoder({"image": images}))  # watching changes nothing
    assert seen.laid_out(seen.left[0]).shape == (1, seen.laid_out(seen.left[0]).shape[1], *places)
    (slopes,) = torch.autograd.grad(vector.square().sum(), seen.left, retain_graph=True)
    assert bool((seen.laid_out(slopes).flatten(2).abs().amax(1) > 0).all())  # no place is without a say
    assert seen.heat(vector[0, 0]).shape == places


def test_images_that_ask_for_no_gradient_go_by_and_nothing_stays_behind() -> None:
    encoder, weight = _resnet(), torch.ones(32)
    with watched(encoder) as seen:
        encoder({"image": _images(4)})
        answer = encoder({"image": _images().requires_grad_()})[0] @ weight
        encoder({"image": _images(2)})
    assert seen.heat(answer).shape == (2, 2)
    with watched(encoder) as later:
        pass
    encoder({"image": _images().requires_grad_()})
    assert not later.left


def test_what_cannot_be_watched_is_refused_in_a_sentence() -> None:
    encoder = _resnet()
    with (
        pytest.raises(InputError, match="the encoder Linear has no feature maps to look at; use one that has, such as"),
        watched(nn.Linear(2, 2)),
    ):
        pass
    with watched(encoder) as seen:
        answer = encoder({"image": _images(2).requires_grad_()}).sum()
    with pytest.raises(InputError, match="the encoder ran 1 times, on 2 images, where one image was asked about"):
        seen.heat(answer)
    with watched(encoder) as seen:
        answer = encoder({"image": _images().requires_grad_()}).detach().sum()
    with pytest.raises(InputError, match="follows from the encoder without a gradient"):
        seen.heat(answer)
    single = registry.encoder_class("vit")((3, 32, 32), patch=8, width=8, heads=2, depth=1)
    with (
        pytest.raises(InputError, match="makes its vector of no maps; use depth 2 or more, or pooling 'mean'"),
        watched(single),
    ):
        pass
