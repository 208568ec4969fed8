"""Pre-training of an image encoder on pooled images: no outside weights are needed, and no label, though labels help where there are some.

Chen, Kornblith, Norouzi and Hinton 2020, A Simple Framework for Contrastive Learning of Visual Representations (SimCLR), arXiv:2002.05709,
section 2.1 and eq. 1.

Deviates: a step's images are of one set (one organ, one camera), so that sets are not told apart by what makes them differ anyway; where a set has
labels, a linear head of its own learns them from the same vectors (multi-task pre-training), and its loss is added.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from metamedica import registry
from metamedica.checkpoints import Checkpoint, CheckpointFolder
from metamedica.errors import BundleError, InputError, TrainingError
from metamedica.functional.augmentation import Augmentation
from metamedica.modalities.images.network import Network, entering
from metamedica.types import Encoder, Progress

LEAST_IMAGES = 16
"""Of all sets together: fewer teach nothing."""
_SAVE_EVERY = 250
_WARM_UP = 0.1


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that were made alike.

    Args:
        name: for the record.
        images: `[n, side, side, 3]`.
        labels: `[n]` from 0 on; None: there are none.
        augmentation: what may happen to such an image without making it another (a chest may not stand on its head, a cell may).

    Raises:
        InputError: as many labels as images were wanted.
    """

    name: str
    images: UInt8[np.ndarray, "n side side 3"]
    labels: Int64[np.ndarray, " n"] | None = None
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(least=0.5))

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self.images):
            raise InputError(
                f"the set {self.name!r} has {len(self.images)} images and {len(self.labels)} labels; give one label an image"
            )

    @property
    def n_classes(self) -> int:
        """Number of classes, 0 without labels."""
        return 0 if self.labels is None else int(self.labels.max()) + 1


@dataclass(frozen=True)
class PretrainingSettings:
    """How long and how fast.

    Args:
        encoder: a file of `encoders/` that reads `image`.
        encoder_settings: of the encoder.
        steps: of the optimiser.
        batch: images a step; each is seen twice.
        learning_rate: of AdamW at its highest.
        weight_decay: of AdamW.
        temperature: of the contrastive loss.
        contrast: weight of the contrastive loss; 0 leaves it out, and then images are seen once.
        supervised: weight of the loss of labels; 0 leaves labels alone.
        seed: of everything random.

    Raises:
        InputError: fewer than 2 images a step or 1 step, or a rate or weight that is none.
    """

    encoder: str = "resnet"
    encoder_settings: Mapping[str, Any] = field(default_factory=lambda: {"layers": 10, "width": 32})
    steps: int = 3000
    batch: int = 48
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    temperature: float = 0.2
    contrast: float = 1.0
    supervised: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2:
            raise InputError(f"got {self.steps} steps of {self.batch} images; give at least 1 step of 2 images")
        if min(self.learning_rate, self.temperature) <= 0 or min(self.contrast, self.supervised, self.weight_decay) < 0:
            raise InputError(
                f"got learning rate {self.learning_rate}, temperature {self.temperature}, contrast {self.contrast}, supervised "
                f"{self.supervised} and weight decay {self.weight_decay}; give rates above 0 and weights from 0"
            )
        if not self.contrast and not self.supervised:
            raise InputError("got contrast 0 and supervised 0; give at least one of them a weight")


def contrastive_loss(
    left: Float[Tensor, "n dim"], right: Float[Tensor, "n dim"], *, temperature: float
) -> Float[Tensor, ""]:
    """Return the normalised temperature-scaled cross entropy of two views of the same images (Chen et al., eq. 1), mean over all views."""
    both = functional.normalize(torch.cat([left, right]), dim=-1)
    alike = both @ both.mT / temperature
    alike = alike.masked_fill(torch.eye(len(both), dtype=torch.bool), float("-inf"))
    own = torch.arange(len(both)).roll(len(left))
    return functional.cross_entropy(alike, own)


