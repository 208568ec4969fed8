import pytest
import torch
from torch import Tensor

from gradient_world import check_adapted_in_any_network
from metamedica.encoders.message_passing import USUAL_ATOMS, MessagePassing
from metamedica.errors import InputError
from metamedica.types import CaseBatch, EpisodeBatch, Features, LabelledBatch

ATOMS, BONDS = (5, 3), (4, 2)
Graph = tuple[list[list[int]], list[list[int]]]

CHAIN: Graph = ([[1, 0], [2, 1], [3, 2], [1, 2]], [[0, 1, 1, 0], [1, 2, 2, 1], [2, 3, 3, 0]])
RING: Graph = ([[4, 0], [2, 1], [3, 0]], [[0, 1, 1, 1], [1, 2, 1, 0], [2, 0, 3, 1]])
ALONE: Graph = ([[2, 2]], [])


def made(depth: int = 3) -> MessagePassing:
    torch.manual_seed(0)
    return MessagePassing(ATOMS, BONDS, width=8, depth=depth, dim=5).double()


def blocks(graphs: list[Graph], most_atoms: int = 6, most_bonds: int = 7) -> Features:
    atoms = torch.zeros(len(graphs), most_atoms, 2, dtype=torch.int16)
    bonds = torch.zeros(len(graphs), most_bonds, 4, dtype=torch.int16)
    for row, (a, b) in enumerate(graphs):
        atoms[row, : len(a)] = torch.tensor(a)
        if b:
            bonds[row, : len(b)] = torch.tensor(b)
    return {"atoms": atoms.flatten(1), "bonds": bonds.flatten(1)}


def by_hand(encoder: MessagePassing, graph: Graph) -> Tensor:
    """The paper's equations, one directed bond at a time."""
    atoms = [encoder._atoms(torch.tensor(codes)) for codes in graph[0]]
    along: dict[tuple[int, int], Tensor] = {}
    for begin, end, *codes in graph[1]:
        along[begin, end] = along[end, begin] = encoder._bonds(torch.tensor(codes))
    first = {vw: torch.relu(encoder._source(atoms[vw[0]]) + bond) for vw, bond in along.items()}
    nothing = torch.zeros(encoder.width, dtype=torch.float64)
    hidden = first
    for _ in range(encoder.depth - 1):
        message = {(v, w): sum((h for (k, u), h in hidden.items() if u == v and k != w), nothing) for v, w in hidden}
        hidden = {vw: torch.relu(first[vw] + encoder._message(message[vw])) for vw in hidden}
    last = []
    for place, atom in enumerate(atoms):
        into = sum((h for (_, w), h in hidden.items() if w == place), nothing)
        last.append(torch.relu(encoder._atom(torch.cat([atom, into]))))
    return encoder._out(torch.stack(last).sum(0) / USUAL_ATOMS)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("graph", [CHAIN, RING, ALONE])
def test_it_computes_the_equations_of_the_paper(graph: Graph, depth: int) -> None:
    encoder = made(depth)
    torch.testing.assert_close(encoder(blocks([graph]))[0], by_hand(encoder, graph))


def test_padding_with_empty_atoms_and_bonds_changes_nothing() -> None:
    encoder, graphs = made(), [CHAIN, RING, ALONE]
    torch.testing.assert_close(encoder(blocks(graphs)), encoder(blocks(graphs, 40, 50)))


def test_the_numbering_of_atoms_and_the_direction_of_bonds_do_not_matter() -> None:
    new = [2, 0, 3, 1]
    atoms = [CHAIN[0][new.index(place)] for place in range(4)]
    bonds = [[new[end], new[begin], *codes] for begin, end, *codes in reversed(CHAIN[1])]
    encoder = made()
    torch.testing.assert_close(encoder(blocks([(atoms, bonds)])), encoder(blocks([CHAIN])))


def test_a_bond_changes_the_vector() -> None:
    other = (CHAIN[0], [*CHAIN[1][:-1], [2, 3, 1, 0]])
    encoder = made()
    assert not torch.allclose(encoder(blocks([other])), encoder(blocks([CHAIN])))


def test_an_atom_sees_others_up_to_depth_bonds_away_only() -> None:
    far = ([[4, 0], *CHAIN[0][1:]], CHAIN[1])
    near, seen = made(depth=2), made(depth=3)
    assert sees_end(near, CHAIN, far) is False
    assert sees_end(seen, CHAIN, far) is True


def sees_end(encoder: MessagePassing, left: Graph, right: Graph) -> bool:
    """Whether the last atom's own vector differs between two graphs."""
    kept: list[Tensor] = []
    hook = encoder._atom.register_forward_hook(lambda _module, _given, out: kept.append(out[0, 3]))
    encoder(blocks([left]))
    encoder(blocks([right]))
    hook.remove()
    return not torch.allclose(kept[0], kept[1])


def test_leading_axes_and_floating_codes_are_allowed() -> None:
    encoder = made()
    flat = blocks([CHAIN, RING, ALONE, CHAIN, RING, ALONE])
    shaped = {name: block.float().reshape(2, 3, -1) for name, block in flat.items()}
    out = encoder(shaped)
    assert out.shape == (2, 3, 5)
    torch.testing.assert_close(out.flatten(0, 1), encoder(flat))


def test_it_runs_under_vmap_over_tasks() -> None:
    encoder = made()
    shaped = {name: block.reshape(2, 2, -1) for name, block in blocks([CHAIN, RING, ALONE, CHAIN]).items()}
    torch.testing.assert_close(torch.vmap(encoder)(shaped), encoder(shaped))


def test_every_parameter_gets_a_gradient() -> None:
    encoder = made()
    encoder(blocks([CHAIN, RING])).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in encoder.parameters())


def test_missing_and_broken_blocks_are_refused() -> None:
    encoder, given = made(), blocks([CHAIN])
    with pytest.raises(InputError, match=r"reads the block .bonds. of Molecules\.graphs and got atoms"):
        encoder({"atoms": given["atoms"]})
    with pytest.raises(InputError, match="has 11 columns and needs 2"):
        encoder({**given, "atoms": given["atoms"][:, :11]})


@pytest.mark.parametrize("settings", [{"width": 0}, {"depth": 0}, {"dim": 0}])
def test_impossible_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(InputError, match="give at least 1"):
        MessagePassing(ATOMS, BONDS, **settings)
    with pytest.raises(InputError, match="at least one of each"):
        MessagePassing((), BONDS)


def test_the_second_order_meta_gradient_is_that_of_a_plain_loop_over_tasks() -> None:
    def part(graphs: list[list[Graph]]) -> LabelledBatch:
        n = max(map(len, graphs))
        mask = torch.arange(n) < torch.tensor([[len(task)] for task in graphs])
        each = [blocks(task + [ALONE] * (n - len(task))) for task in graphs]
        features = {name: torch.stack([task[name] for task in each]).double() for name in each[0]}
        targets = (torch.arange(n) % 3).repeat(len(graphs), 1) * mask
        return LabelledBatch(CaseBatch(features, mask), targets, "multiclass", 3)

    support = part([[CHAIN, RING, ALONE, RING], [RING, CHAIN, ALONE]])
    check_adapted_in_any_network(made(2), EpisodeBatch(support, part([[ALONE, CHAIN], [RING]]), torch.arange(2)))
