"""Dense features: closed forms, and what they must not depend on."""

import pytest
import torch

from metamedica.applications.segmentation import features


def _noise(channels: int = 1, side: int = 40) -> torch.Tensor:
    return torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(0))


def _whole(side: int = 40) -> torch.Tensor:
    return torch.ones(1, side, side, dtype=torch.bool)


def test_blur_keeps_what_is_flat_and_the_sum_of_a_point() -> None:
    torch.testing.assert_close(features.blurred(torch.full((1, 2, 9, 7), 0.3), 2.0), torch.full((1, 2, 9, 7), 0.3))
    point = torch.zeros(1, 1, 31, 31)
    point[0, 0, 15, 15] = 1
    found = features.blurred(point, 2.0)
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    spread = (found[0, 0].sum(0) * (torch.arange(31) - 15.0).square()).sum()
    assert float(spread) == pytest.approx(4, rel=0.05)


def test_the_hessian_of_a_quadratic_surface_has_its_curvatures() -> None:
    down, right = torch.meshgrid(torch.linspace(-1, 1, 41), torch.linspace(-1, 1, 41), indexing="ij")
    step, scale = 0.05, 1.5
    surface = (3 * right.square() - 2 * down.square() + right * down)[None, None]
    greater, smaller, _, _ = features._hessian(surface, scale)
    curvature = torch.linalg.eigvalsh(torch.tensor([[6.0, 1.0], [1.0, -4.0]])) * step**2 * scale**2
    assert float(greater[0, 0, 20, 20]) == pytest.approx(float(curvature[1]), rel=1e-3)
    assert float(smaller[0, 0, 20, 20]) == pytest.approx(float(curvature[0]), rel=1e-3)


def test_a_dark_line_answers_where_it_lies_and_a_bright_one_does_not() -> None:
    image = torch.ones(1, 1, 41, 41)
    image[..., 20, :] = 0
    found = features.line_responses(image, 1.2, 7.0)[0, 0]
    assert int(found[:, 20].argmax()) == 20
    bright = features.line_responses(1 - image, 1.2, 7.0)[0, 0]
    assert float(found[20, 20]) > 5 * float(bright[20, 20])


def test_standardised_colours_do_not_see_tint_and_exposure() -> None:
    image = _noise(3)
    tint = torch.tensor([0.1, 0.0, 0.3])[:, None, None]
    torch.testing.assert_close(
        features.standardised(image, _whole()),
        features.standardised(0.5 * image + tint, _whole()),
        atol=1e-4,
        rtol=1e-4,
    )


def test_what_lies_outside_of_the_region_counts_nothing() -> None:
    image, region = _noise(), _whole()
    region[:, :, 30:] = False
    other = image.clone()
    other[..., 30:] = 5.0
    for found in (features.network_channels, features.dense_features):
        torch.testing.assert_close(found(image, region), found(other, region), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_turned_image_has_turned_features(channels: int) -> None:
    image = _noise(channels)
    for found in (features.network_channels, features.dense_features):
        straight, turned = found(image, _whole()), found(image.rot90(1, (-2, -1)), _whole())
        torch.testing.assert_close(straight.rot90(1, (-2, -1)), turned, atol=2e-3, rtol=1e-3)


def test_grey_and_colour_images_give_a_network_as_many_channels() -> None:
    for channels in (1, 3):
        assert features.network_channels(_noise(channels), _whole()).shape[1] == features.NETWORK_CHANNELS
    assert (
        features.dense_features(_noise(3), _whole()).shape[1]
        == features.dense_features(_noise(), _whole()).shape[1] + 6
    )
