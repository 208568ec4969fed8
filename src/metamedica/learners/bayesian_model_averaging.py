"""Several accounts of how tasks differ, averaged by what the labels say of each, under weights that the earlier tasks teach."""

import inspect
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metamedica import registry
from metamedica.blocks import OWN_BLOCK
from metamedica.errors import InputError
from metamedica.functional.fitted import FittedKinds
from metamedica.functional.leaning import SCRATCH, Leaning, WeighsItself, gain_of
from metamedica.functional.mixture import mix
from metamedica.functional.model_average import Averageable, Contest, Played, fit_model_weights
from metamedica.functional.pooling import pools
from metamedica.functional.population import HasPopulation
from metamedica.functional.rehearsal import rehearsals
from metamedica.types import (
    CaseBatch,
    ClosedForm,
    EpisodeBatch,
    LabelledBatch,
    Law,
    Learner,
    OneOf,
    Paper,
    Ranges,
    RawEncoder,
    TaskKind,
)


@dataclass(frozen=True)
class AveragedState:
    """Per task: what each model knows, its weight, and the number of labels."""

    kind: TaskKind
    each: tuple[Any, ...]
    log_weight: Float[Tensor, "tasks models"]
    size: Float[Tensor, " tasks"]
    own: bool
    """Whether the tasks have columns of their own."""


