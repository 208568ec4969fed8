"""Every layer's written-out gradient against autograd, with parameters that tasks share and with their own."""

import pytest
import torch
from torch import nn

from metamedica.functional.inner_loop.chain import Affine, Drop, links_of, matrices, run, slopes


def _layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 4),
        nn.LayerNorm(4),
        nn.GELU(),
        nn.Linear(4, 4),
        nn.Tanh(),
        nn.Identity(),
        nn.Linear(4, 3),
        nn.ReLU(),
    ).double()


@pytest.mark.parametrize("shared", [True, False])
def test_slopes_of_every_parameter_and_of_the_input_are_those_of_autograd(shared: bool) -> None:
    layers = _layers()
    links = links_of(layers, "p.")
    assert links is not None
    x = torch.randn(2, 6, 5, dtype=torch.float64, requires_grad=True)
    far = torch.randn(2, 6, 3, dtype=torch.float64)
    own = {
        f"p.{name}": (value.expand(2, *value.shape) + (0 if shared else 0.3 * torch.randn(2, *value.shape).double()))
        .detach()
        .requires_grad_()
        for name, value in layers.named_parameters()
    }
    given = {name: value[0] for name, value in own.items()} if shared else own
    y, tape = run(links, given, x)
    want_y = torch.stack(
        [
            torch.func.functional_call(
                layers, {name.removeprefix("p."): value[task] for name, value in own.items()}, (x[task],)
            )
            for task in range(2)
        ]
    )
    torch.testing.assert_close(y, want_y, atol=1e-13, rtol=1e-12)
    downhill, to_input = slopes(links, given, tape, far, wanted=set(own), to_input=True)
    found = matrices(downhill)
    want = torch.autograd.grad((want_y * far).sum(), [x, *own.values()])
    torch.testing.assert_close(to_input, want[0], atol=1e-13, rtol=1e-12)
    for (name, _), slope in zip(own.items(), want[1:], strict=True):
        torch.testing.assert_close(found[name], slope, atol=1e-13, rtol=1e-12)


def test_going_back_stops_at_the_first_layer_that_is_wanted() -> None:
    links = links_of(_layers(), "p.")
    assert links is not None
    parameters = {f"p.{name}": value for name, value in _layers().named_parameters()}
    _, tape = run(links, parameters, torch.randn(2, 6, 5, dtype=torch.float64))
    tape[:5] = [None] * 5  # read only by layers before the last linear one
    found, to_input = slopes(
        links, parameters, tape, torch.ones(2, 6, 3).double(), wanted={"p.6.weight"}, to_input=False
    )
    assert set(found) == {"p.6.weight"}
    assert to_input is None


def test_dropout_is_a_link_in_training_only() -> None:
    layers = nn.Sequential(nn.Linear(4, 1000), nn.Dropout(0.25))
    assert [type(link) for link in links_of(layers.train(), "") or []] == [Affine, Drop]
    assert [type(link) for link in links_of(layers.eval(), "") or []] == [Affine]
    torch.manual_seed(0)
    x = torch.ones(2, 3, 1000)
    y, kept = Drop(0.25).forward({}, x)
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 4 / 3]))
    assert float((y == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(Drop(0.25).backward({}, kept, x)[0], y)


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(3),
        nn.GELU(approximate="tanh"),
        nn.Linear(3, 3, bias=False),
        nn.LayerNorm(3, elementwise_affine=False),
    ],
)
def test_a_layer_that_is_not_known_makes_no_chain(layer: nn.Module) -> None:
    assert links_of(nn.Sequential(nn.Linear(3, 3), layer), "") is None
