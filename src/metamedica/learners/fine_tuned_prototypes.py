"""Pre-train, meta-train prototypes, then fine-tune the network on a task as far as earlier tasks vouch for at that support size."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metamedica.errors import InputError
from metamedica.functional.classes import law_of_shown, membership
from metamedica.functional.in_turn import tasks_at_once
from metamedica.functional.inner_loop.chain import Parameters
from metamedica.functional.inner_loop.descents import descents_if_better
from metamedica.functional.inner_loop.networks import embed, encoder_parameters
from metamedica.functional.left_out_prototypes import left_out_loss
from metamedica.functional.multitask import unit_size
from metamedica.functional.prototypes import Prototypes, prototypes_of, relative_squares
from metamedica.functional.support_sizes import (
    between_sizes,
    cases_a_class,
    first_of_each_class,
    nearest,
    vouched_gain,
)
from metamedica.functional.task_random import over_tasks
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

_DRAWS = 2
"""Supports of each size that an earlier task is judged on."""
_NUMBERS_AT_ONCE = 2**26
"""Parameters of all tasks that take steps at once."""


@dataclass(frozen=True)
class TunedPrototypes:
    """Prototypes of each task under its own network.

    `parameters` are `[tasks, ...]` per name of the encoder's; none where no task of the batch took a step and all share the encoder.
    `steps` and `rate` say how far each task went.
    """

    prototypes: Prototypes
    parameters: Parameters
    steps: Int[Tensor, " tasks"]
    rate: Float[Tensor, " tasks"]


class FineTunedPrototypes(Learner[TunedPrototypes]):
    """Prototypes on the unit sphere; a copy of the encoder takes so many gradient steps on the support as its size has paid for before.

    Hu et al.'s pipeline: an encoder, pre-trained or not, is meta-trained as a prototypical network and fine-tuned on the
    new task by the same loss on its support. There the rate (0 included) is chosen by a few labelled episodes of the new domain. Here
    `fit_prior` does it, by size of the support: on supports of meta-valid tasks, cut down to each of `sizes` cases a class, it measures
    what each number of steps at each rate gains in log-likelihood of the query. Between sizes gains are linear in log size. The best is
    taken where its mean less its standard error is above 0, with `doubt` imagined tasks that gained nothing; else, and
    with less than two earlier tasks, no step is taken: plain prototypes.

    A support case is compared with a prototype that it is not part of, so a class of one case asks for nothing, and with one case a class
    nothing moves.

    Deviates: squared distance between unit vectors and their means instead of the cosine to the mean; leaving a case out instead of
    augmented copies of the support as queries; full-batch steps, each kept only if the loss falls, instead of stochastic ones.

    Args:
        encoder: learned; without batch statistics (they would couple tasks).
        temperature: of squared distances between unit vectors, at the start; learned.
        step_counts: numbers of steps tried, ascending.
        rates: lengths of the first step tried; a kept step makes the next 1.5 times longer, a refused one half as long.
        sizes: cases a class that the steps are judged at, ascending.
        doubt: imagined earlier tasks that gained nothing.
    """

    paper: ClassVar[Paper] = Paper(
        "Pushing the limits of simple pipelines for few-shot learning: external data and fine-tuning make a difference",
        "Hu, Li, Stühmer, Kim and Hospedales", 2022, "arXiv:2204.07305",
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass"})
    vouched: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float = 0.2,
        step_counts: tuple[int, ...] = (5, 10, 20, 40),
        rates: tuple[float, ...] = (0.01, 0.1),
        sizes: tuple[int, ...] = (2, 5, 10, 20),
        doubt: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())
        self.step_counts = _ascending("step_counts", step_counts, least=1)
        self.rates = tuple(rates)
        self.sizes = _ascending("sizes", sizes, least=2)
        self.doubt = doubt
        if not self.rates or min(self.rates) <= 0 or doubt <= 0:
            raise InputError(f"got rates {list(rates)} and doubt {doubt}; give numbers above 0, and one rate or more")
        self.register_buffer("vouched", torch.zeros(len(self.sizes), len(self._settings)))

    @property
    def _settings(self) -> list[tuple[int, float]]:
        """Steps and rate of each setting, the shortest first."""
        return list(product(self.step_counts, self.rates))

    def schedule(self, counts: Float[Tensor, "tasks classes"]) -> tuple[Int[Tensor, " tasks"], Float[Tensor, " tasks"]]:
        """Return how many steps, and at which rate, tasks with so many cases of each class take."""
        gain, best = between_sizes(self.sizes, self.vouched, cases_a_class(counts)).max(1)
        steps, rates = zip(*self._settings, strict=True)
        return torch.where(gain > 0, best.new_tensor(steps)[best], 0), self.vouched.new_tensor(rates)[best]

    def _embedded(self, parameters: Parameters, features: Features) -> Float[Tensor, "*cases dim"]:
        return _on_sphere(embed(self.encoder, parameters, features) if parameters else self.encoder(features))

    def _descents(
        self, support: LabelledBatch, rate: Float[Tensor, " tasks"], steps: Int[Tensor, " tasks"]
    ) -> Iterator[Parameters]:
        """Yield the networks of the tasks after 0, 1, ... steps."""
        start = encoder_parameters(self.encoder)
        kind = next(iter(start.values())).dtype
        members, n_tasks = membership(support, kind), len(support.mask)

        def loss(own: Parameters, features: Features, members: Float[Tensor, "n classes"]) -> Float[Tensor, ""]:
            return left_out_loss(self._embedded(own, features), members, self.log_temperature.exp())

        def one(
            own: Parameters, features: Features, members: Float[Tensor, "n classes"]
        ) -> tuple[Parameters, Float[Tensor, ""]]:
            found: tuple[Parameters, Tensor] = torch.func.grad_and_value(loss)(own, features, members)
            return found

        batched = over_tasks(one, in_dims=(0, 0, 0), chunk=tasks_at_once(self.encoder, None))
        shared = {name: value.detach().expand(n_tasks, *value.shape) for name, value in start.items()}
        return descents_if_better(
            lambda own: batched(own, support.features, members), shared, rate=rate.to(kind), steps=steps
        )

    def _tuned(self, support: LabelledBatch, rate: Float[Tensor, " tasks"], steps: Int[Tensor, " tasks"]) -> Parameters:
        """Return each task's network after its steps; nothing where no task takes any."""
        moving = torch.nonzero(steps)[:, 0]
        if not len(moving):
            return {}
        start = encoder_parameters(self.encoder)
        found = {name: value.detach().expand(len(steps), *value.shape).clone() for name, value in start.items()}
        for part in torch.split(moving, self._at_once()):
            for own in self._descents(support.map(lambda value, of=part: value[of]), rate[part], steps[part]):  # type: ignore[misc]
                last = own
            for name, value in last.items():
                found[name][part] = value
        return found

    def _at_once(self) -> int:
        """Return how many tasks may hold a copy of the encoder while they take steps."""
        return max(1, _NUMBERS_AT_ONCE // max(1, sum(value.numel() for value in self.encoder.parameters())))

    def _seen(self, parameters: Parameters, features: Features) -> Float[Tensor, "tasks n dim"]:
        """Return the embedding of each task's cases under its own network."""
        if not parameters:
            return self._embedded({}, features)
        embedded: Tensor = over_tasks(self._embedded, in_dims=(0, 0), chunk=tasks_at_once(self.encoder, None))(
            parameters, features
        )
        return embedded

    def adapt(self, support: LabelledBatch) -> TunedPrototypes:
        """Return each task's prototypes under its own network; where it took a step, that carries no gradient.

        Raises:
            TaskError: regression, or a support of one class.
        """
        self.check_kind(support.kind)
        with torch.no_grad():
            steps, rate = self.schedule(membership(support, self.vouched.dtype).sum(1))
            parameters = self._tuned(support, rate, steps)
        return self._state(parameters, support, steps, rate)

    def _state(self, parameters: Parameters, support: LabelledBatch, steps: Tensor, rate: Tensor) -> TunedPrototypes:
        found = prototypes_of(self._seen(parameters, support.features), support)
        return TunedPrototypes(found, parameters, steps, rate)

    def predict(self, state: TunedPrototypes, query: CaseBatch) -> Law:
        """Return the class probabilities of each query case under its task's own network."""
        squares = relative_squares(self._seen(state.parameters, query.features), state.prototypes.means)
        return law_of_shown(-squares * torch.exp(-self.log_temperature), state.prototypes.counts)

    def meta_loss(self, episodes: EpisodeBatch) -> Float[Tensor, ""]:
        """Return the query negative log-likelihood of plain prototypes: steps are taken in use only."""
        self.check_kind(episodes.support.kind)
        none = torch.zeros_like(episodes.support.counts())
        state = self._state({}, episodes.support, none, none.to(self.vouched))
        return -episodes.query.log_likelihood(self.predict(state, episodes.query.cases)).mean()

    def fit_prior(self, episodes: Sequence[EpisodeBatch]) -> None:
        """Learn from meta-valid tasks what each number of steps gains at each size of the support."""
        gains: list[dict[int, list[Tensor]]] = [defaultdict(list) for _ in self.sizes]
        movable = any(True for _ in self.encoder.parameters())
        with torch.no_grad():
            for batch in episodes:
                self.check_kind(batch.support.kind)
                if not movable:
                    continue
                for place, size in enumerate(self.sizes):
                    self._judge(batch, place, size, gains[place])
        self.vouched.zero_()
        judged = {
            place: vouched_gain(torch.stack([torch.stack(own).mean(0) for own in of_tasks.values()]), doubt=self.doubt)
            for place, of_tasks in enumerate(gains)
            if of_tasks
        }
        if judged:
            known, every = [self.sizes[place] for place in judged], self.vouched.new_tensor(self.sizes)
            self.vouched.copy_(between_sizes(known, torch.stack(list(judged.values())), every))

    def _judge(self, batch: EpisodeBatch, place: int, size: int, gains: dict[int, list[Tensor]]) -> None:
        """Add what the settings gain on each task whose support has about `size` cases a class, or more and is cut down to that."""
        support = first_of_each_class(batch.support, size)
        counts = membership(support, self.vouched.dtype).sum(1)
        # supports nearer to one case a class, where no step can gain, tell nothing
        here = (nearest((1, *self.sizes), cases_a_class(counts)) == place + 1) & ((counts > 0).sum(1) > 1)
        index = batch.task_index.tolist()
        wanted = [task for task in torch.nonzero(here)[:, 0].tolist() if len(gains.get(index[task], ())) < _DRAWS]
        for part in torch.split(torch.tensor(wanted), self._at_once()) if wanted else ():
            known, asked = (side.map(lambda value, of=part: value[of]) for side in (support, batch.query))  # type: ignore[misc]
            for task, gain in zip(part.tolist(), self._gains(known, asked), strict=True):
                gains[index[task]].append(gain)

    def _gains(self, support: LabelledBatch, query: LabelledBatch) -> Float[Tensor, "tasks settings"]:
        """Return the gain in log-likelihood of each task's query by each setting over no step."""
        found: dict[tuple[int, float], Tensor] = {}
        steps = torch.full_like(support.counts(), self.step_counts[-1])
        for rate in self.rates:
            rates = torch.full_like(steps, rate, dtype=self.vouched.dtype)
            for step, own in enumerate(self._descents(support, rates, steps)):
                if not step or step in self.step_counts:
                    law = self.predict(self._state(own, support, steps, rates), query.cases)
                    found[step, rate] = query.log_likelihood(law)
        gains = [found[step, rate] - found[0, rate] for step, rate in self._settings]
        return torch.stack(gains, dim=1).to(self.vouched)


def _on_sphere(embedded: Float[Tensor, "*cases dim"]) -> Float[Tensor, "*cases dim"]:
    return unit_size(embedded) / math.sqrt(embedded.shape[-1])


def _ascending(name: str, values: Sequence[int], *, least: int) -> tuple[int, ...]:
    if not values or list(values) != sorted(set(values)) or values[0] < least:
        raise InputError(f"got {name} {list(values)}; give one or more ascending whole numbers from {least} on")
    return tuple(values)
