"""Made-up tables whose columns cause each other: a prior over small clinical tables, for methods that read any table.

A table is drawn from a structural causal model (Hollmann et al. 2022, arXiv:2207.01848, section 4 and appendix C): causes drawn at random go
through a few layers of sparse random connections, each node a function of its parents plus noise; some nodes are measured as columns, one
decides the label. So a column may be a cause of the disease, a consequence of it, or neither, and columns hang together. Measured values are
rounded, cut into yes and no, skewed or missing as they are in a hospital; labels follow the node only so far.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metamedica.errors import InputError

FEWEST_CASES = 8
_AT_ONCE = 16
_COLUMNS = 11.0
"""Usual number of columns of a clinical table; half of them have between 7 and 17."""
_SPREAD = 0.65

_SHAPES: tuple[tuple[float, Callable[[Tensor], Tensor]], ...] = (
    (0.25, torch.tanh),
    (0.20, lambda value: torch.where(value > 0, value, 0.1 * value)),
    (0.25, lambda value: value),
    (0.08, torch.sin),
    (0.08, torch.abs),
    (0.09, lambda value: value.sign() * value.abs().sqrt()),
    (0.05, lambda value: 1.5 * (value > 0)),
)
"""How often, and as what function, a layer of nodes follows its parents."""


@dataclass(frozen=True)
class DrawnTable:
    """A table of numbers with a question of two answers.

    Args:
        cells: a row a case.
        labels: 0 or 1.
    """

    cells: Float[Tensor, "cases columns"]
    labels: Int64[Tensor, " cases"]


def causal_tables(count: int, *, cases: int = 80, most_columns: int = 32, seed: int = 0) -> Iterator[DrawnTable]:
    """Yield tables, each from a causal model of its own; the same ones for the same arguments, and for a larger count the same first ones.

    Args:
        count: how many.
        cases: rows of each.
        most_columns: of a table; about 11 are usual.
        seed: decides all.

    Raises:
        InputError: no table, fewer than 8 cases or fewer than 2 columns are asked for.
    """
    if count < 1 or cases < FEWEST_CASES or most_columns < 2:
        raise InputError(
            f"got {count} tables of {cases} cases and at most {most_columns} columns; give at least 1, {FEWEST_CASES} and 2"
        )
    for start in range(0, count, _AT_ONCE):
        random = np.random.default_rng([seed, start])
        noise = torch.Generator().manual_seed(int(random.integers(2**62)))
        cells, labels = _drawn(cases, most_columns, random, noise)
        for cell, label in list(zip(cells, labels, strict=True))[: count - start]:
            yield DrawnTable(cell, label)


def _drawn(
    cases: int, most_columns: int, random: np.random.Generator, noise: torch.Generator
) -> tuple[Float[Tensor, "tables cases columns"], Int64[Tensor, "tables cases"]]:
    """Return tables that share their number of columns and layers, and nothing else."""
    columns = int(np.clip(np.rint(np.exp(random.normal(math.log(_COLUMNS), _SPREAD))), 2, most_columns))
    nodes, last = _nodes(cases, columns, random, noise)
    among = nodes.shape[-1]
    first = among - last if random.random() < 0.6 else 0  # the label at the end of the chains, or anywhere
    label = torch.randint(first, among, (_AT_ONCE, 1), generator=noise)
    order = torch.rand(_AT_ONCE, among, generator=noise).scatter(1, label, 2.0).argsort(1)[:, :columns]
    cells = nodes.gather(2, order[:, None].expand(-1, cases, -1))
    node = nodes.gather(2, label[:, None].expand(-1, cases, -1))[..., 0]
    return _measured(cells, random, noise), _labels(node, noise)


def _nodes(
    cases: int, columns: int, random: np.random.Generator, noise: torch.Generator
) -> tuple[Float[Tensor, "tables cases nodes"], int]:
    """Return all nodes in standard units, those of the last layer at the end, and how many these are."""
    width = int(random.integers(max(3, columns // 2), columns + 8))

    def normal(*shape: int) -> Tensor:
        return torch.randn(_AT_ONCE, *shape, generator=noise)

    layer = normal(cases, width)
    if random.random() < 0.3:
        layer = layer * (0.5 * normal(cases, width)).exp()
    if random.random() < 0.5:  # severity, age: what many columns share
        layer = layer + random.uniform(0.2, 1.2) * normal(cases, 1) * normal(1, width)
    layers = [layer]
    likely = np.array([share for share, _ in _SHAPES])
    for _ in range(int(random.integers(1, 5))):
        there = torch.rand(_AT_ONCE, width, width, generator=noise) < random.uniform(0.1, 0.9)
        weight = normal(width, width) * there
        weight = weight / (weight.square().sum(1, keepdim=True).sqrt() + 0.3)
        follow = _SHAPES[int(random.choice(len(_SHAPES), p=likely))][1]
        own = math.exp(random.uniform(math.log(0.05), 0.0))
        layer = follow(layer @ weight + 0.5 * normal(1, width)) + own * normal(cases, width)
        layers.append(layer)
    nodes = torch.cat(layers, dim=-1)
    return (nodes - nodes.mean(1, keepdim=True)) / (nodes.std(1, keepdim=True) + 1e-4), width


def _measured(
    cells: Float[Tensor, "tables cases columns"], random: np.random.Generator, noise: torch.Generator
) -> Float[Tensor, "tables cases columns"]:
    """Return nodes as a hospital writes them down."""
    tables, _, columns = cells.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(tables, *shape, generator=noise)

    coarse, kind = random.uniform(0, 0.9), uniform(1, columns)
    limit = 0.8 * torch.randn(tables, 1, columns, generator=noise)
    steps = (cells * (1.2 * uniform(1, columns) - 0.6).exp()).round()
    cells = torch.where(kind < 0.65 * coarse, (cells > limit).float(), torch.where(kind < coarse, steps, cells))
    if random.random() < 0.3:
        cells = torch.where(uniform(1, columns) < 0.3, cells.clamp(-4, 3).exp(), cells)
    if random.random() < 0.3:
        missing = uniform(*cells.shape[1:]) < 0.6 * uniform(1, columns) ** 3
        cells = torch.where(missing, cells.mean(1, keepdim=True), cells)
    return cells


def _labels(node: Float[Tensor, "tables cases"], noise: torch.Generator) -> Int64[Tensor, "tables cases"]:
    """Return labels that follow the node by a logistic law, from hardly to nearly always, at prevalences of about 15 to 75 %."""
    tables, cases = node.shape

    steep = torch.exp(torch.rand(tables, 1, generator=noise) * math.log(20.0))
    prevalence = torch.sigmoid(0.9 * torch.randn(tables, 1, generator=noise) - 0.3)
    limit = node.sort(1).values.gather(1, ((1 - prevalence) * (cases - 1)).long())
    return (torch.rand(tables, cases, generator=noise) < torch.sigmoid(steep * (node - limit))).long()
