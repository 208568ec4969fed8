"""What the clinical benchmark says of known figures: paired over sites, harm by name, goals that cannot be met by chance."""

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t as student
from torch.distributions import Categorical

from benchmark_modules import load_benchmark
from metamedica.types import CaseBatch, LabelledBatch, Law

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


def _cases(
    gains: dict[str, list[float]], *, moved: float, positives: int = 6, shots: tuple[int, ...] = (20, 50)
) -> pd.DataFrame:
    """Return ten cases a site: those of ours move each figure up and down by so much, those of the others not at all."""
    labels = np.repeat([1, 0], [positives, 10 - positives])
    signs = np.where(np.arange(10) % 2 == 0, 1.0, -1.0)
    rows = [
        {
            "method": method, "task": f"site {site}", "shots": size, "case": case, "label": labels[case], "patient": case,
            **dict.fromkeys(("roc_auc", "log_loss", "brier"), signs[case] * moved if method == "ours" else 0.0),
        }
        for method, each in gains.items()
        for site in range(len(each))
        for size in shots
        for case in range(10)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _family(
    tables: ModuleType, gains: dict[str, list[float]], *, moved: float = 0.0, positives: int = 6
) -> dict[str, Any]:
    figures = ("roc_auc", "log_loss", "brier", "ece")
    cases = _cases(gains, moved=moved, positives=positives)
    found: dict[str, Any] = tables.summary(_rows(gains), cases, figures=figures, reference="ours", seed=0)
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
    assert sites["better"] == ["site 0", "site 1"]
    assert sites["worst"] == ["site 2", *[pytest.approx(-0.05)] * 3]
    goals = tables.goals(
        {"heart": family}, default="ours", pooled=METHODS[1:3], speed={"median_ms": 5, "low_ms": 4, "high_ms": 6}
    )
    harm, better = [each for each in goals if "sites of 3" in each["name"] and ", 20:" in each["name"]]
    assert harm["met"] is False
    assert harm["value"] == 1
    assert better["met"] is None
    assert better["value"] == 2


def test_a_site_is_not_harmed_where_other_patients_might_have_told_otherwise(tables: ModuleType) -> None:
    gains = _same([0.1, 0.1, -0.05])
    sites = _family(tables, gains, moved=0.01)["sites"]["20"]["pooled_linear"]
    # 6 positives and 4 negatives, each of influence .01: variance 6 * 6/5 * .01^2 + 4 * 4/3 * .01^2
    half = (sites["worst"][3] - sites["worst"][2]) / 2
    deviation = 0.01 * np.sqrt(36 / 5 + 16 / 3)
    freedom = deviation**4 / ((36e-4 / 5) ** 2 / 5 + (16e-4 / 3) ** 2 / 3)
    assert half == pytest.approx(student.ppf(0.975, freedom) * deviation, abs=1e-5)
    assert sites["harmed"] == []
    assert sites["unsure"] == 0


def test_the_interval_of_these_very_sites_is_that_of_the_mean_of_independent_ones(tables: ModuleType) -> None:
    paired = _family(tables, _same([0.1, 0.2, 0.3]), moved=0.01)["paired"]["20"]["linear"]
    low, high = paired["brier"]["these_sites"]
    # one stratum of ten cases at each of three sites
    deviation = 0.01 * np.sqrt(10 * 10 / 9 / 3)
    assert (low + high) / 2 == pytest.approx(0.2, abs=1e-4)
    assert (high - low) / 2 == pytest.approx(student.ppf(0.975, 27) * deviation, abs=1e-4)
    assert paired["ece"]["these_sites"] == [None, None]


def test_a_site_with_one_patient_of_a_class_is_open(tables: ModuleType) -> None:
    family = _family(tables, _same([0.1, 0.1, -0.05]), moved=0.01, positives=1)
    sites = family["sites"]["20"]["pooled_linear"]
    assert (sites["harmed"], sites["better"], sites["unsure"]) == ([], [], 3)
    assert sites["worst"][2:] == [None, None]


def test_goals_are_met_by_gains_and_missed_without(tables: ModuleType) -> None:
    speed = {"median_ms": 25.0, "low_ms": 20.0, "high_ms": 30.0}
    for gain in (0.1, -0.1):
        family = _family(tables, _same([gain] * 3))
        goals = tables.goals({"heart": family, "heart-extra": family}, default="ours", pooled=METHODS[1:3], speed=speed)
        judged = {each["name"]: each["met"] for each in goals if "CPU ms" not in each["name"]}
        assert len(judged) == 2 * 3 + 2 + 2 + 8
        assert set(judged.values()) == {gain > 0, None}
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
    assert "Not measured yet, or in an older way: impact, " in page


def test_a_support_of_one_class_is_answered_by_its_size_and_another_by_the_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clinical = load_benchmark("clinical", monkeypatch)

    class Sure:
        """Says as the sum of the support's targets, and needs two classes."""

        def __init__(self, level: torch.Tensor) -> None:
            self.level = level

        def predict(self, query: CaseBatch) -> Law:
            odds = self.level[:, None].expand(query.mask.shape)
            return Categorical(logits=torch.stack([torch.zeros_like(odds), odds], -1))

    def adapt(support: LabelledBatch) -> Sure:
        ones = support.targets.sum(1)
        assert bool(((ones > 0) & (ones < support.counts())).all())
        return Sure(ones.float())

    targets = torch.tensor([[0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0]])
    mask = torch.tensor([[True] * 4, [True] * 4, [True, True, True, False]])
    support = LabelledBatch(CaseBatch({"x": torch.zeros(3, 4, 1)}, mask), targets, "binary", 2)
    query = CaseBatch({"x": torch.zeros(3, 2, 1)}, torch.ones(3, 2, dtype=torch.bool))
    shown = clinical.ShownClasses(SimpleNamespace(adapt=adapt))
    found = shown(support, query).probs[:, 0, 1]
    torch.testing.assert_close(found, torch.tensor([0.5 / 5, float(torch.sigmoid(torch.tensor(2.0))), 1 - 0.5 / 4]))
    alone = shown(support.map(lambda block: block[:1]), query.map(lambda block: block[:1]))
    torch.testing.assert_close(alone.probs[0, :, 1], torch.full((2,), 0.1))


def test_what_no_support_moves_is_asked_once_and_says_the_same_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    clinical = load_benchmark("clinical", monkeypatch)
    asked: list[int] = []

    class Slope:
        def predict(self, query: CaseBatch) -> Law:
            asked.append(query.n_tasks)
            odds = query.features["x"][..., 0]
            return Categorical(logits=torch.stack([torch.zeros_like(odds), odds], -1))

    one = CaseBatch({"x": torch.randn(1, 5, 1)}, torch.ones(1, 5, dtype=torch.bool))
    query = one.map(lambda block: block.expand(3, *block.shape[1:]))
    support = LabelledBatch(query, torch.zeros(3, 5, dtype=torch.int64), "binary", 2)
    found = clinical.Unmoved(SimpleNamespace(adapt=lambda support: Slope()))(support, query)
    torch.testing.assert_close(found.probs, Slope().predict(query).probs)
    assert asked == [1, 3]


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
