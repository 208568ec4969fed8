"""Layer norm of elementary operations, where PyTorch's own has a wrong second derivative."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode


def layer_norm(
    x: Float[Tensor, "..."],
    normalized_shape: Sequence[int],
    weight: Float[Tensor, "..."] | None = None,
    bias: Float[Tensor, "..."] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "..."]:
    """Return what `torch.nn.functional.layer_norm` returns (Ba, Kiros and Hinton 2016, arXiv:1607.06450, eq. 4), differentiable to any order."""
    axes = tuple(range(-len(normalized_shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    unit = centred * (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    scaled = unit if weight is None else unit * weight
    return scaled if bias is None else scaled + bias


class ElementaryLayerNorm(TorchFunctionMode):
    """Inside this context every layer norm is `layer_norm` of this file, whoever calls it.

    Under `torch.func.vmap`, with scale and shift of each task's own, the gradient of PyTorch's fused layer norm (2.13) loses its
    dependence on the input: values and first derivatives are right, a meta-gradient through it is silently wrong
    (functorch issue 534).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        chosen = layer_norm if func is torch.nn.functional.layer_norm else func
        return chosen(*args, **(kwargs or {}))
