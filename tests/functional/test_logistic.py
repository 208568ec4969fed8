"""Softmax regression in the dual: its optimum, its leave-one-out and its gradient, against explicit forms and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from metamedica.functional.logistic import (
    BIAS_VARIANCE,
    SIGNALS,
    LogisticFit,
    _newton,
    fit_laplace,
    fit_logistic,
    fit_logistic_at,
    laplace_scores,
    leave_one_out_scores,
    logistic_law,
    moderated,
    solve,
)
from metamedica.functional.ridge import centred, usual_square

SEEDS = st.integers(0, 10_000)


def _data(n: int, d: int, classes: int, *, tasks: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, one-hot classes (each shown) and mask."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    x = rng.normal(size=(tasks, n, d)) + 1.2 * rng.normal(size=(tasks, classes, d))[:, labels]
    members = torch.tensor(np.eye(classes)[labels]).expand(tasks, n, classes).clone()
    return torch.tensor(x), members, torch.ones(tasks, n, dtype=torch.bool)


def _probabilities(fit: LogisticFit, x: Tensor) -> Tensor:
    return logistic_law(fit, x).probs


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("signal", SIGNALS)
def test_the_gradient_of_the_primal_objective_is_zero_at_the_fit(classes: int, signal: float) -> None:
    x, members, mask = _data(12, 6, classes)
    fit = fit_logistic(x, members, mask, signals=(signal,))
    weight, bias = fit.weight[0].clone().requires_grad_(), fit.bias[0].clone().requires_grad_()
    scores = (x[0] - fit.centre[0]) @ weight + bias
    loss = -(torch.log_softmax(scores, -1) * members[0]).sum()
    loss = loss + 0.5 * ((weight**2).sum() / fit.signal[0] + (bias**2).sum() / BIAS_VARIANCE)
    loss.backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert float(weight.grad.abs().max()) < 1e-8
    assert float(bias.grad.abs().max()) < 1e-8


@pytest.mark.parametrize("shape", [(12, 4, 3), (5, 20, 2), (4, 1, 4)])
def test_probabilities_are_scikit_learns_with_the_same_penalty(shape: tuple[int, int, int]) -> None:
    n, d, classes = shape
    x, members, mask = _data(n, d, classes)
    fit = fit_logistic(x, members, mask)
    z = np.random.default_rng(5).normal(size=(6, d))

    def scaled(inputs: np.ndarray) -> np.ndarray:
        """Inputs in which weights and bias have prior variance 1."""
        prior = np.sqrt(float(fit.signal)) * (inputs - fit.centre[0].numpy())
        return np.hstack([prior, np.full((len(inputs), 1), BIAS_VARIANCE**0.5)])

    labels = members[0].argmax(-1).numpy()
    share = 2.0 if classes == 2 else 1.0  # one weight vector of twice the size stands for two opposite ones
    known = LogisticRegression(C=share, fit_intercept=False, tol=1e-12, solver="newton-cholesky", max_iter=1000)
    known.fit(scaled(x[0].numpy()), labels)
    found = _probabilities(fit, torch.tensor(z)[None])[0].numpy()
    np.testing.assert_allclose(found, known.predict_proba(scaled(z)), atol=1e-6)


def _covariance(x: Tensor, mask: Tensor, signal: float) -> Tensor:
    inputs, _ = centred(x, mask)
    gram = inputs @ inputs.mT
    return signal / usual_square(gram, mask)[:, None, None] * gram + BIAS_VARIANCE


@pytest.mark.parametrize("classes", [2, 3])
def test_leave_one_out_scores_are_one_newton_step_without_the_case(classes: int) -> None:
    x, members, mask = _data(7, 3, classes)
    covariance = _covariance(x, mask, 1.0)
    onehot = members.mT
    scores = solve(covariance, onehot, mask)
    mode = _newton(covariance, onehot, mask, scores)
    found = leave_one_out_scores(mode, covariance, onehot)[0].numpy()
    p = torch.softmax(scores[0], 0).numpy().T
    prior = np.kron(np.linalg.inv(covariance[0].numpy() + 1e-9 * np.eye(7)), np.eye(classes))
    for case in range(7):
        hessian, slope = prior.copy(), np.zeros(7 * classes)
        for other in range(7):
            block = slice(other * classes, (other + 1) * classes)
            if other == case:
                slope[block] = members[0, case].numpy() - p[case]
            else:
                hessian[block, block] += np.diag(p[other]) - np.outer(p[other], p[other])
        step = np.linalg.solve(hessian, slope)[case * classes : (case + 1) * classes]
        np.testing.assert_allclose(found[case], scores[0, :, case].numpy() - step, atol=1e-4)


def test_leave_one_out_probabilities_are_near_those_of_refits() -> None:
    x, members, mask = _data(14, 4, 2, seed=3)
    covariance, onehot = _covariance(x, mask, 1.0), members.mT
    mode = _newton(covariance, onehot, mask, solve(covariance, onehot, mask))
    found = torch.softmax(leave_one_out_scores(mode, covariance, onehot)[0], -1)[:, 1]
    in_sample = torch.softmax(mode.scores[0], 0)[1]
    refitted = []
    for case in range(14):
        rest = torch.arange(14) != case
        part = covariance[:, rest][:, :, rest]
        alpha = onehot[:, :, rest] - torch.softmax(solve(part, onehot[:, :, rest], mask[:, rest]), 1)  # at the optimum
        refitted.append(torch.softmax((alpha @ covariance[0, rest, case])[0], 0)[1])
    want = torch.stack(refitted)
    assert float((found - want).abs().max()) < 0.03
    assert float((in_sample - want).abs().max()) > 0.06


def test_the_chosen_signal_is_the_one_of_best_leave_one_out_likelihood() -> None:
    chosen = set()
    for seed in range(5):
        x, members, mask = _data(9, 3, 3, seed=seed)
        members = members[:, torch.randperm(9, generator=torch.Generator().manual_seed(seed))] if seed % 2 else members
        scores = []
        for signal in SIGNALS:
            covariance = _covariance(x, mask, signal)
            mode = _newton(covariance, members.mT, mask, solve(covariance, members.mT, mask))
            left_out = leave_one_out_scores(mode, covariance, members.mT)
            scores.append(float((torch.log_softmax(left_out, -1) * members).sum()))
        best = SIGNALS[int(np.argmax(scores))]
        found = fit_logistic(x, members, mask)
        want = fit_logistic(x, members, mask, signals=(best,))
        torch.testing.assert_close(found.signal, want.signal)
        torch.testing.assert_close(found.weight, want.weight, atol=1e-7, rtol=1e-7)
        chosen.add(best)
    assert len(chosen) > 1


def test_a_support_of_one_class_gives_a_probability_below_one() -> None:
    x, _, mask = _data(5, 3, 2)
    members = torch.tensor([[[0.0, 1.0]] * 5], dtype=torch.float64)
    fit = fit_logistic(x, members, mask)
    probability = _probabilities(fit, x)[..., 1]
    assert bool(((probability > 0.5) & (probability < 1)).all())


def test_cases_that_are_all_the_same_give_the_shrunken_frequencies() -> None:
    members = torch.tensor([[[1.0, 0], [0, 1.0], [0, 1.0], [0, 1.0]]], dtype=torch.float64)
    x = torch.ones(1, 4, 2, dtype=torch.float64)
    probability = _probabilities(fit_logistic(x, members, torch.ones(1, 4).bool()), x + 3)
    assert float(probability.std(1).max()) < 1e-9
    assert 0.5 < float(probability[0, 0, 1]) < 0.75


def test_classes_that_a_plane_separates_give_finite_probabilities() -> None:
    x = torch.linspace(-1, 1, 10, dtype=torch.float64)[None, :, None] * 100
    members = torch.nn.functional.one_hot((x[..., 0] > 0).long(), 2).double()
    fit = fit_logistic(x, members, torch.ones(1, 10).bool(), signals=(16.0, 1e6))
    law = logistic_law(fit, x)
    assert bool(law.logits.isfinite().all())
    assert law.probs.argmax(-1).tolist() == members.argmax(-1).tolist()


def test_the_gradient_to_the_inputs_is_that_of_finite_differences() -> None:
    x, members, mask = _data(5, 2, 3)

    def probability(x: Tensor) -> Tensor:
        return _probabilities(fit_logistic(x, members, mask, signals=(1.0,)), x[:, :2] + 0.1)

    assert torch.autograd.gradcheck(probability, (x.requires_grad_(),), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_at_a_given_signal_the_gradient_to_inputs_and_signal_is_that_of_finite_differences(classes: int) -> None:
    x, members, mask = _data(6, 2, classes, tasks=2)
    mask[1, 4:] = False
    signal = torch.tensor([0.5, 20.0], dtype=torch.float64)

    def probability(x: Tensor, signal: Tensor) -> Tensor:
        return _probabilities(fit_logistic_at(x, members * mask[..., None], mask, signal), x[:, :2] + 0.1)

    assert torch.autograd.gradcheck(probability, (x.requires_grad_(), signal.requires_grad_()), atol=1e-7)


def test_at_the_signal_that_was_chosen_the_fit_is_the_same_with_and_without_known_scores() -> None:
    x, members, mask = _data(9, 3, 3, tasks=2)
    chosen = fit_logistic(x, members, mask)
    again = fit_logistic_at(x, members, mask, chosen.signal)
    for found, want in zip(again, chosen, strict=True):
        torch.testing.assert_close(found, want, atol=1e-10, rtol=1e-10)


@settings(max_examples=30)
@given(SEEDS, st.integers(2, 8), st.integers(2, 4))
def test_order_of_cases_and_names_of_classes_do_not_matter(seed: int, n: int, classes: int) -> None:
    x, members, mask = _data(n, 3, classes, seed=seed)
    rng = np.random.default_rng(seed)
    order, names = torch.tensor(rng.permutation(n)), torch.tensor(rng.permutation(classes))
    z = x[:, :1] + 0.5
    here = _probabilities(fit_logistic(x, members, mask), z)
    there = _probabilities(fit_logistic(x[:, order], members[:, order][..., names], mask), z)
    torch.testing.assert_close(there, here[..., names], atol=1e-6, rtol=1e-6)


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 8), st.floats(-1e5, 1e5), st.floats(0.01, 100))
def test_padding_and_the_unit_of_the_inputs_do_not_matter(seed: int, n: int, garbage: float, unit: float) -> None:
    x, members, mask = _data(n, 3, 2, seed=seed)
    longer = torch.cat([x * unit, torch.full((1, 2, 3), garbage, dtype=torch.float64)], 1)
    classes = torch.cat([members, torch.zeros(1, 2, 2).double()], 1)
    there = torch.cat([mask, torch.zeros(1, 2).bool()], 1)
    z = x[:, :1] + 0.5
    found = _probabilities(fit_logistic(longer, classes, there), z * unit)
    torch.testing.assert_close(found, _probabilities(fit_logistic(x, members, mask), z), atol=1e-6, rtol=1e-6)


def test_a_hard_task_in_the_batch_does_not_change_an_easy_one() -> None:
    x, members, mask = _data(8, 3, 2, tasks=3)
    x[1] = x[1] * 1e3
    members[2] = members[2].flip(-1)
    every = fit_logistic(x, members, mask)
    for task in range(3):
        alone = fit_logistic(x[task : task + 1], members[task : task + 1], mask[task : task + 1])
        torch.testing.assert_close(every.weight[[task]], alone.weight, atol=1e-6, rtol=1e-6)


# Laplace's approximation.


def _weight_space(
    rows: Tensor, members: Tensor, offset: Tensor, queries: Tensor, query_offset: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the query scores of one task, from weights: their mode by Newton, their Hessian in full."""
    rank, classes = rows.shape[1], members.shape[1]

    def loss(weight: Tensor) -> Tensor:
        scores = rows @ weight.view(rank, classes) + offset
        return 0.5 * weight.square().sum() - (torch.log_softmax(scores, -1) * members).sum()

    weight = torch.zeros(rank * classes, dtype=torch.float64)
    for _ in range(30):
        slope, curvature = torch.func.grad(loss)(weight), torch.autograd.functional.hessian(loss, weight)
        weight = weight - torch.linalg.solve(curvature, slope)
    assert float(slope.abs().max()) < 1e-10
    covariance = torch.linalg.inv(curvature).view(rank, classes, rank, classes)
    mean = queries @ weight.view(rank, classes) + query_offset
    return mean.numpy(), torch.einsum("mi,icjd,mj->mcd", queries, covariance, queries).numpy()


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_laplace_over_cases_is_laplace_over_weights(classes: int) -> None:
    rng = np.random.default_rng(classes)
    rows, queries = torch.tensor(rng.normal(size=(2, 7, 3))), torch.tensor(rng.normal(size=(2, 5, 3)))
    labels = torch.tensor([[0, 1, 1, 0, 1, classes - 1, 0], [1, 1, 1, 1, 1, 1, 1]])
    members = torch.nn.functional.one_hot(labels, classes).double()
    mask = torch.arange(7) < torch.tensor([[7], [5]])
    offset, asked = torch.tensor(rng.normal(size=(2, 7, classes))), torch.tensor(rng.normal(size=(2, 5, classes)))
    real = rows.masked_fill(~mask[..., None], 0)
    fit = fit_laplace(real @ real.mT, members * mask[..., None], mask, offset)
    mean, covariance = laplace_scores(fit, queries @ real.mT, queries.square().sum(-1), asked)
    for task, n in enumerate([7, 5]):
        want_mean, want_covariance = _weight_space(
            rows[task, :n], members[task, :n], offset[task, :n], queries[task], asked[task]
        )
        np.testing.assert_allclose(mean[task].numpy(), want_mean, atol=1e-9)
        np.testing.assert_allclose(covariance[task].numpy(), want_covariance, atol=1e-9)


