"""Images: a handful of labelled ones of something new beside methods of today; segmentation; speed; and what dishonest splits flatter.

    make bench-images                                   every part (two hours), resumes from finished parts
    make bench-images ARGS="--part cells,splits"        these parts
    make bench-images ARGS=--pages                      nothing is measured: the page is written again from the finished parts
    make bench-images ARGS=--quick                      a small version in two minutes, without a verdict; writes nothing
    FRESH=1 make bench-images                           computes the parts that are asked for again

Protocol: sets that are learned from and judged in benchmarks/_images_sets.py, episodes in benchmarks/_images_episodes.py (600, one seed, groups
never on both sides; COVID-CT: all 203 official test images). Networks are trained here from nothing, on the sets that are learned from alone. 95 %
intervals: over episodes, or over test images where there is one support. The floor is a linear model on HOG, coarse pixels and a grey histogram. A
finished part is benchmarks/results/images/<part>.json; the page goes to benchmarks/results/images.{json,md}; the last line on stdout is JSON.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks._definitions import ON_DISK, version_behind
from benchmarks._images_classification import featurised, paired, scored
from benchmarks._images_episodes import Judged, anaemias, chula, covid, iq_oth, stain2
from benchmarks._images_model import DOMAINS, earlier_tasks, fitted
from benchmarks._images_page import goals, markdown
from benchmarks._images_sets import image_sets
from benchmarks._images_splits import split_rows
from benchmarks._record import PARTS, RESULTS, SOURCE, commit, conclude, machine, say, version_of
from metamedica import registry
from metamedica.errors import MetamedicaError
from metamedica.modalities.images import Images
from metamedica.modalities.images.encoding import ImageEncoder
from metamedica.modalities.images.hog import SIZE as HOG
from metamedica.modalities.images.network import Network
from metamedica.predictors.guard import Guard, starting_gate
from metamedica.predictors.method import LearnerMethod, Method
from metamedica.predictors.model import FittedModel
from metamedica.pretraining import PretrainingSettings, pretrain
from metamedica.storage import replace_file
from metamedica.types import Encoder, Features, TaskKind

EPISODES, SEED = 600, 0
SIDE = 64
ROOM = RESULTS / "images"
SETTINGS = {
    "scans": PretrainingSettings(steps=4000, batch=40),
    "cells": PretrainingSettings(steps=2400, batch=64, contrast=0.0),
}
"""Chosen on sets that are learned from, and on the validation part of COVID-CT (decisions/0015)."""
LEARNERS = {"scans": "kernel_prior_gp", "cells": "leave_one_out_gp"}
"""What `metamedica fit` takes: without a network one that learns from earlier tasks how images are compared, else one that learns nothing more."""
OTHER_CELLS = ("bccd_crops", "wbc_stain1")
DEFAULT, ALONE = "the product, guarded", "its learner alone"
FLOOR, SAME = "linear model on HOG (floor)", "linear model on the same features"


class Frozen(Encoder):
    """What the network sees, as it is."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, features: Features) -> torch.Tensor:
        """Return the block `network`."""
        return features["network"]


def network(domain: str) -> Network:
    """Return the network of a domain, trained now where it is not there; an interrupted training goes on."""
    folder = PARTS / "images" / domain
    key = version_of(SOURCE, "pretraining.py", settings=[domain, repr(SETTINGS[domain])])
    if (folder / "network" / "MANIFEST.json").is_file():
        found = Network.load(folder / "network")
        if found.record.get("key") == key or os.environ.get("FRESH") != "1":
            if found.record.get("key") != key:
                say(f"the network of {domain} was trained by another version of the code; FRESH=1 trains it again")
            return found
    began = time.monotonic()

    def progress(done: int, total: int, message: str) -> None:
        if done % 250 == 0:
            say(f"{domain}: {done} of {total}, {message}, {time.monotonic() - began:.0f} s")

    made = pretrain(
        image_sets(DOMAINS[domain], SIDE),
        SETTINGS[domain],
        checkpoints=folder / f"checkpoints-{key}",
        resume=True,
        record={"key": key},
        progress=progress,
    )
    made.save(folder / "network")
    return made


def product(sets: tuple[str, ...]) -> FittedModel:
    """Return the meta-model of these sets that sees through no network: on scans it gains nothing (decisions/0018)."""
    made = fitted(earlier_tasks(sets, None), LEARNERS["scans"]).model_
    assert made is not None
    return made


