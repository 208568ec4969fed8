"""Views of labels by hand, tokens as one linear map of case and label side by side, and heads as laws."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal

from metamedica.functional.labelled_cases import LEAST_SCALE, CaseTokens, LawHead, label_views, normal_law
from metamedica.testing import vector_batch
from metamedica.types import CaseBatch, LabelledBatch


def _multiclass() -> LabelledBatch:
    """Classes 2, 0, 2 and one padded case; class 1 is not shown."""
    mask = torch.tensor([[True, True, True, False]])
    return LabelledBatch(
        CaseBatch({"vector": torch.randn(1, 4, 3)}, mask), torch.tensor([[2, 0, 2, 0]]), "multiclass", 3
    )


def test_each_class_sees_which_cases_are_its_own_and_which_are_of_others() -> None:
    views = label_views(_multiclass(), torch.float64)
    assert views.shape == (1, 3, 4, 2)
    assert views.dtype == torch.float64
    own, other, none = [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]
    assert views[0].tolist() == [[other, own, other, none], [other, other, other, none], [own, other, own, none]]


def test_binary_and_regression_tasks_have_one_view_and_keep_the_meaning_of_their_labels() -> None:
    x = torch.zeros(1, 3, 1)
    binary = label_views(vector_batch(x, torch.tensor([[1, 0, 1]]), n_classes=2), torch.float32)
    assert binary.tolist() == [[[[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]]]
    regression = label_views(vector_batch(x, torch.tensor([[0.5, -1.0, 2.0]])), torch.float32)
    assert regression.tolist() == [[[[0.5], [-1.0], [2.0]]]]


def test_a_token_is_one_linear_map_of_case_and_label_side_by_side() -> None:
    torch.manual_seed(0)
    tokens, embedded, support = CaseTokens(3, 5), torch.randn(1, 4, 3), _multiclass()
    joined = nn.Linear(5, 5)
    joined.load_state_dict(
        {
            "weight": torch.cat([tokens.case.weight, tokens.multiclass.weight], dim=1),
            "bias": tokens.case.bias + tokens.multiclass.bias,
        }
    )
    found = tokens(embedded, support)
    for view in range(3):
        want = joined(torch.cat([embedded, label_views(support, torch.float32)[:, view]], dim=-1))
        torch.testing.assert_close(found[:, view], want)
    torch.testing.assert_close(tokens.unlabelled(embedded)[:, 0], tokens.case(embedded))


def test_two_numbers_are_a_mean_and_a_scale_that_never_falls_below_the_least() -> None:
    law = normal_law(torch.tensor([[[1.5, 0.0], [-2.0, -1e4], [0.0, 30.0]]]))
    assert law.mean.tolist() == [[1.5, -2.0, 0.0]]
    assert law.stddev[0].tolist() == pytest.approx([LEAST_SCALE + math.log(2), LEAST_SCALE, LEAST_SCALE + 30.0])


def test_a_multiclass_law_is_the_softmax_of_one_score_a_view() -> None:
    torch.manual_seed(0)
    head, vectors = LawHead(4), torch.randn(2, 5, 3, 4)
    law = head(vectors, "multiclass")
    assert isinstance(law, Categorical)
    scores = torch.stack([head.multiclass(vectors[:, view])[..., 0] for view in range(5)], dim=-1)
    torch.testing.assert_close(law.probs, torch.softmax(scores, -1))


def test_binary_and_regression_laws_read_their_one_view() -> None:
    torch.manual_seed(0)
    head, vectors = LawHead(4), torch.randn(2, 1, 3, 4)
    binary, regression = head(vectors, "binary"), head(vectors, "regression")
    assert isinstance(binary, Categorical)
    assert isinstance(regression, Normal)
    torch.testing.assert_close(binary.probs, torch.softmax(head.binary(vectors[:, 0]), -1))
    torch.testing.assert_close(regression.mean, head.regression(vectors[:, 0])[..., 0])