def test_two_classes_are_moderated_as_mackay_says() -> None:
    root = torch.tensor(np.random.default_rng(0).normal(size=(1, 4, 2, 2)))
    mean, covariance = torch.tensor(np.random.default_rng(1).normal(size=(1, 4, 2))), root @ root.mT
    along = mean[..., 1] - mean[..., 0]
    variance = covariance[..., 0, 0] + covariance[..., 1, 1] - 2 * covariance[..., 0, 1]
    want = torch.sigmoid(along / torch.sqrt(1 + np.pi * variance / 8))
    torch.testing.assert_close(moderated(mean, covariance).probs[..., 1], want)


@pytest.mark.parametrize(("classes", "most"), [(2, 0.01), (3, 0.35), (5, 0.7)])
def test_moderated_probabilities_are_nearer_to_the_average_over_draws_than_those_of_the_mean(
    classes: int, most: float
) -> None:
    rng = np.random.default_rng(classes)
    root = torch.tensor(rng.normal(size=(1, 60, classes, classes)))
    mean = torch.tensor(1.5 * rng.normal(size=(1, 60, classes)))
    draws = torch.tensor(rng.normal(size=(4000, classes)))
    scores = mean[..., None, :] + draws @ root.mT
    want = torch.softmax(scores, -1).mean(-2)

    def divergence(logits: Tensor) -> float:
        return float((want * (want.log() - torch.log_softmax(logits, -1))).sum(-1).mean())

    assert divergence(moderated(mean, root @ root.mT).logits) < most * divergence(mean)


