"""The benchmark over many diseases: cohorts on one side only, tuned methods that are tuned, ranks that say who is better."""

from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark_modules import load_benchmark
from metamedica.modalities.any_table import CellsEncoder
from metamedica.types import CaseBatch, LabelledBatch


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("_many_diseases", monkeypatch)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("many_diseases", monkeypatch)


@pytest.fixture
def baselines(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_benchmark("_tuned_baselines", monkeypatch)


def test_no_cohort_stands_on_two_sides_and_each_side_is_large_enough(split: ModuleType) -> None:
    sides, origins = split.parts(), split.origins()
    for origin in set(origins.values()):
        assert len({sides[name] for name in origins if origins[name] == origin}) == 1
    counts = pd.Series(sides).value_counts()
    assert counts["meta_train"] >= 30
    assert counts["meta_test"] >= 12
    assert sides["pima_diabetes"] == "meta_test"  # the division does not change with time


def _batch(labels: list[list[int]], seed: int = 0, columns: int = 4) -> LabelledBatch:
    rng = np.random.default_rng(seed)
    targets = torch.tensor(labels)
    cells = torch.from_numpy(rng.normal(size=(*targets.shape, columns))) + 2 * targets[..., None] * torch.tensor(
        [1.0] + [0.0] * (columns - 1)
    )
    return LabelledBatch(CaseBatch({"cells": cells}, torch.ones_like(targets, dtype=torch.bool)), targets, "binary", 2)


def test_every_tuned_method_finds_what_there_is_to_find(baselines: ModuleType) -> None:
    support, query = _batch([[0, 1] * 10]), _batch([[0, 1] * 100], seed=1)
    for name, method in baselines.tuned(CellsEncoder()).items():
        chosen = method(support, query.cases).probs.argmax(-1)
        assert float((chosen == query.targets).double().mean()) > 0.7, name


def test_a_tuned_method_takes_the_setting_with_the_best_loss_on_left_out_cases(baselines: ModuleType) -> None:
    support = _batch([[0, 1] * 10])
    method = baselines.tuned(CellsEncoder())["logistic regression, tuned"]
    cases, labels = support.features["cells"][0].numpy(), support.targets[0].numpy()
    noise = np.random.default_rng(0).normal(size=cases.shape)
    for given in (cases, noise):
        losses = [method.loss(make, given, labels) for make in method.grid]
        assert method.grid[int(np.argmin(losses))] is method.best(given, labels)
    assert min(method.loss(make, cases, labels) for make in method.grid) < min(
        method.loss(make, noise, labels) for make in method.grid
    )


def test_out_of_bag_loss_is_that_of_cases_that_a_tree_has_not_seen(baselines: ModuleType) -> None:
    noise = np.random.default_rng(0).normal(size=(20, 4))
    labels = np.arange(20) % 2
    forest = baselines.tuned(CellsEncoder())["random forest, tuned"]
    seen = forest.grid[0]().fit(noise, labels).predict_proba(noise)[:, 1]
    assert forest.loss(forest.grid[0], noise, labels) > 0.6 > baselines._log_loss(labels, seen)


def test_one_class_gives_its_smoothed_share(baselines: ModuleType) -> None:
    law = baselines.tuned(CellsEncoder())["random forest, tuned"](_batch([[0, 0, 0]]), _batch([[0, 1]]).cases)
    np.testing.assert_allclose(law.probs[0, :, 1], [0.125, 0.125])


def test_a_peer_that_is_not_there_is_left_out_with_the_reason(
    baselines: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "PEERS", {"nowhere_to_be_found": ("X", "X_WEIGHTS"), "sklearn": ("X", "X_WEIGHTS")})
    monkeypatch.delenv("X_WEIGHTS", raising=False)
    found, missing = baselines.peers(CellsEncoder())
    assert found == {}
    assert missing == {"nowhere_to_be_found": "not installed", "sklearn": "X_WEIGHTS names no file with its weights"}


def _rows(bench: ModuleType, areas: dict[str, list[float]]) -> pd.DataFrame:
    names = [name for name, side in bench.parts().items() if side == "meta_test"]
    return pd.DataFrame(
        [
            {
                "method": method,
                "task": name,
                "draw": draw,
                "roc_auc": area,
                "log_loss": 1 - area,
                "brier": 0.2,
                "ece": 0.1,
            }
            for method, each in areas.items()
            for name, area in zip(names, each, strict=False)
            for draw in range(2)
        ]
    )


def test_a_lead_in_rank_is_met_and_a_tie_is_not(bench: ModuleType) -> None:
    tuned = {name: [0.7, 0.8, 0.6] for name in bench.GRIDS}
    best = {bench.NETWORK: [0.8, 0.9, 0.5], bench.GUARDED: [0.7, 0.8, 0.6]}
    found = bench.compared(_rows(bench, {**best, **tuned}))
    told = {(each["name"], each["met"]) for each in bench.goals(found)}
    assert all(met == (bench.NETWORK in name) for name, met in told)
    lead = found["lead"][bench.NETWORK]["random forest, tuned"]
    assert lead["roc_auc"]["mean"] == pytest.approx(0.1 / 3, abs=1e-4)
    assert lead["rank"]["mean"] == pytest.approx((2 + 2 - 2) / 3, abs=1e-3)  # ranks 1, 1, 4 beside 3, 3, 2
    page = bench.markdown(found, {"draws": 2}, {"tabpfn": "not installed"})
    assert "Not beside it: tabpfn (not installed)." in page
    assert page.count("| pima_diabetes |") <= 1


def test_the_model_of_any_table_holds_no_row_and_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    from metamedica.meta_learner import MetaLearner

    made = load_benchmark("make_any_table", monkeypatch)
    model = MetaLearner.load("any-table").model_
    assert model.earlier.names == []
    assert len(model.earlier.known) == 0
    assert model.modality.settings() == {}
    assert sum(path.stat().st_size for path in made.FOLDER.iterdir()) < made.LARGEST_MB * 1e6


@pytest.mark.mirror
def test_a_judged_table_is_scaled_by_its_labelled_patients_alone(split: ModuleType) -> None:
    from metamedica.reports.protocols.sites import Sites

    table = next(each for each in split.judged_tables() if each.name == "lowbwt")
    left, right = (table.read(Sites((20,)), 20, seed=seed) for seed in (0, 1))
    assert left.features["cells"].shape[0] == right.features["cells"].shape[0] == len(table.table.frame)
    (task,) = left.tasks.values()
    known = table.table.frame.iloc[Sites((20,)).support(task, 20, draw=0, seed=0)][table.table.roles["case"]]
    told = left.reader().schema.columns["LWT"].typical
    assert known["LWT"].astype(float).min() <= told[0] < told[1] <= known["LWT"].astype(float).max()
    assert told != right.reader().schema.columns["LWT"].typical


@pytest.mark.mirror
def test_no_judged_cohort_taught_or_chose_the_model(split: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from metamedica.meta_learner import MetaLearner

    load_benchmark("make_any_table", monkeypatch)
    told = MetaLearner.load("any-table").model_.record["split"]
    judged = [name for name, side in split.parts().items() if side == "meta_test"]
    assert not [name for name in told if any(name.startswith(f"{each} ") for each in judged)]
