"""Made-up tables: the same for the same seed, with both answers, columns that tell of the label, and what hospitals do to numbers."""

import numpy as np
import pytest
import torch

from metamedica.data.causal_tables import DrawnTable, causal_tables
from metamedica.errors import InputError


def _some(count: int, **settings: int) -> list[DrawnTable]:
    return list(causal_tables(count, **settings))


def test_the_same_seed_gives_the_same_tables_and_more_of_them_begin_with_the_same() -> None:
    few, many = _some(20, seed=3), _some(40, seed=3)
    for left, right in zip(few, many, strict=False):
        assert torch.equal(left.cells, right.cells)
        assert torch.equal(left.labels, right.labels)
    assert not torch.equal(few[0].cells, _some(1, seed=4)[0].cells)


def test_tables_have_the_size_that_was_asked_for_and_finite_cells() -> None:
    for table in _some(60, cases=30, most_columns=7):
        assert table.cells.shape[0] == len(table.labels) == 30
        assert 2 <= table.cells.shape[1] <= 7
        assert torch.isfinite(table.cells).all()
        assert set(table.labels.tolist()) <= {0, 1}


def test_tables_of_one_draw_differ_in_what_tells_of_the_label() -> None:
    best = [
        int(np.abs(np.nan_to_num(np.corrcoef(table.cells.T, table.labels)[-1, :-1])).argmax())
        for table in _some(16, cases=200)
    ]
    assert len(set(best)) > 1


def test_most_labels_can_be_told_from_the_columns_but_not_without_error() -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score

    areas = []
    for table in _some(24, cases=300, seed=1):
        cells, labels = table.cells.numpy(), table.labels.numpy()
        if 5 < labels[:200].sum() < 195 and 0 < labels[200:].sum() < 100:
            forest = RandomForestClassifier(30, random_state=0).fit(cells[:200], labels[:200])
            areas.append(roc_auc_score(labels[200:], forest.predict_proba(cells[200:])[:, 1]))
    assert 0.6 < float(np.mean(areas)) < 0.95


@pytest.mark.parametrize(("count", "cases", "columns"), [(0, 80, 8), (1, 4, 8), (1, 80, 1)])
def test_a_size_that_no_table_can_have_is_refused(count: int, cases: int, columns: int) -> None:
    with pytest.raises(InputError, match="give at least 1, 8 and 2"):
        _some(count, cases=cases, most_columns=columns)
