"""MoleculeACE in few shots: activity cliffs apart, targets left out with their compounds."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal

from metamedica.data.collection import Task, TaskCollection
from metamedica.data.splits import rows_of
from metamedica.errors import InputError
from metamedica.reports.comparison import compare
from metamedica.reports.judging import judge
from metamedica.reports.protocols.moleculeace import MoleculeACE, folds, leave_out, target_of
from metamedica.types import CaseBatch, LabelledBatch, Law

NAMES = ("A1_Ki", "A1_EC50", "B2_Ki", "C3_Ki", "D4_EC50", "E5_Ki", "F6_Ki", "G7_Ki")


def _sets(size: int = 40, shared: int = 5) -> TaskCollection:
    """Sets of `size` compounds, neighbours of which share some; the feature is the target."""
    rng = np.random.default_rng(0)
    total = len(NAMES) * (size - shared) + shared
    values = torch.tensor(rng.normal(size=(total, 1)))
    tasks = {}
    for number, name in enumerate(NAMES):
        rows = np.arange(size) + number * (size - shared)
        tasks[name] = Task(name, "regression", rows, values[rows, 0].numpy().copy(), unit="-log10 M")
    return TaskCollection("synthetic", [str(n) for n in range(total)], features={"vector": values}, tasks=tasks)


def off_by_the_sign(support: LabelledBatch, query: CaseBatch) -> Law:
    """Errs by 1 on compounds above 0, by 0.5 on the others."""
    truth = query.features["vector"][..., 0]
    return Normal(truth + torch.where(truth > 0, 1.0, 0.5), torch.ones_like(truth))


def off_by_a_quarter(support: LabelledBatch, query: CaseBatch) -> Law:
    truth = query.features["vector"][..., 0]
    return Normal(truth + 0.25, torch.ones_like(truth))


def test_the_error_on_cliffs_is_that_of_the_flagged_compounds_of_the_query() -> None:
    sets = _sets()
    cliffs = {name: task.targets > 0 for name, task in sets.tasks.items()}
    methods = {"sign": off_by_the_sign, "quarter": off_by_a_quarter}
    result = judge(MoleculeACE(cliffs), methods, sets, shots=(16,), draws=3)
    rows = result.rows[result.rows["method"] == "sign"]
    np.testing.assert_allclose(rows["cliff_rmse"], 1.0, atol=1e-9)
    assert ((rows["rmse"] > 0.5) & (rows["rmse"] < 1.0)).all()
    assert set(result.rows["query"]) == {24}
    pair = compare(result, "quarter", "sign", shots=16, figure="cliff_rmse")
    assert pair.mean == pytest.approx(0.75)  # lower is better


def test_finished_parts_of_other_flags_have_another_key() -> None:
    flags = {"A1_Ki": np.array([True, False, True]), "B2_Ki": np.array([False])}
    key = MoleculeACE(flags).settings()
    assert key == MoleculeACE(dict(reversed(flags.items()))).settings()
    for other in ({**flags, "B2_Ki": np.array([True])}, {"A1_Ki": flags["A1_Ki"]}, {}):
        assert MoleculeACE(other).settings() != key


def test_flags_that_do_not_fit_their_task_are_refused() -> None:
    sets = _sets()
    with pytest.raises(InputError, match="the activity cliffs of task 'A1_Ki' are not known case by case"):
        judge(MoleculeACE({}), {"quarter": off_by_a_quarter}, sets, shots=(16,), draws=1)
    with pytest.raises(InputError, match="give one flag per case"):
        MoleculeACE({"A1_Ki": np.ones(3, dtype=bool)}).support(sets["A1_Ki"], 16, draw=0, seed=0)
    with pytest.raises(InputError, match="task 'A1_Ki' is binary and this protocol judges values"):
        MoleculeACE({}).support(sets.binarised("median")["A1_Ki"], 16, draw=0, seed=0)


@given(st.sets(st.sampled_from([target_of(name) for name in NAMES]), min_size=1, max_size=4))
def test_left_out_targets_lose_no_compound_and_the_others_hold_none_of_theirs(targets: set[str]) -> None:
    sets = _sets()
    apart = leave_out(sets, sorted(targets))
    assert apart.names("meta_test") == [name for name in NAMES if target_of(name) in targets]
    own = set(rows_of(apart, apart.names("meta_test")))
    for name in apart.names("meta_test"):
        assert apart[name].rows.tolist() == sets[name].rows.tolist()
    for side in ("meta_train", "meta_valid"):
        assert not own & set(rows_of(apart, apart.names(side)))
        assert not targets & {target_of(name) for name in apart.names(side)}
    assert apart.names("meta_train")
    assert apart.names("meta_valid")


def test_a_target_with_two_sets_is_left_out_with_both_and_some_others_select() -> None:
    apart = leave_out(_sets(), ["A1"], valid=0.3)
    assert apart.names("meta_test") == ["A1_Ki", "A1_EC50"]
    assert apart.names("meta_valid") == ["D4_EC50", "G7_Ki"]


def test_targets_that_are_not_there_or_all_there_is_are_refused() -> None:
    with pytest.raises(InputError, match="the collection has no set of Z9; give targets of some of its sets"):
        leave_out(_sets(), ["A1", "Z9"])
    with pytest.raises(InputError, match="no set of no target"):
        leave_out(_sets(), [])
    with pytest.raises(InputError, match="there are 0 others, and one to learn from and one to select on are wanted"):
        leave_out(_sets(), [target_of(name) for name in NAMES])


@pytest.mark.parametrize("valid", [0.0, -0.1, 0.6, float("nan")])
def test_a_share_of_meta_valid_targets_that_cannot_be_is_refused(valid: float) -> None:
    with pytest.raises(InputError, match=r"got valid=.*; give a share above 0 and up to 0\.5"):
        leave_out(_sets(), ["A1"], valid=valid)


@given(st.integers(2, 7), st.integers(0, 50))
def test_folds_deal_every_target_once(number: int, seed: int) -> None:
    dealt = folds(_sets(), number, seed=seed)
    assert sorted(target for fold in dealt for target in fold) == sorted({target_of(name) for name in NAMES})
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    assert dealt == folds(_sets().select(NAMES[::-1]), number, seed=seed)


def test_a_number_of_folds_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="got 8 folds for 7 targets; give 2 to 7"):
        folds(_sets(), 8)
