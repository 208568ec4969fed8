"""Attentive neural process, deterministic path: each query reads the labelled cases that it attends to."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from metamedica.functional.attention import Attention, Memory, Transformer
from metamedica.functional.deep_sets import beside, perceptron
from metamedica.functional.labelled_cases import CaseTokens, LawHead
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind


@dataclass(frozen=True)
class AttendedSupport:
    """What queries read of each task's support, `[tasks, views, heads, cases, size]`."""

    memory: Memory
    kind: TaskKind


class AttentiveNeuralProcess(Learner[AttendedSupport]):
    """Labelled cases attend to each other; a query attends to them by its case alone; a perceptron answers (Kim et al., section 3).

    Deviates: no latent path, so that the law stays Normal or Categorical (tasks' functions cannot be drawn jointly); self-attention
    in transformer layers with norms; each class of a multiclass task is scored from its own view of the support, so that its name
    is irrelevant (`functional/labelled_cases`); the least scale is 0.05, not 0.1.

    Args:
        encoder: learned.
        width: of every layer.
        heads: of every attention.
        layers: of self-attention among the support.
    """

    paper: ClassVar[Paper] = Paper("Attentive neural processes", "Kim et al.", 2019, "arXiv:1901.05761")
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(self, encoder: Encoder, *, width: int = 128, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokens = CaseTokens(encoder.dim, width)
        self.encode = nn.Sequential(nn.GELU(), perceptron(width, width, width))
        self.transformer = Transformer(width, heads=heads, layers=layers)
        self.place = perceptron(encoder.dim, width, width)
        self.cross = Attention(width, heads=heads)
        self.decode = nn.Sequential(perceptron(encoder.dim + width, width, width), nn.GELU())
        self.head = LawHead(width)

    def adapt(self, support: LabelledBatch) -> AttendedSupport:
        """Return keys (of the cases) and values (of the labelled cases after self-attention) of each task's support."""
        self.check_kind(support.kind)
        embedded, mask = self.encoder(support.features), support.mask[:, None]
        values, _ = self.transformer.read(self.encode(self.tokens(embedded, support)), mask)
        memory = self.cross.memory(self.place(embedded)[:, None], values, mask)
        return AttendedSupport(memory, support.kind)

    def predict(self, state: AttendedSupport, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        embedded = self.encoder(query.features)[:, None]
        read = self.cross(self.place(embedded), state.memory)
        law: Law = self.head(self.decode(beside(embedded, read)), state.kind)
        return law
