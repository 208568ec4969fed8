"""What all protocols share: a task too small in any draw is left out whole, and a method that does not apply leaves nothing behind."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Categorical

from metamedica.data.collection import Task, TaskCollection
from metamedica.data.episodes import labelled
from metamedica.errors import InputError, TaskError
from metamedica.learners.multi_kernel_gp import MultiKernelGP
from metamedica.learners.tanimoto_gp import TanimotoGP
from metamedica.predictors.guard import Guard
from metamedica.predictors.method import LearnerMethod
from metamedica.reports.judging import TRUST, judge
from metamedica.reports.protocols.fsmol import FixedQuery, FSMol, support_positions
from metamedica.testing import VectorRaw
from metamedica.types import CaseBatch, LabelledBatch, Law


def _collection(*sizes: tuple[int, int]) -> TaskCollection:
    """Return a binary task of so many negatives and positives for each size."""
    tasks, start = {}, 0
    for number, (negatives, positives) in enumerate(sizes):
        labels = np.repeat([0, 1], [negatives, positives])
        rows = np.arange(start, start + len(labels))
        tasks[f"t{number}"] = Task(f"t{number}", "binary", rows, labels, classes=("0", "1"))
        start += len(labels)
    return TaskCollection(
        "synthetic", [str(n) for n in range(start)], features={"x": torch.zeros(start, 1)}, tasks=tasks
    )


def fair(support: LabelledBatch, query: CaseBatch) -> Law:
    return Categorical(logits=torch.zeros(*query.mask.shape, 2))


def of_small_tasks(support: LabelledBatch, query: CaseBatch) -> Law:
    """Applies to tasks of at most 60 cases."""
    if query.n_cases > 60:
        raise TaskError("too many cases")
    return fair(support, query)


def test_a_task_whose_support_lacks_a_class_in_some_draws_is_too_small_and_no_method_is_skipped_for_it() -> None:
    collection = _collection((40, 20), (155, 5))  # the first of 5 stands where the 16th of 155 does: chance decides
    drawn = []
    for draw in range(10):
        try:
            drawn.append(len(support_positions(collection["t1"], 16, draw=draw, seed=1)))
        except TaskError:
            drawn.append(0)
    assert drawn[0] == 16
    assert set(drawn) == {0, 16}
    result = judge(FSMol(), {"fair": fair}, collection, shots=(16,), draws=10, seed=1)
    assert result.skipped == {}
    assert set(result.rows["task"]) == {"t0"}
    assert result.protocol["tasks_too_small"] == {"16": 1}


def test_a_method_that_fails_on_a_later_task_leaves_no_figure_behind() -> None:
    collection = _collection((40, 20), (50, 30))
    both = judge(FSMol(), {"fair": fair, "small": of_small_tasks}, collection, shots=(16,), draws=2)
    assert both.skipped == {"small": "too many cases"}
    assert set(both.rows["method"]) == set(both.reliability["method"]) == {"fair"}
    with pytest.raises(TaskError, match="nothing could be evaluated: small: too many cases"):
        judge(FSMol(), {"small": of_small_tasks}, collection, shots=(16,), draws=2)


def test_a_size_beside_those_of_a_fixed_query_is_refused_as_its_cases_would_be_in_the_query() -> None:
    with pytest.raises(InputError, match="got 32 shots with a query that is fixed for 16, 64; name every size"):
        judge(FixedQuery((64, 16)), {"fair": fair}, _collection((60, 60)), shots=(16, 32), draws=1)


def test_a_guarded_method_tells_its_trust_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    vectors = torch.tensor(rng.normal(size=(80, 2)))
    tasks = {}
    for number in range(2):
        rows = np.arange(40 * number, 40 * number + 40)
        tasks[f"t{number}"] = Task(f"t{number}", "regression", rows, vectors[rows, 0].numpy(), unit="u")
    collection = TaskCollection("synthetic", [str(n) for n in range(80)], features={"vector": vectors}, tasks=tasks)
    raw = VectorRaw(2)
    alone = LearnerMethod(TanimotoGP(raw).double())
    guard = Guard({"other": LearnerMethod(MultiKernelGP(raw).double()), "tanimoto_gp": alone}, raw)
    rows = judge(FSMol(), {"guarded": guard, "alone": alone}, collection, shots=(16,), draws=3).rows
    assert rows.loc[rows["method"] == "alone", TRUST].isna().all()
    trust = rows.loc[(rows["method"] == "guarded") & (rows["task"] == "t1"), TRUST]
    support = [support_positions(collection["t1"], 16, draw=draw, seed=0) for draw in range(3)]
    want = guard.adapt(labelled(collection, [collection["t1"]] * 3, support)).weighed.weights[:, 0]
    np.testing.assert_allclose(trust.to_numpy(), want.numpy(), rtol=1e-6)


def test_a_method_and_the_function_that_it_is_get_the_same_figures() -> None:
    collection = _collection((40, 20))

    class Fair:
        def adapt(self, support: LabelledBatch) -> "Fair":
            return self

        def predict(self, query: CaseBatch) -> Law:
            return Categorical(logits=torch.zeros(*query.mask.shape, 2))

        def __call__(self, support: LabelledBatch, query: CaseBatch) -> Law:
            return self.predict(query)

    rows = judge(FSMol(), {"method": Fair(), "function": fair}, collection, shots=(16,), draws=2).rows
    one, two = (rows[rows["method"] == name].drop(columns=["method", "seconds"]) for name in ("method", "function"))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), two.reset_index(drop=True))
