"""The wavelet scattering transform of images: what textures and edges there are at which place, scale and angle, without anything learned.

Bruna and Mallat 2013, Invariant Scattering Convolution Networks, arXiv:1203.1513, sections 2.1 and 2.3; the filters' shapes are those of
Oyallon and Mallat 2015, Deep roto-translation scattering, arXiv:1412.8659, section 3. Of a few hundred images, a linear model on it learns what a
network of the same size cannot.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import pad

from metamedica.errors import InputError

WIDTH = 0.8
"""Standard deviation in pixels of the finest envelope."""
FREQUENCY = 3 * math.pi / 4
"""Of the finest wavelet, in radians a pixel."""
AT_ONCE = 4
"""Images at once: the spectra of more fall out of a CPU's cache."""


@dataclass(frozen=True)
class Scattering:
    """First and second order of a scattering transform, averaged over windows of `2**scales` pixels.

    Args:
        side: of the square images, a multiple of `2**scales`.
        scales: octaves of the wavelets.
        angles: of the wavelets in half a turn.

    Raises:
        InputError: a side that is no such multiple, or no scale or angle.
    """

    side: int
    scales: int = 3
    angles: int = 8

    def __post_init__(self) -> None:
        if min(self.scales, self.angles) < 1 or self.side < 2**self.scales or self.side % 2**self.scales:
            raise InputError(
                f"got images of side {self.side}, {self.scales} scales and {self.angles} angles; give a side that is a multiple of "
                f"2 to the scales, here {2**self.scales}"
            )

    @property
    def channels(self) -> int:
        """Coefficients of a window: 1 + JL + J(J-1)/2 L^2."""
        first = self.scales * self.angles
        return 1 + first + math.comb(self.scales, 2) * self.angles * self.angles

    @property
    def windows(self) -> int:
        """Windows along a side."""
        return self.side >> self.scales

    @property
    def margin(self) -> int:
        """Pixels that are mirrored on every side (half a window fewer before and more after), so that no wavelet sees the opposite border."""
        return 2 << self.scales if self.side > 5 * self._half else 1 << self.scales

    @property
    def _half(self) -> int:
        return 1 << (self.scales - 1)

    def __call__(self, images: Float[Tensor, "n side side"]) -> Float[Tensor, "n channels windows windows"]:
        """Return the coefficients: the mean, |x * psi| of each scale and angle, and ||x * psi| * psi'| of each coarser psi'.

        Args:
            images: grey, any scale; a linear change of an image changes the coefficients alike.

        Raises:
            InputError: images of another side.
        """
        if images.shape[-2:] != (self.side, self.side):
            raise InputError(
                f"got images of {tuple(images.shape[-2:])} pixels; this transform reads {self.side} x {self.side}"
            )
        if not len(images):
            return images.new_zeros(0, self.channels, self.windows, self.windows)
        before, after = self.margin - self._half, self.margin + self._half
        framed = pad(images[:, None], (before, after) * 2, mode="reflect")[:, 0]
        whole = framed.shape[-1]
        bank = _bank(whole, self.scales, self.angles, images.dtype)
        averages = _averages(whole, self.scales, self.margin, self.windows, images.dtype)
        return torch.cat([self._few(part, bank, averages) for part in torch.split(framed, AT_ONCE)])

    def _few(
        self, framed: Float[Tensor, "n whole whole"], bank: "_Bank", averages: list[Tensor]
    ) -> Float[Tensor, "n channels windows windows"]:
        whole = torch.fft.fft2(framed)
        found = [_averaged(framed, averages[0])[:, None]]
        second = []
        for scale in range(self.scales):
            first = _modulus(whole[:, None], bank.wavelets[scale][0], scale)
            found.append(_averaged(first, averages[scale]))
            if scale == self.scales - 1:
                break
            spectrum = torch.fft.fft2(first)
            for coarser in range(scale + 1, self.scales):
                modulus = _modulus(spectrum[:, :, None], bank.wavelets[coarser][scale], coarser - scale)
                second.append(_averaged(modulus.flatten(1, 2), averages[coarser]))
        return torch.cat(found + second, dim=1)


@dataclass(frozen=True)
class _Bank:
    """Filters in the Fourier domain, real, by how many octaves the samples are apart that they are for.

    Args:
        wavelets: [scale][octaves] `[angles, side, side]`, Morlet wavelets, which have no mean.
        average: `[side, side]`, the Gaussian that averages over a window.
    """

    wavelets: list[list[Tensor]]
    average: Tensor


