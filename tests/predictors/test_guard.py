"""Do no harm: the guard leans on the learned method where it explains the support, and nowhere else."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from metamedica.errors import BundleError, TaskError
from metamedica.functional.mixture import mix
from metamedica.learners.common_mean_gp import CommonMeanGP
from metamedica.learners.multi_kernel_gp import MultiKernelGP
from metamedica.learners.tanimoto_gp import TanimotoGP
from metamedica.modalities.molecules import encoding
from metamedica.modalities.molecules.encoding import FingerprintEncoder, ManyFingerprintsEncoder
from metamedica.modalities.molecules.featurise import MORE_FINGERPRINTS
from metamedica.predictors.guard import CLIP, Guard, cohesion, fitted_gate, held_out_log_likelihood
from metamedica.predictors.method import LearnerMethod
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, Law, Learner, Paper


class Oracle(Learner[LabelledBatch]):
    """Knows that the target is the first coordinate, up to a little noise; learns nothing from the support."""

    paper = Paper("a test", "us", 2026, "none")
    kinds = frozenset({"regression"})

    def __init__(self, error: float = 0.0) -> None:
        super().__init__()
        self.error = error

    def adapt(self, support: LabelledBatch) -> LabelledBatch:
        return support

    def predict(self, state: LabelledBatch, query: CaseBatch) -> Law:
        loc = query.features["vector"][..., 0] + self.error
        return Normal(loc, torch.full_like(loc, 0.15), validate_args=False)


def _regression(n: int, seed: int = 0, tasks: int = 1) -> LabelledBatch:
    rng = np.random.default_rng(seed)
    vector = torch.tensor(rng.normal(size=(tasks, n, 2)), dtype=torch.float64)
    vector = (vector - vector.mean(1, keepdim=True)) / vector.std(1, keepdim=True)
    target = vector[..., 0] + 0.1 * torch.tensor(rng.normal(size=(tasks, n)))
    target = (target - target.mean(1, keepdim=True)) / target.std(1, keepdim=True)
    return LabelledBatch(CaseBatch({"vector": vector}, torch.ones(tasks, n, dtype=torch.bool)), target, "regression")


def _guard(error: float) -> Guard:
    raw = VectorRaw(2)
    return Guard({"oracle": LearnerMethod(Oracle(error)), "tanimoto_gp": LearnerMethod(TanimotoGP(raw).double())}, raw)


def _method(closed_form: bool) -> LearnerMethod:
    learner = TanimotoGP(VectorRaw(2)).double()
    return LearnerMethod(learner if closed_form else Folded(learner))


class Folded(Learner[Any]):
    """A learner that hides its closed form."""

    paper = TanimotoGP.paper
    kinds = TanimotoGP.kinds

    def __init__(self, inner: TanimotoGP) -> None:
        super().__init__()
        self.inner = inner

    def adapt(self, support: LabelledBatch) -> Any:
        return self.inner.adapt(support)

    def predict(self, state: Any, query: CaseBatch) -> Law:
        return self.inner.predict(state, query)


@pytest.mark.parametrize("closed_form", [True, False])
def test_leave_one_out_equals_refitting_without_each_case(closed_form: bool) -> None:
    support = _regression(9)
    method = _method(closed_form)
    by_hand = []
    for hidden in range(9):
        kept = [i for i in range(9) if i != hidden]
        rest = LabelledBatch(
            CaseBatch({"vector": support.features["vector"][:, kept]}, torch.ones(1, 8, dtype=torch.bool)),
            support.targets[:, kept],
            "regression",
        )
        query = CaseBatch({"vector": support.features["vector"][:, [hidden]]}, torch.ones(1, 1, dtype=torch.bool))
        law = method.learner.predict(method.learner.adapt(rest), query)
        by_hand.append(float(law.log_prob(support.targets[:, [hidden]])))
    assert float(held_out_log_likelihood(method, support)[0]) == pytest.approx(np.mean(by_hand), abs=1e-9)


@pytest.mark.parametrize("closed_form", [True, False])
@pytest.mark.parametrize("n", [9, 40])
def test_the_order_and_padding_of_the_support_do_not_change_the_held_out_score(n: int, closed_form: bool) -> None:
    support = _regression(n)
    method = _method(closed_form)
    want = held_out_log_likelihood(method, support)
    order = torch.tensor(np.random.default_rng(1).permutation(n))
    torch.testing.assert_close(held_out_log_likelihood(method, support.map(lambda v: v[:, order])), want)
    padded = LabelledBatch(
        CaseBatch(
            {"vector": torch.nn.functional.pad(support.features["vector"], (0, 0, 0, 5), value=3.0)},
            torch.nn.functional.pad(support.mask, (0, 5)),
        ),
        torch.nn.functional.pad(support.targets, (0, 5)),
        "regression",
    )
    if (
        closed_form or n < 16
    ):  # with more cases than folds the padded batch is dealt into as many folds, of the same cases
        torch.testing.assert_close(held_out_log_likelihood(method, padded), want)


def test_a_good_learner_is_leant_on_and_a_bad_one_is_not() -> None:
    support = _regression(16)
    good, bad = _guard(0.0).weigh(support), _guard(3.0).weigh(support)
    assert float(good.weights[0, 0]) > 0.9
    assert float(bad.weights[0, 0]) < 0.01
    torch.testing.assert_close(good.weights.sum(1), torch.ones(1))


def test_the_mixture_is_never_worse_than_the_worst_candidate_by_likelihood() -> None:
    support, query = _regression(16), _regression(50, seed=3)
    guard = _guard(3.0)
    law = guard(support, query.cases)
    alone = guard.candidates["tanimoto_gp"](support, query.cases)
    assert float(law.log_prob(query.targets).mean()) > float(alone.log_prob(query.targets).mean()) - 0.05


def test_a_gate_fitted_on_tasks_where_the_learner_is_bad_closes() -> None:
    episodes = []
    for seed in range(12):
        support, query = _regression(4, seed=seed, tasks=3), _regression(20, seed=100 + seed, tasks=3)
        episodes.append(EpisodeBatch(support, query, torch.arange(3)))
    plain = _guard(1.5)
    gate = fitted_gate(plain.observed(episodes), n_tasks=3, start=plain.gate)
    fitted = Guard(plain.candidates, plain.raw, earlier=plain.earlier, gate=gate)
    weights = [float(guard.weigh(episodes[0].support).weights[:, 0].mean()) for guard in (plain, fitted)]
    assert weights[1] <= weights[0]

    def likelihood(guard: Guard) -> float:
        return float(np.mean([float(b.query.log_likelihood(guard(b.support, b.query.cases)).mean()) for b in episodes]))

    assert likelihood(fitted) >= likelihood(plain) - 1e-3  # moment matching and the gate's penalty cost a little


def test_many_tasks_may_move_a_gate_further_than_few() -> None:
    guard = _guard(0.0)

    def fitted(tasks: int) -> float:
        batch = _regression(40, seed=5, tasks=tasks)
        support, query = batch.map(lambda v: v[:, :8]), batch.map(lambda v: v[:, 8:])
        observed = guard.observed([EpisodeBatch(support, query, torch.arange(tasks))])
        moved = fitted_gate(observed, n_tasks=tasks, start=guard.gate)
        return float((moved - guard.gate).norm())

    few, many = fitted(2), fitted(40)
    assert 0 < few < many


def test_one_class_left_after_hiding_a_case_is_left_out_of_the_score() -> None:
    rng = np.random.default_rng(0)
    vector = torch.tensor(rng.normal(size=(1, 5, 2)))
    targets = torch.tensor([[1, 0, 0, 0, 0]])
    support = LabelledBatch(CaseBatch({"vector": vector}, torch.ones(1, 5, dtype=torch.bool)), targets, "binary", 2)
    score = held_out_log_likelihood(LearnerMethod(TanimotoGP(VectorRaw(2)).double()), support)
    assert torch.isfinite(score).all()
    assert float(score[0]) < 0


def test_a_pair_of_opposite_classes_scores_zero_for_every_candidate() -> None:
    support = LabelledBatch(
        CaseBatch({"vector": torch.eye(2)[None]}, torch.ones(1, 2, dtype=torch.bool)),
        torch.tensor([[0, 1]]),
        "binary",
        2,
    )
    assert held_out_log_likelihood(LearnerMethod(TanimotoGP(VectorRaw(2))), support).tolist() == [0.0]


def test_cohesion_is_the_mean_similarity_of_different_cases() -> None:
    support = _regression(4)
    rows = support.features["vector"][0]
    kernel = VectorRaw(2).similarity(rows, rows).numpy()
    want = kernel[~np.eye(4, dtype=bool)].mean()
    assert float(cohesion(VectorRaw(2), support)[0]) == pytest.approx(want)


def test_a_gate_of_another_shape_and_a_single_candidate_are_refused() -> None:
    raw = VectorRaw(2)
    method = LearnerMethod(TanimotoGP(raw))
    with pytest.raises(TaskError, match="needs a learned one"):
        Guard({"tanimoto_gp": method}, raw)
    with pytest.raises(BundleError, match="shape"):
        Guard({"a": method, "b": method}, raw, gate=torch.zeros(2, 6))


def test_evidence_is_clipped_so_that_no_outlier_decides_alone() -> None:
    evidence = _guard(50.0).weigh(_regression(16)).evidence
    assert float(evidence.columns()[0, 0, 1]) == -CLIP


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_the_closed_form_equals_the_folds_for_classes(kind: Any) -> None:
    rng = np.random.default_rng(4)
    n_classes = 2 if kind == "binary" else 3
    targets = torch.tensor(rng.integers(0, n_classes, size=(2, 12)))
    cases = CaseBatch({"vector": torch.tensor(rng.normal(size=(2, 12, 2)))}, torch.ones(2, 12, dtype=torch.bool))
    support = LabelledBatch(cases, targets, kind, n_classes)
    torch.testing.assert_close(
        held_out_log_likelihood(_method(True), support), held_out_log_likelihood(_method(False), support)
    )


def test_candidates_compare_the_same_cases_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)

    def cases(n: int) -> CaseBatch:
        blocks = {
            name: torch.randint(0, 4, (1, n, 64), generator=random).float() for name in ("counts", *MORE_FINGERPRINTS)
        }
        descriptors = torch.randn(1, n, 5, generator=random)
        return CaseBatch({**blocks, "descriptors": descriptors}, torch.ones(1, n, dtype=torch.bool))

    methods = {
        "common_mean_gp": LearnerMethod(CommonMeanGP(ManyFingerprintsEncoder(64))),
        "multi_kernel_gp": LearnerMethod(MultiKernelGP(FingerprintEncoder(64))),
    }
    support, query = LabelledBatch(cases(9), torch.randn(1, 9, generator=random), "regression"), cases(30)
    guard = Guard(methods, FingerprintEncoder(64))
    weights = guard.weigh(support).weights
    apart = mix([method(support, query) for method in methods.values()], weights)
    compared = []
    plain = encoding.minmax_and_tanimoto
    monkeypatch.setattr(
        encoding, "minmax_and_tanimoto", lambda one, other: (compared.append(one), plain(one, other))[1]
    )
    adapted = guard.adapt(support)
    assert len(compared) == 1 + len(MORE_FINGERPRINTS)
    together = adapted.predict(query)
    assert len(compared) == 2 * (1 + len(MORE_FINGERPRINTS))
    assert torch.equal(together.mean, apart.mean)
    assert torch.equal(together.stddev, apart.stddev)
