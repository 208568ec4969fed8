"""What a checkpoint belongs to: the learner, the data and the code, each as a SHA-256."""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from metamedica.data.episodes import EpisodeSampler
from metamedica.types import EpisodeBatch, Learner


def of_learner(learner: Learner[Any]) -> str:
    """Return the fingerprint of what a learner is: its modules, their plain settings, the shapes of its weights; not their values."""
    digest = hashlib.sha256()
    for name, module in learner.named_modules():
        settings = []
        for setting, value in sorted(vars(module).items()):
            if setting.startswith("_") or setting == "training":
                continue
            try:
                settings.append([setting, json.dumps(value)])
            except (TypeError, ValueError):
                continue  # not a plain setting
        digest.update(json.dumps([name, type(module).__qualname__, settings]).encode())
    for name, tensor in sorted(learner.state_dict().items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
    return digest.hexdigest()


def of_data(sampler: EpisodeSampler, validation: Sequence[EpisodeBatch]) -> str:
    """Return the fingerprint of the meta-training episodes, past and future, and of the meta-valid ones."""
    digest = hashlib.sha256(sampler.fingerprint().encode())
    for batch in validation:
        for side in (batch.support, batch.query):
            digest.update(json.dumps([side.kind, side.n_classes, list(side.mask.shape)]).encode())
            for _, tensor in sorted({**side.features, " mask": side.mask, " targets": side.targets}.items()):
                digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def of_code() -> dict[str, Any]:
    """Return the versions, the fingerprint of the package's source and the number of threads: what may change the last bits."""
    digest = hashlib.sha256()
    room = Path(__file__).parent
    for path in sorted(room.rglob("*.py")):
        digest.update(path.relative_to(room).as_posix().encode() + b"\0" + path.read_bytes())
    return {
        "metamedica": version("metamedica"),
        "source": digest.hexdigest(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