@cache
def _bank(side: int, scales: int, angles: int, dtype: torch.dtype) -> _Bank:
    wavelets = []
    for scale in range(scales):
        each = []
        for angle in range(angles):
            turn = math.pi * (angles - angles // 2 - 1 - angle) / angles
            wave = _gabor(side, WIDTH * 2**scale, turn, FREQUENCY / 2**scale, 4 / angles)
            envelope = _gabor(side, WIDTH * 2**scale, turn, 0.0, 4 / angles)
            each.append(wave - envelope * (wave[0, 0] / envelope[0, 0]))
        wavelets.append([_fold(torch.stack(each), octaves).to(dtype) for octaves in range(scale + 1)])
    low = _gabor(side, WIDTH * 2 ** (scales - 1), 0.0, 0.0, 1.0)
    return _Bank(wavelets, (low / low[0, 0]).to(dtype))


@cache
def _averages(side: int, scales: int, margin: int, windows: int, dtype: torch.dtype) -> list[Tensor]:
    """Return, by how many octaves samples are apart, `[windows, samples]`: the average along one axis at the windows' places.

    The Gaussian is a product of one along each axis, so that two small products do what a transform there and back would.
    """
    along = _bank(side, scales, 1, torch.float64).average[0]
    found = []
    for octaves in range(scales):
        samples, step = side >> octaves, 1 << (scales - octaves)
        response = torch.fft.ifft(along.reshape(1 << octaves, samples).sum(0)).real
        edge = margin // 2**scales
        places = (step * torch.arange(edge, edge + windows)[:, None] - torch.arange(samples)) % samples
        found.append(response[places].to(dtype))
    return found


def _gabor(side: int, width: float, turn: float, frequency: float, slant: float) -> Float[Tensor, "side side"]:
    axis = 2 * math.pi * torch.fft.fftfreq(side, dtype=torch.float64)
    total = torch.zeros(side, side, dtype=torch.float64)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            y, x = axis[:, None] + 2 * math.pi * down, axis[None] + 2 * math.pi * right
            along = math.cos(turn) * x + math.sin(turn) * y - frequency
            across = (math.cos(turn) * y - math.sin(turn) * x) / slant
            total += torch.exp(-(width**2) * (along**2 + across**2) / 2)
    return total


def _averaged(signal: Float[Tensor, "*n high wide"], average: Tensor) -> Float[Tensor, "*n windows windows"]:
    """Return the local averages of what stands at the samples of `average`, cut to the image."""
    found: Tensor = average @ signal @ average.mT
    return found


def _modulus(
    spectrum: Complex[Tensor, "*n height width"], filters: Float[Tensor, "angles height width"], octaves: int
) -> Float[Tensor, "*many high wide"]:
    """Return the modulus of a filtered signal at every `2**octaves`-th sample."""
    signal = torch.view_as_real(torch.fft.ifft2(_folded(spectrum, filters, octaves)))
    real, imaginary = signal[..., 0], signal[..., 1]
    return (real * real).addcmul_(imaginary, imaginary).sqrt_()


def _folded(
    spectrum: Complex[Tensor, "*n height width"], filters: Float[Tensor, "angles height width"], octaves: int
) -> Complex[Tensor, "*many high wide"]:
    """Return the product as it is on samples `2**octaves` apart: the mean over what they cannot tell apart.

    Tile by tile, so that the product at all frequencies, the largest array by far, is never laid out.
    """
    parts, (high, wide) = 1 << octaves, (side >> octaves for side in spectrum.shape[-2:])
    own = torch.view_as_real(spectrum)
    scaled = (filters / 4**octaves)[..., None]
    found: Tensor | None = None
    for down in range(parts):
        for across in range(parts):
            here = (slice(down * high, (down + 1) * high), slice(across * wide, (across + 1) * wide))
            tile, by = own[(..., *here, slice(None))], scaled[(..., *here, slice(None))]
            found = tile * by if found is None else found.addcmul_(tile, by)
    assert found is not None
    return torch.view_as_complex(found)


def _fold(spectrum: Tensor, octaves: int) -> Tensor:
    """Return filters as they are on samples `2**octaves` apart, summed over what those cannot tell apart, so that they keep their gain."""
    if not octaves:
        return spectrum
    parts, (high, wide) = 1 << octaves, spectrum.shape[-2:]
    tiles = spectrum.reshape(*spectrum.shape[:-2], parts, high >> octaves, parts, wide >> octaves)
    return tiles.sum((-4, -2))
