"""Which form of the inner loop serves a network and a support."""

from dataclasses import replace

from metamedica.functional.in_turn import tasks_at_once
from metamedica.functional.inner_loop.chain import Affine, Link, Parameters, links_of
from metamedica.functional.inner_loop.chain_forms import Chain, HeadOnly, WideChain, head_links
from metamedica.functional.inner_loop.forms import AnyNetwork, Form
from metamedica.functional.inner_loop.loop import InnerLoop
from metamedica.functional.inner_loop.networks import ENCODER, AdaptedNetworks
from metamedica.functional.layered import Layered
from metamedica.types import Encoder, LabelledBatch

WIDE = 4
"""A first layer of so many times more columns than the support has cases is adapted by its Gram matrix."""


def form_for(
    encoder: Encoder, loop: InnerLoop, support: LabelledBatch, *, chunk: int | None = None, checkpoint: bool = False
) -> Form:
    """Return the fastest exact form to adapt this network on this support.

    Args:
        encoder: of the network.
        loop: how a task adapts.
        support: what it adapts on.
        chunk: as of `InnerLoopLearner`.
        checkpoint: as of `Chain`.
    """
    links = chain_of(encoder)
    if _leaves(encoder, loop):
        return HeadOnly(encoder, loop, checkpoint=checkpoint)
    if links is None:
        return AnyNetwork(encoder, loop, chunk=tasks_at_once(encoder, chunk), checkpoint=checkpoint)
    first, width = links[0], sum(block.shape[-1] for block in support.features.values())
    wide = width >= WIDE * support.mask.shape[1] and isinstance(first, Affine) and all(map(loop.moves, first.names))
    form = WideChain if wide and loop.rates_are_numbers(first.names) else Chain
    return form(encoder, loop, links, checkpoint=checkpoint)


def form_of(adapted: AdaptedNetworks, encoder: Encoder, loop: InnerLoop, *, chunk: int | None = None) -> Form:
    """Return the form to predict with what `form_for` adapted."""
    links = chain_of(encoder)
    if not any(name.startswith(ENCODER) for name in adapted.moved):
        return HeadOnly(encoder, loop)
    if links is None:
        return AnyNetwork(encoder, loop, chunk=tasks_at_once(encoder, chunk))
    return (Chain if adapted.front is None else WideChain)(encoder, loop, links)


def _leaves(encoder: Encoder, loop: InnerLoop) -> bool:
    """Return whether the inner loop leaves the encoder as it is."""
    return not any(loop.moves(ENCODER + name) for name, _ in encoder.named_parameters())


def one_graph_for_all(encoder: Encoder, loop: InnerLoop) -> bool:
    """Return whether all tasks of a batch adapt in the same operations, so that nothing is won by taking some of them at a time."""
    return _leaves(encoder, loop) or chain_of(encoder) is not None


def chain_of(encoder: Encoder) -> list[Link] | None:
    """Return the encoder and the head as one chain, or None where a layer of the encoder is unknown."""
    found = links_of(encoder.layers, ENCODER + "layers.") if isinstance(encoder, Layered) else None
    return None if found is None else found + head_links(encoder)


def first_order(adapted: AdaptedNetworks, start: Parameters) -> AdaptedNetworks:
    """Return the same networks with the gradient of the start passed on unchanged: the first-order approximation (Finn et al. 2017, section 5.2).

    Args:
        adapted: made under `torch.no_grad`.
        start: what they started from.
    """
    own = {
        name: value if value is start[name] else value.detach() + (start[name] - start[name].detach())
        for name, value in adapted.parameters.items()
    }
    return replace(adapted, parameters=own)
