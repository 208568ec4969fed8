"""Train the meta-models of images that ship, `cells` and `lung-ct`: networks that were trained here from nothing, on data whose licence allows
it, and the kernels that compare images through them.

    python -m benchmarks.make_image_models --name cells        writes src/metamedica/models/cells/ (15 minutes on one core)
    python -m benchmarks.make_image_models --name lung-ct      writes src/metamedica/models/lung-ct/ (15 minutes)

`cells`: supervised, on the labels of common shapes of red cells (Chula RBC-12, MIT) and of blood cells (BCCD, MIT). The rare shapes are left out, so
that they stay new to the model. `lung-ct`: without labels (SimCLR), on slices of two CT volumes in three planes and three windows (TotalSegmentator's
test files, Apache-2.0) and on paediatric chest X-rays (PneumoniaMNIST, CC BY 4.0).
"""

import argparse
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._images_sets import OF_CELLS, OF_SCANS, squares
from benchmarks._images_sets import learned_from as every_set
from metamedica.data.catalogue import bccd_crops, chula_rbc12_cells
from metamedica.data.collection import TaskCollection
from metamedica.data.mirror import mirrored
from metamedica.data.task import Task
from metamedica.errors import MetamedicaError
from metamedica.meta_learner import MetaLearner
from metamedica.modalities.images import Images
from metamedica.modalities.images.network import Network
from metamedica.modalities.images.nifti import read_nifti
from metamedica.modalities.images.series import read_volumes
from metamedica.modalities.images.volumes import resampled
from metamedica.modalities.images.windows import windowed
from metamedica.pretraining import ImageSet, PretrainingSettings, pretrain
from metamedica.reports.card import About, card

ROOM = Path(__file__).parents[1] / "src" / "metamedica" / "models"
COMMAND = "python -m benchmarks.make_image_models --name "
LARGEST_MB = 25.0
SIDE = 64
MM = 3.0
"""A voxel of the slices that are learned from."""
WINDOWS = ("lung", "mediastinum", "bone")
CT = {
    "images/dicom_nifti/example_ct.nii.gz": "dbd3ae6d614d1d7ef3a46925c30c70038ed52da6b37fdd6afdc7b9b71387e3e1",
    "images/dicom_nifti/ct_series_j2k_deid.zip": "43181f6fbc6a1dfc2b8dcedca7195c979ea53329a81b3660328c0db930af7b63",
}
CT_SOURCE = "https://github.com/wasserth/TotalSegmentator at commit 0e65a44 (its test files)"
XRAYS = {
    "images/pneumoniamnist_partial/pneumoniamnist_val_test_28.npz": "10c674fa6d8a9132d2c267b3b131e78804373d7d80001ce05a5445b15df07b07"
}
XRAYS_SOURCE = (
    "https://github.com/varun19424/pneumonia_mnist at commit 9361a71 (the validation and test part of PneumoniaMNIST)"
)


@dataclass(frozen=True)
class Shipped:
    """A model of images that ships.

    Args:
        settings: of the pre-training.
        sets: what it is trained on.
        tasks: the earlier tasks, as the network sees them.
        about: what the card says.
    """

    settings: PretrainingSettings
    sets: Callable[[], list[ImageSet]]
    tasks: Callable[[Network], TaskCollection]
    about: Callable[[TaskCollection], About]


def cells_sets() -> list[ImageSet]:
    """Return common red cells and blood cells, with their labels."""
    return [
        ImageSet(each.name, squares(each.pixels, SIDE), each.labels, OF_CELLS)
        for each in every_set(("chula_rbc12_cells", "bccd_crops"))
    ]


def cells_tasks(network: Network) -> TaskCollection:
    """Return the two questions that the network learned."""
    found = list(every_set(("chula_rbc12_cells", "bccd_crops")))
    return _collection(network, [(each.name, each.pixels, each.labels, each.classes) for each in found])


def cells_about(tasks: TaskCollection) -> About:
    """Return what the card of `cells` says."""
    return About(
        name="cells",
        data=f"{len(tasks.canonical):,} single blood cells: seven common shapes of red cells; red cells, white cells and platelets",
        source=f"{chula_rbc12_cells.SOURCE}; {bccd_crops.SOURCE}",
        licence="MIT (both sets)",
        attribution=f"{chula_rbc12_cells.ATTRIBUTION} {bccd_crops.ATTRIBUTION}",
        command=f"{COMMAND}cells",
        limits=[
            "Images are single cells that fill about half of a square, in colour, from brightfield smears of one magnification.",
            "The labels of its cells come from one laboratory each, and overlapping neighbours occur.",
            "The shapes microcyte, teardrop, burr cell and schistocyte were left out of its training, and are what it is judged on.",
        ],
    )


def lung_sets() -> list[ImageSet]:
    """Return slices of two CT volumes and chest X-rays, without labels."""
    return [
        ImageSet("CT slices", ct_slices(), augmentation=OF_SCANS),
        ImageSet("chest X-rays", _xrays()[0], augmentation=OF_SCANS),
    ]


