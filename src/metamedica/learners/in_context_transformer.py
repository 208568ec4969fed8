"""In-context transformer: support and query cases as tokens; the support attends to itself, each query to the support."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from metamedica.functional.attention import Memory, Transformer
from metamedica.functional.labelled_cases import CaseTokens, LawHead
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind


@dataclass(frozen=True)
class LayerMemories:
    """Keys and values of each task's support, `[tasks, views, heads, cases, size]`, one a layer."""

    memories: tuple[Memory, ...]
    kind: TaskKind


class InContextTransformer(Learner[LayerMemories]):
    """A transformer that reads the support and answers the query in one pass, trained on that alone (Kirsch et al., section 3).

    The mask is that of Hollmann et al. (arXiv:2207.01848): a support case attends to the support, a query case to the support only,
    so that queries never see each other. `adapt` keeps keys and values of the support layer by layer; `predict` runs only the
    query through them, and equals the one pass over both.

    Deviates: no positional code, so that the order of the support is irrelevant (Kirsch et al. read a sequence); the tokens are of
    encoded cases; regression, with a Normal law (the papers classify); each class of a multiclass task is scored from its own
    view of the support, so that its name is irrelevant (`functional/labelled_cases`).

    Args:
        encoder: learned.
        width: of a token.
        heads: of the attention.
        layers: how many.
    """

    paper: ClassVar[Paper] = Paper(
        "General-purpose in-context learning by meta-learning transformers", "Kirsch et al.", 2022, "arXiv:2212.04458"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(self, encoder: Encoder, *, width: int = 128, heads: int = 4, layers: int = 4) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokens = CaseTokens(encoder.dim, width)
        self.transformer = Transformer(width, heads=heads, layers=layers)
        self.norm = nn.LayerNorm(width)
        self.head = LawHead(width)

    def adapt(self, support: LabelledBatch) -> LayerMemories:
        """Return the keys and values of each task's support at every layer."""
        self.check_kind(support.kind)
        tokens = self.tokens(self.encoder(support.features), support)
        return LayerMemories(self.transformer.read(tokens, support.mask[:, None])[1], support.kind)

    def predict(self, state: LayerMemories, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        tokens = self.tokens.unlabelled(self.encoder(query.features))
        law: Law = self.head(self.norm(self.transformer(tokens, state.memories)), state.kind)
        return law
