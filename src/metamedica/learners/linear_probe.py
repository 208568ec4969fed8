"""Multitask pre-training, then a closed-form linear head on the frozen embedding."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from metamedica.functional.classes import membership
from metamedica.functional.logistic import SIGNALS, LogisticFit, fit_logistic, logistic_law
from metamedica.functional.multitask import TaskHeads, pooled, unit_size
from metamedica.functional.ridge import RELATIVE_PENALTIES, RidgeFit, fit_ridge, ridge_law
from metamedica.types import (
    CaseBatch,
    Encoder,
    EpisodeBatch,
    Features,
    LabelledBatch,
    Law,
    Learner,
    Paper,
    TaskKind,
)


class LinearProbe(Learner[RidgeFit | LogisticFit]):
    """Encoder pre-trained with one head per earlier task; a new task fits ridge or softmax regression on the normalised embedding.

    Meta-training uses no episodes: support and query cases count alike, each under its task's own head. It needs binary or
    regression tasks; the probe itself also learns multiclass ones.

    Deviates: the paper fits the head by gradient descent with fixed settings; here it is the exact optimum, its penalty chosen per
    task by leave-one-out (exact for ridge, approximate for classes).

    Args:
        encoder: learned.
        n_tasks: number of meta-training tasks.
        relative_penalties: ridge penalties tried, times the mean squared distance of a case from the support's centre.
        signals: prior variances of a class score tried, for classes.
    """

    paper: ClassVar[Paper] = Paper(
        "A strong baseline for molecular few-shot learning", "Formont et al.", 2024, "arXiv:2404.02314"
    )
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(
        self,
        encoder: Encoder,
        n_tasks: int,
        *,
        relative_penalties: tuple[float, ...] = RELATIVE_PENALTIES,
        signals: tuple[float, ...] = SIGNALS,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = TaskHeads(encoder.dim, n_tasks)
        self.relative_penalties = tuple(relative_penalties)
        self.signals = tuple(signals)

    def _embed(self, features: Features) -> Float[Tensor, "tasks cases dim"]:
        return unit_size(self.encoder(features))

    def adapt(self, support: LabelledBatch) -> RidgeFit | LogisticFit:
        """Return the linear head of each task; the embedding is frozen, so no gradient reaches the encoder from here."""
        self.check_kind(support.kind)
        embedded = self._embed(support.features).detach()
        if support.kind == "regression":
            return fit_ridge(embedded, support.targets, support.mask, relative_penalties=self.relative_penalties)
        return fit_logistic(embedded, membership(support, embedded.dtype), support.mask, signals=self.signals)

    def predict(self, state: RidgeFit | LogisticFit, query: CaseBatch) -> Law:
        """Return the predictive law of each query case."""
        embedded = self._embed(query.features)
        return ridge_law(state, embedded) if isinstance(state, RidgeFit) else logistic_law(state, embedded)

    def meta_loss(self, episodes: EpisodeBatch) -> Float[Tensor, ""]:
        """Return the multitask negative log-likelihood of support and query cases together.

        Raises:
            TaskError: multiclass tasks, or more tasks than heads.
        """
        cases = pooled(episodes)
        return self.heads.loss(self._embed(cases.features), cases, episodes.task_index)
