"""Speed on images, side by side with the loop that everybody writes: one episode after another, as in easyfsl's training notebook.

`rows(quick=...)` returns goals for the bench of images; alone: `python -m benchmarks._images_speed [--quick]`.

Training: the gradient of a batch of 5-way 5-shot episodes with 15 queries a class, by our learners as `outer_gradient` takes it (a few episodes at
a time), and by plain PyTorch on the same backbone with the same weights: for each episode forward support, head, forward query, loss, backward.
Both gradients are compared in double precision before a time is printed. Use: `adapt` on 25 and `predict` of 100 cached vectors through the
learner, against the loop that embeds support and queries anew. Rounds are interleaved; a ratio is the median over rounds of plain / ours, its
interval the 10th and 90th percentile; CPU time of one thread, wall time beside it. Rows in bfloat16 (`TrainingSettings.precision`) are told
and not judged, with their gradient's error.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import itertools

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks._record import conclude, goal, say, spread
from metamedica import registry
from metamedica.encoders.conv4 import Conv4
from metamedica.encoders.resnet import ResNet
from metamedica.functional.ragged import part_of
from metamedica.outer_gradient import parts_for
from metamedica.precision import Precision, backward_in, forward_in
from metamedica.types import CaseBatch, Encoder, EpisodeBatch, Features, LabelledBatch, Learner

WAYS, SHOTS, QUERIES, EPISODES = 5, 5, 15, 4
ASKED = 100
HEADS = ("prototypical", "ridge_head")
FASTER, MILLISECONDS = 3.0, 20.0
LEAST_SHARE = 1e-4
FAR = 1e-9


class PlainConv4(nn.Sequential):
    """Conv-4 as it is written everywhere: convolution, norm, ReLU, pooling, in PyTorch's usual layout."""

    def __init__(self, channels: int, width: int, groups: int) -> None:
        layers: list[nn.Module] = []
        for entering in (channels, width, width, width):
            layers += [
                nn.Conv2d(entering, width, 3, padding=1),
                nn.GroupNorm(groups, width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        super().__init__(*layers, nn.Flatten())


class PlainBlock(nn.Module):
    """A block of ResNet-12 as it is written everywhere."""

    def __init__(self, entering: int, leaving: int, groups: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(3):
            layers += [nn.Conv2d(leaving if number else entering, leaving, 3, padding=1, bias=False)]
            layers += [nn.GroupNorm(groups, leaving), *([nn.LeakyReLU(0.1)] if number < 2 else [])]
        self.path = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(nn.Conv2d(entering, leaving, 1, bias=False), nn.GroupNorm(groups, leaving))

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.leaky_relu(self.path(x) + self.shortcut(x), 0.1), 2)


class PlainResNet12(nn.Sequential):
    """Four such blocks and the mean over places."""

    def __init__(self, channels: int, width: int, groups: int) -> None:
        wide = [channels, *(width * 2**stage for stage in range(4))]
        blocks = [PlainBlock(*pair, groups) for pair in itertools.pairwise(wide)]
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Cached(Encoder):
    """Vectors that were embedded before."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        return features["vector"]


def backbones(side: int) -> dict[str, Callable[[], tuple[Encoder, nn.Module]]]:
    """Return name -> maker of our encoder and the plain network, with equal weights."""

    def pair(ours: Encoder, plain: nn.Module) -> tuple[Encoder, nn.Module]:
        with torch.no_grad():
            for theirs, own in zip(plain.parameters(), ours.parameters(), strict=True):
                theirs.copy_(own)
        return ours, plain

    return {
        f"Conv-4 32, 1 x {side} x {side}": lambda: pair(Conv4((1, side, side), width=32), PlainConv4(1, 32, 4)),
        f"Conv-4 32, 3 x {side} x {side}": lambda: pair(Conv4((3, side, side), width=32), PlainConv4(3, 32, 4)),
        f"ResNet-12 16, 1 x {side} x {side}": lambda: pair(
            ResNet((1, side, side), layers=12, width=16), PlainResNet12(1, 16, 8)
        ),
    }


def episodes(channels: int, side: int, *, count: int, queries: int = WAYS * QUERIES) -> EpisodeBatch:
    """Return generated episodes: noise about an image of each class."""
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(count, WAYS, channels * side * side, generator=random)

    def part(n: int) -> LabelledBatch:
        targets = (torch.arange(n) % WAYS).repeat(count, 1)
        noise = torch.randn(count, n, centres.shape[-1], generator=random)
        images = noise + torch.stack([own[which] for own, which in zip(centres, targets, strict=True)])
        return LabelledBatch(CaseBatch({"image": images}, targets >= 0), targets, "multiclass", WAYS)

    return EpisodeBatch(part(WAYS * SHOTS), part(queries), torch.arange(count))


def head_scores(head: str, numbers: dict[str, Tensor], own: Tensor, classes: Tensor, asked: Tensor) -> Tensor:
    """Return the class scores of embedded queries, by the papers' formulas in plain PyTorch for one episode."""
    if head == "prototypical":
        means = torch.stack([own[classes == k].mean(0) for k in range(WAYS)])
        return -torch.cdist(asked, means).square() * torch.exp(-numbers["log_temperature"])
    own, asked = own / own.shape[1] ** 0.5, asked / own.shape[1] ** 0.5
    centre, goals = own.mean(0), F.one_hot(classes, WAYS).to(own)
    inputs = own - centre
    least = LEAST_SHARE * inputs.square().sum(1).mean()
    gram = inputs @ inputs.T + torch.maximum(numbers["log_penalty"].exp(), least) * torch.eye(len(own)).to(own)
    share = (asked - centre) @ inputs.T @ torch.linalg.solve(gram, goals - goals.mean(0)) + goals.mean(0)
    return numbers["log_scale"].exp() * share


def plain_gradient(
    head: str, body: nn.Module, numbers: dict[str, Tensor], batch: EpisodeBatch, image: tuple[int, ...]
) -> None:
    """Leave the mean loss's gradient in the network, one episode after another."""
    body.zero_grad()
    for task in range(len(batch.task_index)):
        support, query = (side.features["image"][task].view(-1, *image) for side in (batch.support, batch.query))
        scores = head_scores(head, numbers, body(support), batch.support.targets[task], body(query))
        (F.cross_entropy(scores, batch.query.targets[task]) / len(batch.task_index)).backward()


def our_gradient(learner: Learner[Any], batch: EpisodeBatch, *, precision: Precision = "float32") -> None:
    """Leave the mean loss's gradient in the network, as training takes it."""
    learner.zero_grad()
    here = torch.device("cpu")
    for rows in parts_for(learner, batch):
        with forward_in(precision, learner, here):
            loss = learner.meta_loss(part_of(batch, rows)) * (len(rows) / len(batch.task_index))
        with backward_in(precision, here):
            loss.backward()  # type: ignore[no-untyped-call]


def _numbers(learner: Learner[Any]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in learner.named_parameters() if name.startswith("log_")}


def _made(head: str, encoder: Encoder) -> Learner[Any]:
    made: Learner[Any] = registry.learner_class(head)(encoder=encoder)
    return made


def check_gradients(head: str, make: Callable[[], tuple[Encoder, nn.Module]], channels: int, side: int) -> None:
    """Refuse to time what does not compute the same: gradients in double precision."""
    ours, plain = make()
    learner, plain = _made(head, ours).double(), plain.double()
    batch = episodes(channels, side, count=2, queries=WAYS)
    batch = EpisodeBatch(_double(batch.support), _double(batch.query), batch.task_index)
    our_gradient(learner, batch)
    plain_gradient(head, plain, _numbers(learner), batch, (channels, side, side))
    pairs = [(a.grad, b.grad) for a, b in zip(ours.parameters(), plain.parameters(), strict=True)]
    largest = max(float(want.abs().max()) for _, want in pairs if want is not None)
    far = max(float((found - want).abs().max()) for found, want in pairs if found is not None and want is not None)
    if not far <= FAR * largest:
        raise SystemExit(f"{head}: the gradients differ by {far / largest:.1e}; nothing is timed")


def _double(batch: LabelledBatch) -> LabelledBatch:
    return batch.map(lambda value: value.double() if value.is_floating_point() else value)


def timed(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Return `[rounds, 2]` seconds of each step, CPU and wall, in turns; each is called once before."""
    for step in steps.values():
        step()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            cpu, wall = time.process_time(), time.perf_counter()
            step()
            found[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {name: np.array(each) for name, each in found.items()}


def _told(name: str, times: dict[str, np.ndarray]) -> None:
    each = [
        f"{who} {1e3 * np.median(t[:, 0]):.1f} ms CPU, {1e3 * np.median(t[:, 1]):.1f} ms wall"
        for who, t in times.items()
    ]
    say(f"{name}: {'; '.join(each)}")


def _ratio(name: str, wanted: float | None, times: dict[str, np.ndarray], *, ours: str = "ours") -> dict[str, Any]:
    kept = {who: times[who] for who in (ours, "plain")}
    _told(name, kept)
    each = kept["plain"] / kept[ours]
    found = goal(name, wanted, float(np.median(each[:, 0])), spread(each[:, 0]))
    medians = {f"{who}_ms": [round(1e3 * float(v), 2) for v in np.median(t, 0)] for who, t in kept.items()}
    return {**found, "wall": round(float(np.median(each[:, 1])), 4), **medians}


def training(side: int, *, count: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the goals of a training step."""
    for name, make in backbones(side).items():
        ours, plain = make()
        channels = int(ours.image[0])
        batch = episodes(channels, side, count=count)
        for head in HEADS:
            check_gradients(head, make, channels, side)
            learner = _made(head, ours)
            numbers = _numbers(learner)
            steps: dict[str, Callable[[], object]] = {
                "ours": partial(our_gradient, learner, batch),
                "bf16": partial(our_gradient, learner, batch, precision="bf16"),
                "plain": partial(plain_gradient, head, plain, numbers, batch, (channels, side, side)),
            }
            times = timed(steps, rounds)
            yield _ratio(f"training step, {name}, {head}, times a loop over episodes", FASTER, times)
            title = f"training step in bfloat16, {name}, {head}, times a loop over episodes in float32"
            yield _ratio(title, None, times, ours="bf16") | {"gradient_error": _rounded_by(learner, batch)}


def _rounded_by(learner: Learner[Any], batch: EpisodeBatch) -> float:
    """Return how far the gradient in bfloat16 is from that in float32, as a share of its length."""
    found = []
    for precision in ("float32", "bf16"):
        our_gradient(learner, batch, precision=precision)
        found.append(torch.cat([value.grad.flatten() for value in learner.parameters() if value.grad is not None]))
    return round(float((found[1] - found[0]).norm() / found[0].norm()), 4)


def use(side: int, *, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the goals of adapting and predicting from cached vectors."""
    for name, make in backbones(side).items():
        ours, plain = make()
        image = tuple(ours.image)
        batch = episodes(image[0], side, count=1, queries=ASKED)
        with torch.no_grad():
            support, query = (
                CaseBatch({"vector": ours(part.features)}, part.mask) for part in (batch.support, batch.query)
            )
        known = LabelledBatch(support, batch.support.targets, "multiclass", WAYS)
        for head in HEADS:
            learner, numbers = _made(head, Cached(ours.dim)), _numbers(_made(head, ours))

            def cached(
                learner: Learner[Any] = learner, known: LabelledBatch = known, query: CaseBatch = query
            ) -> Tensor:
                with torch.no_grad():
                    found: Tensor = learner.predict(learner.adapt(known), query).probs[0]  # type: ignore[attr-defined]
                return found

            def anew(
                head: str = head,
                body: nn.Module = plain,
                numbers: dict[str, Tensor] = numbers,
                batch: EpisodeBatch = batch,
                image: tuple[int, ...] = image,
            ) -> Tensor:
                with torch.no_grad():
                    own, asked = (body(p.features["image"][0].view(-1, *image)) for p in (batch.support, batch.query))
                    return head_scores(head, numbers, own, batch.support.targets[0], asked).softmax(-1)

            if not torch.allclose(cached(), anew(), atol=1e-3):
                raise SystemExit(f"{name}, {head}: the answers differ; nothing is timed")
            times = timed({"ours": cached, "plain": anew}, rounds)
            yield _ratio(
                f"adapt and predict {ASKED} cached images, {name}, {head}, times embedding anew", FASTER, times
            )
            wall = 1e3 * times["ours"][:, 1]
            title = f"adapt and predict {ASKED} cached images, {name}, {head}, ms"
            yield goal(title, MILLISECONDS, float(np.median(wall)), spread(wall), lower=True)


def rows(*, quick: bool) -> list[dict[str, Any]]:
    """Return every goal."""
    torch.set_num_threads(1)
    side, count, rounds = (32, 2, 3) if quick else (64, EPISODES, 9)
    return [*training(side, count=count, rounds=rounds), *use(side, rounds=3 * rounds)]


def main() -> int:
    """Measure, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small images, few rounds, no verdict")
    quick = parser.parse_args().quick
    began = time.monotonic()
    return conclude("images-speed", rows(quick=quick), seconds=time.monotonic() - began, quick=quick)


if __name__ == "__main__":
    sys.exit(main())