def methods(seen: Network | None, model: FittedModel | None, kind: TaskKind) -> dict[str, Method]:
    """Return what is compared, the product first.

    Args:
        seen: what the heads stand on; and the product, where there is no model; None: no heads.
        model: of the product.
        kind: of the judged task.
    """
    reader = Images() if model is not None or seen is None else Images(side=seen.side, network=seen)
    raw, rich = reader.raw_encoder(), reader.rich_encoder()
    linear = registry.learner_class("linear")
    scratch = LearnerMethod(registry.learner_class("leave_one_out_gp")(rich))
    if model is None:
        gate = starting_gate(1, leaning=reader.leaning)
        found: dict[str, Method] = {
            DEFAULT: Guard({"learned": scratch, "linear": LearnerMethod(linear(raw))}, raw, gate=gate),
            ALONE: scratch,
        }
    else:
        found = {DEFAULT: model.method(kind), ALONE: LearnerMethod(model.learner), "leave_one_out_gp": scratch}
    found |= {FLOOR: LearnerMethod(linear(ImageEncoder({"hog": HOG}))), SAME: LearnerMethod(linear(rich))}
    if seen is None:
        return found
    through = Frozen(seen.dim)
    for name in ("prototypical", "mahalanobis_prototypes", "ridge_head", "logistic_head"):
        found[f"{name} on the network"] = LearnerMethod(registry.learner_class(name)(through))
    return found


def judged(domain: str, *, episodes: int) -> list[Judged]:
    """Return the judged tasks of a domain."""
    given = {"episodes": episodes, "seed": SEED}
    if domain == "cells":
        return [
            *(chula(shots=shots, **given) for shots in (1, 5)),
            *(stain2(shots=shots, **given) for shots in (1, 5)),
            *(anaemias(shots=shots, **given) for shots in (1, 5)),
        ]
    return [
        *(covid(shots=shots, **given) for shots in (None, 10, 20)),
        *(iq_oth(shots=shots, **given) for shots in (1, 5, 10)),
    ]


def rows_of(domain: str, *, episodes: int, seen: Network) -> list[dict[str, Any]]:
    """Return a row a judged task and method."""
    reader = Images(side=seen.side, network=seen)
    model = product(DOMAINS["scans"]) if domain == "scans" else None
    return _rows(judged(domain, episodes=episodes), reader, lambda kind: methods(seen, model, kind))


def red_cell_rows() -> list[dict[str, Any]]:
    """Return rows of five red-cell shapes out of all thirteen, none of which was learned from: the draw that the issue's floor was measured on."""
    shapes = tuple(range(13))
    tasks = [chula(shots=shots, episodes=EPISODES, seed=SEED, shapes=shapes, ways=5) for shots in (1, 5)]
    model = product(OTHER_CELLS)
    return _rows(tasks, Images(), lambda kind: methods(None, model, kind))


