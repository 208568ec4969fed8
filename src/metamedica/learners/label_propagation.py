"""Gaussian process whose labels spread to cases that nobody has labelled, which then count for a small part of a labelled one."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import InputError, TaskError
from metamedica.functional.case_effects import content_hash
from metamedica.functional.classes import membership
from metamedica.functional.gaussian_process import fit_cell_prior
from metamedica.functional.propagation import (
    Centring,
    Counted,
    cells_of,
    centred,
    centred_variance,
    centring_of,
    counted,
    even_weights,
    laplacian,
    log_probabilities,
    signed,
    spread,
)
from metamedica.functional.uneven_play import Play, plays
from metamedica.types import (
    CaseBatch,
    ClosedForm,
    LabelledBatch,
    Law,
    Learner,
    OneOf,
    Paper,
    Ranges,
    RawEncoder,
    TaskKind,
)
from metamedica.unlabelled import Unlabelled

NOISES = (0.02, 0.05, 0.15, 0.3, 0.5, 0.75, 0.9)
SURENESS = (1.0, 2.0)

_Scores: TypeAlias = tuple[Float[Tensor, "draws cells"], Float[Tensor, "draws cells"]]


@dataclass(frozen=True)
class PropagatedState:
    """Per task: its cases, labelled ones first, and the process in each cell: what a case without label counts for, a kernel, a share of noise."""

    cases: CaseBatch
    kind: TaskKind
    centring: Centring
    process: Counted
    solved: Float[Tensor, "tasks cells n outputs"]
    log_weight: Float[Tensor, "tasks factored"]


class _Asked(NamedTuple):
    """The cases of each task as the process sees them; `k` columns are labelled ones."""

    cases: CaseBatch
    kind: TaskKind
    k: int
    known: Float[Tensor, "tasks k classes"]
    labelled: Float[Tensor, "tasks n"]
    centring: Centring
    kernels: Float[Tensor, "tasks kernels n n"]
    signal: Float[Tensor, "tasks cells n n"]
    noise: Float[Tensor, " cells"]


class _Part(NamedTuple):
    """The process at one weight of a case without label."""

    process: Counted
    solved: Float[Tensor, "tasks cells n outputs"]
    hidden: Float[Tensor, "tasks factored k classes"]
    """Log-probabilities of each labelled case while it is hidden."""
    told: Float[Tensor, "tasks factored k"]
    """That of its class; 0 where padded, and for the only case of a class, which nothing can tell."""


class LabelPropagation(Learner[PropagatedState], ClosedForm, Unlabelled):
    """Gaussian process on the centred kernels of the modality; with cases without label, an average of that and of one that they teach too.

    What the process says of them spreads over the graph of nearest neighbours of all cases of the task, (I + s L)^-1 p, is sharpened, and becomes
    their label; a second process is given these cases with noise / weight in the place of the noise. The cells (a weight, a kernel, a share of
    noise, a factor of the log-odds) are averaged over by how well each tells labelled cases while they are hidden, from the guesses of the
    others too, under a prior that earlier tasks teach: each is played as new at 1 and 5 labels a class, the other cases without label, in
    shares drawn by Dirichlet(2) (Veilleux et al. 2021, arXiv:2110.12358). No step wants classes of equal size: the centre of the cases is the
    mean of the means of the classes, which cases without label join as far as their guess says (decisions/0016 has the figures on images).

    Deviates: Iscen et al. train a network, and weigh each case by how sure its label is; here every case without label counts alike. Labels spread
    from the process's answers and not from labels alone (Zhu et al. 2003). How well hidden labels are told knows the centre with the hidden
    case in it; the only case of a class has no say, for nothing else could tell it.

    Args:
        rich: its `kernels`, 1 on the diagonal, compare cases.
        noises: shares of noise in the variance of a target, in (0, 1).
        sureness: factors of the log-odds that are averaged over.
        weights: what a case without label may count for beside 0, in labelled cases.
        most_share: what all of them together count for at most, in all labelled cases together.
        smoothing: s, above 0.
        sharpness: the power that guesses are raised to.
        neighbours: of a case in the graph.
        centre: what a case without label counts for in the mean of the class that it is guessed to be of, in labelled cases.
        most_unlabelled: a task with more cases without label is cut down to so many, drawn by chance, the same whatever their order.
    """

    paper: ClassVar[Paper] = Paper(
        "Label propagation for deep semi-supervised learning", "Iscen, Tolias, Avrithis and Chum", 2019, "arXiv:1904.04717"
    )  # fmt: skip
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass"})
    ranges: ClassVar[Ranges] = {"neighbours": OneOf((4, 8, 16)), "most_unlabelled": None}
    noise: Tensor
    sureness: Tensor
    cell_prior: Tensor
    weight_prior: Tensor

    def __init__(
        self,
        rich: RawEncoder,
        *,
        noises: tuple[float, ...] = NOISES,
        sureness: tuple[float, ...] = SURENESS,
        weights: tuple[float, ...] = (0.015,),
        most_share: float = 0.5,
        smoothing: float = 1.0,
        sharpness: float = 2.0,
        neighbours: int = 8,
        centre: float = 0.3,
        most_unlabelled: int = 100,
    ) -> None:
        super().__init__()
        if not weights or min(weights) <= 0:
            raise InputError(
                f"got weights {tuple(weights)} of a case without label; give one above 0 or more (0 is tried too)"
            )
        self.rich = rich
        self.weights = tuple(weights)
        self.most_share = most_share
        self.smoothing = smoothing
        self.sharpness = sharpness
        self.neighbours = neighbours
        self.centre = centre
        self.most_unlabelled = most_unlabelled
        self.register_buffer("noise", torch.tensor(noises))
        self.register_buffer("sureness", torch.tensor(sureness))
        self.register_buffer("cell_prior", torch.zeros(len(noises) * len(sureness)))
        self.register_buffer("weight_prior", torch.zeros(1 + len(weights)))

    def adapt(self, support: LabelledBatch) -> PropagatedState:
        """Return the process of each task given its labels."""
        return self._state(*self._parts(support, None))

    def adapt_with(self, support: LabelledBatch, unlabelled: CaseBatch) -> PropagatedState:
        """Return the processes of each task given its labels, and what they say of its cases without."""
        return self._state(*self._parts(support, unlabelled))

    def predict(self, state: PropagatedState, query: CaseBatch) -> Law:
        """Return the class probabilities of each query case, averaged over cells."""
        each = self._in_cells(state, query)
        logits = torch.logsumexp(each + state.log_weight[..., None, None], dim=1)
        return Categorical(logits=logits, validate_args=False)

    def _in_cells(self, state: PropagatedState, query: CaseBatch) -> Float[Tensor, "tasks cells m classes"]:
        kernels = self.rich.kernels(query.features, state.cases.features)
        own = torch.ones_like(kernels[..., 0])
        cross = cells_of(centred(kernels, state.centring), self.noise)
        prior = cells_of(centred_variance(own, kernels, state.centring), self.noise)
        prior = prior + self.noise.repeat(kernels.shape[1])[:, None]
        levels = state.solved.shape[1] // cross.shape[1]
        cross, prior = cross.repeat(1, levels, 1, 1), prior.repeat(1, levels, 1)
        return self._log_probabilities(cross @ state.solved, state.process.variance(cross, prior), state.kind)

    def _log_probabilities(self, mean: Tensor, variance: Tensor, kind: TaskKind) -> Tensor:
        return log_probabilities(mean, variance, kind, sureness=self.sureness)

    def _parts(self, support: LabelledBatch, unlabelled: CaseBatch | None) -> tuple[_Asked, list[_Part]]:
        """Return the process at each weight, 0 first; where no batch of cases without label came, at that alone."""
        self.check_kind(support.kind)
        cases = support.cases if unlabelled is None else joined(support.cases, self._some(unlabelled))
        kernels = self.rich.kernels(cases.features, cases.features)
        k, left = support.mask.shape[1], cases.n_cases - support.mask.shape[1]
        known = membership(support, kernels.dtype)
        none = known.new_zeros(len(known), left, known.shape[-1])
        asked = self._asked(support, cases, kernels, torch.cat([known, none], dim=1))
        first = self._part(asked, asked.labelled, none, None)
        if not left:
            return asked, [first]
        there = cases.mask[:, k:, None]
        guessed, _ = self._guesses(asked, first)
        asked = self._asked(support, cases, kernels, torch.cat([known, self.centre * guessed * there], dim=1))
        parts = [self._part(asked, asked.labelled, none, None)]
        guessed, while_hidden = self._guesses(asked, parts[0])
        others = torch.cat([torch.zeros_like(asked.labelled[:, :k]), there[..., 0].to(known.dtype)], dim=1)
        most = self.most_share * asked.labelled.sum(1) / others.sum(1).clamp(min=1)
        for weight in self.weights:
            one = others * most.clamp(max=weight)[:, None]
            parts.append(self._part(asked, asked.labelled + one, guessed, while_hidden))
        return asked, parts

    def _asked(
        self, support: LabelledBatch, cases: CaseBatch, kernels: Tensor, members: Float[Tensor, "tasks n classes"]
    ) -> _Asked:
        known = membership(support, kernels.dtype)
        labelled = torch.cat([support.mask, torch.zeros_like(cases.mask[:, known.shape[1] :])], dim=1).to(kernels.dtype)
        centring = centring_of(kernels, even_weights(members, known.sum(1) > 0))
        kernels = centred(kernels, centring)
        signal, noise = cells_of(kernels, self.noise), self.noise.repeat(kernels.shape[1])
        return _Asked(cases, support.kind, known.shape[1], known, labelled, centring, kernels, signal, noise)

    def _some(self, unlabelled: CaseBatch) -> CaseBatch:
        if unlabelled.n_cases <= self.most_unlabelled:
            return unlabelled
        place = content_hash(self.rich(unlabelled.features))
        rows = place.masked_fill(~unlabelled.mask, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)
        rows = rows[:, : self.most_unlabelled]

        def some(value: Tensor) -> Tensor:
            more = value.dim() - 2
            return value.gather(1, rows.reshape(*rows.shape, *(1,) * more).expand(*rows.shape, *value.shape[2:]))

        return unlabelled.map(some)

    def _part(
        self,
        asked: _Asked,
        weight: Float[Tensor, "tasks n"],
        guessed: Float[Tensor, "tasks u classes"],
        while_hidden: Float[Tensor, "tasks k u classes"] | None,
    ) -> _Part:
        """Return the process where the cases have these weights; without guesses those without label have none."""
        k, cells = asked.k, asked.signal.shape[1]
        process = counted(asked.signal, weight[:, None].expand(-1, cells, -1), asked.noise)
        own = signed(asked.known, asked.kind) * asked.labelled[:, :k, None]
        if while_hidden is None:
            left = own.new_zeros(len(own), weight.shape[1] - k, own.shape[-1])
            targets = torch.cat([own, left], dim=1)
            others = targets[:, None].expand(-1, k, -1, -1)
        else:
            targets = torch.cat([own, signed(guessed, asked.kind)], dim=1)
            others = torch.cat([own[:, None].expand(-1, k, -1, -1), signed(while_hidden, asked.kind)], dim=2)
        hidden = self._log_probabilities(*process.hidden(others, k), asked.kind)
        alone = (asked.known @ asked.known.sum(1)[..., None])[..., 0] < 2
        told = (hidden * asked.known[:, None]).sum(-1).masked_fill(alone[:, None], 0)
        return _Part(process, process.solved(targets[:, None]), hidden, told)

    def _guesses(
        self, asked: _Asked, part: _Part
    ) -> tuple[Float[Tensor, "tasks u classes"], Float[Tensor, "tasks k u classes"]]:
        """Return the labels of cases without label, and what they would be while each labelled case is hidden."""
        k, process, kind = asked.k, part.process, asked.kind
        cross = asked.signal[:, :, k:]
        prior = cross.diagonal(offset=k, dim1=-2, dim2=-1) + asked.noise[:, None]
        mean, variance = cross @ part.solved, process.variance(cross, prior)
        near = ((cross * process.root[:, :, None]) @ process.precision)[..., :k].mT
        own = process.precision.diagonal(dim1=-2, dim2=-1)[:, :, :k, None]
        less = (near / own)[..., None] * part.solved[
            :, :, :k, None
        ]  # what a case adds to the means of others (eq. 5.12)
        score = part.told.sum(-1) + self.cell_prior.repeat(asked.kernels.shape[1])
        rest = torch.log_softmax(score[..., None] - part.told, dim=1)
        found = _averaged(
            self._log_probabilities(mean, variance, kind), torch.log_softmax(score, dim=1)[..., None, None]
        )
        each = _averaged(
            self._log_probabilities(mean[:, :, None] - less, variance[:, :, None] + near**2 / own, kind),
            rest[..., None, None],
        )
        itself = _averaged(part.hidden, rest[..., None])
        graph = laplacian(asked.kernels[:, 0], asked.cases.mask, neighbours=self.neighbours)
        over = spread(graph, smoothing=self.smoothing, sharpness=self.sharpness)
        hidden = torch.eye(k, dtype=torch.bool, device=mean.device)[..., None]
        start = torch.where(hidden, itself[:, :, None], asked.known[:, None])
        return over(torch.cat([asked.known, found], dim=1))[:, k:], over(torch.cat([start, each], dim=2))[:, :, k:]

    def _state(self, asked: _Asked, parts: Sequence[_Part]) -> PropagatedState:
        process = Counted(
            torch.cat([part.process.root for part in parts], dim=1),
            torch.cat([part.process.precision for part in parts], dim=1),
        )
        even = self.cell_prior.repeat(asked.kernels.shape[1])
        scores = [part.told.sum(-1) + even + prior for part, prior in zip(parts, self.weight_prior, strict=False)]
        solved = torch.cat([part.solved for part in parts], dim=1)
        log_weight = torch.log_softmax(torch.cat(scores, dim=1), dim=1)
        return PropagatedState(asked.cases, asked.kind, asked.centring, process, solved, log_weight)

    @torch.no_grad()
    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Learn how probable each share of noise is, and then each weight of a case without label, before any label of a task is known.

        Raises:
            TaskError: no task with two classes of two cases or more.
        """
        self.cell_prior, self.weight_prior = torch.zeros_like(self.cell_prior), torch.zeros_like(self.weight_prior)
        self.cell_prior = self._learned(tasks, self._by_noise, self.cell_prior)
        self.weight_prior = self._learned(tasks, self._by_weight, self.weight_prior)

    def _learned(self, tasks: Sequence[LabelledBatch], scores: Callable[[Play], _Scores], start: Tensor) -> Tensor:
        found = [[scores(play) for play in plays(task)] for task in tasks if task.kind in self.kinds]
        found = [each for each in found if each]
        if not found:
            raise TaskError("no earlier task has two classes of two cases or more; choose another learner")
        evidence, told = (torch.cat(column) for column in zip(*itertools.chain(*found), strict=True))
        order = told[:, 0].argsort()  # whatever the order of the tasks
        return fit_cell_prior(evidence[order], told[order], start, strength=1 / len(found))

    def _by_noise(self, play: Play) -> _Scores:
        """Return evidence and log-likelihood of the other cases for each share of noise, from labels alone."""
        asked, parts = self._parts(play.support, None)
        each = self._in_cells(self._state(asked, parts), play.others.cases)
        score, chance = (
            value.reshape(len(value), -1, len(self.cell_prior), *value.shape[2:])
            for value in (parts[0].told.sum(-1), each)
        )
        chance = torch.logsumexp(chance + torch.log_softmax(score, dim=1)[..., None, None], dim=1)
        return torch.logsumexp(score, dim=1), _of_classes(chance, play.others)

    def _by_weight(self, play: Play) -> _Scores:
        """Return the same for each weight of a case without label; those are the cases that are asked."""
        asked, parts = self._parts(play.support, play.others.cases)
        state = self._state(asked, parts)
        score, chance = (
            value.reshape(len(value), len(parts), -1, *value.shape[2:])
            for value in (state.log_weight, self._in_cells(state, play.others.cases))
        )
        chance = torch.logsumexp(chance + torch.log_softmax(score, dim=2)[..., None, None], dim=2)
        return torch.logsumexp(score, dim=2), _of_classes(chance, play.others)


def joined(first: CaseBatch, second: CaseBatch) -> CaseBatch:
    """Return the cases of both, one after the other."""
    features = {name: torch.cat([block, second.features[name]], dim=1) for name, block in first.features.items()}
    return CaseBatch(features, torch.cat([first.mask, second.mask], dim=1))


def _averaged(each: Float[Tensor, "tasks cells *more"], log_weight: Tensor) -> Float[Tensor, "tasks *more"]:
    return torch.logsumexp(each + log_weight, dim=1).exp()


def _of_classes(chance: Float[Tensor, "tasks cells m classes"], asked: LabelledBatch) -> Float[Tensor, "tasks cells"]:
    """Return the mean log-probability of the classes of the cases asked."""
    each = chance.gather(-1, asked.targets[:, None, :, None].expand(-1, chance.shape[1], -1, 1))[..., 0]
    return each.mean(-1)
