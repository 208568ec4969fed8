"""Why the audit exists: the same linear model on the same classical features, on the usual split of a set and on an honest one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks._images_episodes import BLOCK
from benchmarks._images_sets import arrays, squares
from metamedica.modalities.images.hog import classical
from metamedica.modalities.images.pixels import grey_of

_SEEDS = 10
_TEST = 0.35


def split_rows() -> list[dict[str, Any]]:
    """Return a row a set and split: accuracy of a logistic regression on HOG, coarse pixels and greys."""
    return [*_lungs(), *_brains()]


def _lungs() -> list[dict[str, Any]]:
    held = arrays("iq_oth_nccd")
    features, labels = classical(grey_of(squares(held["images"], 64))), held["labels"].astype(int)
    blocks = labels * 10_000 + held["number"].astype(int) // BLOCK
    found: dict[str, list[float]] = {"random slices": [], "whole blocks of ten numbers": []}
    for seed in range(_SEEDS):
        random = np.random.default_rng(seed)
        test = np.zeros(len(labels), bool)
        test[random.permutation(len(labels))[: int(_TEST * len(labels))]] = True
        found["random slices"].append(_accuracy(features, labels, ~test, test))
        each = random.permutation(np.unique(blocks))
        test = np.isin(blocks, each[: int(_TEST * len(each))])
        found["whole blocks of ten numbers"].append(_accuracy(features, labels, ~test, test))
    return [_row("IQ-OTH lung cancer CT", split, values) for split, values in found.items()]


def _brains() -> list[dict[str, Any]]:
    held = arrays("brain_tumor_mri")
    flat = held["images"].reshape(len(held["labels"]), -1)
    seen = flat.min(1) < flat.max(1)
    features = np.zeros((len(seen), classical(np.eye(64, dtype=np.uint8)[None] * 255).shape[1]), np.float32)
    features[seen] = classical(grey_of(squares(held["images"][seen], 64)))
    labels, train = held["labels"].astype(int), (held["split"] == "train") & seen
    test = (held["split"] == "test") & seen
    alone = test & ~held["test_twin_in_train"]
    fit = _model().fit(features[train], labels[train])
    rows = []
    for split, here in (("official test, twins included", test), ("official test, twins left out", alone)):
        right = (fit.predict(features[here]) == labels[here]).astype(float)
        half = 1.96 * right.std() / np.sqrt(len(right))
        rows.append(
            {
                "set": "brain tumours on MRI",
                "split": split,
                "accuracy": float(right.mean()),
                "interval": [float(right.mean() - half), float(right.mean() + half)],
                "images": int(here.sum()),
            }
        )
    return rows


def _model() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))


def _accuracy(features: NDArray[Any], labels: NDArray[Any], train: NDArray[Any], test: NDArray[Any]) -> float:
    return float(_model().fit(features[train], labels[train]).score(features[test], labels[test]))


def _row(name: str, split: str, values: list[float]) -> dict[str, Any]:
    mean, half = float(np.mean(values)), 1.96 * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return {"set": name, "split": split, "accuracy": mean, "interval": [mean - half, mean + half], "draws": len(values)}
