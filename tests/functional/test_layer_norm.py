"""Layer norm of elementary operations against PyTorch's, and where PyTorch's own goes wrong."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from metamedica.functional.layer_norm import ElementaryLayerNorm, layer_norm


@pytest.mark.parametrize("shape", [(5,), (4, 5)])
@pytest.mark.parametrize("affine", [True, False])
def test_values_are_those_of_pytorch(shape: tuple[int, ...], affine: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    own = tuple(torch.randn(shape, dtype=torch.float64) if affine else None for _ in range(2))
    torch.testing.assert_close(layer_norm(x, shape, *own), functional.layer_norm(x, shape, *own))


def test_derivatives_of_every_order_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    given = tuple(torch.randn(2, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(lambda x, w, b: layer_norm(x, (4,), w, b), given)
    assert torch.autograd.gradgradcheck(lambda x, w, b: layer_norm(x, (4,), w, b), given)


MODULE = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).double()


def _stepped(own: dict[str, Tensor], x: Tensor) -> Tensor:
    """The norm of one gradient step on a layer followed by layer norm, with its own scale."""

    def loss(own: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(MODULE, own, (x,)).pow(3).sum()

    slope = torch.func.grad(loss)(own)
    return torch.stack([(value - 0.1 * slope[name]).square().sum() for name, value in own.items()]).sum()


def _meta_gradient(*, batched: bool) -> Tensor:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    own = {
        "0.weight": weight,
        "0.bias": torch.randn(4).double(),
        "1.weight": torch.rand(4).double(),
        "1.bias": torch.randn(4).double(),
    }
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    if batched:
        each = {name: value.expand(2, *value.shape) for name, value in own.items()}
        loss = torch.func.vmap(_stepped)(each, x).sum()
    else:
        loss = torch.stack([_stepped(own, x[task]) for task in range(2)]).sum()
    return torch.autograd.grad(loss, weight)[0]


def test_a_meta_gradient_through_batched_layer_norm_is_that_of_one_task_after_another() -> None:
    want = _meta_gradient(batched=False)
    with ElementaryLayerNorm():
        torch.testing.assert_close(_meta_gradient(batched=True), want, atol=1e-12, rtol=1e-10)
    pytorchs = _meta_gradient(batched=True)
    assert float((pytorchs - want).abs().max()) > 1e-3, "PyTorch's own is right now: the context is no longer needed"
