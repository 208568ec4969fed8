"""Augmentation against what is known without it: nothing at strength 0, exact turns, ranges, moments, and the same seed."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor

from metamedica.errors import InputError
from metamedica.functional import augmentation as a

OFF = a.Augmentation(across=0.0, degrees=0.0, scale=0.0, shift=0.0, brightness=0.0, contrast=0.0, gamma=0.0, noise=0.0)


def _images(n: int = 3, channels: int = 1, high: int = 9, wide: int = 9) -> Tensor:
    return torch.randn(n, channels, high, wide, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _random(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_changes_at_strength_zero() -> None:
    images = _images(channels=3)
    assert torch.equal(OFF(images, _random()), images)
    assert torch.equal(a.recoloured(images, _random(), saturation=0.0, hue=0.0, stain=0.0), images)
    assert torch.equal(a.cropped(images, _random(), least=1.0), images)


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(0, 4),
    channels=st.sampled_from([1, 3]),
    high=st.integers(4, 12),
    wide=st.integers(4, 12),
    seed=st.integers(0, 2**31),
)
def test_size_and_type_stay_and_one_seed_gives_one_result(
    n: int, channels: int, high: int, wide: int, seed: int
) -> None:
    images = _images(n, channels, high, wide).float()
    all_of_it = a.Augmentation(
        upside_down=0.5,
        shear=5.0,
        least=0.5,
        blur=1.0,
        cut_share=0.5,
        saturation=0.3 if channels == 3 else 0.0,
        quarters=int(high == wide),
    )
    found = all_of_it(images, _random(seed))
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert bool(found.isfinite().all())
    assert torch.equal(all_of_it(images, _random(seed)), found)
    assert n == 0 or not torch.equal(all_of_it(images, _random(seed + 1)), found)


def test_what_came_is_left_as_it_was() -> None:
    images = _images(channels=3)
    kept = images.clone()
    a.Augmentation(upside_down=1.0, quarters=1, least=0.5, blur=1.0, cut_share=1.0, stain=0.1)(images, _random())
    assert torch.equal(images, kept)


def test_flips_are_exact() -> None:
    images = _images()
    assert torch.equal(a.flipped(images, _random(), across=1.0), images.flip(3))
    assert torch.equal(a.flipped(images, _random(), across=0.0, upside_down=1.0), images.flip(2))
    many = a.flipped(images[:1].expand(1000, 1, 9, 9), _random(), across=0.3)
    turned = (many == images[:1].flip(3)).all(3).all(2).all(1)
    assert float(turned.double().mean()) == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / 1000))


def test_quarter_turns_are_exact_and_all_four_come() -> None:
    image = _images(1)
    found = a.quarter_turned(image.expand(200, 1, 9, 9), _random())
    told = torch.stack([(found == image.rot90(k, (2, 3))).all(3).all(2).all(1) for k in range(4)], 1)
    assert bool((told.sum(1) == 1).all())
    assert bool((told.sum(0) > 25).all())


def test_an_affine_turn_by_a_quarter_is_the_exact_turn() -> None:
    """Right angles meet pixel centres, so that interpolation reads single pixels."""
    images = _images(2)
    turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]], dtype=torch.float64).repeat(2, 1, 1)
    found = a._sampled(images, turn)
    assert any(torch.allclose(found, images.rot90(k, (2, 3))) for k in (1, 3))


def test_a_shift_by_whole_pixels_moves_the_pixels_and_edges_go_on() -> None:
    images = _images(1, 1, 4, 6)
    moved = torch.tensor([[[1.0, 0, -2.0], [0, 1.0, 1.0]]], dtype=torch.float64)
    found = a._sampled(images, moved)
    rows, columns = (torch.arange(4) + 1).clamp(0, 3), (torch.arange(6) - 2).clamp(0, 5)
    torch.testing.assert_close(found, images[:, :, rows][:, :, :, columns])


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"degrees": 30.0}, 30.0),
        ({"scale": 0.5}, 1.5),
        ({"shift": 0.25}, 5.0),
        ({"shear": 20.0}, math.tan(math.radians(20))),
    ],
)
def test_a_linear_ramp_tells_how_far_an_image_was_moved_and_no_further_than_asked(
    settings: dict[str, float], most: float
) -> None:
    """Two ramps are interpolated exactly: the map can be read from the middle pixels."""
    side, n = 21, 300
    across = torch.arange(side, dtype=torch.float64).expand(side, side) - side // 2
    ramps = torch.stack([across, across.T]).expand(n, 2, side, side)
    off = {"degrees": 0.0, "scale": 0.0, "shift": 0.0, "shear": 0.0}
    found = a.moved(ramps, _random(), **(off | settings))[
        :, :, side // 2 - 1 : side // 2 + 2, side // 2 - 1 : side // 2 + 2
    ]
    by_x, by_y, at = found[:, :, 1, 2] - found[:, :, 1, 1], found[:, :, 2, 1] - found[:, :, 1, 1], found[:, :, 1, 1]
    if "degrees" in settings:
        read = torch.rad2deg(torch.atan2(by_x[:, 1], by_x[:, 0])).abs()
        torch.testing.assert_close(by_x.norm(dim=1), torch.ones(n, dtype=torch.float64))
    elif "scale" in settings:
        size = 1 / by_x[:, 0]
        read = torch.maximum(size, 1 / size)
    elif "shift" in settings:
        read = at.abs().amax(1)
        most = 0.25 * side
    else:
        read = by_y[:, 0].abs()
    assert 0.95 * most < float(read.max()) <= most + 1e-9
    assert float(read.std()) > 0


def test_a_crop_of_a_ramp_is_a_part_of_it_of_the_area_asked_for() -> None:
    side, n = 32, 400
    across = (torch.arange(side, dtype=torch.float64).expand(side, side) + 0.5) / side
    found = a.cropped(torch.stack([across, across.T]).expand(n, 2, side, side), _random(), least=0.25, ratio=1.0)
    step = found[:, 0, 16, 16] - found[:, 0, 16, 15]  # 1 / side of the share of the width
    area = (step * side).square()
    assert 0.25 - 1e-9 <= float(area.min()) < 0.27
    assert 0.98 < float(area.max()) <= 1 + 1e-9
    assert float(found.min()) >= across.min()
    assert a.cropped(_images(), _random(), side=5).shape == (3, 1, 5, 5)


def test_light_keeps_order_and_a_stretch_keeps_the_mean() -> None:
    images = _images(4)
    bent = a.relit(images, _random(), brightness=0.0, contrast=0.0, gamma=1.0)
    order = images.flatten(1).argsort(1)
    assert bool((bent.flatten(1).gather(1, order).diff() >= 0).all())
    torch.testing.assert_close(bent.flatten(1).aminmax(dim=1), images.flatten(1).aminmax(dim=1))
    stretched = a.relit(images, _random(), brightness=0.0, contrast=0.5, gamma=0.0)
    torch.testing.assert_close(stretched.mean((2, 3)), images.mean((2, 3)))
    ratio = stretched.flatten(1).std(1) / images.flatten(1).std(1)
    assert bool(((ratio > 1 / 1.5) & (ratio < 1.5)).all())
    shifted = a.relit(images, _random(), brightness=0.1, contrast=0.0, gamma=0.0) - images
    span = images.flatten(1).amax(1) - images.flatten(1).amin(1)
    torch.testing.assert_close(shifted, shifted[:, :, :1, :1].expand_as(images))
    assert bool((shifted[:, 0, 0, 0].abs() <= 0.1 * span).all())


def test_an_image_of_one_grey_stays_finite() -> None:
    flat = torch.full((2, 1, 8, 8), 0.3)
    found = a.Augmentation(blur=1.0, cut_share=1.0)(flat, _random())
    torch.testing.assert_close(found, flat)


def test_grey_stays_grey_under_other_colours_and_luma_stays_under_other_saturation() -> None:
    grey = _images().expand(3, 3, 9, 9)
    torch.testing.assert_close(a.recoloured(grey, _random(), saturation=0.5, hue=40.0, stain=0.0), grey)
    images = _images(channels=3)
    washed = a.recoloured(images, _random(), saturation=0.5, hue=0.0, stain=0.0)
    luma = torch.tensor(a.GREY, dtype=torch.float64)
    torch.testing.assert_close(torch.einsum("c,nchw->nhw", luma, washed), torch.einsum("c,nchw->nhw", luma, images))
    scaled = a.recoloured(images, _random(), saturation=0.0, hue=0.0, stain=0.1) / images
    torch.testing.assert_close(scaled, scaled[:, :, :1, :1].expand_as(images))
    assert bool(((scaled >= 0.9) & (scaled <= 1.1)).all())


def test_a_blur_is_the_gaussian_of_scipy() -> None:
    images = _images(3, 2, 16, 16)
    drawn = 2.0 * torch.rand(3, generator=_random(), dtype=torch.float64)
    found = a.blurred(images, _random(), sigma=2.0)
    for one, width, got in zip(images, drawn, found, strict=True):
        want = [gaussian_filter(channel.numpy(), float(width), mode="nearest", radius=6) for channel in one]
        torch.testing.assert_close(got, torch.stack([torch.from_numpy(each) for each in want]))


def test_noise_has_the_level_asked_for() -> None:
    images = 5 * _images(200, 1, 40, 40)
    level = (a.noisy(images, _random(), sigma=0.5) - images).flatten(1).std(1) / images.flatten(1).std(1)
    assert float(level.max()) < 0.55
    assert float(level.mean()) == pytest.approx(0.25, abs=0.05)


def test_a_cut_is_a_square_of_the_mean() -> None:
    images = _images(50, 2, 16, 20)
    found = a.cut_out(images, _random(), side=0.5, share=1.0)
    cut = (found != images).all(1)
    assert cut.sum((1, 2)).tolist() == [8 * 10] * 50
    means = images.mean((2, 3))[:, :, None, None].expand_as(images)
    assert torch.equal(torch.where(cut[:, None], means, images), found)
    assert bool((cut.any(2).sum(1) == 8).all())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, g: a.flipped(x, g, across=1.5), "got across 1.5; give a number from 0 to 1"),
        (lambda x, g: a.moved(x, g, shear=95.0), "shear 95"),
        (lambda x, g: a.moved(x, g, scale=-1.0), "scale -1"),
        (lambda x, g: a.cropped(x, g, least=0.0), "least 0"),
        (lambda x, g: a.cropped(x, g, side=0), "side 0"),
        (lambda x, g: a.relit(x, g, gamma=math.nan), "gamma nan"),
        (lambda x, g: a.recoloured(x, g), "got images of 1 channels to recolour; give red, green and blue"),
        (lambda x, g: a.blurred(x, g, sigma=21.0), "sigma 21"),
        (lambda x, g: a.noisy(x, g, sigma=-1.0), "sigma -1"),
        (lambda x, g: a.cut_out(x, g, share=2.0), "share 2"),
        (lambda x, g: a.quarter_turned(x[..., :5], g), "9 x 5 pixels to turn by quarters"),
    ],
)
def test_a_strength_that_has_no_meaning_is_refused(
    change: Callable[[Tensor, torch.Generator], Tensor], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        change(_images(), _random())