def ct_slices() -> NDArray[np.uint8]:
    """Return slices of two CT volumes in three planes and three windows, `[n, 64, 64, 3]`; empty ones are left out."""
    whole, packed = mirrored("dicom_nifti", CT, source=CT_SOURCE)
    volumes = [read_nifti(whole, modality="CT")]
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed) as archive:
        for name in archive.namelist():
            if name.endswith(".dcm"):
                (Path(folder) / Path(name).name).write_bytes(archive.read(name))
        volumes += read_volumes(Path(folder)).volumes
    found = []
    for volume in volumes:
        values = resampled(volume, (MM, MM, MM)).values
        for axis in range(3):
            for plane in np.moveaxis(values, axis, 0):
                for window in WINDOWS:
                    seen = np.rint(255 * windowed(plane, window)).astype(np.uint8)
                    if min(seen.shape) >= 16 and seen.std() > 8:
                        found.append(squares(seen[None], SIDE)[0])
    return np.stack(found)


def _xrays() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    (path,) = mirrored("pneumoniamnist_partial", XRAYS, source=XRAYS_SOURCE)
    with np.load(path, allow_pickle=False) as stored:
        pixels = np.concatenate([stored["val_images"], stored["test_images"]])
        labels = np.concatenate([stored["val_labels"], stored["test_labels"]])[:, 0].astype(np.int64)
    return squares(pixels, SIDE), labels


def lung_tasks(network: Network) -> TaskCollection:
    """Return the one question with labels: pneumonia on an X-ray or not."""
    pixels, labels = _xrays()
    return _collection(network, [("pneumonia on chest X-rays", pixels, labels, ("normal", "pneumonia"))])


def lung_about(tasks: TaskCollection) -> About:
    """Return what the card of `lung-ct` says."""
    return About(
        name="lung-ct",
        data=f"{len(ct_slices()):,} slices of two CT volumes in three planes and three windows, and {len(tasks.canonical):,} chest X-rays of "
        "children; no label was used in training the network",
        source=f"{CT_SOURCE}; {XRAYS_SOURCE}",
        licence="Apache-2.0 (CT), CC BY 4.0 (X-rays)",
        attribution="Contains images of Wasserthal et al. 2023 (TotalSegmentator) and of MedMNIST (Yang et al. 2023; images of Kermany et al. 2018).",
        command=f"{COMMAND}lung-ct",
        limits=[
            "Two CT volumes are few people: the network knows edges and textures of CT, and no disease. What it brings beyond classical features is "
            "small; `metamedica pretrain` on your own unlabelled scans is the better start.",
            "DICOM and NIfTI files are seen through the lung window; images of 8 bits as they are, whatever window made them.",
        ],
    )


def _collection(
    network: Network, sets: list[tuple[str, NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]]
) -> TaskCollection:
    reader = Images(side=network.side, network=network)
    prepared = reader.prepare([image for _, pixels, *_ in sets for image in pixels])
    tasks, at = {}, 0
    for name, pixels, labels, classes in sets:
        rows = np.array(prepared.row[at : at + len(pixels)])
        at += len(pixels)
        _, first = np.unique(rows, return_index=True)
        first = np.sort(first[rows[first] >= 0])
        kind = "binary" if len(classes) == 2 else "multiclass"
        tasks[name] = Task(name, kind, rows[first], labels[first], classes=classes)
    return TaskCollection(
        "images",
        prepared.canonical,
        features=prepared.features,
        tasks=tasks,
        split=dict.fromkeys(tasks, "meta_train"),
        settings=reader.settings(),
    )


MODELS = {
    "cells": Shipped(PretrainingSettings(steps=2000, batch=64, contrast=0.0), cells_sets, cells_tasks, cells_about),
    "lung-ct": Shipped(PretrainingSettings(steps=1500, batch=48, supervised=0.0), lung_sets, lung_tasks, lung_about),
}


def main() -> None:
    """Train, save, and say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, choices=MODELS, help="which model")
    parser.add_argument("--out", type=Path, help="folder of the model (default: where it ships from)")
    parser.add_argument("--checkpoints", type=Path, help="folder to keep the training's state in; goes on from there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began, shipped = time.monotonic(), MODELS[arguments.name]
    out = arguments.out or ROOM / arguments.name

    def progress(done: int, total: int, message: str) -> None:
        print(f"\r{done}/{total} {message}   ", end="", file=sys.stderr, flush=True)

    try:
        network = pretrain(
            shipped.sets(), shipped.settings, checkpoints=arguments.checkpoints, resume=True, progress=progress
        )
        tasks = shipped.tasks(network)
        model = MetaLearner("leave_one_out_gp").fit(tasks)
        model.save(out, card=card(model, shipped.about(tasks)))
    except MetamedicaError as error:
        raise SystemExit(str(error)) from None
    megabytes = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    print(file=sys.stderr)
    minutes = round((time.monotonic() - began) / 60, 2)
    print(
        json.dumps(
            {
                "model": arguments.name,
                "command": f"{COMMAND}{arguments.name}",
                "minutes": minutes,
                "megabytes": round(megabytes, 2),
            }
        )
    )
    sys.exit(megabytes > LARGEST_MB)


if __name__ == "__main__":
    main()
