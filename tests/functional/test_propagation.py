"""Graphs that labels spread over, kernels centred by classes, and processes whose cases count in part, by hand."""

import torch

from metamedica.functional.propagation import centred, centring_of, counted, even_weights, laplacian, spread
from metamedica.testing import VectorRaw


def _kernel(n: int, *, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(1, n, 3, generator=random, dtype=torch.float64)
    return VectorRaw(3).similarity(rows, rows)


def test_a_laplacian_is_positive_semi_definite_and_a_root_of_the_degrees_is_its_null_vector() -> None:
    mask = torch.ones(1, 9, dtype=torch.bool)
    found = laplacian(_kernel(9), mask, neighbours=3)
    strength, directions = torch.linalg.eigh(found[0])
    assert float(strength[0]) > -1e-10
    assert float(strength[0]) < 1e-10
    assert bool((directions[:, 0] > 0).all() or (directions[:, 0] < 0).all() or (strength < 1e-10).sum() > 1)


def test_padding_changes_nothing_in_a_graph() -> None:
    kernel, mask = _kernel(9), torch.arange(9)[None] < 6
    alone = laplacian(kernel[:, :6, :6], mask[:, :6], neighbours=3)
    torch.testing.assert_close(laplacian(kernel, mask, neighbours=3)[:, :6, :6], alone)
    assert not bool(laplacian(kernel, mask, neighbours=3)[:, 6:].any())


def test_what_spreads_sums_to_one_and_stays_where_nothing_is_joined() -> None:
    start = torch.softmax(torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), -1)
    alone = spread(torch.zeros(1, 4, 4, dtype=torch.float64), smoothing=2.0, sharpness=1.0)
    torch.testing.assert_close(alone(start), start)
    graph = laplacian(_kernel(4), torch.ones(1, 4, dtype=torch.bool), neighbours=2)
    found = spread(graph, smoothing=2.0, sharpness=1.0)(start)
    wanted = torch.linalg.solve(torch.eye(4) + 2 * graph, start)
    torch.testing.assert_close(found, wanted / wanted.sum(-1, keepdim=True))


def test_the_mean_is_that_of_the_class_means_however_large_each_class_is() -> None:
    members = torch.tensor([[[1.0, 0, 0]] * 8 + [[0, 1.0, 0]] * 2])
    weight = even_weights(members, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(weight[0], torch.tensor([1 / 8] * 8 + [1 / 2] * 2))
    none = even_weights(torch.full((1, 5, 2), 0.5), torch.zeros(1, 2, dtype=torch.bool))
    torch.testing.assert_close(none[0], torch.full((5,), 0.4))


def test_a_centred_kernel_has_mean_zero_and_variance_one() -> None:
    kernel, mask = _kernel(7)[:, None], torch.arange(7)[None] < 5
    found = centred(kernel, centring_of(kernel, mask.double()))[:, :, :5, :5]
    torch.testing.assert_close(found.mean(-1), torch.zeros(1, 1, 5, dtype=torch.float64), atol=1e-12, rtol=0.0)
    assert abs(float(found.diagonal(dim1=-2, dim2=-1).mean()) - 1) < 1e-12


def test_a_case_that_counts_in_part_has_so_much_more_noise() -> None:
    kernel, noise = _kernel(5), 0.2
    weight = torch.tensor([[[1.0, 1.0, 0.5, 0.1, 0.0]]], dtype=torch.float64)
    targets = torch.tensor([1.0, -1.0, 1.0, 0.5, 9.0], dtype=torch.float64)[None, None, :, None]
    found = counted(kernel[:, None], weight, torch.tensor([noise], dtype=torch.float64))
    within = kernel[0, :4, :4] + torch.diag(noise / weight[0, 0, :4])
    wanted = torch.linalg.solve(within, targets[0, 0, :4])
    torch.testing.assert_close(found.solved(targets)[0, 0, :4], wanted)
    assert float(found.solved(targets)[0, 0, 4]) == 0.0
    near = kernel[0, :, :4]
    variance = 1 + noise - (near @ torch.linalg.solve(within, near.mT)).diagonal()
    prior = torch.full((1, 1, 5), 1 + noise, dtype=torch.float64)
    torch.testing.assert_close(found.variance(kernel[:, None], prior)[0, 0], variance)
