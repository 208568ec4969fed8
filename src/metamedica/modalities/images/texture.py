"""Textures of an image by wavelet scattering: which waves there are at each place, and how strong they are in zones round the centre."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from metamedica.functional.scattering import Scattering
from metamedica.modalities.images.pixels import grey_of

_WAVES = Scattering(64)
SIZE = _WAVES.channels * _WAVES.windows**2
_ZONES = ((0.0, 2.0), (0.0, 0.5), (0.5, 0.9), (0.9, 2.0))
"""From where to where, in half sides from the centre; the first is the whole image."""
ZONES_SIZE = (len(_ZONES) + 1) * _WAVES.channels
_LEAST = 1e-3
"""Added to coefficients in [0, 1] before their logarithm."""
_AT_ONCE = 64


def textures(squares: UInt8[np.ndarray, "n side side 3"]) -> Float[Tensor, "n channels windows windows"]:
    """Return logarithms of the scattering coefficients of each image, brought to 64 x 64 grey pixels."""
    grey = torch.from_numpy(grey_of(squares)).float()[:, None] / 255
    if grey.shape[-1] != _WAVES.side:
        size = (_WAVES.side, _WAVES.side)
        grey = torch.nn.functional.interpolate(grey, size, mode="bilinear", antialias=True, align_corners=False)
    parts = [(_WAVES(part[:, 0]) + _LEAST).log() for part in torch.split(grey, _AT_ONCE)]
    return torch.cat(parts) if parts else torch.zeros(0, _WAVES.channels, _WAVES.windows, _WAVES.windows)


def in_zones(texture: Float[Tensor, "n channels windows windows"]) -> Float[Tensor, "n dim"]:
    """Return the mean of each coefficient in four zones round the centre, and its standard deviation over the image: 5 x channels."""
    means = torch.einsum("ncij,zij->nzc", texture, _zones(texture.shape[-1]))
    windows = texture.flatten(2)
    spread = (windows - windows.mean(2, keepdim=True)).square().mean(2).sqrt()  # std warns where there is no image
    return torch.cat([means.flatten(1), spread], dim=1)


@cache
def _zones(windows: int) -> Float[Tensor, "zones windows windows"]:
    axis = torch.arange(windows) - (windows - 1) / 2
    away = (axis[:, None] ** 2 + axis**2).sqrt() / (windows / 2)
    zones = torch.stack([((away >= low) & (away < high)).float() for low, high in _ZONES])
    return zones / zones.sum((1, 2), keepdim=True)
