"""The contract that every learner keeps: `check_learner(lambda: on_vectors(MyLearner))`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal

from metamedica.errors import TaskError
from metamedica.testing.vectors import CLASSES, N_TASKS, rows_of, vector_batch, vector_episodes
from metamedica.types import CaseBatch, ClosedForm, EpisodeBatch, LabelledBatch, Learner, LeaveOneOut, TaskKind
from metamedica.unlabelled import Unlabelled


def _padded(batch: LabelledBatch, extra: int) -> LabelledBatch:
    """Return the batch with `extra` rows of finite garbage that the mask hides."""

    def longer(value: Tensor) -> Tensor:
        filler = value.new_zeros(value.shape[0], extra, *value.shape[2:])
        if value.dim() == 3:
            filler = 1000 * torch.linspace(-1, 1, filler.numel(), dtype=value.dtype).view(filler.shape)
        return torch.cat([value, filler], dim=1)

    return batch.map(longer)


def _hidden(cases: CaseBatch) -> CaseBatch:
    """Return cases whose mask shows none of them."""
    return CaseBatch(cases.features, torch.zeros_like(cases.mask))


def _frozen(value: Any) -> Any:
    """Return what a later `==` can be judged on: the numbers of tensors and arrays, the members of containers, else the object."""
    if isinstance(value, dict):
        return [*value, *map(_frozen, value.values())]
    if isinstance(value, list | tuple | set):
        return [_frozen(member) for member in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _contents(learner: nn.Module) -> dict[str, Any]:
    """Return everything that `adapt` and `predict` must leave alone."""
    found = {f"gradient of {name}": _frozen(parameter.grad) for name, parameter in learner.named_parameters()}
    for place, module in learner.named_modules():
        found |= {f"{place}.{name}".lstrip("."): _frozen(value) for name, value in vars(module).items()}
    return found


def _built(make: Callable[[], Learner[Any]], seed: int = 0) -> Learner[Any]:
    torch.manual_seed(seed)
    return make().double().eval()


class _Trial:
    """A learner on tasks of one kind, in evaluation mode and double precision; each method named `check_` is one check."""

    def __init__(self, make: Callable[[], Learner[Any]], kind: TaskKind, tolerance: float) -> None:
        self.make, self.kind, self.tolerance = make, kind, tolerance
        self.episodes, self.others = vector_episodes(kind), vector_episodes(kind, seed=1).support
        self.support, self.query = self.episodes.support, self.episodes.query.cases
        self.learner = _built(self.make)
        self.want = self.law()

    def expect(self, fine: object, why: str) -> None:
        if not fine:
            raise AssertionError(f"{type(self.learner).__name__} on {self.kind} tasks: {why}")

    def same(self, found: Tensor, want: Tensor, why: str, *, exact: bool = False) -> None:
        near = 0.0 if exact else self.tolerance
        fine = torch.allclose(found, want, rtol=near, atol=near)
        self.expect(fine, f"{why} (by up to {(found - want).abs().max():.2g})")

    def law(self, support: LabelledBatch | None = None, query: CaseBatch | None = None) -> Tensor:
        """Return the law as numbers `[tasks, cases, *]`, by default of our own tasks."""
        return self.predicted(self.learner, self.learner.adapt(support or self.support), query or self.query)

    def law_of(self, learner: Learner[Any]) -> Tensor:
        return self.predicted(learner, learner.adapt(self.support), self.query)

    def predicted(self, learner: Learner[Any], state: Any, query: CaseBatch) -> Tensor:
        """Return the law as numbers; it must be of the right type and shape, and finite."""
        law, shape = learner.predict(state, query), tuple(query.mask.shape)
        size, wanted = self.support.n_classes or 2, Normal if self.kind == "regression" else Categorical
        found = torch.stack([law.loc, law.scale.log()], dim=-1) if isinstance(law, Normal) else torch.empty(0)
        found = law.logits if isinstance(law, Categorical) else found
        right = isinstance(law, wanted) and found.shape == (*shape, size)
        self.expect(right, f"the law is {law}; a {wanted.__name__} of shape {shape} was wanted, over all classes")
        self.expect(found[query.mask].isfinite().all(), "the law of a real case is not finite, or has scale 0")
        return (law.probs if isinstance(law, Categorical) else found).detach()

    def check_purity(self) -> None:
        learner, support = _built(self.make), _padded(vector_episodes(self.kind).support, 1)
        inputs = {"support": vars(support.cases), "targets": support.targets, "query": vars(self.query)}
        given, before = _frozen(inputs), _contents(learner)
        state = learner.adapt(support)
        first = self.predicted(learner, state, self.query)
        self.expect(_frozen(inputs) == given, "adapt or predict changed its input; copy before you write")
        after = _contents(learner)
        changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        self.expect(not changed, f"adapt or predict wrote to the learner ({changed}); return what was learned instead")
        learner.adapt(self.others)
        again = self.predicted(learner, state, self.query)
        self.same(again, first, "a state gives another law after another adapt", exact=True)

    def check_circumstances(self) -> None:
        torch.manual_seed(1)
        self.same(self.law(), self.want, "two calls in evaluation mode give two laws", exact=True)
        self.same(self.law_of(_built(self.make)), self.want, "two builds from one seed differ", exact=True)
        with torch.no_grad():
            self.same(self.law(), self.want, "torch.no_grad changes the law")
        with torch.inference_mode():
            self.same(self.law(), self.want, "torch.inference_mode changes the law")

    def check_tasks_are_apart(self) -> None:
        for task in range(N_TASKS):
            alone = self.law(rows_of(self.support, [task], axis=0), rows_of(self.query, [task], axis=0))
            self.same(alone, self.want[[task]], "a task alone gets another law than in a batch")
            pick = [N_TASKS + other if other != task else task for other in range(N_TASKS)]
            vectors = torch.cat([self.support.features["vector"], self.others.features["vector"]])[pick]
            targets = torch.cat([self.support.targets, self.others.targets.flip(1)])[pick]
            mixed = self.law(vector_batch(vectors, targets, n_classes=self.support.n_classes))
            self.same(mixed[task], self.want[task], "the support of one task changes the law of another")

    def check_cases_are_a_set(self) -> None:
        shuffled = self.law(rows_of(self.support, [5, 2, 7, 0, 3, 6, 1, 4]))
        self.same(shuffled, self.want, "the order of the support changes the law")
        self.same(self.law(_padded(self.support, 3)), self.want, "padded support rows change the law")
        longer = self.law(query=_padded(self.episodes.query, 2).cases)[:, : self.want.shape[1]]
        self.same(longer, self.want, "padded query rows change the law of the others")
        some = self.law(query=rows_of(self.query, [4, 1]))
        self.same(some, self.want[:, [4, 1]], "the law of a query case depends on the other query cases")

    def check_small_supports(self) -> None:
        if self.kind == "regression":
            self.law(rows_of(self.support, [0]))
            return
        same = (self.support.targets[0] == 0).nonzero()[:, 0].tolist()
        self.law(rows_of(self.support, [0, 1]))
        self.law(rows_of(self.support, [1, *same]))  # one case of class 1, all others of class 0
        try:
            state = self.learner.adapt(rows_of(self.support, same))
        except TaskError:
            return
        self.predicted(self.learner, state, self.query)

    def check_state_dict(self) -> None:
        taught, new = _built(self.make), _built(self.make, 1)
        taught.fit_prior([vector_episodes(self.kind, seed=2)])
        new.load_state_dict(taught.state_dict())
        self.same(self.law_of(new), self.law_of(taught), "the state_dict does not carry all that it knows", exact=True)

    def check_closed_form(self) -> None:
        if not isinstance(self.learner, ClosedForm):
            return
        tasks = self.whole_tasks()
        taught, again, new = _built(self.make), _built(self.make), _built(self.make, 1)
        for learner, given in ((taught, tasks), (again, tasks[::-1])):
            assert isinstance(learner, ClosedForm)
            learner.fit_tasks(given)
        found = self.law_of(taught)
        self.expect(not torch.allclose(found, self.want), "fit_tasks teaches nothing")
        self.same(self.law_of(again), found, "the order of the tasks in fit_tasks changes the law")
        new.load_state_dict(taught.state_dict())
        self.same(self.law_of(new), found, "the state_dict does not carry all that fit_tasks has taught", exact=True)

    def whole_tasks(self) -> list[LabelledBatch]:
        """Return a few tasks, each a batch of its own."""
        others = [vector_episodes(self.kind, seed=seed) for seed in (2, 3)]
        return [rows_of(side.query, [task], axis=0) for side in others for task in range(N_TASKS)]

    def check_unlabelled(self) -> None:
        if not isinstance(self.learner, Unlabelled):
            return
        learner = _built(self.make)
        if isinstance(learner, ClosedForm):
            learner.fit_tasks(self.whole_tasks())
        assert isinstance(learner, Unlabelled)
        adapt_with, others = learner.adapt_with, self.others.cases
        none = replace(self.support, cases=_hidden(self.support.cases), targets=0 * self.support.targets)

        def law(support: LabelledBatch, unlabelled: CaseBatch, query: CaseBatch | None = None) -> Tensor:
            return self.predicted(learner, adapt_with(support, unlabelled), query or self.query)

        given, before = _frozen([vars(others), vars(self.support.cases)]), _contents(learner)
        state = adapt_with(self.support, others)
        want = self.predicted(learner, state, self.query)
        same = _frozen([vars(others), vars(self.support.cases)]) == given and _contents(learner) == before
        self.expect(same, "adapt_with changed its input or wrote to the learner; return what was learned instead")
        adapt_with(self.support, self.query)
        again = self.predicted(learner, state, self.query)
        self.same(again, want, "a state gives another law after another adapt_with", exact=True)
        with torch.no_grad():
            self.same(law(self.support, others), want, "torch.no_grad changes the law with unlabelled cases")
        shuffled = law(self.support, rows_of(others, [5, 2, 7, 0, 3, 6, 1, 4]))
        self.same(shuffled, want, "the order of the unlabelled cases changes the law")
        padded = law(self.support, _padded(self.others, 3).cases)
        self.same(padded, want, "padded unlabelled rows change the law")
        shuffled = law(rows_of(self.support, [5, 2, 7, 0, 3, 6, 1, 4]), others)
        self.same(shuffled, want, "the order of the support changes the law with unlabelled cases")
        for task in range(N_TASKS):
            one = (
                rows_of(self.support, [task], axis=0),
                rows_of(others, [task], axis=0),
                rows_of(self.query, [task], axis=0),
            )
            alone = law(*one)
            self.same(alone, want[[task]], "a task alone gets another law than in a batch with unlabelled cases")
        plain = self.law_of(learner)
        for empty in (rows_of(others, []), _hidden(others)):
            self.same(law(self.support, empty), plain, "no unlabelled case gives another law than adapt")
        self.same(
            law(none, others),
            law(rows_of(self.support, []), others),
            "a support of no column gives another law than one of no case",
        )

    def check_leave_one_out(self) -> None:
        if not isinstance(self.learner, LeaveOneOut):
            return
        batch, refitted = _padded(self.support, 2), []
        found, n = self.learner.leave_one_out(batch).detach(), self.support.mask.shape[1]
        self.expect(found.shape == batch.mask.shape and found.isfinite().all(), "leave_one_out is not finite per case")
        for case in range(n):
            rest, hidden = rows_of(self.support, [i for i in range(n) if i != case]), rows_of(self.support, [case])
            law = self.learner.predict(self.learner.adapt(rest), hidden.cases)
            refitted.append(law.log_prob(hidden.targets).detach())
        self.same(found[:, :n], torch.cat(refitted, dim=1), "leave_one_out is not what a refit on the others says")

    def teaches(self) -> bool:
        """Return whether meta_loss learns from this kind; multiclass may be refused, as heads per task cannot be shared."""
        learner = _built(self.make).train()
        try:
            loss = learner.meta_loss(self.episodes)
        except TaskError:
            self.expect(self.kind == "multiclass", "meta_loss refuses a kind that the learner allows")
            return False
        fine, trained = (
            loss.isfinite().all() and loss.requires_grad,
            [p for p in learner.parameters() if p.requires_grad],
        )
        self.expect(fine and loss.shape == (), f"meta_loss is {loss}, one finite number with a gradient was wanted")
        slope = torch.cat([s.flatten() for s in torch.autograd.grad(loss, trained, materialize_grads=True)])
        self.expect(slope.isfinite().all() and slope.any(), "the gradient of meta_loss is 0 or not finite")
        each = [self.taught([task]) for task in range(N_TASKS)]
        mean = "meta_loss is not the mean over tasks, so a batch cannot be divided"
        self.same(torch.stack(each).mean(0), self.taught(range(N_TASKS)), mean)
        return True

    def taught(self, tasks: Sequence[int]) -> Tensor:
        """Return loss and gradient of these tasks together, as one vector, in evaluation mode: without dropout."""
        support, query = (rows_of(side, tasks, axis=0) for side in (self.episodes.support, self.episodes.query))
        learner = _built(self.make)
        loss = learner.meta_loss(EpisodeBatch(support, query, self.episodes.task_index[list(tasks)]))
        trained = [p for p in learner.parameters() if p.requires_grad]
        slopes = torch.autograd.grad(loss, trained, materialize_grads=True)
        return torch.cat([loss.detach()[None], *(slope.flatten() for slope in slopes)])


@torch.random.fork_rng(devices=[])
def check_learner(make: Callable[[], Learner[Any]], *, tolerance: float = 1e-10) -> None:
    """Check that a learner keeps the contract, on every kind of task that it allows; quiet where it does.

    Laws of the right size and finite; nothing written to the learner or its input; tasks, query cases, order of the support, padding
    and batching do not matter; the same without gradients, from the same seed, and from a `state_dict`; small supports are
    answered or refused with `TaskError`; leave-one-out in closed form equals refitting; meta-training has a gradient, and its loss is a
    mean over tasks; a fit in closed form teaches, whatever the order of the tasks; unlabelled cases are a set too, and a support may then
    be empty.

    Args:
        make: builds a new learner on vectors of length `SIZE`, for example `lambda: on_vectors(MyLearner)`.
        tolerance: absolute and relative, of laws in double precision where the order of sums may differ.

    Raises:
        AssertionError: the contract is broken; the message says how. What the learner itself raises is passed on.
    """
    learner = _built(make)
    name, taught = type(learner).__name__, not learner.learns_from_tasks()
    for kind in CLASSES:
        if kind in learner.kinds:
            trial = _Trial(make, kind, tolerance)
            for check in [getattr(trial, one) for one in vars(_Trial) if one.startswith("check_")]:
                check()
            steps = learner.learns_from_tasks() and not isinstance(learner, ClosedForm)
            taught = (steps and trial.teaches()) or taught or isinstance(learner, ClosedForm)
            continue
        try:
            learner.adapt(vector_episodes(kind).support)
        except TaskError:
            continue
        raise AssertionError(f"{name} adapts to {kind} tasks, which it does not allow; raise TaskError instead")
    if not taught or not learner.kinds:
        raise AssertionError(f"{name} allows no kind of task, or has parameters and refuses to train them")
