"""Attention by hand and against torch's own layers with the same weights."""

import pytest
import torch
from torch import Tensor

from metamedica.errors import InputError
from metamedica.functional.attention import Attention, Memory, Transformer, attend
from torch_layers import torch_attention, torch_layer

WIDTH, HEADS = 8, 2


def _tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_what_is_read_is_the_softmax_weighted_mean_of_real_values() -> None:
    queries, keys, values = _tokens(1, 1, 2), _tokens(1, 1, 4, seed=1), _tokens(1, 1, 4, seed=2)
    mask = torch.tensor([[True, False, True, True]])
    found = attend(queries, Memory(keys, values, mask))[0, 0]
    for query, read in zip(queries[0, 0], found, strict=True):
        weight = torch.stack([(query @ keys[0, 0, place] / WIDTH**0.5).exp() for place in (0, 2, 3)])
        want = sum(w * values[0, 0, place] for w, place in zip(weight / weight.sum(), (0, 2, 3), strict=True))
        torch.testing.assert_close(read, want)


def test_an_empty_set_gives_nothing_and_spoils_no_gradient() -> None:
    queries, keys, values = (_tokens(2, 1, 3, seed=seed).requires_grad_() for seed in range(3))
    mask = torch.tensor([[False] * 3, [True] * 3])
    found = attend(queries, Memory(keys, values, mask))
    assert not found[0].any()
    assert found[1].any()
    assert all(bool(slope.isfinite().all()) for slope in torch.autograd.grad(found.sum(), [queries, keys, values]))


def test_a_set_without_members_is_read_as_nothing_through_every_layer() -> None:
    torch.manual_seed(0)
    transformer, cross = Transformer(WIDTH, heads=HEADS, layers=2).double(), Attention(WIDTH, heads=HEADS).double()
    nobody, mask = _tokens(2, 0), torch.ones(2, 0, dtype=torch.bool)
    members, _ = transformer.read(nobody, mask)
    assert members.shape == nobody.shape
    read = cross(_tokens(2, 3), cross.memory(nobody, nobody, mask))
    torch.testing.assert_close(read, cross.out.bias.expand_as(read))


def test_sets_queries_and_masks_are_repeated_where_the_others_have_more_views() -> None:
    queries, keys, values = _tokens(2, 1, HEADS, 3), _tokens(2, 1, HEADS, 5, seed=1), _tokens(2, 4, HEADS, 5, seed=2)
    mask = torch.tensor([[True, True, False, True, False], [True] * 5])
    found = attend(queries, Memory(keys, values, mask[:, None]))
    for view in range(4):
        want = attend(queries[:, 0], Memory(keys[:, 0], values[:, view], mask))
        torch.testing.assert_close(found[:, view], want)


@pytest.mark.parametrize("size", [1, 6])
def test_attention_is_that_of_torch_with_the_same_weights_and_mask(size: int) -> None:
    torch.manual_seed(0)
    ours = Attention(WIDTH, heads=HEADS).double()
    queries, keys, values = _tokens(3, 4), _tokens(3, size, seed=1), _tokens(3, size, seed=2)
    mask = torch.arange(size) < torch.tensor([[size], [1], [size // 2 + 1]])
    found = ours(queries, ours.memory(keys, values, mask))
    want, _ = torch_attention(ours)(queries, keys, values, key_padding_mask=~mask)
    torch.testing.assert_close(found, want, atol=1e-12, rtol=0)


def test_a_transformer_of_no_layer_changes_nothing_and_each_layer_reads_the_set_as_it_then_stands() -> None:
    torch.manual_seed(0)
    members, tokens, mask = _tokens(2, 5), _tokens(2, 3, seed=1), torch.ones(2, 5, dtype=torch.bool)
    none, two = Transformer(WIDTH, heads=HEADS, layers=0), Transformer(WIDTH, heads=HEADS, layers=2).double()
    assert torch.equal(none.read(members, mask)[0], members)
    assert torch.equal(none(tokens, ()), tokens)
    first, second = two.layers
    then, memories = two.read(members, mask)
    between = first(members, first.memory(members, mask))
    torch.testing.assert_close(then, second(between, second.memory(between, mask)))
    want = second(first(tokens, first.memory(members, mask)), second.memory(between, mask))
    torch.testing.assert_close(two(tokens, memories), want)


def test_a_layer_in_which_a_set_reads_itself_is_the_transformer_layer_of_torch() -> None:
    torch.manual_seed(0)
    transformer, members = Transformer(WIDTH, heads=HEADS, layers=2).double(), _tokens(3, 5)
    mask = torch.arange(5) < torch.tensor([[5], [1], [3]])
    want = members
    for layer in transformer.layers:
        want = torch_layer(layer)(want, src_key_padding_mask=~mask)
    torch.testing.assert_close(transformer.read(members, mask)[0][mask], want[mask], atol=1e-12, rtol=0)


def test_a_width_that_the_heads_cannot_share_is_refused() -> None:
    with pytest.raises(InputError, match="got width 10 and 4 heads; give a width that is a multiple of the heads"):
        Attention(10, heads=4)
