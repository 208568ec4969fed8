"""Models that answer together: the mean of their probabilities, kept whole on disk."""

import torch
from tests.drawn_cells import drawn

from metamedica.applications.segmentation.cases import read_pairs, read_picture
from metamedica.applications.segmentation.heads import fit_logistic_head, fit_prototypes
from metamedica.applications.segmentation.voting import Vote, by_voter, mean_law


def test_a_vote_is_the_mean_of_probabilities() -> None:
    pairs = read_pairs(*zip(*(drawn(seed) for seed in range(3)), strict=True), n_classes=3)
    one, other = fit_prototypes(pairs, 3), fit_logistic_head(pairs, 3)
    picture = read_picture(drawn(9)[0])
    wanted = (one.log_probabilities(picture).exp() + other.log_probabilities(picture).exp()) / 2
    found = Vote({"one": one, "other": other}).log_probabilities(picture).exp()
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(mean_law([one.log_probabilities(picture)]), one.log_probabilities(picture))


def test_tensors_are_told_apart_by_voter() -> None:
    pairs = read_pairs(*zip(*(drawn(seed) for seed in range(3)), strict=True), n_classes=3)
    one, other = fit_prototypes(pairs, 3), fit_logistic_head(pairs, 3)
    found = by_voter(Vote({"one": one, "other": other}).tensors())
    assert set(found) == {"one", "other"}
    assert all(torch.equal(found["other"][name], value) for name, value in other.tensors().items())
    assert by_voter(one.tensors()) == {}
