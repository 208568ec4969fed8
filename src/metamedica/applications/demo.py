"""The demonstration: the main job on real molecules in two scenes, one where earlier tasks help and one where they can say little."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from metamedica import registry
from metamedica.applications.compound_ranking import COVERAGE, DEFAULT, METHODS, TOP, Scene, run_scene
from metamedica.data.catalogue import freewilson, moleculeace
from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.reports import figures
from metamedica.reports.html import Card, Figure, Section, Table, table_of, write_page
from metamedica.types import Progress

KAPPA = "CHEMBL237_Ki"
SHIPPED = "chembl-potency"
SHOTS = 16
DRAWS = 20
REPORT = "report.html"
PAR = 0.01
"""A difference in Spearman that no chemist would notice: below it two methods rank alike, however certain the sign."""
_NOTES = (
    "One of the 29 earlier tasks is an EC50 assay of the same receptor, and many of its compounds were measured on the related "
    "mu and delta receptors: this is what earlier tasks can know.",
    "All compounds are of one published series on one target; the shipped model has seen none of them.",
)


def meta_learner(seed: int = 0) -> MetaLearner:
    """Return the meta-learner of scene 1: all of it is the default, fitted in a minute or two on two cores."""
    return MetaLearner(seed=seed)


def related_targets(
    *, draws: int, seed: int, learner: MetaLearner, clock: Callable[[], float], progress: Progress | None = None
) -> Scene:
    """Return scene 1: fit on 29 ChEMBL sets, adapt to the kappa-opioid receptor from 16 compounds, rank the others."""
    tasks = moleculeace.load(progress=progress)
    earlier = tasks.select([name for name in tasks.names() if name != KAPPA])
    model = learner.fit(earlier, progress=progress)
    return run_scene(
        model, tasks, KAPPA, shots=SHOTS, draws=draws, seed=seed, clock=clock, notes=_NOTES[:1], progress=progress
    )


def one_series(
    *, draws: int, seed: int, model: MetaLearner, clock: Callable[[], float], progress: Progress | None = None
) -> Scene:
    """Return scene 2: the shipped model on one tight compound series, of which other targets can say little."""
    tasks: TaskCollection = freewilson.load(progress=progress)
    return run_scene(
        model,
        tasks,
        freewilson.TASK,
        shots=SHOTS,
        draws=draws,
        seed=seed,
        clock=clock,
        notes=_NOTES[1:],
        progress=progress,
    )


def table_of_scene(scene: Scene) -> pd.DataFrame:
    """Return the scene's figures with standard errors, as text, the default first."""
    rows = []
    for _, row in scene.summary().iterrows():
        covers = "–" if pd.isna(row["coverage"]) else f"{row['coverage']:.0%}"
        rows.append(
            {
                "method": row["method"],
                "Spearman": f"{row['spearman']:.3f} ± {row['spearman_se']:.3f}",
                f"hits in top {TOP}": f"{row['hits']:.1f} ± {row['hits_se']:.1f}",
                f"{COVERAGE:.0%} interval covers": covers,
                "seconds": f"{row['seconds']:.2f}",
            }
        )
    return pd.DataFrame(rows)


def sentence(scene: Scene) -> str:
    """Return what the scene shows, in one sentence with its figures."""
    mean, low, high = scene.against(METHODS["tanimoto_gp"])
    if abs(mean) < PAR or low <= 0 <= high:
        word = "on a par with"
    else:
        word = "better than" if mean > 0 else "worse than"
    return (
        f"{scene.name}: {DEFAULT} ranks {word} the Gaussian process from scratch (Spearman {mean:+.3f}, 95 % interval {low:+.3f} to {high:+.3f} "
        f"over {scene.rows['draw'].nunique()} draws of {scene.shots} compounds), leaning {scene.trust['weight'].mean():.0%} on earlier tasks."
    )


