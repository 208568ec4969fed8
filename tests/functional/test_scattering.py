"""The scattering transform: convolutions written out, moved and scaled images, and a wave that one wavelet alone hears."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from metamedica.errors import InputError
from metamedica.functional.scattering import FREQUENCY, Scattering, _bank

SIDE = 32


def _images(n: int = 2, *, side: int = SIDE, seed: int = 0) -> torch.Tensor:
    rough = np.random.default_rng(seed).normal(size=(n, side, side))
    for axis in (1, 2):
        rough = correlate1d(rough, np.ones(3) / 3, axis=axis)
    return torch.from_numpy(rough)


def _slowly(image: torch.Tensor, transform: Scattering) -> torch.Tensor:
    """The coefficients of one image, every convolution at full resolution and sampled at the end."""
    margin, half = transform.margin, 2 ** (transform.scales - 1)
    framed = torch.nn.functional.pad(image[None, None], (margin - half, margin + half) * 2, mode="reflect")[0, 0]
    bank = _bank(framed.shape[-1], transform.scales, transform.angles, torch.float64)

    def heard(signal: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
        return torch.fft.ifft2(torch.fft.fft2(signal) * filters)

    def averaged(signal: torch.Tensor) -> torch.Tensor:
        step, begin = 2**transform.scales, margin
        return heard(signal, bank.average).real[begin::step, begin::step][: transform.windows, : transform.windows]

    first = {
        (scale, angle): heard(framed, bank.wavelets[scale][0][angle]).abs()
        for scale in range(transform.scales)
        for angle in range(transform.angles)
    }
    found = [averaged(framed), *(averaged(each) for each in first.values())]
    for scale in range(transform.scales):
        for coarser in range(scale + 1, transform.scales):
            for angle in range(transform.angles):
                for other in range(transform.angles):
                    found.append(averaged(heard(first[scale, angle], bank.wavelets[coarser][0][other]).abs()))
    return torch.stack(found)


def test_it_is_convolution_modulus_and_average_written_out_up_to_what_subsampling_folds() -> None:
    transform = Scattering(SIDE, scales=2, angles=4)
    images = _images()
    found = transform(images)
    assert found.shape == (2, transform.channels, transform.windows, transform.windows)
    for image, fast in zip(images, found, strict=True):
        slow = _slowly(image, transform)
        assert (fast - slow).norm() < 0.02 * slow.norm()


def test_the_number_of_channels_is_that_of_the_paper() -> None:
    assert Scattering(64).channels == 1 + 24 + 3 * 64
    assert Scattering(64).windows == 8


def test_a_larger_image_has_larger_coefficients_by_the_same_factor_and_a_flat_one_has_none_but_its_mean() -> None:
    transform, images = Scattering(SIDE, angles=2), _images()
    torch.testing.assert_close(transform(3 * images), 3 * transform(images))
    flat = transform(torch.full((1, SIDE, SIDE), 2.0, dtype=torch.float64))
    torch.testing.assert_close(flat[:, 0], torch.full_like(flat[:, 0], 2.0))
    assert flat[:, 1:].abs().max() < 1e-6


def test_a_wave_is_heard_by_the_wavelet_of_its_scale_and_angle_above_all() -> None:
    transform = Scattering(64, scales=3, angles=4)
    along = torch.arange(64, dtype=torch.float64)
    for scale in range(3):
        wave = torch.cos(FREQUENCY / 2**scale * along).expand(64, 64)
        first = transform(torch.stack([wave, wave.T]))[:, 1 : 1 + 12, 2:6, 2:6].mean((2, 3))
        across, upright = (int(each.argmax()) for each in first)
        assert across // 4 == upright // 4 == scale
        assert abs(across % 4 - upright % 4) == 2  # a quarter turn apart


def test_a_small_shift_changes_little() -> None:
    transform = Scattering(64)
    images = _images(side=72)
    here, there = transform(images[:, 4:68, 4:68]), transform(images[:, 4:68, 5:69])
    shifted = (images[:, 4:68, 4:68] - images[:, 4:68, 5:69]).norm() / images[:, 4:68, 4:68].norm()
    assert (here - there).norm() / here.norm() < 0.3 * shifted


def test_images_do_not_see_each_other_and_none_give_none() -> None:
    transform, images = Scattering(SIDE, scales=2), _images(6)
    torch.testing.assert_close(transform(images)[4:5], transform(images[4:5]))
    assert transform(images[:0]).shape == (0, transform.channels, 8, 8)


@pytest.mark.parametrize(("side", "scales", "angles"), [(30, 2, 4), (4, 3, 4), (32, 0, 4), (32, 2, 0)])
def test_a_side_that_no_window_fits_is_refused(side: int, scales: int, angles: int) -> None:
    with pytest.raises(
        InputError, match=rf"got images of side {side}, .* give a side that is a multiple of 2 to the scales"
    ):
        Scattering(side, scales, angles)


def test_images_of_another_side_are_refused() -> None:
    with pytest.raises(InputError, match=r"got images of \(16, 16\) pixels; this transform reads 32 x 32"):
        Scattering(32)(torch.zeros(1, 16, 16))


def test_no_wavelet_hears_a_mean() -> None:
    bank = _bank(48, 3, 8, torch.float64)
    for scales in bank.wavelets:
        assert scales[0][:, 0, 0].abs().max() < 1e-12
    assert math.isclose(float(bank.average[0, 0]), 1.0)
