"""Heads, network, meta-learned start and choice: each against what it should be by another way."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.drawn_cells import drawn
from torch.distributions import MultivariateNormal

from metamedica.applications.segmentation import heads
from metamedica.applications.segmentation.augmentation import Crops, repainted
from metamedica.applications.segmentation.cases import UNLABELLED, LabelledPicture, read_pairs
from metamedica.applications.segmentation.choice import choose, parts
from metamedica.applications.segmentation.earlier import adapted_weights
from metamedica.applications.segmentation.features import NETWORK_CHANNELS
from metamedica.applications.segmentation.judging import Calibration, Hidden, calibrated
from metamedica.applications.segmentation.unet import Schedule, new_network, one_cycle, pixel_loss
from metamedica.functional.inner_loop.loop import Constant, InnerLoop


def _pairs(count: int, *, n_classes: int = 3) -> list[LabelledPicture]:
    found = [drawn(seed) for seed in range(count)]
    return read_pairs([image for image, _ in found], [mask for _, mask in found], n_classes)


def test_prototypes_are_normal_laws_with_one_covariance() -> None:
    pairs = _pairs(2)
    head = heads.fit_prototypes(pairs, 3)
    sample = heads._Sample(pairs, 3, 0)
    inputs = sample.inputs[0].double()
    means = torch.stack([inputs[sample.classes == each].mean(0) for each in range(3)])
    inner = inputs - means[sample.classes]
    covariance = inner.T @ inner / len(inner)
    shrunk = 0.9 * covariance + 0.1 * torch.diag(covariance.diagonal()) + 1e-3 * torch.eye(len(covariance))
    joint = torch.stack([MultivariateNormal(mean, shrunk).log_prob(inputs) for mean in means], dim=1) + sample.prior
    found = torch.log_softmax(sample.inputs[0] @ head.weight + head.bias, dim=1)
    torch.testing.assert_close(found.double(), torch.log_softmax(joint, dim=1), atol=2e-2, rtol=1e-2)


@pytest.mark.parametrize("fit", [heads.fit_prototypes, heads.fit_ridge_head, heads.fit_logistic_head])
def test_a_class_without_a_labelled_pixel_is_never_said(fit: heads.PixelModel) -> None:
    pairs = _pairs(2, n_classes=4)
    said = fit(pairs, 4).log_probabilities(pairs[0].picture)  # type: ignore[operator]
    assert float(said[3].exp().max()) < 1e-6
    share = (said.argmax(0) == 0).float().mean()
    assert float(share) == pytest.approx(float((pairs[0].classes == 0).float().mean()), abs=0.1)


def test_the_loss_is_cross_entropy_and_dice_of_labelled_pixels() -> None:
    scores = torch.tensor([[[[2.0, 0.0, 5.0]], [[0.0, 1.0, -5.0]]]])
    classes = torch.tensor([[[0, 1, UNLABELLED]]])
    chance = torch.softmax(scores[0, :, 0, :2], dim=0)
    entropy = -(chance[0, 0].log() + chance[1, 1].log()) / 2
    overlap = [(2 * chance[at, at] + 1) / (chance[at].sum() + 1 + 1) for at in range(2)]
    expected = entropy + 1 - (overlap[0] + overlap[1]) / 2
    torch.testing.assert_close(pixel_loss(scores, classes), expected)
    assert float(pixel_loss(scores, torch.full_like(classes, UNLABELLED))) == 0


def test_rates_rise_and_fall_and_a_network_leaves_the_generator_alone() -> None:
    rates = [one_cycle(step, 60) for step in range(60)]
    assert int(np.argmax(rates)) == 10
    assert max(rates) == pytest.approx(1)
    assert rates[-1] < 0.01
    state = torch.get_rng_state()
    first, second = new_network(2, width=4, seed=3), new_network(2, width=4, seed=3)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_crops_keep_features_and_classes_together_and_repeat_by_seed() -> None:
    pairs = _pairs(2)
    first, second = (Crops(pairs, side=24, seed=7).batch(6) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert first[0].shape == (6, NETWORK_CHANNELS, 24, 24)
    features, classes = first
    dark, bright = (features[:, 0][classes == each].mean() for each in (2, 0))
    assert abs(float(dark - bright)) > 0.5


def test_the_exact_meta_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    network = new_network(2, width=4, seed=0).double()
    start = {name: value.detach().clone().requires_grad_() for name, value in network.named_parameters()}
    support, query = (torch.randn(1, NETWORK_CHANNELS, 16, 16, dtype=torch.double) for _ in range(2))
    classes = torch.randint(2, (2, 1, 16, 16))
    loop = InnerLoop(2, Constant(0.05))

    def outer(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        own = adapted_weights(network, weights, support, classes[0], loop, outer="exact")
        return pixel_loss(torch.func.functional_call(network, own, (query,)), classes[1])

    slopes = torch.autograd.grad(outer(start), list(start.values()))
    way = {name: torch.randn_like(value) for name, value in start.items()}
    along = torch.stack([(slope * each).sum() for slope, each in zip(slopes, way.values(), strict=True)]).sum()
    ends = [
        outer({name: (value + sign * 1e-5 * way[name]).detach().requires_grad_() for name, value in start.items()})
        for sign in (1, -1)
    ]
    assert ((ends[0] - ends[1]) / 2e-5).item() == pytest.approx(float(along.detach()), rel=1e-4)


def test_the_first_order_gradient_is_that_at_the_adapted_weights() -> None:
    network = new_network(2, width=4, seed=0)
    start = {name: value.detach().clone().requires_grad_() for name, value in network.named_parameters()}
    features, classes = torch.randn(1, NETWORK_CHANNELS, 16, 16), torch.randint(2, (1, 16, 16))
    own = adapted_weights(network, start, features, classes, InnerLoop(1, Constant(0.1)), outer="first_order")
    found = torch.autograd.grad(
        pixel_loss(torch.func.functional_call(network, own, (features,)), classes), list(start.values())
    )
    there = {name: value.detach().requires_grad_() for name, value in own.items()}
    expected = torch.autograd.grad(
        pixel_loss(torch.func.functional_call(network, there, (features,)), classes), list(there.values())
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_every_image_is_hidden_once_and_never_from_itself() -> None:
    pairs = _pairs(7)
    found = parts(pairs, 5)
    hidden = [id(pair) for _, each in found for pair in each]
    assert sorted(hidden) == sorted(map(id, pairs))
    assert all(id(pair) not in map(id, rest) for rest, each in found for pair in each)


def test_one_image_is_hidden_by_halves_that_share_no_label() -> None:
    pair = _pairs(1)[0]
    for rest, hidden in parts([pair], 5):
        assert not ((rest[0].classes != UNLABELLED) & (hidden[0].classes != UNLABELLED)).any()
    corner = pair.classes * 0
    corner[0, 0] = 1
    assert parts([replace(pair, classes=corner)], 5) == []


def test_too_sure_a_law_is_calmed_and_a_shy_one_calls_more_structure() -> None:
    generator = torch.Generator().manual_seed(0)
    logit = torch.randn(64, 64, generator=generator)
    classes = (torch.rand(64, 64, generator=generator) < torch.sigmoid(logit)).long()
    pair = replace(_pairs(1)[0], classes=classes)
    said = torch.log_softmax(torch.stack([torch.zeros(64, 64), 3 * logit]), dim=0)
    assert Calibration(calibrated([Hidden(pair, said)]).sharpness).sharpness == pytest.approx(-np.log(3), abs=0.15)
    shy = torch.log_softmax(torch.stack([torch.zeros(64, 64), logit - 2]), dim=0)
    assert calibrated([Hidden(pair, shy)]).offset < -1
    assert calibrated([]) == Calibration()


def test_a_network_of_no_use_is_not_chosen() -> None:
    chosen = choose(
        _pairs(3), 3, methods=["prototype", "network"], schedule=Schedule(steps=1, crops=1, side=16, width=4)
    )
    assert chosen.method != "network"
    assert chosen.dice[chosen.method] > chosen.dice["network"]


def test_hidden_images_are_recoloured_where_new_ones_will_be() -> None:
    found = [drawn(seed, colour=True) for seed in range(2)]
    pairs = read_pairs([image for image, _ in found], [mask for _, mask in found], 3)
    alike, other = (
        choose(pairs, 3, methods=["prototype"], schedule=Schedule(), expected=expected)
        for expected in ("alike", "recoloured")
    )
    assert [each.pair for each in alike.hidden] == pairs
    assert all(
        not torch.equal(each.pair.picture.pixels, pair.picture.pixels) and torch.equal(each.pair.classes, pair.classes)
        for each, pair in zip(other.hidden, pairs, strict=True)
    )
    assert other.dice["prototype"] < alike.dice["prototype"]


def test_structures_are_painted_each_by_itself_and_stay_where_they_are() -> None:
    image, mask = drawn(0, colour=True)
    pair = read_pairs([image], [mask], 3)[0]
    generator = torch.Generator().manual_seed(0)
    ratios = []
    for _ in range(30):
        painted = repainted(pair.picture.pixels, pair.classes, generator)
        assert painted.shape == pair.picture.pixels.shape
        assert 0 <= float(painted.min()) <= float(painted.max()) <= 1
        means = [float(painted[:, pair.classes == each].mean()) for each in range(3)]
        ratios.append((means[0] - means[1], means[1] - means[2]))
    own = [float(pair.picture.pixels[:, pair.classes == each].mean()) for each in range(3)]
    spread = np.std(ratios, axis=0)
    assert (spread > 0.03).all()
    assert np.corrcoef(np.array(ratios).T)[0, 1] < 0.6  # contrasts change apart from each other
    assert own[0] > own[1] > own[2]
