"""Train the meta-model that ships for tables of any columns: `any-table`, on made-up tables and on questions from many real ones.

    python -m benchmarks.make_any_table                    writes src/metamedica/models/any-table/
    python -m benchmarks.make_any_table --resume           goes on from the checkpoints of a run that was ended

Half an hour on one core. It learns from 9,000 tables of drawn causal models and from 120 questions on each of the real tables whose cohorts are
meta-train (benchmarks/_many_diseases.py); cohorts of the meta-valid side choose the step and the guard's gate. Judged cohorts are not read.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks._many_diseases import parts, tables
from benchmarks._record import PARTS, RESULTS
from metamedica.data import single_tables
from metamedica.data.any_tables import any_tables, table_of
from metamedica.data.causal_tables import DrawnTable, causal_tables
from metamedica.data.collection import TaskCollection
from metamedica.data.derived_questions import derived_questions, own_question
from metamedica.meta_learner import MetaLearner
from metamedica.reports.card import About, card
from metamedica.types import MetaSplit

FOLDER = Path(__file__).parents[1] / "src" / "metamedica" / "models" / "any-table"
COMMAND = "python -m benchmarks.make_any_table"
LARGEST_MB = 2.0
MADE_UP = 9000
QUESTIONS = 120
"""On each real meta-train table."""
VALID_QUESTIONS = 6
STEPS = 3000


def configured(*, steps: int = STEPS) -> MetaLearner:
    """Return the meta-learner with the settings of the shipped model."""
    return MetaLearner(
        "prior_fitted_network",
        steps=steps,
        learning_rate=1e-3,
        support=(8, 12, 16, 20, 20, 20, 32, 48),
        query=24,
        validate_every=500,
        patience=steps,
        seed=0,
    )


def collection(*, made_up: int = MADE_UP, questions: int = QUESTIONS, valid: int = VALID_QUESTIONS) -> TaskCollection:
    """Return all tasks that the model is trained and chosen by; in every second one of meta-train the two answers change places."""
    found: dict[str, DrawnTable] = {
        f"made up {number}": table for number, table in enumerate(causal_tables(made_up), start=1)
    }
    for name, real in _real("meta_train"):
        found |= {f"{name} {number}": each for number, each in enumerate(derived_questions(real, questions), start=1)}
    found = {name: _exchanged(table) if number % 2 else table for number, (name, table) in enumerate(found.items())}
    split: dict[str, MetaSplit] = dict.fromkeys(found, "meta_train")
    for name, real in _real("meta_valid"):
        theirs = {f"{name} {number}": each for number, each in enumerate(own_question(real, valid), start=1)}
        found |= theirs
        split |= dict.fromkeys(theirs, "meta_valid")
    return any_tables(found, split=split)


def _real(side: MetaSplit) -> Iterator[tuple[str, DrawnTable]]:
    for name, tasks in tables(side):
        yield name, table_of(tasks, next(iter(tasks.tasks)))


def _exchanged(table: DrawnTable) -> DrawnTable:
    return DrawnTable(table.cells, 1 - table.labels)


def figures() -> list[str]:
    """Return lines of Markdown: how the model did on the judged tables, from the newest run of the benchmark."""
    path = RESULTS / "many_diseases.json"
    if not path.is_file():
        return ["Not measured yet: `make bench-many-diseases`."]
    found = json.loads(path.read_text("utf-8"))
    return [
        f"{len(found['tables'])} tables of cohorts that neither taught nor chose it, {found['protocol']['shots'][0]} labelled patients as they come, "
        f"{found['protocol']['draws']} draws (`make bench-many-diseases`); mean rank by AUC, and means over tables:",
        "",
        "| method | mean rank | AUC | log-loss |",
        "|---|---|---|---|",
        *(
            f"| {name} | {each['rank']['mean']:.2f} | {each['roc_auc']:.3f} | {each['log_loss']:.3f} |"
            for name, each in found["methods"].items()
        ),
    ]


def about() -> About:
    """Return what the card says beside what the model knows."""
    sides = list(parts().values())
    train, valid = sides.count("meta_train"), sides.count("meta_valid")
    return About(
        name="any-table",
        data=f"{MADE_UP:,} made-up tables of drawn causal models, and {QUESTIONS} questions on each of {train} real tables of patients, of "
        f"other diseases each; chosen by {valid} further tables",
        source=single_tables.SOURCE,
        licence="see the sources; the model holds no row of any table",
        attribution="the UCI Machine Learning Repository, PMLB, and the R packages named in data/single_tables.yaml",
        command=COMMAND,
        figures=figures(),
        limits=[
            "It reads a table of any columns, whose types and scales it infers from the labelled cases: declare with a schema what they cannot tell.",
            "Of more than 16 columns it reads those that tell most of the label in the labelled cases; the regressions beside read all.",
            "Two classes, or several against each other; no regression.",
            "It was trained for 8 to 48 labelled cases; what it is worth beside a method from scratch, the guard weighs on these cases.",
        ],
    )


def main() -> None:
    """Train, save, and say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the model (default: where it ships from)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of meta-training (default: {STEPS})")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints of an ended run")
    parser.add_argument(
        "--card-only",
        action="store_true",
        help="write the card of the model that stands there again, with the newest figures",
    )
    arguments = parser.parse_args()
    if arguments.card_only:
        model = MetaLearner.load(arguments.out)
        model.save(arguments.out, card=card(model, about()))
        return
    torch.set_num_threads(1)
    began = time.monotonic()
    tasks = collection()

    def progress(done: int, total: int, message: str) -> None:
        print(f"\r{done}/{total} {message}   ", end="", file=sys.stderr, flush=True)

    checkpoints = PARTS / "any-table"
    model = configured(steps=arguments.steps).fit(
        tasks, checkpoints=checkpoints, resume=arguments.resume, progress=progress
    )
    model.save(arguments.out, card=card(model, about()))
    megabytes = sum(path.stat().st_size for path in arguments.out.iterdir()) / 1e6
    print(file=sys.stderr)
    minutes = round((time.monotonic() - began) / 60, 2)
    print(
        json.dumps(
            {
                "model": "any-table",
                "command": COMMAND,
                "source": single_tables.SOURCE,
                "minutes": minutes,
                "megabytes": round(megabytes, 3),
            }
        )
    )
    sys.exit(megabytes > LARGEST_MB)


if __name__ == "__main__":
    main()
