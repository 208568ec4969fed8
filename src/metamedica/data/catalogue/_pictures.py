"""Public sets of images in one NumPy file each: pixels, labels, and what else is known of every image."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped
from numpy.typing import NDArray

from metamedica import registry
from metamedica.data.collection import TaskCollection
from metamedica.data.mirror import mirrored
from metamedica.data.task import Task
from metamedica.errors import FileFormatError, TaskError
from metamedica.types import Progress, TaskKind

_PIXELS = ("images", "masks", "vessels", "vessels_2nd_observer", "fov")
_WORDS = ("class_names", "mask_values")


@dataclass(frozen=True)
class PictureSet:
    """One of these sets in the local mirror.

    Args:
        name: of the collection.
        source: where its file comes from.
        digests: path below the mirror -> SHA-256, one file.
        group: the column whose images belong together (patients, smears), so that support and query share none; None: not known.
    """

    name: str
    source: str
    digests: Mapping[str, str]
    group: str | None = None

    def files(self) -> dict[str, str]:
        """Return the path of each file that is read -> its SHA-256."""
        return dict(self.digests)

    def arrays(self) -> dict[str, Shaped[np.ndarray, "n ..."]]:
        """Return the arrays of the file by name: `images` `[n, height, width]` or `[n, height, width, 3]`, `labels` `[n]`, `class_names`, and others.

        Raises:
            InputError: METAMEDICA_DATA is not set, or has no such file.
            FileFormatError: a file is not the known one.
        """
        (path,) = mirrored(self.name, self.digests, source=self.source)
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise FileFormatError(f"{path.name} cannot be read ({error}); copy it again") from None

    def table(self) -> pd.DataFrame:
        """Return one row an image: its number in the file, its class by name, and what else is known of it; errors as those of `arrays`."""
        arrays = self.arrays()
        n = len(arrays["images"])
        columns: dict[str, NDArray[Any]] = {"image_number": np.arange(n)}
        if "labels" in arrays:
            columns["class"] = arrays["class_names"][arrays["labels"]]
        for name, values in arrays.items():
            if name not in (*_PIXELS, *_WORDS, "labels") and values.ndim == 1 and len(values) == n:
                columns[name] = values
        frame = pd.DataFrame(columns)
        frame.attrs["source"] = self.name
        return frame

    def load(
        self, *, n_jobs: int | None = None, progress: Progress | None = None, settings: Mapping[str, Any] | None = None
    ) -> TaskCollection:
        """Return the set as one task: which class is it?

        Args:
            n_jobs: threads that read images; every core for None.
            progress: called as `progress(done, total, message)`.
            settings: of the modality `images` (side, network); None for its defaults.

        Raises:
            InputError: METAMEDICA_DATA is not set, or has no such file.
            FileFormatError: a file is not the known one.
            TaskError: the set has no classes (it is for segmentation).
        """
        arrays = self.arrays()
        if "labels" not in arrays:
            raise TaskError(f"{self.name} has masks and no classes; read its arrays(), and use it for segmentation")
        reader = registry.modality("images", settings)
        prepared = reader.prepare(list(arrays["images"]), n_jobs=n_jobs, progress=progress)
        rows = np.array(prepared.row)
        _, first = np.unique(rows, return_index=True)  # equal pixels are one case
        here = np.sort(first[rows[first] >= 0])
        labels = arrays["labels"][here].astype(np.int64)
        present, encoded = np.unique(labels, return_inverse=True)
        classes = tuple(str(arrays["class_names"][label]) for label in present)
        groups = None
        if self.group is not None:
            groups = tuple(str(each) for each in arrays[self.group][here])
        kind: TaskKind = "binary" if len(classes) == 2 else "multiclass"
        task = Task(self.name, kind, rows[here], encoded, classes=classes, groups=groups)
        return TaskCollection(
            "images",
            prepared.canonical,
            features=prepared.features,
            tasks={self.name: task},
            left_out={
                "images that cannot be used": len(prepared.problems),
                "images equal to another": len(rows) - len(here) - len(prepared.problems),
            },
            settings=reader.settings(),
        )
