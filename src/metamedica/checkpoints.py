"""Checkpoints of a training run: a folder of bundles, the newest two kept, a damaged one found and passed over."""

import json
import logging
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from metamedica.errors import BundleError
from metamedica.storage import read_bundle, write_bundle

KIND = "checkpoint"
KEPT = 2
_NAME = re.compile(r"step-(\d{8,})")
_LEFTOVER = re.compile(r"\.step-\d{8,}\.[0-9a-f]{32}\.(tmp|old)")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Where a training run stands after `step` steps.

    Args:
        step: number of finished steps.
        tensors: part ("weights", "optimizer", ...) -> named tensors.
        state: everything else, a JSON object.
    """

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]

    def as_bytes(self) -> bytes:
        """Return the checkpoint as one message: a line of JSON, then safetensors."""
        plain = {f"{part}/{name}": value for part, named in self.tensors.items() for name, value in named.items()}
        about = {"step": self.step, "parts": list(self.tensors), "state": self.state}
        return json.dumps(about).encode() + b"\n" + save(plain)

    @classmethod
    def from_bytes(cls, message: bytes) -> "Checkpoint":
        """Return the checkpoint that `as_bytes` wrote."""
        line, _, rest = message.partition(b"\n")
        about = json.loads(line)
        tensors: dict[str, dict[str, Tensor]] = {part: {} for part in about["parts"]}
        for name, value in load(rest).items():
            part, _, own = name.partition("/")
            tensors[part][own] = value
        return cls(about["step"], tensors, about["state"])


class CheckpointFolder:
    """The checkpoints of one training run.

    Every write is whole or not at all, and an older checkpoint goes only after a newer one is on the disk, so that a run can
    be killed at any moment.

    Args:
        folder: made when the first checkpoint is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _found(self) -> list[tuple[int, Path]]:
        """Return (step, folder) of each checkpoint, the newest first."""
        if not self.folder.is_dir():
            return []
        names = [(_NAME.fullmatch(path.name), path) for path in self.folder.iterdir()]
        return sorted(((int(name[1]), path) for name, path in names if name), reverse=True)

    def empty(self) -> bool:
        """Return whether there is no checkpoint, good or damaged."""
        return not self._found()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then `sweep`.

        Raises:
            OSError: the disk is full or read-only; earlier checkpoints stay and nothing partial remains.
        """
        target = self.folder / f"step-{checkpoint.step:08d}"
        write_bundle(target, KIND, checkpoint.tensors, {"state": checkpoint.state})
        self.sweep()

    def sweep(self) -> None:
        """Remove the checkpoints older than the newest two, and what a killed run left half-done; nothing else."""
        old = [path for _, path in self._found()[KEPT:]]
        for path in [*old, *(each for each in self.folder.iterdir() if _LEFTOVER.fullmatch(each.name))]:
            shutil.rmtree(path, ignore_errors=True)

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, None where there is none at all.

        A damaged one is reported as a warning, the one before it is used, and the damaged folder is set aside under
        `damaged-...`, for whoever wants to look into it.

        Raises:
            BundleError: there are checkpoints and all are damaged; nothing is changed.
        """
        damaged: list[tuple[Path, BundleError]] = []
        for step, path in self._found():
            try:
                tensors, documents = read_bundle(path, KIND)
                if not isinstance(documents.get("state"), dict):
                    raise BundleError(f"{path} has no state")
            except BundleError as error:
                damaged.append((path, error))
                continue
            for broken, reason in damaged:
                aside = broken.with_name(f"damaged-{broken.name}-{uuid.uuid4().hex[:8]}")
                broken.rename(aside)
                _log.warning(
                    "a checkpoint is damaged (%s); it was set aside as %s, going on from %s",
                    reason,
                    aside.name,
                    path.name,
                )
            return Checkpoint(step, tensors, documents["state"])
        if damaged:
            raise BundleError(
                f"every checkpoint in {self.folder} is damaged ({'; '.join(str(error) for _, error in damaged)}); "
                "restore one from a copy, or start again in another folder"
            )
        return None
