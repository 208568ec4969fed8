"""Label propagation: its law and its weights by hand, clusters that one label each is enough for, and shares of classes that nothing asks for."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.shifted_tasks import cases_of, loss, without_labels
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import InputError, TaskError
from metamedica.functional.gaussian_process import MEAN_VARIANCE
from metamedica.learners.label_propagation import LabelPropagation
from metamedica.testing import SIZE, VectorRaw, check_learner, on_vectors, vector_batch, vector_episodes
from metamedica.types import CaseBatch, LabelledBatch, Law

APART = 4.0


def _clusters(counts: tuple[int, ...], *, seed: int, apart: float = APART, mixed: bool = False) -> LabelledBatch:
    """One task: a normal cluster a class, far apart; mixed: classes have nothing to do with clusters. The first cases are one of each class."""
    random = torch.Generator().manual_seed(seed)
    cluster = torch.cat(
        [torch.arange(len(counts)), torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))]
    )
    centres = apart * torch.eye(SIZE, dtype=torch.float64)[: len(counts)]
    vectors = torch.randn(len(cluster), SIZE, generator=random, dtype=torch.float64) + centres[cluster]
    order = torch.arange(len(cluster))
    if mixed:
        order[len(counts) :] = len(counts) + torch.randperm(len(cluster) - len(counts), generator=random)
    return vector_batch(vectors[None], cluster[order][None], n_classes=len(counts))


def _parts(task: LabelledBatch, labelled: int) -> tuple[LabelledBatch, LabelledBatch]:
    return task.map(lambda value: value[:, :labelled]), task.map(lambda value: value[:, labelled:])


def _accuracy(law: Law, task: LabelledBatch) -> float:
    assert isinstance(law, Categorical)
    return float((law.probs.argmax(-1) == task.targets).double().mean())


def _kernel(left: Tensor, right: Tensor) -> NDArray[np.float64]:
    return VectorRaw().similarity(left, right).numpy()


def test_without_unlabelled_cases_it_is_a_gaussian_process_on_the_centred_kernel() -> None:
    episodes, noise = vector_episodes("binary"), 0.3
    learner = LabelPropagation(VectorRaw(), noises=(noise,), sureness=(2.0,)).double()
    noise = float(learner.noise)
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    assert isinstance(law, Categorical)
    for task in range(len(law.logits)):
        known, asked = (side.features["vector"][task] for side in (episodes.support, episodes.query))
        kernel, cross = _kernel(known, known), _kernel(asked, known)
        middle = np.eye(len(kernel)) - 1 / len(kernel)
        scale = np.diag(middle @ kernel @ middle).mean()
        near = (cross - kernel.mean(0)) @ middle / scale
        own = (1 - 2 * cross.mean(1) + kernel.mean()) / scale
        within = (1 - noise) * middle @ kernel @ middle / scale + MEAN_VARIANCE + noise * np.eye(len(kernel))
        cross = (1 - noise) * near + MEAN_VARIANCE
        targets = 2.0 * episodes.support.targets[task].numpy() - 1
        mean = cross @ np.linalg.solve(within, targets)
        variance = (1 - noise) * own + MEAN_VARIANCE + noise - (cross * np.linalg.solve(within, cross.T).T).sum(1)
        odds = law.logits[task, :, 1] - law.logits[task, :, 0]
        np.testing.assert_allclose(odds.numpy(), 2.0 * 2 * mean / variance, atol=1e-8)


def test_a_cell_counts_by_what_it_says_of_each_label_while_that_is_hidden_and_guesses_know_nothing_of_it() -> None:
    task = _clusters((4, 3), seed=3, apart=1.0).map(lambda value: value[:, [0, 1, 2, 3, 6, 7, 4, 5, 8]])
    support, others = _parts(task, 6)
    settings = {
        "noises": (0.2, 0.6),
        "sureness": (1.0,),
        "weights": (0.1,),
        "centre": 0.2,
        "smoothing": 0.7,
        "sharpness": 1.5,
    }
    learner = LabelPropagation(VectorRaw(), **settings).double()  # type: ignore[arg-type]
    asked, parts = learner._parts(support, others.cases)
    labels, k = support.targets[0], support.cases.n_cases
    log_weights = {}
    for hidden in range(k):
        kept = [case for case in range(asked.cases.n_cases) if case != hidden]
        first = [case for case in kept if case < k]
        laws = []
        for cell, noise in enumerate(learner.noise.tolist()):
            signal = asked.signal[0, cell]
            known = signal[first][:, first] + noise * torch.eye(len(first))
            targets = 2.0 * labels[first] - 1
            every = signal[:, first] @ torch.linalg.solve(known, targets.double())
            half = torch.linalg.solve(known, signal[first])
            variance = signal.diagonal() + noise - (signal[first] * half).sum(0)
            laws.append(torch.sigmoid(2 * every / variance))
        scores = torch.stack([part.sum() - part[hidden] for part in parts[0].told[0]])
        guess = (torch.softmax(scores, 0)[:, None] * torch.stack(laws)).sum(0)
        guess[first] = labels[first].double()
        graph = learner_graph(learner, asked.kernels[:, 0], asked.cases)
        smooth = torch.linalg.solve(torch.eye(len(guess)) + 0.7 * graph, torch.stack([1 - guess, guess], 1))
        sharp = (smooth**1.5)[:, 1] / (smooth**1.5).sum(1)
        log_weights[hidden] = []
        weight = min(0.1, 0.5 * k / (asked.cases.n_cases - k))
        for cell, noise in enumerate(learner.noise.tolist()):
            targets = torch.where(torch.arange(len(sharp)) < k, torch.zeros(1).double(), 2 * sharp - 1)
            targets[:k] = 2.0 * labels - 1
            spread = torch.where(torch.arange(len(sharp)) < k, noise, noise / weight)
            signal = asked.signal[0, cell]
            within = signal[kept][:, kept] + torch.diag(spread[kept])
            mean = signal[hidden, kept] @ torch.linalg.solve(within, targets[kept])
            left = signal[hidden, hidden] + noise
            variance = left - signal[hidden, kept] @ torch.linalg.solve(within, signal[kept, hidden])
            odds = 2 * mean / variance * (2 * labels[hidden] - 1)
            log_weights[hidden].append(torch.nn.functional.logsigmoid(odds))
    want = torch.tensor([[float(each) for each in log_weights[hidden]] for hidden in range(k)]).T
    torch.testing.assert_close(parts[1].told[0], want.double(), atol=1e-6, rtol=0.0)


def learner_graph(learner: LabelPropagation, kernel: Tensor, cases: CaseBatch) -> Tensor:
    """Return the graph that labels spread over."""
    from metamedica.functional.propagation import laplacian

    return laplacian(kernel, cases.mask, neighbours=learner.neighbours)[0]


@pytest.mark.parametrize("counts", [(30, 30, 30), (66, 18, 6)])
def test_one_label_a_cluster_tells_more_with_the_others_there_whatever_the_shares(counts: tuple[int, ...]) -> None:
    learner = LabelPropagation(VectorRaw(), weights=(0.1,)).double()
    gain, better = [], []
    for seed in range(8):
        support, others = _parts(_clusters(counts, seed=seed, apart=2.5), len(counts))
        alone = learner.predict(learner.adapt(support), others.cases)
        both = learner.predict(learner.adapt_with(support, others.cases), others.cases)
        gain.append(loss(alone, others) - loss(both, others))
        better.append(_accuracy(both, others) - _accuracy(alone, others))
    assert np.mean(gain) > 0.02
    assert np.mean(better) > -0.03


def test_cases_without_label_of_one_class_are_not_divided_among_all() -> None:
    learner = LabelPropagation(VectorRaw()).double()
    alone, both = [], []
    for seed in range(8):
        support, others = _parts(_clusters((40, 1, 1), seed=seed, apart=1.5), 3)
        first = cases_of(others, slice(0, 40))
        answers = (learner.adapt(support), learner.adapt_with(support, first))
        shares = [(learner.predict(state, first).probs.argmax(-1) == 0).double().mean() for state in answers]  # type: ignore[attr-defined]
        alone.append(float(shares[0]))
        both.append(float(shares[1]))
    assert np.mean(both) > np.mean(alone) - 0.03


def test_with_no_label_at_all_nothing_is_known_and_nothing_is_claimed() -> None:
    learner = LabelPropagation(VectorRaw()).double()
    task = _clusters((9, 9), seed=6)
    law = learner.predict(learner.adapt_with(without_labels(task), task.cases), task.cases)
    assert isinstance(law, Categorical)
    torch.testing.assert_close(law.probs, torch.full_like(law.probs, 0.5))


def test_all_unlabelled_cases_together_count_for_no_more_than_their_share() -> None:
    learner = LabelPropagation(VectorRaw(), weights=(1.0,), most_share=0.5, most_unlabelled=60).double()
    support, others = _parts(_clusters((60, 60), seed=7), 2)
    process = learner.adapt_with(support, others.cases).process
    last = process.root[0, -1].square()
    torch.testing.assert_close(last[2:].sum(), last[:2].sum() * 0.5)
    assert len(last) == 2 + 60


def test_too_many_unlabelled_cases_are_cut_down_to_the_same_ones_in_any_order() -> None:
    learner = LabelPropagation(VectorRaw(), most_unlabelled=10).double()
    support, others = _parts(_clusters((20, 20), seed=8), 2)
    there, back = (others.cases.map(lambda value, step=step: value[:, step]) for step in (range(40), range(39, -1, -1)))
    found = [learner.predict(learner.adapt_with(support, cases), others.cases) for cases in (there, back)]
    assert isinstance(found[0], Categorical)
    assert isinstance(found[1], Categorical)
    torch.testing.assert_close(found[0].probs, found[1].probs)


def test_earlier_tasks_teach_how_sure_one_label_a_class_may_make() -> None:
    clean, confused = LabelPropagation(VectorRaw()).double(), LabelPropagation(VectorRaw()).double()
    clean.fit_tasks([_clusters((20, 20), seed=seed) for seed in range(4)])
    confused.fit_tasks([_clusters((20, 20), seed=seed, mixed=True) for seed in range(4)])
    support, others = _parts(_clusters((20, 20), seed=9), 2)
    sure = [loss(each.predict(each.adapt(support), others.cases), others) for each in (clean, confused)]
    assert sure[0] < sure[1]


def test_cases_without_label_count_for_less_where_earlier_clusters_were_no_classes() -> None:
    told = []
    for mixed in (False, True):
        learner = LabelPropagation(VectorRaw(), weights=(1.0,), smoothing=3.0).double()
        learner.fit_tasks([_clusters((30, 30), seed=seed, mixed=mixed) for seed in range(6)])
        told.append(learner.weight_prior.exp())
    assert told[0][1] > 0.5 > told[1][1]


def test_tasks_that_teach_nothing_are_refused() -> None:
    learner = LabelPropagation(VectorRaw()).double()
    regression = vector_batch(torch.zeros(1, 5, SIZE).double(), torch.arange(5.0).double()[None])
    with pytest.raises(TaskError, match="no earlier task has two classes of two cases or more"):
        learner.fit_tasks([regression, _clusters((0, 0), seed=0)])
    with pytest.raises(TaskError, match="cannot learn a regression task"):
        learner.adapt(regression)


@pytest.mark.parametrize("weights", [(), (0.0, 0.1)])
def test_a_weight_that_is_none_is_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="of a case without label; give one above 0 or more"):
        LabelPropagation(VectorRaw(), weights=weights)


def test_it_keeps_the_contract_where_cases_without_label_count_in_full() -> None:
    check_learner(lambda: on_vectors(LabelPropagation, settings={"weights": (0.2, 1.0), "most_share": 5.0}))
