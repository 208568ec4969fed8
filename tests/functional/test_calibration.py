"""Maps find the miscalibration that was put in, keep a law that is right, and leave a task without labels alone."""

import numpy as np
import pytest
import torch
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.distributions import Categorical, Normal

from metamedica.functional.calibration import Beta, Isotonic, Temperature


def _binary(score: Tensor) -> Categorical:
    return Categorical(logits=torch.stack([torch.zeros_like(score), score], -1))


def _drawn(n: int, *, tasks: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    score = 2 * torch.randn(tasks, n, generator=random, dtype=torch.float64)
    label = (torch.rand(tasks, n, generator=random) < torch.sigmoid(score)).long()
    return score, label, torch.ones(tasks, n, dtype=torch.bool)


@pytest.mark.parametrize("sharpness", [-0.7, 0.0, 0.7])
def test_temperature_finds_how_much_too_sure_a_law_is(sharpness: float) -> None:
    score, label, known = _drawn(4000)
    found = Temperature.fit(_binary(score * np.exp(-sharpness)), label, known)
    assert found.sharpness.item() == pytest.approx(sharpness, abs=0.08)
    right = found(_binary(score * np.exp(-sharpness)))
    assert isinstance(right, Categorical)
    assert right.probs[..., 1].numpy() == pytest.approx(torch.sigmoid(score).numpy(), abs=0.03)


def test_temperature_finds_how_much_too_narrow_numbers_are() -> None:
    draw = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    law = Normal(torch.zeros(1, 4000, dtype=torch.float64), torch.full((1, 4000), 0.5, dtype=torch.float64))
    wide = Temperature.fit(law, draw, torch.ones(1, 4000, dtype=torch.bool))(law)
    assert wide.stddev[0, 0].item() == pytest.approx(1.0, abs=0.03)


def test_the_beta_map_is_logistic_regression_on_both_logarithms() -> None:
    score, label, known = _drawn(3000)
    law = _binary(1.6 * score - 1)
    probability = law.probs[..., 1]
    sides = torch.stack([probability.log(), -torch.log1p(-probability)], -1)[0].numpy()
    free = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-10).fit(sides, label[0].numpy())
    ours = Beta.fit(law, label, known, spread=100.0)
    assert (ours.change[0, 0, :2] + 1).numpy() == pytest.approx(free.coef_[0], abs=2e-3)
    assert ours.change[0, 0, 2].item() == pytest.approx(free.intercept_[0], abs=2e-3)
    right = ours(law)
    assert isinstance(right, Categorical)
    assert right.probs[..., 1].numpy() == pytest.approx(torch.sigmoid(score).numpy(), abs=0.05)


def test_the_isotonic_map_is_that_of_scikit_learn_between_its_ends() -> None:
    score, label, known = _drawn(300)
    law = _binary(score)
    asked = law.probs[0, :, 1].numpy()
    ours = Isotonic.fit(law, label, known)(law)
    assert isinstance(ours, Categorical)
    theirs = IsotonicRegression().fit(asked, label[0].numpy()).predict(asked)
    assert ours.probs[0, :, 1].numpy() == pytest.approx(np.clip(theirs, 1 / 302, 301 / 302), abs=1e-6)
    rising = np.diff(ours.probs[0, np.argsort(asked), 1].numpy())
    assert (rising >= -1e-9).all()


def test_with_three_classes_every_map_gives_probabilities_that_sum_to_one() -> None:
    random = torch.Generator().manual_seed(0)
    law = Categorical(logits=torch.randn(2, 60, 3, generator=random))
    label = torch.randint(0, 3, (2, 60), generator=random)
    known = torch.ones(2, 60, dtype=torch.bool)
    for fit in (Temperature.fit, Beta.fit, Isotonic.fit):
        right = fit(law, label, known)(law)  # type: ignore[operator]
        assert right.probs.sum(-1).numpy() == pytest.approx(1, abs=1e-6)
        assert right.log_prob(label).mean() > law.log_prob(label).mean()


def test_a_task_without_labels_keeps_its_law_and_others_do_not_change_it() -> None:
    score, label, known = _drawn(40, tasks=2)
    some = known.clone()
    some[1] = False
    law = _binary(3 * score)
    for fit in (Temperature.fit, Beta.fit, Isotonic.fit):
        together, alone = (
            fit(law, label, some)(law),
            fit(_binary(3 * score[:1]), label[:1], known[:1])(_binary(3 * score[:1])),
        )  # type: ignore[operator]
        assert together.probs[1].numpy() == pytest.approx(law.probs[1].numpy(), abs=1e-6)
        assert together.probs[0].numpy() == pytest.approx(alone.probs[0].numpy(), abs=1e-6)


def test_few_labels_change_little() -> None:
    score, label, known = _drawn(10)
    law = _binary(4 * score)
    few = Temperature.fit(law, label, known).sharpness.item()
    many = Temperature.fit(_binary(4 * _drawn(2000)[0]), *_drawn(2000)[1:]).sharpness.item()
    assert many < few < 0
