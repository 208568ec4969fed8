"""A new site: supports as patients come, nested, one query for all sizes, no patient on both sides."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.data.task import Task
from metamedica.errors import InputError, TaskError
from metamedica.reports.protocols.sites import LEAST_QUERY, Sites


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
