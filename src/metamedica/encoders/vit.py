"""A small vision transformer.

Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, arXiv:2010.11929, section 3.1, eq. 1 to 4.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from metamedica.encoders.mlp import checked
from metamedica.errors import InputError
from metamedica.functional.feature_maps import FeatureMaps, check_readable, checked_image, in_parts
from metamedica.functional.weights import KnownElsewhere, for_channels
from metamedica.types import Encoder, Features, OneOf, Ranges

LEAST_SIDE = 16
EPS = 1e-6
"""Of the layer norms, as in the authors' code and in timm."""


class Layer(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)) (eq. 2 and 3); the perceptron is four times as wide inside, with GELU.

    Attention is written out, as PyTorch's fused one has no second derivative on a CPU.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width, eps=EPS)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.before_perceptron = nn.LayerNorm(width, eps=EPS)
        self.widened = nn.Linear(width, 4 * width)
        self.narrowed = nn.Linear(4 * width, width)

    def _read(self, x: Float[Tensor, "n tokens width"]) -> Tensor:
        n, tokens, width = x.shape
        size = width // self.heads
        split = self.queries_keys_values(x).reshape(n, tokens, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        queries, keys, values = split[0], split[1], split[2]
        shares = ((queries * size**-0.5) @ keys.mT).softmax(-1)
        read: Tensor = self.joined((shares @ values).transpose(1, 2).reshape(n, tokens, width))
        return read

    def forward(self, x: Float[Tensor, "n tokens width"]) -> Float[Tensor, "n tokens width"]:
        x = x + self._read(self.before_attention(x))
        after: Tensor = x + self.narrowed(functional.gelu(self.widened(self.before_perceptron(x))))
        return after


class ViT(Encoder, FeatureMaps, KnownElsewhere):
    """Square patches as tokens, with learned positions -> transformer layers, norms before -> norm -> class token, or mean over the patches.

    Weights of the same network elsewhere can be loaded (`functional/weights`): key names of timm, such as `vit_tiny_patch16_224` (patch 16,
    width 192, depth 12, heads 3) and `vit_small_patch16_224` (width 384, heads 6); positions are interpolated to this image's grid.

    Block: `image` `[*batch, channels * height * width]`, one channel after another, row by row; scaled to about +-1.

    Deviates: no dropout; no classification head; the mean over patches is another choice of what the vector is (the paper's appendix D.3).

    Args:
        image: channels, height and width of an image, sides of 16 pixels or more that are multiples of the patch.
        patch: pixels of a patch's side.
        width: of a token, and length of the vector; a multiple of the heads.
        depth: transformer layers.
        heads: of attention.
        pooling: "class" for the class token, or "mean" over the patches, which then has no class token.

    Raises:
        InputError: no channel, a side below 16 pixels or no multiple of the patch, a width that is no multiple of the heads, no layer, or
            another pooling.
    """

    ranges: ClassVar[Ranges] = {
        "patch": OneOf((4, 8)),
        "width": OneOf((64, 128, 256)),
        "depth": OneOf((2, 4, 8)),
        "heads": OneOf((2, 4, 8)),
    }
    renamed: ClassVar[tuple[tuple[str, str], ...]] = (
        (r"patch_embed\.proj\.", r"patches."),
        (r"cls_token", r"class_token"),
        (r"pos_embed", r"positions"),
        (r"blocks\.(\d+)\.norm1\.", r"layers.\1.before_attention."),
        (r"blocks\.(\d+)\.attn\.qkv\.", r"layers.\1.queries_keys_values."),
        (r"blocks\.(\d+)\.attn\.proj\.", r"layers.\1.joined."),
        (r"blocks\.(\d+)\.norm2\.", r"layers.\1.before_perceptron."),
        (r"blocks\.(\d+)\.mlp\.fc1\.", r"layers.\1.widened."),
        (r"blocks\.(\d+)\.mlp\.fc2\.", r"layers.\1.narrowed."),
        (r"(fc_)?norm\.", r"last_norm."),
    )
    left_out: ClassVar[str] = r"head\..*"

    def __init__(
        self,
        image: tuple[int, int, int],
        *,
        patch: int = 8,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        pooling: str = "class",
    ) -> None:
        super().__init__()
        channels, *sides = self.image = checked_image(image, least=LEAST_SIDE)
        if patch < 1 or any(side % patch for side in sides):
            raise InputError(
                f"got {sides[0]} x {sides[1]} pixels and patches of {patch}; give sides that are multiples of the patch"
            )
        if min(width, depth, heads) < 1 or width % heads:
            raise InputError(
                f"got width {width}, depth {depth} and {heads} heads; give at least one layer and a width that is a multiple of the heads"
            )
        if pooling not in ("class", "mean"):
            raise InputError(f"got pooling {pooling!r}; give 'class' or 'mean'")
        self.patch, self.dim, self.pooling = patch, width, pooling
        self.grid = (sides[0] // patch, sides[1] // patch)
        self.first = 1 if pooling == "class" else 0
        # a product and not a convolution: patches do not overlap, and tasks with weights of their own go through it at once
        self.patches = nn.Linear(channels * patch * patch, width)
        if self.first:
            self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, self.first + math.prod(self.grid), width))
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.last_norm = nn.LayerNorm(width, eps=EPS)
        for name, value in self.named_parameters():
            if name.endswith(("token", "positions")) or value.dim() == 2:
                nn.init.trunc_normal_(value, std=0.02 if name != "patches.weight" else value.shape[1] ** -0.5)
            elif "norm" not in name and "before" not in name:
                nn.init.zeros_(value)

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return one vector per image.

        Raises:
            InputError: the block `image` is missing or has another size.
        """
        flat = checked(features, {"image": math.prod(self.image)})["image"]
        found = in_parts(self._vectors, flat.reshape(-1, *self.image), widest=4 * self.positions[0].numel())
        return found.reshape(*flat.shape[:-1], self.dim)

    def maps(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n features high wide"]:
        """Return the last tokens of the patches, normed, where the patches are; positions are interpolated to other sizes.

        Raises:
            InputError: another number of channels, a side below 16 pixels or no multiple of the patch.
        """
        check_readable(images, channels=self.image[0], least=LEAST_SIDE)
        sides = images.shape[2:]
        if any(side % self.patch for side in sides):
            raise InputError(
                f"got images of {sides[0]} x {sides[1]} pixels and patches of {self.patch}; resize them to multiples of the patch"
            )
        tokens = self._tokens(images)[:, self.first :]
        return tokens.mT.reshape(len(images), self.dim, *(side // self.patch for side in sides))

    def last(self) -> tuple[nn.Module, Callable[[Tensor], Float[Tensor, "n features high wide"]]]:
        """Return the norm of the last tokens, whose mean over patches is the vector; where the class token is the vector, the last layer but one,
        since after the last attention no patch has a say any more.

        Raises:
            InputError: a class token and a single layer.
        """

        def laid_out(tokens: Tensor) -> Tensor:
            return tokens[:, self.first :].mT.reshape(len(tokens), self.dim, *self.grid)

        if not self.first:
            return self.last_norm, laid_out
        if len(self.layers) < 2:
            raise InputError(
                "a vit of one layer with pooling 'class' makes its vector of no maps; use depth 2 or more, or pooling 'mean'"
            )
        return self.layers[-2], laid_out

    def _vectors(self, images: Tensor) -> Tensor:
        tokens = self._tokens(images)
        return tokens[:, 0] if self.first else tokens.mean(1)

    def _tokens(self, images: Tensor) -> Tensor:
        n, channels, *sides = images.shape
        high, wide = (side // self.patch for side in sides)
        cut = images.reshape(n, channels, high, self.patch, wide, self.patch).permute(0, 2, 4, 1, 3, 5)
        x = self.patches(cut.reshape(n, high * wide, channels * self.patch**2))
        if self.first:
            x = torch.cat([self.class_token.expand(n, -1, -1), x], 1)
        x = x + self._at(self.positions, self.grid, (high, wide))
        for layer in self.layers:
            x = layer(x)
        normed: Tensor = self.last_norm(x)
        return normed

    def _at(self, positions: Tensor, own: tuple[int, int], grid: tuple[int, int]) -> Tensor:
        """Return positions for another grid (section 3.2): bicubic, without aliasing, as timm does."""
        if own == grid:
            return positions
        of_class, of_patches = positions[:, : self.first], positions[:, self.first :]
        laid = of_patches.reshape(1, *own, self.dim).permute(0, 3, 1, 2)
        laid = functional.interpolate(laid, size=grid, mode="bicubic", antialias=True, align_corners=False)
        return torch.cat([of_class, laid.flatten(2).mT], 1)

    def own_value(self, name: str, value: Tensor) -> Tensor:
        """Return a weight from elsewhere as this network has it: patches as a matrix, positions on this image's grid."""
        if name == "patches.weight" and value.dim() == 4:
            return for_channels(value, self.image[0]).flatten(1)
        if name != "positions" or value.dim() != 3 or value.shape[2] != self.dim:
            return value
        side = math.isqrt(value.shape[1] - self.first)
        square = value.shape[1] == self.first + side * side and value.shape != self.positions.shape
        return self._at(value.float(), (side, side), self.grid) if square else value
