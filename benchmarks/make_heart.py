"""Train the meta-model of clinical tables that ships: `heart`, on the four hospitals of the heart disease collection.

    python -m benchmarks.make_heart        writes src/metamedica/models/heart/

A minute on one core. All four hospitals teach it; the guard's gate is learned by leaving each out in turn.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from metamedica.data.catalogue import heart
from metamedica.data.collection import TaskCollection
from metamedica.meta_learner import MetaLearner
from metamedica.modalities.tables import Tables
from metamedica.reports.card import About, card

FOLDER = Path(__file__).parents[1] / "src" / "metamedica" / "models" / "heart"
COMMAND = "python -m benchmarks.make_heart"
LARGEST_MB = 1.0


def configured() -> MetaLearner:
    """Return the meta-learner with the settings of the shipped model: the defaults of tables."""
    return MetaLearner("bayesian_model_averaging", seed=0)


def hospitals(tasks: TaskCollection) -> list[str]:
    """Return lines of Markdown: the patients of each hospital, and how many have the disease."""
    rows = [f"| {task.name} | {len(task)} | {task.targets.mean():.0%} |" for task in tasks.tasks.values()]
    return [
        "Not a measure of the model, but what it learned from:",
        "",
        "| hospital | patients | with a narrowed artery |",
        "|---|---|---|",
        *rows,
    ]


def columns(tasks: TaskCollection) -> str:
    """Return the columns that the model reads, with units and levels, as a sentence tells them."""
    reader = tasks.reader()
    assert isinstance(reader, Tables)
    told = []
    for name, column in reader.schema.columns.items():
        what = column.unit or " / ".join(column.levels)
        told.append(f"{name} ({what})" if what else name)
    return ", ".join(told)


def women(tasks: TaskCollection) -> float:
    """Return their share of the patients."""
    return sum(json.loads(text)["sex"] == "female" for text in tasks.canonical) / len(tasks.canonical)


def about(tasks: TaskCollection) -> About:
    """Return what the card says beside what the model knows."""
    shares = [float(task.targets.mean()) for task in tasks.tasks.values()]
    return About(
        name="heart",
        data=f"{len(tasks.canonical):,} patients of {len(tasks)} hospitals who were examined for chest pain: is a coronary artery narrowed "
        "(any grade)?",
        source=heart.SOURCE,
        licence=heart.LICENCE,
        attribution=heart.ATTRIBUTION,
        command=COMMAND,
        figures=hospitals(tasks),
        limits=[
            "Data published in 1988 from patients who were sent to angiography: today's patients, tests and treatments differ, and those "
            "who were not sent were never seen.",
            f"The disease is found in {min(shares):.0%} to {max(shares):.0%} of them by hospital, so a probability means nothing before the "
            "model is adapted to labelled patients of the new clinic.",
            f"It reads by name: {columns(tasks)}. A column that is not there is read as missing, another one is learned from the labelled "
            "patients alone, and units are not converted.",
            f"{women(tasks):.0%} of the patients are women; sex is declared sensitive, so look at results of both apart.",
            "The names of the investigators must go with the data and what is made of it (see Attribution).",
        ],
    )


def main() -> None:
    """Train, save, and say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the model (default: where it ships from)")
    arguments = parser.parse_args()
    began = time.monotonic()
    tasks = heart.load()

    def progress(done: int, total: int, message: str) -> None:
        print(f"\r{done}/{total} {message}   ", end="", file=sys.stderr, flush=True)

    model = configured().fit(tasks, progress=progress)
    model.save(arguments.out, card=card(model, about(tasks)))
    megabytes = sum(path.stat().st_size for path in arguments.out.iterdir()) / 1e6
    print(file=sys.stderr)
    print(
        json.dumps(
            {
                "model": "heart",
                "command": COMMAND,
                "source": heart.SOURCE,
                "minutes": round((time.monotonic() - began) / 60, 2),
                "megabytes": round(megabytes, 3),
            }
        )
    )
    sys.exit(megabytes > LARGEST_MB)


if __name__ == "__main__":
    main()