def test_the_gradient_of_laplace_is_that_of_fitting_again() -> None:
    rng = np.random.default_rng(2)
    rows, queries = torch.tensor(rng.normal(size=(1, 6, 3))), torch.tensor(rng.normal(size=(1, 4, 3)))
    members = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 2, 1, 0]]), 3).double()
    mask, zero = torch.ones(1, 6, dtype=torch.bool), torch.zeros(1, 4, 3).double()
    weight = torch.tensor(rng.normal(size=(4, 3)))

    def outcome(rows: Tensor, offset: Tensor) -> Tensor:
        fit = fit_laplace(rows @ rows.mT, members, mask, offset)
        law = moderated(*laplace_scores(fit, queries @ rows.mT, queries.square().sum(-1), zero))
        return (law.logits[0] * weight).sum()

    given_inputs = [rows, torch.tensor(rng.normal(size=(1, 6, 3)))]
    slopes = torch.autograd.grad(outcome(*(each.requires_grad_() for each in given_inputs)), given_inputs)
    small = 1e-5
    for which in (0, 1):
        for case, column in [(0, 0), (3, 2), (5, 1)]:
            ends = []
            for sign in (1, -1):
                moved = [each.detach().clone() for each in given_inputs]
                moved[which][0, case, column] += sign * small
                ends.append(float(outcome(*moved)))
            want = (ends[0] - ends[1]) / (2 * small)
            assert abs(want) > 1e-4
            assert float(slopes[which][0, case, column]) == pytest.approx(want, rel=1e-6)
