"""A new site: supports as patients come, nested, one query for all sizes, no patient on both sides."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical

from metamedica.data.collection import TaskCollection
from metamedica.data.task import Task
from metamedica.errors import InputError, TaskError
from metamedica.reports.influence import mean_influence, roc_auc_influence
from metamedica.reports.judging import judge
from metamedica.reports.protocols.sites import LEAST_QUERY, Sites
from metamedica.types import CaseBatch, LabelledBatch, Law


def _site(n: int, *, patients: int | None = None) -> Task:
    groups = None if patients is None else tuple(f"p{i % patients}" for i in range(n))
    return Task(
        "site", "binary", np.arange(n), (np.arange(n) % 7 == 0).astype(np.int64), classes=("0", "1"), groups=groups
    )


@given(st.integers(15, 120), st.integers(0, 20), st.integers(0, 3))
def test_supports_are_nested_and_share_one_query(n: int, draw: int, seed: int) -> None:
    protocol, site = Sites((5, 10, 20)), _site(n)
    sizes = [size for size in (5, 10, 20) if n >= size + LEAST_QUERY]
    supports = [protocol.support(site, size, draw=draw, seed=seed) for size in sizes]
    for small, large in itertools.pairwise(supports):
        assert large[: len(small)].tolist() == small.tolist()
    queries = [protocol.query(site, support, draw=draw, seed=seed) for support in supports]
    assert all((query == queries[0]).all() for query in queries)
    assert not queries[0][supports[-1]].any()
    assert queries[0].sum() == n - sizes[-1]


def test_no_patient_of_the_support_is_asked_about() -> None:
    protocol, site = Sites((5, 10)), _site(60, patients=30)
    support = protocol.support(site, 10, draw=0, seed=0)
    query = protocol.query(site, support, draw=0, seed=0)
    groups = np.array(site.groups)
    assert not set(groups[support]) & set(groups[query])
    assert query.sum() >= 40


def test_a_support_may_be_of_one_class() -> None:
    protocol, site = Sites((5,)), _site(100)
    shares = [site.targets[protocol.support(site, 5, draw=draw, seed=0)].mean() for draw in range(50)]
    assert min(shares) == 0
    assert max(shares) > 0


def test_small_sites_and_unknown_sizes_are_refused_by_name() -> None:
    with pytest.raises(TaskError, match="task 'site' has 14 cases; 5 shots need at least 15"):
        Sites().support(_site(14), 5, draw=0, seed=0)
    with pytest.raises(InputError, match="got 7 shots with a query that is fixed for 5, 10, 20, 50"):
        Sites().support(_site(100), 7, draw=0, seed=0)
    with pytest.raises(InputError, match="got no support size"):
        Sites(())
    assert Sites().settings() == {"fixed_query": [5, 10, 20, 50]}


def test_what_is_kept_of_each_case_is_its_influence_over_the_draws_and_only_of_cases_that_were_asked() -> None:
    protocol, site = Sites((5, 10)), _site(24, patients=12)
    rng = np.random.default_rng(0)
    queries = [
        protocol.query(site, protocol.support(site, 5, draw=draw, seed=0), draw=draw, seed=0) for draw in range(3)
    ]
    scores = [rng.random(int(query.sum())) for query in queries]
    kept = protocol.cases(site, queries, scores)
    asked = np.flatnonzero(np.any(queries, axis=0))
    assert kept["case"].tolist() == asked.tolist()
    assert kept["label"].tolist() == site.targets[asked].tolist()
    assert kept["patient"].tolist() == (asked % 12).tolist()
    two = [draw for draw in range(3) if len(set(site.targets[queries[draw]].tolist())) == 2]
    for name, draws, moved in (
        ("roc_auc", two, roc_auc_influence),
        ("log_loss", range(3), lambda y, p: mean_influence(-np.log(np.where(y == 1, p, 1 - p)))),
        ("brier", range(3), lambda y, p: mean_influence((y - p) ** 2)),
    ):
        want = np.zeros(24)
        for draw in draws:
            want[queries[draw]] += moved(site.targets[queries[draw]], scores[draw]) / len(draws)
        np.testing.assert_allclose(kept[name], want[asked], atol=1e-8)


def test_an_evaluation_holds_it_case_by_case_and_its_file_does_not(tmp_path: Path) -> None:
    site = _site(30)
    tasks = TaskCollection(
        "synthetic", [str(n) for n in range(30)], features={"x": torch.zeros(30, 1)}, tasks={"site": site}
    )

    def fair(support: LabelledBatch, query: CaseBatch) -> Law:
        return Categorical(logits=torch.zeros(*query.mask.shape, 2))

    asked = {"methods": {"fair": fair}, "collection": tasks, "shots": (5,), "draws": 4, "parts": tmp_path}
    first, again = (judge(Sites((5, 10)), **asked).cases for _ in range(2))  # type: ignore[arg-type]
    assert set(first.columns) == {"method", "task", "shots", "case", "label", "patient", "roc_auc", "log_loss", "brier"}
    assert (first["roc_auc"] == 0).all()
    pd.testing.assert_frame_equal(first, again)
    assert "cases" not in judge(Sites((5, 10)), **asked).as_dict()  # type: ignore[arg-type]
