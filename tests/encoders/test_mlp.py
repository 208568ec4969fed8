import pytest
import torch
from torch import nn

from metamedica import registry
from metamedica.blocks import SparseRows, SparseTable, as_block
from metamedica.encoders.mlp import MLP
from metamedica.errors import InputError
from metamedica.types import Features

BLOCKS = {"counts": 6, "descriptors": 3}


def features(*shape: int, seed: int = 0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    return {
        "counts": torch.randint(0, 5, (*shape, 6), generator=generator, dtype=torch.uint8),
        "descriptors": torch.randn(*shape, 3, generator=generator),
    }


def made(**settings: object) -> MLP:
    torch.manual_seed(0)
    return MLP(BLOCKS, **{"hidden": (5,), "dim": 4, **settings})  # type: ignore[arg-type]


def test_the_folder_lists_it_by_name() -> None:
    assert registry.encoder_class("mlp") is MLP


def test_one_hidden_layer_is_what_its_docstring_says() -> None:
    encoder, given = made().eval(), features(7)
    first, norm, _, _, last = encoder.layers
    assert isinstance(first, nn.Linear)
    assert isinstance(norm, nn.LayerNorm)
    assert isinstance(last, nn.Linear)
    joined = torch.cat([torch.log(1 + given["counts"].float()), given["descriptors"]], 1)
    hidden = joined @ first.weight.T + first.bias
    centred = hidden - hidden.mean(1, keepdim=True)
    normed = centred / (centred.square().mean(1, keepdim=True) + norm.eps).sqrt()
    active = normed * 0.5 * (1 + torch.erf(normed / 2**0.5))
    torch.testing.assert_close(encoder(given), active @ last.weight.T + last.bias)


def test_without_hidden_layers_it_is_linear_in_the_joined_blocks() -> None:
    encoder = made(hidden=())
    zero = {"counts": torch.zeros(1, 6), "descriptors": torch.zeros(1, 3)}
    one = {"counts": torch.zeros(1, 6), "descriptors": torch.ones(1, 3)}
    two = {"counts": torch.zeros(1, 6), "descriptors": torch.full((1, 3), 2.0)}
    torch.testing.assert_close(encoder(two) - encoder(zero), 2 * (encoder(one) - encoder(zero)))


def test_a_vector_depends_on_its_own_case_alone() -> None:
    encoder, given = made(), features(9)
    encoder.eval()
    alone = encoder({name: block[3:4] for name, block in given.items()})
    torch.testing.assert_close(encoder(given)[3:4], alone)


def test_leading_axes_are_kept() -> None:
    encoder, given = made().eval(), features(2, 3, 5)
    out = encoder(given)
    assert out.shape == (2, 3, 5, 4)
    torch.testing.assert_close(out[1, 2], encoder({name: block[1, 2] for name, block in given.items()}))


def test_whole_number_blocks_and_floating_blocks_give_the_same() -> None:
    encoder, given = made().eval(), features(4)
    floats = {name: block.float() for name, block in given.items()}
    assert torch.equal(encoder(given), encoder(floats))


def test_the_same_seed_gives_the_same_weights_and_the_same_dropout() -> None:
    first, second, given = made(dropout=0.5), made(dropout=0.5), features(8)
    torch.manual_seed(1)
    left = first(given)
    torch.manual_seed(1)
    assert torch.equal(left, second(given))
    assert not torch.equal(left, second(given))


def test_other_blocks_are_ignored_and_the_order_of_the_dictionary_does_not_matter() -> None:
    encoder, given = made().eval(), features(4)
    mixed = {"extra": torch.ones(4, 2), "descriptors": given["descriptors"], "counts": given["counts"]}
    assert torch.equal(encoder(given), encoder(mixed))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"counts": torch.zeros(2, 6)}, "needs a block 'descriptors' and got counts"),
        ({"counts": torch.zeros(2, 7), "descriptors": torch.zeros(2, 3)}, "has 7 columns and the encoder wants 6"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(wrong: Features, said: str) -> None:
    with pytest.raises(InputError, match=said):
        made()(wrong)


@pytest.mark.parametrize(
    "settings", [{"dim": 0}, {"hidden": (4, 0)}, {"dropout": 1.0}, {"dropout": -0.1}, {"blocks": {}}]
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match="give"):
        MLP(**{"blocks": BLOCKS, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.02, 0.6])
def test_sparse_and_dense_counts_give_what_the_layers_give(rate: float) -> None:
    torch.manual_seed(0)
    encoder = MLP({"descriptors": 3, "counts": 300}, hidden=(16,), dim=4).eval()
    counts = torch.poisson(torch.full((2, 150, 300), rate)).to(torch.uint8)
    given = {"counts": counts, "descriptors": torch.randn(2, 150, 3)}
    plain = encoder.layers(torch.cat([given["descriptors"], counts.float().log1p()], -1))
    torch.testing.assert_close(encoder(given), plain, rtol=1e-4, atol=1e-5)
    table = SparseTable.of(counts.flatten(0, 1))
    rows = as_block(SparseRows(table, 1 + torch.arange(300).reshape(2, 150)))
    torch.testing.assert_close(encoder(given | {"counts": rows}), plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.inputs(given | {"counts": rows}), encoder.inputs(given))