def _rows(
    tasks: list[Judged], reader: Images, compared: Callable[[TaskKind], dict[str, Method]]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for task in tasks:
        features = featurised(reader, task)
        kind: TaskKind = "binary" if task.n_classes == 2 else "multiclass"
        found = {name: scored(method, features, task) for name, method in compared(kind).items()}
        best = max((found[FLOOR], found[SAME]), key=lambda each: each.accuracy)
        for name, each in found.items():
            rows.append(
                {
                    "task": task.name,
                    "shots": task.shots,
                    "method": name,
                    "accuracy": each.accuracy,
                    "accuracy_interval": each.accuracy_interval,
                    "auc": each.auc,
                    "auc_interval": each.auc_interval,
                    "minus_best_simple": paired(each, best),
                    "episodes": len(task.supports),
                }
            )
        say(f"{task.name}, {task.shots or 'all'} shots: {found[DEFAULT].accuracy:.3f}")
    return rows


def speed_rows() -> list[dict[str, Any]]:
    """Return the goals of speed."""
    from benchmarks._images_speed import rows

    return rows(quick=False)


def segmentation_rows() -> list[dict[str, Any]]:
    """Return a row a task of segmentation and number of shots."""
    from benchmarks._images_segmentation import rows
    from metamedica.data.mirror import VARIABLE

    root = os.environ.get(VARIABLE)
    if not root:
        raise SystemExit(f"{VARIABLE} is not set; set it to the folder of the data mirror")
    return rows(Path(root) / "images", fresh=os.environ.get("FRESH") == "1")


def transductive_rows() -> list[dict[str, Any]]:
    """Return what cases without label add."""
    from benchmarks._images_transductive import rows

    return rows()


def classified(domain: str) -> Callable[[], list[dict[str, Any]]]:
    """Return what measures the classification of a domain."""
    return lambda: rows_of(domain, episodes=EPISODES, seen=network(domain))


MEASURED: Mapping[str, Callable[[], list[dict[str, Any]]]] = {
    "scans": classified("scans"),
    "cells": classified("cells"),
    "red-cells": red_cell_rows,
    "transductive": transductive_rows,
    "splits": split_rows,
    "segmentation": segmentation_rows,
    "speed": speed_rows,
}


def version(part: str) -> str:
    """Return a hash of the code that the figures of a part rest on."""
    beside = {
        "splits": ("learners.linear", "modalities.images.modality"),
        "transductive": ("learners.label_propagation", "modalities.images.modality"),
        "segmentation": ("applications.segmentation.segmenter",),
        "speed": ("learners.prototypical", "learners.ridge_head", "encoders.conv4", "encoders.resnet"),
    }.get(part, (*(f"learners.{name}" for name in (*LEARNERS.values(), "linear")), "modalities.images.modality"))
    roots = {
        "red-cells": "benchmarks.images:red_cell_rows",
        "splits": "benchmarks._images_splits:split_rows",
        "segmentation": "benchmarks._images_segmentation:rows",
        "speed": "benchmarks._images_speed:rows",
        "transductive": "benchmarks._images_transductive:rows",
    }
    settings = [part, EPISODES, SEED, repr(SETTINGS.get(part))]
    behind = (roots.get(part, "benchmarks.images:rows_of"), *(f"metamedica.{each}" for each in beside))
    # Nothing is explained, and no learner takes inner steps.
    apart = ("checkpoints", "parts", "modalities.images.patches", "functional.inner_loop.learner")
    besides = (*ON_DISK, *(f"metamedica.{each}" for each in apart))
    return version_behind(*behind, settings=settings, besides=besides)


def run(part: str) -> dict[str, Any]:
    """Return a finished part, measured now where it is not there or of another version."""
    path = ROOM / f"{part}.json"
    if path.is_file() and os.environ.get("FRESH") != "1":
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if found["version"] == version(part):
            return found
        say(f"stale, its code has changed: {part}")
    began = time.monotonic()
    found = {"part": part, "version": version(part), "commit": commit(), "rows": MEASURED[part]()}
    found["minutes"] = round((time.monotonic() - began) / 60, 2)
    ROOM.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(found, indent=1) + "\n").encode())
    say(f"{part}: {found['minutes']} min")
    return found


def write_pages() -> list[dict[str, Any]]:
    """Write the page from all finished parts, and return the goals."""
    found = {
        part: json.loads((ROOM / f"{part}.json").read_text("utf-8"))
        for part in MEASURED
        if (ROOM / f"{part}.json").is_file()
    }
    stale = [part for part, each in found.items() if each["version"] != version(part)]
    told = goals(found, default=DEFAULT)
    about = {"machine": machine(), "commit": commit(), "stale": stale, "goals": told, "parts": found}
    replace_file(RESULTS / "images.json", (json.dumps(about, indent=1) + "\n").encode())
    replace_file(RESULTS / "images.md", markdown(found, told, machine=machine(), stale=stale).encode())
    return told


def quick() -> None:
    """Measure a few episodes with a network of a few steps."""
    settings = PretrainingSettings(steps=5, batch=16, contrast=0.0)
    seen = pretrain(image_sets(("bccd_crops",), 32), settings)
    task = chula(shots=1, episodes=5, seed=SEED)
    features = featurised(Images(side=32, network=seen), task)
    for name, method in methods(seen, None, "multiclass").items():
        say(f"{name}: {scored(method, features, task).accuracy:.3f}")


def main() -> int:
    """Measure, write the page, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", help=f"these, separated by commas (default: all): {', '.join(MEASURED)}")
    parser.add_argument(
        "--pages", action="store_true", help="write the page from the finished parts, and measure nothing"
    )
    parser.add_argument("--quick", action="store_true", help="a small version, without a verdict")
    arguments = parser.parse_args()
    parts = list(MEASURED) if arguments.part is None else arguments.part.split(",")
    for part in parts:
        if part not in MEASURED:
            raise SystemExit(f"there is no part {part!r}; choose from: {', '.join(MEASURED)}")
    torch.set_num_threads(1)
    began = time.monotonic()
    told: list[dict[str, Any]] = []
    try:
        if arguments.quick:
            quick()
        else:
            if not arguments.pages:
                for part in parts:
                    run(part)
            told = write_pages()
    except MetamedicaError as error:
        raise SystemExit(str(error)) from None
    return conclude("images", told, seconds=time.monotonic() - began, quick=arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
