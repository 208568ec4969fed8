"""What an evaluation says about itself: means of means, intervals that cover, and the same after a trip through a file."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metamedica.errors import FileFormatError
from metamedica.reports.evaluation import LEADING, LOWER_IS_BETTER, Evaluation, bootstrap

VALUES = st.none() | st.floats(-10, 10, allow_subnormal=False)
CELLS = st.lists(
    st.tuples(st.sampled_from(["ours", "theirs"]), st.sampled_from(["a", "b", "c"]), st.sampled_from([16, 64]), VALUES),
    min_size=1,
    max_size=30,
)
"""method, task, support size and figure of each draw."""


def _evaluation(cells: list[tuple[str, str, int, float | None]], **changes: Any) -> Evaluation:
    rows = pd.DataFrame(cells, columns=["method", "task", "shots", "r2"]).astype({"r2": float})
    rows.insert(3, "draw", rows.groupby(["method", "task", "shots"]).cumcount())
    rows["rmse"] = -rows["r2"]
    rows["query"] = 40
    parts: dict[str, Any] = {"kind": "regression", "rows": rows, "protocol": {"name": "FS-Mol", "seed": 0}}
    return Evaluation(**{**parts, **changes})


def _by_hand(cells: list[tuple[str, str, int, float | None]]) -> dict[tuple[int, str], list[float]]:
    """Return the mean over draws of each task, by support size and method."""
    draws: dict[tuple[int, str, str], list[float]] = {}
    for method, task, shots, value in cells:
        if value is not None:
            draws.setdefault((shots, method, task), []).append(value)
    found: dict[tuple[int, str], list[float]] = {}
    for (shots, method, _), values in draws.items():
        found.setdefault((shots, method), []).append(sum(values) / len(values))
    return found


@given(CELLS)
def test_the_summary_is_the_mean_over_tasks_of_the_mean_over_draws(
    cells: list[tuple[str, str, int, float | None]],
) -> None:
    by_hand = _by_hand(cells)
    if not by_hand:
        return
    summary = _evaluation(cells).summary()
    told = {
        (int(row["shots"]), row["method"]): (row["mean"], row["tasks"]) for _, row in summary.iterrows() if row["tasks"]
    }
    assert told == {key: (pytest.approx(np.mean(values)), len(values)) for key, values in by_hand.items()}
    assert (summary["low"].dropna() <= summary["mean"].dropna() + 1e-12).all()
    assert (summary["mean"].dropna() <= summary["high"].dropna() + 1e-12).all()


@given(CELLS)
def test_methods_stand_best_first_and_lower_is_better_where_it_is(
    cells: list[tuple[str, str, int, float | None]],
) -> None:
    if not _by_hand(cells):
        return
    evaluation = _evaluation(cells)
    for figure, sign in (("r2", -1), ("rmse", 1)):
        summary = evaluation.summary(figure)
        assert summary["shots"].is_monotonic_increasing
        for _, part in summary.groupby("shots"):
            means = [sign * mean for mean in part["mean"] if not math.isnan(mean)]
            assert means == sorted(means)
    assert "rmse" in LOWER_IS_BETTER
    assert not set(LEADING.values()) & LOWER_IS_BETTER


def test_a_figure_that_no_task_has_gives_an_empty_summary() -> None:
    assert len(_evaluation([("ours", "a", 16, None), ("theirs", "a", 16, None)]).summary()) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=CELLS)
def test_an_evaluation_comes_back_from_its_file_as_it_was(
    tmp_path: Path, cells: list[tuple[str, str, int, float | None]]
) -> None:
    if not any(value is not None for *_, value in cells):
        return
    first = _evaluation(cells, skipped={"maml": "does not learn a regression"})
    first.to_json(tmp_path / "e.json")
    again = Evaluation.from_json(tmp_path / "e.json")
    pd.testing.assert_frame_equal(again.rows, first.rows)
    assert (again.kind, again.protocol, again.skipped) == (first.kind, first.protocol, first.skipped)
    assert again.reliability.empty
    assert (again.methods, again.shots, again.figures) == (first.methods, first.shots, ["r2", "rmse"])


def test_the_file_is_plain_json_without_nan(tmp_path: Path) -> None:
    _evaluation([("ours", "a", 16, 0.5), ("ours", "b", 16, None)]).to_json(tmp_path / "e.json")

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is not JSON")

    told = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert [row["r2"] for row in told["rows"]] == [0.5, None]


def test_a_figure_that_was_never_defined_is_still_no_number_after_a_file() -> None:
    evaluation = _evaluation([("ours", "a", 16, 0.5), ("theirs", "a", 16, 0.4)])
    evaluation.rows["rmse"] = float("nan")
    again = Evaluation.from_dict(json.loads(json.dumps(evaluation.as_dict())))
    assert again.rows["rmse"].dtype == np.float64
    assert again.per_task("rmse").empty


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"e\.json is not readable JSON; give the JSON of `evaluate`"),
        ("[]", r"this is not an evaluation \(TypeError: .*\); give the JSON of `evaluate`"),
        ("{}", r"this is not an evaluation \(KeyError: 'format'\); give the JSON of `evaluate`"),
        ('{"format": 9, "kind": "binary"}', "got an evaluation of format 9, 1 was wanted; evaluate again"),
        (
            '{"format": 1, "kind": "binary", "rows": [{"method": "m", "task": "t"}]}',
            "the evaluation's rows lack shots, draw, delta_auprc; evaluate again",
        ),
    ],
)
def test_a_file_that_is_no_evaluation_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "e.json").write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError, match=f"^{message}$"):
        Evaluation.from_json(tmp_path / "e.json")


def test_a_missing_file_is_named_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"^there is no file 'e\.json'; check the path$"):
        Evaluation.from_json(tmp_path / "e.json")


def test_the_bootstrap_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    samples = rng.gamma(2.0, size=(500, 40))  # skewed, as figures of tasks are; true mean 2
    covered = np.mean([low <= 2.0 <= high for low, high in map(bootstrap, samples)])
    assert 0.90 <= covered <= 0.975


def test_the_bootstrap_interval_is_as_wide_as_the_standard_error_says() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    low, high = bootstrap(values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.03)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12), st.floats(-5, 5))
def test_the_bootstrap_interval_moves_with_the_values_and_the_seed_decides(values: list[float], shift: float) -> None:
    low, high = bootstrap(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert (low, high) == bootstrap(values)
    moved = bootstrap([value + shift for value in values])
    assert moved == (pytest.approx(low + shift, abs=1e-9), pytest.approx(high + shift, abs=1e-9))


def test_no_values_have_no_interval_and_one_value_has_none_either_side() -> None:
    assert all(math.isnan(end) for end in bootstrap([]))
    assert bootstrap([0.25]) == (0.25, 0.25)