def pretrain(
    sets: Sequence[ImageSet],
    settings: PretrainingSettings | None = None,
    *,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    record: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Network:
    """Return a network that was trained on these images; the same images, settings and seed give the same network.

    Args:
        sets: at least one; all images of one side. A step draws one set, with a chance that grows with the root of its size.
        settings: None for the defaults.
        checkpoints: folder for checkpoints; None writes none.
        resume: go on from the newest good checkpoint there; the result equals an uninterrupted run.
        record: kept with the network (licences, where the images come from).
        progress: called as `progress(done, total, message)`.

    Raises:
        InputError: no image, fewer than 16, sides that differ, two sets of one name, or nothing to learn (no label and no contrast).
        BundleError: checkpoints of another run, or all damaged; or there are some and `resume` was not asked for.
        TrainingError: the loss is not finite.
    """
    settings = settings or PretrainingSettings()
    _check(sets, settings)
    run = _Run(sets, settings)
    folder = None if checkpoints is None else CheckpointFolder(Path(checkpoints))
    if folder is not None:
        run.resume(folder, resume=resume)
    while run.step < settings.steps:
        run.advance()
        if progress is not None:
            progress(run.step, settings.steps, f"pre-training, loss {run.loss:.3f}")
        if folder is not None and (run.step % _SAVE_EVERY == 0 or run.step == settings.steps):
            folder.save(run.checkpoint())
    return run.network(record or {})


def _check(sets: Sequence[ImageSet], settings: PretrainingSettings) -> None:
    count = sum(len(each.images) for each in sets)
    if count < LEAST_IMAGES:
        raise InputError(
            f"got {count} images to learn from; give at least {LEAST_IMAGES}, a few hundred or more are usual"
        )
    sides = sorted({each.images.shape[1:] for each in sets})
    if len(sides) > 1:
        raise InputError(f"got images of {sides[0]} and {sides[1]} pixels; bring all to one side")
    if len({each.name for each in sets}) < len(sets):
        raise InputError("got two sets of one name; give each its own")
    for each in sets:
        if len(each.images) < 2:
            raise InputError(f"the set {each.name!r} has {len(each.images)} image; give at least 2, or leave it out")
    if not settings.contrast and not any(each.n_classes > 1 for each in sets):
        raise InputError("got contrast 0 and no set with two classes; there is nothing to learn")


class _Net(nn.Module):
    """The encoder, the projection that the contrastive loss compares by, and a head for each labelled set."""

    def __init__(self, encoder: Encoder, classes: Sequence[int]) -> None:
        super().__init__()
        dim = encoder.dim
        self.encoder = encoder
        self.projection = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 128))
        self.heads = nn.ModuleList(nn.Linear(dim, max(1, each)) for each in classes)


