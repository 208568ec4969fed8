"""Train the meta-model that ships: `chembl-potency`, on the meta-train targets of chembl691.

    python -m benchmarks.make_chembl_potency        writes src/metamedica/models/chembl-potency/

Selection uses the meta-valid targets only. Ctrl-C and run again with --resume to go on.
"""

import argparse
import json
import resource
import shutil
import sys
import time
from pathlib import Path

from benchmarks.chembl_split import load_disjoint
from metamedica.data.catalogue import chembl691
from metamedica.meta_learner import MetaLearner
from metamedica.reports.card import About, card

FOLDER = Path(__file__).parents[1] / "src" / "metamedica" / "models" / "chembl-potency"
RESULTS = Path(__file__).parent / "results"
COMMAND = "python -m benchmarks.make_chembl_potency"


def configured() -> MetaLearner:
    """Return the meta-learner with the settings of the shipped model."""
    return MetaLearner(
        "deep_kernel",
        encoder="mlp",
        encoder_settings={"hidden": [512], "dim": 128, "dropout": 0.5},
        settings={"feature_dropout": 0.5},
        steps=1000,
        learning_rate=2e-3,
        weight_decay=5e-2,
        tasks_per_batch=16,
        support=(8, 16, 32, 64),
        query=32,
        validate_every=100,
        patience=8,
        seed=0,
    )


def about() -> About:
    """Return what the card says beside what the model knows; figures are those of the last `make bench-molecules`."""
    table = RESULTS / "molecules.md"
    lines = table.read_text(encoding="utf-8").splitlines()[2:] if table.is_file() else []
    return About(
        name="chembl-potency",
        data="pXC50 of 672 ChEMBL targets, 85,271 molecules, 162,727 values (chembl691); molecules of meta-test targets removed from the rest",
        source=chembl691.SOURCE,
        licence=chembl691.LICENCE,
        attribution=chembl691.ATTRIBUTION,
        command=COMMAND,
        figures=[line.replace("## ", "### ") for line in lines],
        limits=[
            "Where no molecule of the new task was measured in earlier tasks it is little or no better than the Gaussian process from scratch, "
            "and leans on that.",
            "Potency on single targets between 4 and 11 in -log10 M; not toxicity, not selectivity, not dosing.",
        ],
    )


def main() -> None:
    """Train, save, and say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the model (default: where it ships from)")
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
    began, cpu = time.monotonic(), time.process_time()
    tasks = load_disjoint()

    def progress(done: int, total: int, message: str) -> None:
        print(f"\r{done}/{total} {message}   ", end="", file=sys.stderr, flush=True)

    checkpoints = RESULTS / "parts" / f"{arguments.out.name}-checkpoints"
    model = configured().fit(
        tasks,
        checkpoints=checkpoints,
        resume=arguments.resume,
        progress=progress,
    )
    model.save(arguments.out, card=card(model, about()))
    shutil.rmtree(checkpoints)
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    print(file=sys.stderr)
    print(
        json.dumps(
            {
                "model": "chembl-potency",
                "command": COMMAND,
                "source": chembl691.SOURCE,
                "minutes": round((time.monotonic() - began) / 60, 2),
                "cpu_minutes": round((time.process_time() - cpu) / 60, 2),
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
                "megabytes": round(size / 1e6, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