class BayesianModelAveraging(Learner[AveragedState], ClosedForm, WeighsItself, HasPopulation):
    """The average of models by the support's marginal likelihood under each (Hoeting et al., eq. 1 to 3): of `hierarchical_bayes` (a task has its own
    level, slope and linear effects about a common score) and `additive_transfer` (a smooth correction of its own on a pooled linear score).

    What each model counts for before any label makes the earlier tasks most likely, played as new ones with scores that have not seen them
    (`functional/model_average`): with a few earlier tasks about as much as any other, with many whatever they say. Where a task has columns of its
    own (a block `own`), models that do not read them have no say.

    Deviates: the paper's prior over models is given; here the earlier tasks teach it.

    Args:
        raw: of every model.
        models: learners that say their evidence (`Averageable`), by name.
        trees: of a model that grows some.
        leaves: of each tree.
        most_cases: a task with more is cut down to so many.

    Raises:
        InputError: no model, or one that does not say its evidence.
    """

    paper: ClassVar[Paper] = Paper(
        "Bayesian model averaging: a tutorial", "Hoeting, Madigan, Raftery and Volinsky", 1999, "doi:10.1214/ss/1009212519"
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "regression"})
    least_classes: ClassVar[int] = 1
    ranges: ClassVar[Ranges] = {
        "models": None,
        "trees": OneOf((40, 80, 150)),
        "leaves": OneOf((4, 6, 12)),
        "most_cases": None,
    }

    def __init__(
        self,
        raw: RawEncoder,
        *,
        models: Sequence[str] = ("hierarchical_bayes", "additive_transfer"),
        trees: int = 80,
        leaves: int = 6,
        most_cases: int = 2000,
    ) -> None:
        super().__init__()
        self.raw = raw
        self.most_cases = most_cases
        given = {"trees": trees, "leaves": leaves, "most_cases": most_cases}
        self.models = nn.ModuleDict({name: _made(name, raw, given) for name in models})
        if not self.models:
            raise InputError(f"got no model to average; give some of: {', '.join(registry.learners_that(Averageable))}")
        even = torch.full((len(self.models),), 1 / len(self.models)).log()
        self.taught = FittedKinds(self.kinds, {"log_weight": even})

    def _each(self) -> list[Any]:
        """Return the models: learners that are `Averageable`."""
        return list(self.models.values())

    def adapt(self, support: LabelledBatch) -> AveragedState:
        """Return what every model makes of each task, and its weight. A support of one class, or of one case, is answered with doubt."""
        self.check_kind(support.kind)
        each = tuple(model.adapt(support) for model in self._each())
        evidence = [model.log_evidence(state) for model, state in zip(self._each(), each, strict=True)]
        own = OWN_BLOCK in support.features
        prior = self._prior(support.kind, own=own)
        log_weight = torch.log_softmax(prior + torch.stack(evidence, dim=-1), dim=-1)
        return AveragedState(support.kind, each, log_weight, support.counts().to(log_weight.dtype), own)

    def _prior(self, kind: TaskKind, *, own: bool) -> Float[Tensor, " models"]:
        """Return the log weight of each model before any label; where a task has columns of its own, that of the models that read them."""
        prior: Tensor = self.taught.of(kind)["log_weight"]
        blind = prior.new_tensor([not model.reads_own for model in self._each()], dtype=torch.bool)
        return prior.masked_fill(blind, -math.inf).log_softmax(0) if own and not bool(blind.all()) else prior

    def predict(self, state: AveragedState, query: CaseBatch) -> Law:
        """Return the law of each query case, averaged over models."""
        laws = [model.predict(known, query) for model, known in zip(self._each(), state.each, strict=True)]
        return mix(laws, state.log_weight.exp())

    def leaning(self, state: AveragedState) -> Leaning:
        """Return the posterior weight, over all models, of each way in which a task may relate to earlier ones, and the gain of all but the last,
        which takes nothing from them, over the last."""
        shares: dict[str, Tensor] = {}
        prior = self._prior(state.kind, own=state.own).log_softmax(0)
        after, before = [], []
        for at, (model, known) in enumerate(zip(self._each(), state.each, strict=True)):
            weight = state.log_weight[:, at].exp()
            for name, share in model.shares(known).items():
                shares[name] = shares.get(name, torch.zeros_like(weight)) + weight * share
            here, earlier = model.log_sides(known)
            after.append(state.log_weight[:, at, None] + here)
            before.append(prior[at] + earlier)
        sides = [torch.stack(each).logsumexp(0) for each in (after, before)]
        alone = shares.pop(SCRATCH, torch.zeros_like(state.size))
        return Leaning(shares | {SCRATCH: alone}, gain_of(sides[0], sides[1], state.size))

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit every model and what it counts for, for each kind that there are tasks of.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """
        for kind, pool in pools(tasks, self.raw, sorted(self.kinds), most_cases=self.most_cases).items():
            fitted = [(model, model.fit_pool(pool)) for model in self._each()]
            contests = []
            for play in rehearsals(pool):
                played = [model.play(pool, held_out, play) for model, held_out in fitted]
                contests.append(Contest(played, play.query.shape[1], play.share))
            self.taught.of(kind).keep({"log_weight": fit_model_weights(contests, len(fitted))})

    def fit_prior(self, episodes: Sequence[EpisodeBatch]) -> None:
        """Fit the prior of every model, then what it counts for, to the queries of meta-valid tasks."""
        for model in self._each():
            model.fit_prior(episodes)
        for kind in sorted(self.kinds):
            batches = [batch for batch in episodes if batch.support.kind == kind]
            if batches:
                contests, before = self._contests(batches), self.taught.of(kind)["log_weight"]
                self.taught.of(kind).keep({"log_weight": fit_model_weights(contests, len(before), start=before)})

    def _contests(self, batches: Sequence[EpisodeBatch]) -> list[Contest]:
        """Return how all models do on each episode; the episodes of a task count for as many cases as one."""
        times = Counter(int(task) for batch in batches for task in batch.task_index)
        contests = []
        with torch.no_grad():
            for batch in batches:
                played = [_played(model, batch) for model in self._each()]
                for at, (task, real) in enumerate(zip(batch.task_index, batch.query.mask, strict=True)):
                    each = [Played(one.log_evidence[at, None], one.log_likelihood[at, None, real]) for one in played]
                    contests.append(Contest(each, int(real.sum()), 1 / times[int(task)]))
        return contests


def _made(name: str, raw: RawEncoder, given: dict[str, int]) -> Learner[Any]:
    """Return a model with the settings that it knows."""
    made = registry.learner_class(name)
    if not issubclass(made, Averageable):
        raise InputError(
            f"the learner {name!r} does not say its evidence; average some of: {', '.join(registry.learners_that(Averageable))}"
        )
    known = inspect.signature(made).parameters
    built = cast(Any, made)(raw, **{setting: value for setting, value in given.items() if setting in known})
    return cast(Learner[Any], built)


def _played(model: Any, batch: EpisodeBatch) -> Played:
    state = model.adapt(batch.support)
    law = model.predict(state, batch.query.cases)
    return Played(model.log_evidence(state), law.log_prob(batch.query.targets))
