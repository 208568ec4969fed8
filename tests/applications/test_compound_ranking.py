"""The demonstration on small collections: the same supports for every method, and a page at the end."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metamedica.applications import compound_ranking, demo
from metamedica.data.collection import TaskCollection
from metamedica.errors import TaskError
from metamedica.meta_learner import MetaLearner

SMILES = [
    head + "C" * n + tail
    for head in ("", "O=C(O)", "c1ccccc1", "N#C", "FC(F)(F)")
    for n in range(1, 11)
    for tail in ("", "O", "N")
]


@pytest.fixture(scope="module")
def tasks() -> TaskCollection:
    rng = np.random.default_rng(0)
    rows = [(s, f"t{t}", 5 + 0.1 * len(s) + s.count("O") + 0.1 * rng.normal()) for t in range(4) for s in SMILES]
    frame = pd.DataFrame(rows, columns=["smiles", "task", "y"])
    return TaskCollection.from_table(
        frame,
        modality="molecules",
        case="smiles",
        target="y",
        task="task",
        kind="regression",
        duplicates="median",
        unit="-log10 M",
    )


@pytest.fixture(scope="module")
def model(tasks: TaskCollection) -> MetaLearner:
    settings = {
        "encoder_settings": {"hidden": [16], "dim": 8},
        "steps": 4,
        "validate_every": 4,
        "tasks_per_batch": 2,
        "support": (8,),
    }
    return MetaLearner("deep_kernel", **settings).fit(tasks.select(["t0", "t1", "t2"]))


@pytest.fixture(scope="module")
def scene(model: MetaLearner, tasks: TaskCollection) -> compound_ranking.Scene:
    ticks = itertools.count()
    return compound_ranking.run_scene(model, tasks, "t3", draws=3, clock=lambda: float(next(ticks)))


def test_every_method_ranks_in_every_draw(scene: compound_ranking.Scene) -> None:
    assert len(scene.rows) == 3 * 4
    assert set(scene.rows["method"]) == {compound_ranking.DEFAULT, *compound_ranking.METHODS.values()}
    assert scene.rows["spearman"].between(-1, 1).all()
    assert (scene.rows["spearman"] > 0.3).all()
    assert len(scene.best) == 8
    mean, low, high = scene.against("Random forest")
    assert low <= mean <= high


def test_the_same_seed_gives_the_same_scene(
    model: MetaLearner, tasks: TaskCollection, scene: compound_ranking.Scene
) -> None:
    again = compound_ranking.run_scene(model, tasks, "t3", draws=3, clock=lambda: 0.0)
    assert again.rows["spearman"].tolist() == scene.rows["spearman"].tolist()


def test_a_task_that_is_too_small_is_refused(model: MetaLearner, tasks: TaskCollection) -> None:
    with pytest.raises(TaskError, match="at least 200"):
        compound_ranking.run_scene(model, tasks, "t3", shots=150, clock=lambda: 0.0)


def test_the_page_shows_both_scenes_and_draws_compounds(scene: compound_ranking.Scene, tmp_path: Path) -> None:
    path = demo.write_demo([scene, scene], tmp_path, seed=0)
    text = path.read_text(encoding="utf-8")
    assert "Scene 1" in text
    assert "Scene 2" in text
    assert text.count("<svg") >= 2 * (2 + 8)
    for outside in ("<script", "src=", "href=", "@import", "url("):
        assert outside not in text
    assert scene.verdict.split(".")[0][:30] in text
    assert demo.table_of_scene(scene)["method"].iloc[0] == compound_ranking.DEFAULT
