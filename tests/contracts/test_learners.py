"""Every learner of the folder keeps the contract, and the contract notices a learner that does not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal

from metamedica import registry
from metamedica.errors import TaskError
from metamedica.testing import N_TASKS, VectorRaw, check_learner, on_vectors, vector_episodes
from metamedica.types import (
    CaseBatch,
    ClosedForm,
    EpisodeBatch,
    LabelledBatch,
    Law,
    Learner,
    LeaveOneOut,
    Paper,
    TaskKind,
)
from metamedica.unlabelled import Unlabelled

SMALLER: Mapping[str, Mapping[str, Any]] = {
    "random_forest": {"trees": 3},
    "fine_tune": {"steps": 4},
    "pooled_trees": {"growths": ((4, 3), (8, 4))},
    "bayesian_model_averaging": {"trees": 4},
    "hierarchical_bayes": {"trees": 4},
    "deep_adaptation": {"hidden": 3, "steps": 2, "strengths": (0.0, 1.0), "signals": (1.0,)},
    "domain_adversarial": {"hidden": 3, "steps": 2, "strengths": (0.0, 1.0), "signals": (1.0,)},
}
"""Settings that make a learner cheap without changing what the contract sees."""


@pytest.mark.parametrize("name", registry.names("learners"))
def test_a_learner_of_the_folder_keeps_the_contract(name: str) -> None:
    made = registry.learner_class(name)
    check_learner(lambda: on_vectors(made, settings=SMALLER.get(name)))


@pytest.mark.parametrize("name", registry.names("learners"))
def test_a_learner_of_the_folder_names_its_paper_and_its_kinds(name: str) -> None:
    made = registry.learner_class(name)
    assert made.kinds <= {"binary", "multiclass", "regression"}
    assert made.kinds
    assert 1900 < made.paper.year < 2100
    assert made.paper.link.startswith(("arXiv:", "doi:"))


def test_the_tasks_of_the_trial_are_standardised_and_show_every_class() -> None:
    episodes = vector_episodes("regression")
    torch.testing.assert_close(episodes.support.targets.mean(1), torch.zeros(N_TASKS, dtype=torch.float64))
    torch.testing.assert_close(episodes.support.targets.std(1), torch.ones(N_TASKS, dtype=torch.float64))
    assert vector_episodes("multiclass").support.targets.unique().tolist() == [0, 1, 2]


@dataclass(frozen=True)
class Weighed:
    """What the small learner below knows of each task."""

    rows: Tensor
    values: Tensor
    weight: Tensor


class Neighbours(Learner[Weighed]):
    """A kernel average of the support: small, and it keeps the contract. The broken learners below differ from it in one thing."""

    paper: ClassVar[Paper] = Paper("On estimating regression", "Nadaraya", 1964, "doi:10.1137/1109020")
    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "multiclass", "regression"})

    def __init__(self) -> None:
        super().__init__()
        self.raw = VectorRaw()
        self.log_length = nn.Parameter(torch.zeros(()))

    def similarity(self, left: Tensor, right: Tensor) -> Tensor:
        return self.raw.similarity(left * torch.exp(-self.log_length), right * torch.exp(-self.log_length))

    def adapt(self, support: LabelledBatch) -> Weighed:
        self.check_kind(support.kind)
        if support.n_classes is None:
            values = support.targets[..., None]
        else:
            values = nn.functional.one_hot(support.targets, support.n_classes).to(torch.float64)
        return Weighed(support.features["vector"], values, support.mask.to(torch.float64))

    def predict(self, state: Weighed, query: CaseBatch) -> Law:
        weight = self.similarity(query.features["vector"], state.rows) * state.weight[:, None]
        total, classes = weight.sum(-1, keepdim=True) + 1, state.values.shape[-1]
        mean = weight @ state.values / total
        if classes == 1:
            return Normal(mean[..., 0], torch.ones_like(mean[..., 0]), validate_args=False)
        return Categorical(probs=mean + 1 / (total * classes), validate_args=False)


class WritesToSelf(Neighbours):
    """Counts its calls."""

    calls = 0

    def adapt(self, support: LabelledBatch) -> Weighed:
        self.calls = self.calls + 1
        return super().adapt(support)


class RemembersInAList(Neighbours):
    """Keeps a list of the sizes it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def predict(self, state: Weighed, query: CaseBatch) -> Law:
        self.seen.append(query.n_cases)
        return super().predict(state, query)