class _Run:
    """A pre-training run: where it stands, a step, a checkpoint. A step is a function of the seed and its number."""

    def __init__(self, sets: Sequence[ImageSet], settings: PretrainingSettings) -> None:
        self.sets, self.settings = list(sets), settings
        side = sets[0].images.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            encoder = registry.encoder_class(settings.encoder)((3, side, side), **settings.encoder_settings)
            self.net = _Net(encoder, [each.n_classes for each in sets])
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1.0, weight_decay=settings.weight_decay)
        self.chances = torch.tensor([math.sqrt(len(each.images)) for each in sets])
        self.step, self.loss, self.seconds = 0, math.nan, 0.0
        about = {"settings": asdict(settings), "sets": [(each.name, len(each.images), each.n_classes) for each in sets]}
        self.about = json.loads(json.dumps(about))

    def rate(self) -> float:
        """Return the learning rate of the step at hand: up in a tenth of the steps, then down along a cosine."""
        share = (self.step + 1) / self.settings.steps
        if share < _WARM_UP:
            return self.settings.learning_rate * share / _WARM_UP
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (share - _WARM_UP) / (1 - _WARM_UP)))

    def advance(self) -> None:
        """Take one step.

        Raises:
            TrainingError: the loss is not finite.
        """
        begun = time.monotonic()
        random = torch.Generator().manual_seed((self.settings.seed << 32) + self.step)
        number = int(torch.multinomial(self.chances, 1, generator=random))
        loss = self._loss(number, random)
        if not bool(loss.isfinite()):
            raise TrainingError(
                f"the loss of step {self.step + 1} is not a finite number; lower the learning rate ({self.settings.learning_rate})"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self.loss = float(loss.detach())
        self.seconds += time.monotonic() - begun

    def _loss(self, number: int, random: torch.Generator) -> Tensor:
        drawn, settings = self.sets[number], self.settings
        rows = torch.randperm(len(drawn.images), generator=random)[: settings.batch].numpy()
        views = 2 if settings.contrast else 1
        images = (entering(drawn.images[rows]).repeat(views, 1, 1, 1)).mul_(0.25).add_(0.5)
        changed = (drawn.augmentation(images, random) - 0.5) / 0.25
        vectors = self.net.encoder({"image": changed.flatten(1)})
        loss: Tensor = vectors.new_zeros(())
        if settings.contrast:
            left, right = self.net.projection(vectors).chunk(2)
            loss = loss + settings.contrast * contrastive_loss(left, right, temperature=settings.temperature)
        if settings.supervised and drawn.labels is not None and drawn.n_classes > 1:
            labels = torch.from_numpy(drawn.labels[rows]).repeat(views)
            loss = loss + settings.supervised * functional.cross_entropy(self.net.heads[number](vectors), labels)
        return loss

    def checkpoint(self) -> Checkpoint:
        """Return where the run stands."""
        moments = {
            f"{place}.{name}": value
            for place, named in self.optimizer.state_dict()["state"].items()
            for name, value in named.items()
        }
        tensors = {"weights": dict(self.net.state_dict()), "optimizer": moments}
        return Checkpoint(self.step, tensors, {"run": self.about, "seconds": self.seconds})

    def resume(self, folder: CheckpointFolder, *, resume: bool) -> None:
        """Go on from the newest checkpoint where there is one.

        Raises:
            BundleError: there are checkpoints and going on was not asked for, or they are of another run.
        """
        if folder.empty():
            return
        if not resume:
            raise BundleError(f"{folder.folder} holds checkpoints; resume from them, or name another folder")
        found = folder.newest()
        if found is None:
            return
        if found.state.get("run") != self.about:
            raise BundleError(f"{folder.folder} holds checkpoints of other images or settings; name another folder")
        self.net.load_state_dict(found.tensors["weights"])
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in found.tensors["optimizer"].items():
            place, _, name = key.partition(".")
            state.setdefault(int(place), {})[name] = value
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**whole, "state": state})
        self.step, self.seconds = found.step, float(found.state["seconds"])

    def network(self, record: Mapping[str, Any]) -> Network:
        """Return the trained encoder as a frozen network."""
        settings = self.settings
        encoder = self.net.encoder.eval()
        dim = encoder.dim
        plain = Network(
            settings.encoder,
            dict(settings.encoder_settings),
            self.sets[0].images.shape[1],
            dict(encoder.state_dict()),
            torch.zeros(dim),
            torch.ones(dim),
            {**record, **self.about, "seconds": round(self.seconds)},
        )
        whole = Network.of_value(plain.as_value())  # weights as they are kept, in half precision
        # every set counts the same, so that a large one does not set the scale for all
        moments = [(vectors.mean(0), vectors.var(0)) for vectors in (whole.embed(each.images) for each in self.sets)]
        centre = torch.stack([mean for mean, _ in moments]).mean(0)
        spread = torch.stack([variance for _, variance in moments]).mean(0).sqrt().clamp(min=1e-6)
        return Network.of_value({**whole.as_value(), "centre": centre, "spread": spread})
