"""What the clinical benchmark says of known figures: paired over sites, harm by name, goals that cannot be met by chance."""

from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark_modules import load_benchmark

METHODS = ("ours", "pooled_linear", "pooled_trees", "recalibrated", "linear")


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("_clinical_tables", monkeypatch)


@pytest.fixture
def families(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("_clinical_families", monkeypatch)


def _rows(gains: dict[str, list[float]], *, shots: tuple[int, ...] = (20, 50), draws: int = 20) -> pd.DataFrame:
    """Return rows in which ours has AUC .8 and log-loss .5 on three sites, and each method differs by its gains, draw by draw alike."""
    noise = np.random.default_rng(0).normal(0, 0.01, draws)
    rows = [
        {
            "method": method, "task": f"site {site}", "shots": size, "draw": draw, "roc_auc": 0.8 - gain + noise[draw],
            "log_loss": 0.5 + gain, "brier": 0.2 + gain, "ece": 0.1,
        }
        for method, each in gains.items()
        for site, gain in enumerate(each)
        for size in shots
        for draw in range(draws)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _same(gains: list[float]) -> dict[str, list[float]]:
    """Return these gains over every method but ours."""
    return {method: gains if method != "ours" else [0.0] * len(gains) for method in METHODS}


def _family(tables: ModuleType, gains: dict[str, list[float]]) -> dict[str, Any]:
    figures = ("roc_auc", "log_loss", "brier", "ece")
    found: dict[str, Any] = tables.summary(_rows(gains), figures=figures, reference="ours", seed=0)
    return {**found, "protocol": {"tasks": 3}}


def test_differences_are_paired_over_draws_and_better_is_positive(tables: ModuleType) -> None:
    family = _family(tables, _same([0.1, 0.2, 0.3]))
    gain = family["paired"]["20"]["linear"]
    assert gain["roc_auc"]["mean"] == pytest.approx(0.2)
    assert gain["log_loss"]["mean"] == pytest.approx(0.2)
    assert gain["roc_auc"]["over_draws"] == pytest.approx([0.2, 0.2], abs=1e-4)  # the noise of a draw is common to all
    low, high = gain["roc_auc"]["interval"]
    assert 0.1 <= low < 0.2 < high <= 0.3


def test_a_harmed_site_is_counted_and_the_worst_is_named(tables: ModuleType) -> None:
    family = _family(tables, _same([0.1, 0.1, -0.05]))
    sites = family["sites"]["20"]["pooled_linear"]
    assert sites["harmed"] == ["site 2"]
    assert sites["worst"] == ["site 2", pytest.approx(-0.05)]
    goals = tables.goals(
        {"heart": family}, default="ours", pooled=METHODS[1:3], speed={"median_ms": 5, "low_ms": 4, "high_ms": 6}
    )
    (harm,) = [each for each in goals if "sites of 3" in each["name"] and ", 20:" in each["name"]]
    assert harm["met"] is False
    assert harm["value"] == 1


def test_goals_are_met_by_gains_and_missed_without(tables: ModuleType) -> None:
    speed = {"median_ms": 25.0, "low_ms": 20.0, "high_ms": 30.0}
    for gain in (0.1, -0.1):
        family = _family(tables, _same([gain] * 3))
        goals = tables.goals({"heart": family, "heart-extra": family}, default="ours", pooled=METHODS[1:3], speed=speed)
        judged = {each["name"]: each["met"] for each in goals if "CPU ms" not in each["name"]}
        assert len(judged) == 2 * 2 + 2 + 2 + 8
        assert set(judged.values()) == {gain > 0}
        assert [each["met"] for each in goals if "CPU ms" in each["name"]] == [False]


def test_the_page_holds_every_method_and_goal(tables: ModuleType, families: ModuleType) -> None:
    family = _family(tables, _same([0.1] * 3))
    goals = tables.goals(
        {"heart": family}, default="ours", pooled=METHODS[1:3], speed={"median_ms": 5, "low_ms": 4, "high_ms": 6}
    )
    page = tables.markdown(
        {"heart": family}, goals, families=families.FAMILIES, machine="m", stale=["heart"], default="ours"
    )
    assert all(method in page for method in METHODS)
    assert all(each["name"] in page for each in goals)
    assert "Stale, their code or data has changed since: heart." in page


@pytest.mark.mirror
def test_a_judged_hospital_is_seen_by_no_schema_and_by_no_earlier_task(families: ModuleType) -> None:
    worlds = families.FAMILIES["heart-extra"].build()
    assert [world.names for world in worlds] == [["cleveland"], ["hungarian"], ["switzerland"], ["va"]]
    world = worlds[0]
    assert world.tasks.names("meta_test") == ["cleveland"]
    own = {name for name, column in world.tasks.reader().schema.columns.items() if column.own}
    assert own == set(families.EXTRA)
    assert not set(families.EXTRA) - set(world.alone.reader().schema.columns)
    assert (world.tasks["cleveland"].targets == world.alone["cleveland"].targets).all()