class StepsOnItself(Neighbours):
    """Adapts by a gradient step on its own parameter."""

    def adapt(self, support: LabelledBatch) -> Weighed:
        with torch.no_grad():
            self.log_length.add_(0.01)
        return super().adapt(support)


class LeavesTrainingMode(Neighbours):
    """Switches itself to training mode."""

    def adapt(self, support: LabelledBatch) -> Weighed:
        self.train()
        return super().adapt(support)


class WritesToItsInput(Neighbours):
    """Centres the support in place."""

    def adapt(self, support: LabelledBatch) -> Weighed:
        support.features["vector"].sub_(0.1)
        return super().adapt(support)


class Leaks(Neighbours):
    """Centres values over all tasks of the batch."""

    def adapt(self, support: LabelledBatch) -> Weighed:
        state = super().adapt(support)
        return replace(state, rows=state.rows - 0.1 * state.rows.mean((0, 1)))


class Ordered(Neighbours):
    """Trusts later cases more."""

    def adapt(self, support: LabelledBatch) -> Weighed:
        state = super().adapt(support)
        return replace(state, weight=state.weight * torch.linspace(1, 2, state.weight.shape[1], dtype=torch.float64))


class ReadsPadding(Neighbours):
    """Forgets the mask where it normalises."""

    def adapt(self, support: LabelledBatch) -> Weighed:
        state = super().adapt(support)
        return replace(state, weight=state.weight / support.mask.shape[1])


class ReadsPaddedQueries(Neighbours):
    """Centres the query on itself."""

    def predict(self, state: Weighed, query: CaseBatch) -> Law:
        vectors = query.features["vector"]
        return super().predict(state, CaseBatch({"vector": vectors - vectors.mean(1, keepdim=True)}, query.mask))


class ReadsTheOtherQueries(Neighbours):
    """Centres the real cases of the query on their own mean."""

    def predict(self, state: Weighed, query: CaseBatch) -> Law:
        vectors, there = query.features["vector"], query.mask[..., None]
        mean = (vectors * there).sum(1, keepdim=True) / there.sum(1, keepdim=True)
        return super().predict(state, CaseBatch({"vector": vectors - mean}, query.mask))


class WrongShape(Neighbours):
    """Returns a law with a trailing axis."""

    def predict(self, state: Weighed, query: CaseBatch) -> Law:
        law = super().predict(state, query)
        if isinstance(law, Normal):
            return Normal(law.loc[..., None], law.scale[..., None])
        return Categorical(probs=law.probs[..., None, :])


class WrongLaw(Neighbours):
    """Returns a Normal for classes too."""

    def predict(self, state: Weighed, query: CaseBatch) -> Law:
        there = query.mask.to(torch.float64)
        return Normal(0 * there, there)


class NotFinite(Neighbours):
    """Gives a scale of zero."""

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"regression"})

    def predict(self, state: Weighed, query: CaseBatch) -> Law:
        law = super().predict(state, query)
        return Normal(law.mean, 0 * law.mean, validate_args=False)


class Random(Neighbours):
    """Adds noise in evaluation mode too."""

    def adapt(self, support: LabelledBatch) -> Weighed:
        state = super().adapt(support)
        return replace(state, rows=state.rows + 1e-3 * torch.randn_like(state.rows))


class SeededByTheClock(Neighbours):
    """Starts from another length each time, whatever the seed."""

    made: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.made.append(1)
        self.log_length.data.fill_(0.01 * len(self.made))


class NeedsGradients(Neighbours):
    """Answers otherwise where gradients are off."""

    def adapt(self, support: LabelledBatch) -> Weighed:
        state = super().adapt(support)
        return state if torch.is_grad_enabled() else replace(state, values=state.values * 0.9)


class AllowsWhatItDoesNotName(Neighbours):
    """Names fewer kinds than it adapts to."""

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary"})

    def check_kind(self, kind: TaskKind) -> None:
        pass


