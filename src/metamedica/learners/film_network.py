"""FiLM network: an embedding of the task scales and shifts the features, and its labelled cases make the head."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from metamedica.functional.classes import check_two_classes, law_of_shown, membership
from metamedica.functional.deep_sets import masked_mean, perceptron
from metamedica.functional.labelled_cases import CaseTokens, normal_law
from metamedica.functional.prototypes import class_means
from metamedica.types import CaseBatch, Encoder, LabelledBatch, Law, Learner, Paper, TaskKind


@dataclass(frozen=True)
class GeneratedNetworks:
    """Per task: scale and shift of each modulated layer, and the rows of the head, weights and bias side by side.

    Outputs are classes, `counts` their support cases; or mean and scale (regression), `counts` None.
    """

    film: Float[Tensor, "tasks layers 2 width"]
    head: Float[Tensor, "tasks outputs wide"]
    counts: Float[Tensor, "tasks outputs"] | None


class FilmNetwork(Learner[GeneratedNetworks]):
    """Nothing is fitted in use: networks generate each task's own parameters from its support (Requeima et al., section 2).

    Features are GELU((1 + scale) * norm(W h) + shift), layer by layer, with scale and shift (FiLM) from the task's embedding; the
    weights and the bias of a class come from the mean of its support features.

    Deviates: the layers that are modulated stand behind the encoder and are learned with it (the paper modulates a frozen ResNet
    from inside); a task's embedding is a deep set of labelled cases (the paper's sees no labels), for a multiclass task the mean
    over its views, so that class names are irrelevant (`functional/labelled_cases`); no auto-regressive path between layers; the
    regression head, which the paper lacks, comes from the task's embedding; a class without support cases has probability
    (1/2) / (n + C/2).

    Args:
        encoder: learned.
        width: of every layer.
        layers: that are modulated.
    """

    paper: ClassVar[Paper] = Paper(
        "Fast and flexible multi-task classification using conditional neural adaptive processes", "Requeima et al.", 2019, "arXiv:1906.07697"
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(self, encoder: Encoder, *, width: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokens = CaseTokens(encoder.dim, width)
        self.member = nn.Sequential(nn.GELU(), perceptron(width, width, width))
        self.task = nn.Sequential(perceptron(width, width, width), nn.GELU())
        self.film = nn.Linear(width, layers * 2 * width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(before, width), nn.LayerNorm(width, elementwise_affine=False))
            for before in [encoder.dim, *[width] * (layers - 1)]
        )
        self.class_head = perceptron(width, width, width + 1)
        self.regression_head = perceptron(width, width, 2 * (width + 1))
        nn.init.zeros_(self.film.weight)  # at the start no task is modulated
        nn.init.zeros_(self.film.bias)

    def _task(self, embedded: Float[Tensor, "tasks n dim"], support: LabelledBatch) -> Float[Tensor, "tasks width"]:
        mean = masked_mean(self.member(self.tokens(embedded, support)), support.mask[:, None]).mean(1)
        task: Tensor = self.task(mean)
        return task

    def _features(
        self, embedded: Float[Tensor, "tasks n dim"], film: Float[Tensor, "tasks layers 2 width"]
    ) -> Float[Tensor, "tasks n width"]:
        features = embedded
        for layer, own in zip(self.layers, film.unbind(1), strict=True):
            features = gelu((1 + own[:, None, 0]) * layer(features) + own[:, None, 1])
        return features

    def adapt(self, support: LabelledBatch) -> GeneratedNetworks:
        """Return each task's modulation and head.

        Raises:
            TaskError: a support of one class.
        """
        self.check_kind(support.kind)
        embedded = self.encoder(support.features)
        task = self._task(embedded, support)
        film = self.film(task).unflatten(-1, (len(self.layers), 2, -1))
        if support.kind == "regression":
            return GeneratedNetworks(film, self.regression_head(task).unflatten(-1, (2, -1)), None)
        members = membership(support, embedded.dtype)
        counts = check_two_classes(members)
        head = self.class_head(class_means(self._features(embedded, film), members))
        return GeneratedNetworks(film, head, counts)

    def predict(self, state: GeneratedNetworks, query: CaseBatch) -> Law:
        """Return the law of each query case."""
        features = self._features(self.encoder(query.features), state.film)
        weight, bias = state.head[..., :-1], state.head[..., -1]
        output = features @ weight.mT + bias[:, None]
        return normal_law(output) if state.counts is None else law_of_shown(output, state.counts)
