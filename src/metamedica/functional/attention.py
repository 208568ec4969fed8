"""Attention to a masked set: tokens read its real members, in whatever order they come (Vaswani et al. 2017, eq. 1)."""

from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from metamedica.errors import InputError
from metamedica.functional.deep_sets import perceptron


class Memory(NamedTuple):
    """A set as attention reads it."""

    keys: Float[Tensor, "*#batch heads n size"]
    values: Float[Tensor, "*batch heads n size"]
    mask: Bool[Tensor, "*#batch n"]


def attend(queries: Float[Tensor, "*#batch heads m size"], memory: Memory) -> Float[Tensor, "*batch heads m size"]:
    """Return for each query the mean of values under softmax(query . key / sqrt(size)) over real members; 0 for an empty set."""
    parts = (queries, memory.keys, memory.values)
    several = torch.broadcast_shapes(*[part.shape[:-3] for part in parts])  # type: ignore[no-untyped-call]

    def flat(value: Tensor, own: int) -> Tensor:
        """Return one leading axis: torch has a fast path for that shape only."""
        return value.expand(*several, *value.shape[-own:]).flatten(0, -own - 1)

    real = flat(memory.mask, 1)[:, None, None]
    asked, keys, values = (flat(part, 3) for part in parts)
    read = scaled_dot_product_attention(asked, keys, values, attn_mask=real)
    return read.view(*several, *read.shape[1:])


class Attention(nn.Module):
    """Multi-head attention: linear maps to queries, keys and values, and one back from all heads side by side.

    Args:
        width: length of a token.
        heads: how many; they share the width.

    Raises:
        InputError: the width is not a multiple of the heads.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"got width {width} and {heads} heads; give a width that is a multiple of the heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def _split(self, tokens: Float[Tensor, "*batch n width"]) -> Float[Tensor, "*batch heads n size"]:
        size = tokens.shape[-1] // self.heads  # not -1, which an empty set leaves open
        return tokens.view(*tokens.shape[:-1], self.heads, size).transpose(-2, -3)

    def memory(
        self,
        keys: Float[Tensor, "*#batch n width"],
        values: Float[Tensor, "*batch n width"],
        mask: Bool[Tensor, "*#batch n"],
    ) -> Memory:
        """Return what queries will read of a set; computed once, read often."""
        return Memory(self._split(self.key(keys)), self._split(self.value(values)), mask)

    def forward(self, queries: Float[Tensor, "*#batch m width"], memory: Memory) -> Float[Tensor, "*batch m width"]:
        """Return what each query reads."""
        read: Tensor = self.out(attend(self._split(self.query(queries)), memory).transpose(-2, -3).flatten(-2))
        return read


class AttentionLayer(nn.Module):
    """A transformer layer with the norms before (Xiong et al. 2020): tokens read a set, then each goes through a perceptron.

    Args:
        width: length of a token.
        heads: of the attention.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads=heads)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = perceptron(width, 2 * width, width)

    def memory(self, members: Float[Tensor, "*batch n width"], mask: Bool[Tensor, "*#batch n"]) -> Memory:
        """Return what tokens will read of a set at this layer."""
        normed = self.norm(members)
        return self.attention.memory(normed, normed, mask)

    def forward(self, tokens: Float[Tensor, "*#batch m width"], memory: Memory) -> Float[Tensor, "*batch m width"]:
        """Return the tokens after they read the set."""
        tokens = tokens + self.attention(self.norm(tokens), memory)
        changed: Tensor = tokens + self.perceptron(self.perceptron_norm(tokens))
        return changed


class Transformer(nn.Module):
    """Layers in which a set attends to itself, and other tokens to the set as it stands at each layer. No positional code.

    Args:
        width: length of a token.
        heads: of each attention.
        layers: how many.
    """

    def __init__(self, width: int, *, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(width, heads=heads) for _ in range(layers))

    def _each(self) -> list[AttentionLayer]:
        return cast(list[AttentionLayer], list(self.layers))

    def read(
        self, members: Float[Tensor, "*batch n width"], mask: Bool[Tensor, "*#batch n"]
    ) -> tuple[Float[Tensor, "*batch n width"], tuple[Memory, ...]]:
        """Return the members after they attended to each other in every layer, and what others will read of them there."""
        memories = []
        for layer in self._each():
            memories.append(layer.memory(members, mask))
            members = layer(members, memories[-1])
        return members, tuple(memories)

    def forward(
        self, tokens: Float[Tensor, "*#batch m width"], memories: tuple[Memory, ...]
    ) -> Float[Tensor, "*#batch m width"]:
        """Return tokens after each has read the set in every layer; they do not see each other."""
        for layer, memory in zip(self._each(), memories, strict=True):
            tokens = layer(tokens, memory)
        return tokens