class FailsOnOneCase(Neighbours):
    """Divides by the number of cases less one."""

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"regression"})

    def adapt(self, support: LabelledBatch) -> Weighed:
        state = super().adapt(support)
        return replace(state, values=state.values / (support.counts()[:, None, None] - 1))


class ForgetsItsPrior(Neighbours):
    """Keeps what it fitted on tasks outside of its `state_dict`."""

    scale = 1.0

    def fit_prior(self, episodes: object) -> None:
        self.scale = 0.5

    def similarity(self, left: Tensor, right: Tensor) -> Tensor:
        return self.scale * super().similarity(left, right)


class WrongLeaveOneOut(Neighbours, LeaveOneOut):
    """Leaves nothing out."""

    def leave_one_out(self, support: LabelledBatch) -> Tensor:
        return self.predict(self.adapt(support), support.cases).log_prob(support.targets)


class LearnsNothing(Neighbours):
    """Has a parameter that the loss does not reach."""

    def meta_loss(self, episodes: EpisodeBatch) -> Tensor:
        return super().meta_loss(episodes) * 0 + 1


class RefusesToLearn(Neighbours):
    """Refuses meta-training of a kind that it allows."""

    def meta_loss(self, episodes: EpisodeBatch) -> Tensor:
        raise TaskError("got tasks; this method cannot be trained")


class SumsOverTasks(Neighbours):
    """Its loss grows with the number of tasks."""

    def meta_loss(self, episodes: EpisodeBatch) -> Tensor:
        return super().meta_loss(episodes) * len(episodes.task_index)


