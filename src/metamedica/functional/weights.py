"""Weights that a user brings: a local safetensors file, with our key names or with those of torchvision and timm.

Nothing is fetched and nothing unpickled. What a file holds and a network has must agree name by name and shape by shape: a network that is
half loaded looks like one that learned little.
"""

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from metamedica.errors import FileFormatError, InputError

_PICKLES = {".pth", ".pt", ".bin", ".pkl", ".ckpt", ".tar"}
_MOST_NAMED = 8
"""Keys that an error names of each sort."""


class KnownElsewhere(ABC):
    """A network that other libraries have too, under other names."""

    renamed: ClassVar[tuple[tuple[str, str], ...]]
    """(pattern of a key's beginning or whole, what stands there here), tried in turn, each once; `\\1-` is a number that counts from one there
    and from zero here."""
    left_out: ClassVar[str]
    """Pattern of keys that this network does not have on purpose: the classifier and counters of batches."""

    @abstractmethod
    def own_value(self, name: str, value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Return a weight from elsewhere as this network has it, by its name here; most are returned as they are."""


def for_channels(
    filters: Shaped[Tensor, "leaving three height width"], channels: int
) -> Shaped[Tensor, "leaving channels height width"]:
    """Return filters of three colours for grey images, whose one channel stands for all three: their sum; any other is returned as it is."""
    return filters.sum(1, keepdim=True) if channels == 1 and filters.dim() == 4 and filters.shape[1] == 3 else filters


def _from_zero(template: str, found: re.Match[str]) -> str:
    """Return what a rule puts in place of a match, with the numbers that are marked counted from zero."""
    marked = re.sub(r"\\(\d)-", lambda group: str(int(found[int(group[1])]) - 1), template)
    return found.expand(marked)


def _renamed(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, put in rules:
        found = re.match(pattern, key)
        if found:
            key = _from_zero(put, found) + key[found.end() :]
    return key


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        FileFormatError: it is a pickle by its name, missing, or no safetensors file.
    """
    if path.suffix.lower() in _PICKLES:
        raise FileFormatError(
            f"{path.name} is a pickle by its name, and opening one can run any program; where you trust it, convert it with "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), 'weights.safetensors') and give that file"
        )
    if path.suffix.lower() != ".safetensors":
        raise FileFormatError(f"got weights in {path.name}; give a file that ends with .safetensors")
    if not path.is_file():
        raise FileFormatError(f"there is no file {path.name} there; give the path of a .safetensors file")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(
            f"{path.name} cannot be read as safetensors ({type(error).__name__}); get it or convert it again"
        ) from None


def load_weights(encoder: nn.Module, path: str | Path) -> None:
    """Put the weights of a local safetensors file into a network, in place; all of them, or none.

    Keys are ours, or, where the encoder is `KnownElsewhere`, those of torchvision and timm: those are renamed, filters of three colours are
    summed for grey images, positions are interpolated to the encoder's grid, the classifier is left out. Numbers are cast to the type of
    the encoder's.

    Args:
        encoder: built with the sizes of the weights.
        path: of the file.

    Raises:
        FileFormatError: a pickle, a missing or broken file.
        InputError: keys that the network does not have, weights that the file does not have, other shapes, numbers that are not finite or
            not floating: all that does not fit in one sentence; the network is as it was.
    """
    path = Path(path)
    wanted, given = encoder.state_dict(), _read(path)
    found: dict[str, Tensor] = {}
    unknown, unfit = [], []
    for key, value in given.items():
        own, here = value, key
        if key not in wanted and isinstance(encoder, KnownElsewhere):
            if re.fullmatch(encoder.left_out, key):
                continue
            here = _renamed(key, encoder.renamed)
        if here not in wanted or here in found:
            unknown.append(key)
            continue
        if isinstance(encoder, KnownElsewhere):
            own = encoder.own_value(here, value)
        if own.shape != wanted[here].shape:
            unfit.append(f"{key} {list(value.shape)} where {list(wanted[here].shape)} is wanted")
        elif not own.is_floating_point() or not bool(own.isfinite().all()):
            unfit.append(f"{key} with entries that are no finite numbers")
        found[here] = own
    lacking = [name for name in wanted if name not in found]
    if unknown or unfit or lacking:
        told = [
            f"{len(each)} {what}: {', '.join(each[:_MOST_NAMED])}{', ...' if len(each) > _MOST_NAMED else ''}"
            for what, each in (
                ("keys that the network does not have", unknown),
                ("weights of another kind", unfit),
                ("weights that the file lacks", lacking),
            )
            if each
        ]
        raise InputError(
            f"{path.name} does not fit {type(encoder).__name__}: {'; '.join(told)}; build the encoder with the sizes and the norm that the "
            "weights were trained with"
        )
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(found[name])