def _section(scene: Scene, heading: str, prose: Sequence[str], unit: str) -> Section:
    draw = registry.modality("molecules").draw
    groups = {name: part["spearman"].tolist() for name, part in scene.rows.groupby("method", sort=False)}
    names = {
        DEFAULT: DEFAULT,
        **{label: label.replace("Tanimoto Gaussian process", "Tanimoto GP") for label in METHODS.values()},
    }
    plot = figures.strips({names[str(name)]: values for name, values in groups.items()}, label="Spearman")
    leaning = figures.strips({"weight": scene.trust["weight"].tolist()}, label="weight on earlier tasks")
    summary = table_of_scene(scene)
    table = Table(
        list(summary.columns),
        [[str(cell) for cell in row] for row in summary.itertuples(index=False)],
        f"Means over draws ± standard error; a hit is among the best tenth, chance would give {scene.expected_hits:.0f}; seconds to adapt and rank",
        frozenset(range(1, len(summary.columns))),
        0,
    )
    near = table_of(
        pd.DataFrame(scene.nearest, columns=["nearest earlier task", "similarity"]),
        caption="Nearest earlier tasks (first draw)",
    )
    cards = [
        Card(
            draw(row["canonical"]),
            [
                f"predicted {row['prediction']:.2f} ({row['low']:.2f} to {row['high']:.2f}) {unit}",
                f"measured {row['measured']:.2f}",
                f"nearest labelled compound: similarity {row['similarity']:.2f}",
            ],
        )
        for _, row in scene.best.iterrows()
    ]
    return Section(
        heading,
        prose=[*prose, *scene.notes],
        note=f"Trust, in the predictor's own words: {scene.verdict}",
        figures=[
            Figure("Every draw, and the mean", plot),
            Figure("How far each draw's predictor leans on earlier tasks", leaning),
        ],
        tables=[table, near],
        cards=cards,
    )


def write_demo(scenes: Sequence[Scene], folder: str | Path, *, seed: int) -> Path:
    """Write the report of both scenes and return its path."""
    first, second = scenes
    path = Path(folder) / REPORT
    sections = [
        _section(
            first,
            "Scene 1: where earlier tasks help",
            [
                "Fitted on 29 ChEMBL bioactivity sets (MoleculeACE), adapted to the kappa-opioid receptor from 16 measured compounds, all others "
                "ranked. The highest-ranked compounds of the first draw are drawn below."
            ],
            moleculeace.UNIT,
        ),
        _section(
            second,
            "Scene 2: where they can say little",
            [
                "The model that ships, adapted to 16 compounds of a single series. What other targets taught says little about such a series; "
                "the predictor, guarded by a method from scratch, should not lose by it."
            ],
            freewilson.UNIT,
        ),
    ]
    footer = (
        f"{first.rows['draw'].nunique()} random supports of {SHOTS} compounds a scene, seed {seed}; the same supports for every method. "
        f"{moleculeace.ATTRIBUTION}; {freewilson.ATTRIBUTION} ({moleculeace.LICENCE})."
    )
    write_page(
        path,
        "Ranking compounds for a new assay from 16 measurements",
        sections,
        verdict="\n".join(map(sentence, scenes)),
        footer=footer,
    )
    return path


def run(
    folder: str | Path,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    learner: MetaLearner | None = None,
    shipped: MetaLearner | None = None,
    clock: Callable[[], float],
    progress: Progress | None = None,
) -> tuple[list[Scene], dict[str, Any]]:
    """Run both scenes, write the report, and return the scenes and a JSON value.

    Args:
        folder: for the report; made where missing.
        draws: random supports a scene.
        seed: of the supports and of scene 1's training.
        learner: unfitted, for scene 1; None takes `meta_learner(seed)`.
        shipped: for scene 2; None loads the model that ships.
        clock: seconds.
        progress: called as `progress(done, total, message)`.

    Raises:
        InputError: the molecules of a scene are not installed.
        BundleError: the shipped model is missing or damaged.
    """
    model = shipped or MetaLearner.load(SHIPPED)
    scenes = [
        related_targets(draws=draws, seed=seed, learner=learner or meta_learner(seed), clock=clock, progress=progress),
        one_series(draws=draws, seed=seed, model=model, clock=clock, progress=progress),
    ]
    path = write_demo(scenes, folder, seed=seed)
    return scenes, {"report": str(path), "scenes": [scene.as_dict() for scene in scenes], "seed": seed}
