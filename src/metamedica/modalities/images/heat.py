"""What the network has to do with an answer, place by place: Grad-CAM through the frozen network, and how it is drawn.

Selvaraju et al. 2017, arXiv:1610.02391, section 3; `functional/class_activation`.
"""

from html import escape
from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from metamedica.errors import InputError, MissingExtraError
from metamedica.functional.class_activation import watched
from metamedica.modalities.images.network import Network, entering

_STRONGEST = 0.65
"""Opacity of the hottest place."""
_SIDE = 128
"""Pixels of a drawn map's side."""
_HOT = (230, 97, 0)
"""The orange of `patches`: speaks for the answer."""


def network_heat(
    network: Network, squares: UInt8[np.ndarray, "n side side 3"], slopes: Float[Tensor, "n dim"]
) -> list[Float[np.ndarray, "high wide"]]:
    """Return the heat map of each image over the network's last maps.

    Args:
        network: whose vectors the answers depend on.
        squares: the images.
        slopes: of each image's answer in its vector.

    Raises:
        InputError: a network without feature maps.
    """
    made = network.built()
    found = []
    for square, slope in zip(squares, slopes, strict=True):
        with torch.enable_grad(), watched(made) as seen:
            vector = (
                made({"image": entering(square[None]).flatten(1).requires_grad_()})[0] - network.centre
            ) / network.spread
        found.append(seen.heat(vector @ slope.to(vector.dtype)).numpy())
    return found


def over_image(heat: Float[np.ndarray, "high wide"], *, side: int) -> Float[np.ndarray, "side side"]:
    """Return the map at the pixels of a square image, between places bilinear, as in the paper (section 3.2)."""
    small = torch.from_numpy(np.asarray(heat, np.float32))[None, None]
    found: Float[np.ndarray, "side side"] = interpolate(small, (side, side), mode="bilinear", align_corners=False)[
        0, 0
    ].numpy()
    return found


def heated(canonical: str, heat: Float[np.ndarray, "high wide"], *, size: int) -> str:
    """Return an SVG of the image under its heat map, most orange where it is hottest; the image alone where nothing speaks for the answer.

    Args:
        canonical: the image as `prepare` returned it.
        heat: of the image, 0 or above.
        size: in CSS pixels.

    Raises:
        InputError: a map with a number below 0, or that is none.
        MissingExtraError: Pillow is not installed.
    """
    if heat.ndim != 2 or not heat.size or not np.isfinite(heat).all() or heat.min() < 0:
        raise InputError(f"got a heat map of shape {heat.shape}; give [high, wide] numbers of 0 or above")
    most = float(heat.max())
    mark = ""
    if most > 0:
        shown = over_image(heat / most, side=_SIDE)
        mark = f'<image href="{_veil(shown)}" width="{size}" height="{size}" preserveAspectRatio="none"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="case" width="{size}" height="{size}" viewBox="0 0 {size} {size}" role="img">'
        f'<image href="{escape(canonical)}" width="{size}" height="{size}" preserveAspectRatio="none"/>{mark}</svg>'
    )


def _veil(shown: Float[np.ndarray, "side side"]) -> str:
    """Return an orange PNG as a text, the more opaque the larger the number."""
    from base64 import b64encode

    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("pillow", "images") from None
    pixels = np.empty((*shown.shape, 4), np.uint8)
    pixels[..., :3] = _HOT
    pixels[..., 3] = np.rint(255 * _STRONGEST * shown)
    file = BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
