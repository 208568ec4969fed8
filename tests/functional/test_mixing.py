"""MixUp and CutMix inside tasks: shares, areas, targets, and nothing of another task."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from metamedica.errors import InputError
from metamedica.functional.mixing import Mixed, cut_and_mixed, mixed_up, soft_cross_entropy

CLASSES = 3
BOTH = pytest.mark.parametrize("mix", [mixed_up, cut_and_mixed])


def _task(n_tasks: int = 2, n: int = 6, side: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Image values name task and case: 100 * task + case."""
    values = 100.0 * torch.arange(n_tasks)[:, None] + torch.arange(n)
    images = values[:, :, None, None, None].expand(n_tasks, n, 2, side, side).double().clone()
    counts = torch.tensor([n, n - 2])[:n_tasks]
    mask = torch.arange(n) < counts[:, None]
    return images, (torch.arange(n) % CLASSES).repeat(n_tasks, 1) * mask, mask


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _partners(found: Mixed, images: Tensor) -> Tensor:
    """Which value is mixed in, from the mean of the image and the share."""
    own = found.own
    return (found.images.mean((2, 3, 4)) - own * images[:, :, 0, 0, 0]) / (1 - own)


@BOTH
def test_a_partner_is_another_real_case_of_the_same_task_and_shares_and_targets_agree(mix: type) -> None:
    images, targets, mask = _task()
    found: Mixed = mix(images, targets, mask, _random(), n_classes=CLASSES, alpha=1.0)
    moved = mask & (found.own < 1 - 1e-9)
    assert int(moved.sum()) >= 8
    partner = _partners(found, images)
    for task, case in moved.nonzero().tolist():
        value, share = float(partner[task, case]), float(found.own[task, case])
        other = round(value) - 100 * task
        assert value == pytest.approx(100 * task + other, abs=1e-6)
        assert 0 <= other < int(mask[task].sum())
        assert other != case
        want = torch.zeros(CLASSES, dtype=torch.float64)
        want[targets[task, case]] += share
        want[targets[task, other]] += 1 - share
        torch.testing.assert_close(found.targets[task, case], want)
    torch.testing.assert_close(found.targets.sum(-1), mask.double())


def test_every_case_is_given_once_so_that_mean_image_and_mean_label_of_a_task_stay_at_equal_shares() -> None:
    """With each case mixed into exactly one other, shares of one half leave the task's means as they were."""
    images, targets, mask = _task(1)
    found = mixed_up(images, targets, mask, _random(), n_classes=CLASSES, alpha=1e6)
    torch.testing.assert_close(found.own, torch.full_like(found.own, 0.5), atol=2e-3, rtol=0)
    torch.testing.assert_close(found.images.mean(1), images.mean(1), atol=0.02, rtol=0)
    want = torch.bincount(targets[0], minlength=CLASSES).double() / 6
    torch.testing.assert_close(found.targets.mean((0, 1)), want, atol=2e-3, rtol=0)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_of_mix_up_have_the_moments_of_a_beta(alpha: float) -> None:
    images, mask = torch.zeros(1, 4000, 1, 1, 1), torch.ones(1, 4000, dtype=torch.bool)
    own = mixed_up(images, torch.zeros(1, 4000, dtype=torch.long), mask, _random(), n_classes=2, alpha=alpha).own
    assert float(own.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(own.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_the_box_of_cut_mix_has_the_area_that_the_targets_say() -> None:
    images, targets, mask = _task(side=16)
    found = cut_and_mixed(images, targets, mask, _random(), n_classes=CLASSES, alpha=1.0)
    changed = (found.images != images).all(2)
    torch.testing.assert_close(1 - changed.double().mean((2, 3))[mask], found.own[mask])
    rows, columns = changed.any(3).sum(2), changed.any(2).sum(2)
    assert torch.equal(changed.sum((2, 3)), rows * columns)


@BOTH
def test_alpha_zero_changes_nothing_and_one_seed_gives_one_result(mix: type) -> None:
    images, targets, mask = _task()
    still: Mixed = mix(images, targets, mask, _random(), n_classes=CLASSES, alpha=0.0)
    assert torch.equal(still.images, images)
    assert torch.equal(still.targets.argmax(-1)[mask], targets[mask])
    one, same, other = (
        mix(images, targets, mask, _random(seed), n_classes=CLASSES, alpha=0.5).images for seed in (3, 3, 4)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_soft_cross_entropy_of_hard_targets_is_cross_entropy() -> None:
    _, targets, mask = _task()
    logits = torch.randn(2, 6, CLASSES, dtype=torch.float64, generator=_random())
    hard = torch.nn.functional.one_hot(targets, CLASSES).double() * mask[..., None]
    want = [cross_entropy(logits[task, real], targets[task, real]) for task, real in enumerate(mask)]
    torch.testing.assert_close(soft_cross_entropy(logits, hard), torch.stack(want))


@BOTH
def test_what_cannot_be_mixed_is_refused(mix: type) -> None:
    images, targets, mask = _task()
    with pytest.raises(InputError, match="got alpha -1"):
        mix(images, targets, mask, _random(), n_classes=CLASSES, alpha=-1.0)
    with pytest.raises(InputError, match="classes from 0 to 2 of 2"):
        mix(images, targets, mask, _random(), n_classes=2)