class Level(Neighbours, ClosedForm):
    """Starts from the level that earlier tasks have taught, in closed form: it keeps the contract."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(()))

    def adapt(self, support: LabelledBatch) -> Weighed:
        state = super().adapt(support)
        return replace(state, values=state.values * (1 + self.level))

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        self.level = 0.1 + torch.stack([task.targets.double().square().mean() for task in tasks]).mean()


class TeachesNothing(Level):
    """Looks at no task."""

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        self.level = torch.zeros((), dtype=torch.float64)


class FirstTaskOnly(Level):
    """Looks at the first task."""

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        super().fit_tasks(tasks[:1])


class ForgetsWhatItWasTaught(Level):
    """Keeps what it learned out of its state_dict."""

    taught = 0.0

    def adapt(self, support: LabelledBatch) -> Weighed:
        state = super().adapt(support)
        return replace(state, values=state.values * (1 + self.taught))

    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        self.taught = 0.5


class Drawn(Neighbours, Unlabelled):
    """Is drawn to the centre of the cases without label: it keeps the contract."""

    def adapt_with(self, support: LabelledBatch, unlabelled: CaseBatch) -> Weighed:
        state, there = super().adapt(support), unlabelled.mask.to(torch.float64)[..., None]
        vectors = unlabelled.features["vector"].masked_fill(~unlabelled.mask[..., None], 0)
        count = there.sum(1, keepdim=True)
        centre = self.share(vectors) * vectors.sum(1, keepdim=True) / count.clamp(min=1)
        return replace(state, rows=state.rows + 0.1 * centre)

    def share(self, vectors: Tensor) -> Tensor:
        return torch.ones((), dtype=vectors.dtype)


class CountsRows(Drawn):
    """Takes the number of rows for that of cases."""

    def share(self, vectors: Tensor) -> Tensor:
        return torch.tensor(1 / max(1, vectors.shape[1]), dtype=vectors.dtype)


class TrustsTheFirst(Drawn):
    """Looks at the first case without label, in place of all."""

    def share(self, vectors: Tensor) -> Tensor:
        return vectors[:, :1].sum(-1, keepdim=True)


class MixesTasks(Drawn):
    """Takes the mean over all tasks."""

    def share(self, vectors: Tensor) -> Tensor:
        return vectors.square().sum()


class KeepsTheUnlabelled(Drawn):
    """Remembers how many cases had no label."""

    def adapt_with(self, support: LabelledBatch, unlabelled: CaseBatch) -> Weighed:
        self.seen = float(unlabelled.mask.sum())
        return super().adapt_with(support, unlabelled)


class ChangesTheUnlabelled(Drawn):
    """Scales them in place."""

    def adapt_with(self, support: LabelledBatch, unlabelled: CaseBatch) -> Weighed:
        unlabelled.features["vector"].mul_(1.5)
        return super().adapt_with(support, unlabelled)


class NeverWithoutOthers(Drawn):
    """Answers otherwise where there is no case without label."""

    def adapt_with(self, support: LabelledBatch, unlabelled: CaseBatch) -> Weighed:
        state = super().adapt_with(support, unlabelled)
        return replace(state, rows=1.1 * state.rows)


BROKEN: dict[Callable[[], Learner[Any]], str] = {
    WritesToSelf: "wrote to the learner",
    RemembersInAList: "wrote to the learner",
    StepsOnItself: "wrote to the learner",
    LeavesTrainingMode: "wrote to the learner",
    WritesToItsInput: "changed its input",
    Leaks: "a task alone gets another law",
    Ordered: "order of the support",
    ReadsPadding: "padded support rows",
    ReadsPaddedQueries: "padded query rows",
    ReadsTheOtherQueries: "depends on the other query cases",
    WrongShape: "was wanted",
    WrongLaw: "a Categorical of shape",
    NotFinite: "not finite",
    Random: "two calls in evaluation mode",
    SeededByTheClock: "two builds from one seed",
    NeedsGradients: "torch.no_grad changes the law",
    AllowsWhatItDoesNotName: "which it does not allow",
    FailsOnOneCase: "not finite",
    ForgetsItsPrior: "state_dict",
    WrongLeaveOneOut: "refit on the others",
    LearnsNothing: "gradient of meta_loss is 0",
    RefusesToLearn: "meta_loss refuses",
    SumsOverTasks: "not the mean over tasks",
    TeachesNothing: "fit_tasks teaches nothing",
    FirstTaskOnly: "order of the tasks",
    ForgetsWhatItWasTaught: "all that fit_tasks has taught",
    CountsRows: "padded unlabelled rows",
    TrustsTheFirst: "order of the unlabelled cases",
    MixesTasks: "alone gets another law than in a batch with unlabelled cases",
    KeepsTheUnlabelled: "wrote to the learner",
    ChangesTheUnlabelled: "adapt_with changed its input",
    NeverWithoutOthers: "no unlabelled case gives another law than adapt",
}


def test_the_learners_that_the_broken_ones_are_made_of_keep_the_contract() -> None:
    check_learner(Neighbours)
    check_learner(Level)
    check_learner(Drawn)


@pytest.mark.parametrize("made", BROKEN, ids=lambda made: made.__name__)
def test_a_broken_learner_is_caught_with_its_reason(made: Callable[[], Learner[Any]]) -> None:
    with pytest.raises(AssertionError, match=BROKEN[made]):
        check_learner(made)


def test_a_learner_that_leaks_between_tasks_is_caught_even_where_a_single_task_looks_right() -> None:
    class LeaksInBatches(Neighbours):
        """Swaps nothing for one task alone; in a batch a constant makes up for the usual others, but not for changed ones."""

        usual = 0.1 * vector_episodes("binary").support.features["vector"].mean((0, 1))

        def adapt(self, support: LabelledBatch) -> Weighed:
            state = super().adapt(support)
            if len(state.rows) == 1:
                return state
            return replace(state, rows=state.rows + self.usual - 0.1 * state.rows.mean((0, 1)))

    with pytest.raises(AssertionError, match="the support of one task changes the law of another"):
        check_learner(LeaksInBatches)


def test_a_learner_without_a_kind_is_caught() -> None:
    class NoKinds(Neighbours):
        kinds: ClassVar[frozenset[TaskKind]] = frozenset()

    with pytest.raises(AssertionError, match="allows no kind of task"):
        check_learner(NoKinds)


def test_running_the_contract_leaves_the_random_numbers_of_the_caller_alone() -> None:
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    check_learner(lambda: on_vectors(registry.learner_class("deep_kernel")))
    assert torch.equal(torch.rand(3), want)
