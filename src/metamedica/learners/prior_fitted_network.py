"""Prior-fitted network: a transformer over the cells of any table that reads labelled rows and answers for others in one pass."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Categorical

from metamedica.functional.attention import AttentionLayer, Memory
from metamedica.functional.classes import HALF, membership
from metamedica.functional.kernel_scores import N_SCORES, KernelScores, kernel_scores
from metamedica.functional.shown_columns import ShownColumns, shown_columns
from metamedica.types import CaseBatch, LabelledBatch, Law, Learner, Paper, RawEncoder, TaskKind

_OF_A_CELL = 8
_OF_A_TABLE = 3
_LOG_UNIT = 3.0
"""Logarithms of counts are divided by this, to be about 1."""


@dataclass(frozen=True)
class ReadTable:
    """What is kept of each task's support; the views of a multiclass task are tasks of their own, side by side."""

    columns: ShownColumns
    scores: KernelScores
    about: Float[Tensor, "tasks 3"]
    memories: tuple[Memory, ...]
    kind: TaskKind
    views: int


class PriorFittedNetwork(Learner[ReadTable]):
    """A transformer whose tokens are the cells of a table and one token a row for the label (Hollmann et al. 2022; cells as tokens: 2025).

    A layer attends over the cells of a row, then over the rows of a column, where only labelled rows are read. Nothing in it belongs to
    a column: tables may have any columns, in any order. Meta-trained on many tables, real or drawn from a prior over them, it is the
    posterior predictive of a new one. A class of a multiclass task is scored against the rest.

    Deviates: a cell is told what a person would look at first, its value in standard units of the labelled rows turned to the side of
    class 1, and how the column correlates with the label (`functional/shown_columns`); a row's own token holds the scores of a few kernel
    ridge regressions, those of a labelled row without itself (`functional/kernel_scores`). The network starts as their mean and learns
    where to trust which. So it is trained on 10^5 small tables, not on 10^7, and needs no graphics processor.

    Args:
        raw: its `flat` features are the columns.
        width: of a token.
        heads: of each attention.
        layers: how many.
        most_columns: read of a table; of more, those that tell most of the label.
    """

    paper: ClassVar[Paper] = Paper(
        "TabPFN: A transformer that solves small tabular classification problems in a second", "Hollmann et al.", 2022, "arXiv:2207.01848",
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass"})

    def __init__(
        self, raw: RawEncoder, *, width: int = 48, heads: int = 2, layers: int = 3, most_columns: int = 16
    ) -> None:
        super().__init__()
        self.raw = raw
        self.most_columns = most_columns
        self.cell = nn.Linear(_OF_A_CELL, width)
        self.row = nn.Linear(2 + N_SCORES + _OF_A_TABLE, width)
        self.over_columns = nn.ModuleList(AttentionLayer(width, heads=heads) for _ in range(layers))
        self.over_rows = nn.ModuleList(AttentionLayer(width, heads=heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.blend = nn.Parameter(torch.full((N_SCORES,), 2.0 / N_SCORES))
        self.level = nn.Parameter(torch.tensor(0.5))

    def adapt(self, support: LabelledBatch) -> ReadTable:
        """Return the columns as the support shows them, its regressions, and what later rows will read of it at every layer."""
        self.check_kind(support.kind)
        flat = self.raw.flat(support.features)
        members = membership(support, flat.dtype).mT
        labels = members[:, 1:] if support.kind == "binary" else members
        views = labels.shape[1]
        labels = labels.reshape(-1, labels.shape[-1])
        flat, mask = flat.repeat_interleave(views, dim=0), support.mask.repeat_interleave(views, dim=0)
        columns = shown_columns(flat, mask, labels, most=self.most_columns)
        standard = columns.every(flat).masked_fill(~mask[..., None], 0)
        cells = columns.chosen(standard)
        scores = kernel_scores(standard, mask, labels)
        about = _about(columns, mask, labels)
        known = torch.stack([mask.to(labels.dtype) - labels, labels], dim=-1)
        tokens = self._tokens(cells, scores.left_out, known, columns, about)
        return ReadTable(columns, scores, about, self._read(tokens, columns, mask), support.kind, views)

    def predict(self, state: ReadTable, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        flat = self.raw.flat(query.features).repeat_interleave(state.views, dim=0)
        standard = state.columns.every(flat)
        cells, count = state.columns.chosen(standard), flat.shape[1]
        base = state.scores(standard)
        tokens = self._tokens(cells, base, cells.new_zeros(len(cells), count, 2), state.columns, state.about)
        read = self.head(self.norm(self._asked(tokens, state)))
        score = read[..., 0] + (base @ self.blend) * read[..., 1].exp() + self.level * state.about[:, :1]
        if state.kind == "binary":
            return Categorical(logits=torch.stack([torch.zeros_like(score), score], dim=-1), validate_args=False)
        return Categorical(logits=score.view(-1, state.views, count).mT, validate_args=False)

    def _tokens(
        self,
        cells: Float[Tensor, "tasks m k"],
        scores: Float[Tensor, "tasks m scores"],
        labels: Float[Tensor, "tasks m 2"],
        columns: ShownColumns,
        about: Float[Tensor, "tasks 3"],
    ) -> Float[Tensor, "tasks m places width"]:
        """Return a token for each row's label, then one for each of its cells."""
        turned = cells * columns.turn[:, None]
        told = columns.told[:, None].expand_as(cells)
        seen = told.abs() * (about[:, None, 1:2] * _LOG_UNIT / 2).exp()
        count, many = (about[:, None, place : place + 1].expand_as(cells) for place in (1, 2))
        two = columns.two_valued[:, None].expand_as(cells).to(cells.dtype)
        parts = [turned, 2 * cells * told, 2 * told.abs(), seen / 2, two, many, count, turned.abs()]
        of_cells = self.cell(torch.stack(parts, dim=-1))
        of_rows = self.row(torch.cat([labels, scores, about[:, None].expand(-1, cells.shape[1], -1)], dim=-1))
        return torch.cat([of_rows[:, :, None], of_cells], dim=2)

    def _layers(self) -> list[tuple[AttentionLayer, AttentionLayer]]:
        return cast(
            list[tuple[AttentionLayer, AttentionLayer]], list(zip(self.over_columns, self.over_rows, strict=True))
        )

    def _read(
        self, tokens: Float[Tensor, "tasks n places width"], columns: ShownColumns, mask: Bool[Tensor, "tasks n"]
    ) -> tuple[Memory, ...]:
        places, memories = _places(columns), []
        for over_columns, over_rows in self._layers():
            tokens = over_columns(tokens, over_columns.memory(tokens, places))
            by_column = tokens.transpose(1, 2)
            memories.append(over_rows.memory(by_column, mask[:, None]))
            tokens = over_rows(by_column, memories[-1]).transpose(1, 2)
        return tuple(memories)

    def _asked(self, tokens: Float[Tensor, "tasks m places width"], state: ReadTable) -> Float[Tensor, "tasks m width"]:
        """Return the label's token of each row after it has read the support; rows do not see each other."""
        places = _places(state.columns)
        last = len(state.memories) - 1
        for layer, ((over_columns, over_rows), memory) in enumerate(zip(self._layers(), state.memories, strict=True)):
            tokens = over_columns(tokens, over_columns.memory(tokens, places))
            by_column = tokens.transpose(1, 2)
            if layer == last:  # what the other cells read there reaches nothing
                by_column, memory = by_column[:, :1], Memory(memory.keys[:, :1], memory.values[:, :1], memory.mask)
            tokens = over_rows(by_column, memory).transpose(1, 2)
        return tokens[:, :, 0]


def _places(columns: ShownColumns) -> Bool[Tensor, "tasks 1 places"]:
    return torch.cat([torch.ones_like(columns.there[:, :1]), columns.there], dim=1)[:, None]


def _about(
    columns: ShownColumns, mask: Bool[Tensor, "tasks n"], labels: Float[Tensor, "tasks n"]
) -> Float[Tensor, "tasks 3"]:
    """Return log odds of class 1 in the support, and the logarithms of its cases and columns."""
    count, ones = mask.sum(1).to(labels.dtype), labels.sum(1)
    odds = ((ones + HALF) / (count - ones + HALF)).log()
    sizes = torch.stack([count, columns.varying], dim=-1).clamp(min=1).log() / _LOG_UNIT
    return torch.cat([odds[:, None], sizes], dim=-1)
