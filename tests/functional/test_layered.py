"""What an encoder of layers says of its input."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metamedica.encoders.mlp import MLP
from metamedica.functional.layered import Layered
from metamedica.functional.sparse import FEWEST_COLUMNS, FEWEST_ROWS, Entries, laid_out
from metamedica.types import Features


class _Plain(Layered):
    layers = nn.Sequential(nn.Linear(2, 1))

    def inputs(self, features: Features) -> Float[Tensor, "*batch width"]:
        return features["x"]


def test_by_default_the_input_is_one_dense_piece() -> None:
    x = torch.ones(3, 2)
    (piece,) = _Plain().pieces({"x": x})
    assert piece is x


def test_pieces_side_by_side_are_the_input() -> None:
    random = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.full((2, FEWEST_ROWS, FEWEST_COLUMNS), 0.03), generator=random)
    features = {"counts": counts, "x": torch.randn(2, FEWEST_ROWS, 3, generator=random)}
    encoder = MLP({"counts": FEWEST_COLUMNS, "x": 3}, hidden=(4,), dropout=0.0)
    pieces = encoder.pieces(features)
    assert isinstance(pieces[0], Entries)
    torch.testing.assert_close(laid_out(pieces), encoder.inputs(features))
    few = {name: block[:, :2] for name, block in features.items()}
    assert len(encoder.pieces(few)) == 1
    torch.testing.assert_close(encoder(features)[:, :2], encoder(few), atol=1e-5, rtol=1e-5)
