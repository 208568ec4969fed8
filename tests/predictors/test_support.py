"""What a user's labelled cases may look like, and the one sentence that each bad one gets."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from metamedica import registry
from metamedica.errors import CaseError, TaskError
from metamedica.predictors.support import infer_kind, read_support

SMILES = ["CCO", "CCN", "c1ccccc1", "CCCC", "CC(=O)O", "CCCl"]


def _read(cases: Sequence[str], targets: Sequence[Any], **settings: Any) -> Any:
    return read_support(registry.modality("molecules"), cases, targets, **settings)


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        ([0, 1, 1], "binary"),
        ([0.0, 1.0, 1.0], "binary"),
        ([True, False], "binary"),
        (["1", "0"], "binary"),
        ([5.1, 6.2, 7.0], "regression"),
        ([2, 3, 4], "regression"),
        (["5.1", "6"], "regression"),
        (["active", "inactive"], "binary"),
        (["a", "b", "c"], "multiclass"),
    ],
)
def test_the_kind_is_read_from_the_targets(targets: list[Any], kind: str) -> None:
    assert infer_kind(targets) == kind


def test_regression_targets_keep_their_unit_and_order() -> None:
    support = _read(SMILES[:3], [5.5, 6.25, 7.0], unit="-log10 M")
    assert support.batch.targets.tolist() == [[5.5, 6.25, 7.0]]
    assert (support.kind, support.unit, support.classes) == ("regression", "-log10 M", None)
    assert support.batch.features["counts"].dtype == torch.float32


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([1, 0, 1], ("0", "1")),
        (["Active", "inactive", "Active"], ("inactive", "Active")),
        (["no", "yes", "no"], ("no", "yes")),
    ],
)
def test_known_pairs_of_labels_know_which_one_is_positive(labels: list[Any], classes: tuple[str, str]) -> None:
    assert _read(SMILES[:3], labels).classes == classes


def test_other_pairs_need_the_positive_one_named() -> None:
    with pytest.raises(TaskError, match="positive"):
        _read(SMILES[:2], ["blocker", "neutral"])
    support = _read(SMILES[:2], ["blocker", "neutral"], positive="blocker")
    assert support.classes == ("neutral", "blocker")
    assert support.batch.targets.tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("cases", "targets", "settings", "error", "message"),
    [
        (SMILES[:1], [5.0], {}, TaskError, "got 1 labelled case; give at least 2"),
        ([], [], {}, TaskError, "got 0 labelled cases"),
        (SMILES[:3], [1.0, 2.0], {}, TaskError, "got 3 cases and 2 targets"),
        (SMILES[:3], [5.0, float("nan"), 6.0], {}, TaskError, "case 2 has no target"),
        (SMILES[:3], [5.0, None, 6.0], {}, TaskError, "case 2 has no target"),
        (SMILES[:3], [5.0, "high", 6.0], {"kind": "regression"}, TaskError, "case 2 is 'high'; a finite number"),
        (SMILES[:3], [5.0, float("inf"), 6.0], {"kind": "regression"}, TaskError, "finite number"),
        (SMILES[:3], [1, 1, 1], {"kind": "binary"}, TaskError, "all '1'"),
        (SMILES[:3], ["a", "b", "c"], {"kind": "binary"}, TaskError, "3 came"),
        (SMILES[:2], ["a", "b"], {"positive": "c"}, TaskError, "does not occur"),
        (["CCO", "nonsense", "CCN"], [5.0, 6.0, 7.0], {}, CaseError, r"case 2 \('nonsense'\)"),
        (["CCO", "OCC", "CCN"], [5.0, 6.0, 7.0], {}, CaseError, "cases 1 and 2 are the same"),
        (["CCO", "OCC"], [5.0, 5.0], {}, TaskError, "all labelled cases are the same case"),
    ],
)
def test_a_support_that_cannot_be_used_gets_one_clear_sentence(
    cases: list[str], targets: list[Any], settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        _read(cases, targets, **settings)
    assert "\n" not in str(caught.value)


def test_the_same_case_twice_with_one_target_counts_once() -> None:
    support = _read(["CCO", "OCC", "CCN"], [5.0, 5.0, 7.0])
    assert support.canonical == ["CCO", "CCN"]
    assert support.batch.targets.tolist() == [[5.0, 7.0]]
