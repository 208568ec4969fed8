"""A support without labels has the shape of the support and shows no case."""

import torch

from metamedica.functional.population import without_labels
from metamedica.testing import vector_episodes


def test_a_support_without_labels_shows_no_case() -> None:
    support = vector_episodes("binary").support
    found = without_labels(support)
    assert found.mask.shape == support.mask.shape
    assert not found.mask.any()
    assert not found.targets.any()
    assert (found.kind, found.n_classes) == (support.kind, support.n_classes)
    assert bool(support.mask.all())
    assert bool((found.counts() == torch.zeros(3)).all())
