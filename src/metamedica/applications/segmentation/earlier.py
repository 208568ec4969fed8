"""What earlier segmentation tasks teach a network: a start from which a few gradient steps on a new task's support go far (MAML).

Finn, Abbeel and Levine 2017, arXiv:1703.03400, algorithm 1, with exact or first-order outer gradients (section 5.2). Every task's head starts at 0
and is its own (Ye and Chao 2022, arXiv:2106.09486), so that tasks may have other classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import functional_call

from metamedica.applications.segmentation.augmentation import Crops
from metamedica.applications.segmentation.cases import LabelledPicture
from metamedica.applications.segmentation.unet import UNet, new_network, one_cycle, pixel_loss
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.types import Progress

Outer = Literal["exact", "first_order"]


@dataclass(frozen=True)
class EarlierTask:
    """An earlier task: its images and masks, read, and how many classes it declares."""

    pairs: Sequence[LabelledPicture]
    n_classes: int


@dataclass(frozen=True)
class MetaSchedule:
    """How a start is learned.

    Args:
        steps: outer steps, one task each.
        rate: highest outer learning rate.
        inner_steps: gradient steps on a task's support crops.
        inner_rate: of those.
        crops: of the support and of the query, each.
        outer: "exact" differentiates through the inner steps, "first_order" takes the adapted weights' own gradient.
    """

    steps: int = 200
    rate: float = 2e-3
    inner_steps: int = 2
    inner_rate: float = 0.05
    crops: int = 4
    outer: Outer = "first_order"


def adapted_weights(
    network: UNet,
    start: dict[str, Tensor],
    features: Float[Tensor, "n features height width"],
    classes: Int[Tensor, "n height width"],
    loop: InnerLoop,
    *,
    outer: Outer,
) -> dict[str, Tensor]:
    """Return the weights after the inner steps on support crops; a function of `start` that gradients go through.

    Args:
        network: whose layers are used, not its weights.
        start: all weights by name.
        features: of the support crops.
        classes: of their pixels.
        loop: steps and rate.
        outer: "exact" keeps the second derivatives.
    """
    own = start
    for step in range(loop.steps):
        loss = pixel_loss(functional_call(network, own, (features,)), classes)
        slopes = torch.autograd.grad(loss, list(own.values()), create_graph=outer == "exact")
        own = loop.stepped(step, own, {name: -slope for name, slope in zip(own, slopes, strict=True)}, start)
    return own


def learned_start(
    tasks: Sequence[EarlierTask],
    *,
    schedule: MetaSchedule,
    width: int,
    side: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Return a network's weights without head, from which tasks like these are learned in few steps.

    Args:
        tasks: earlier ones; where a task has several images, support and query crops come from different ones.
        schedule: how.
        width: of the network.
        side: of a crop, in pixels.
        seed: of weights, tasks and crops.
        progress: told every outer step.
    """
    generator = torch.Generator().manual_seed(seed)
    networks = [new_network(task.n_classes, width=width, seed=seed) for task in tasks]
    trunk = {
        name: value.detach().clone().requires_grad_()
        for name, value in networks[0].named_parameters()
        if not name.startswith("head.")
    }
    drawn = []
    for at, task in enumerate(tasks):
        half = max(1, len(task.pairs) // 2)
        sides = (task.pairs[:half], task.pairs[half:] or task.pairs)
        drawn.append([Crops(part, side=side, seed=seed + 2 * at + place) for place, part in enumerate(sides)])
    optimiser = torch.optim.AdamW(trunk.values(), lr=schedule.rate, weight_decay=1e-2)
    loop = InnerLoop(schedule.inner_steps, Constant(schedule.inner_rate))
    with torch.enable_grad():
        for step in range(schedule.steps):
            at = int(torch.randint(len(tasks), (), generator=generator))
            support, query = drawn[at] if int(torch.randint(2, (), generator=generator)) else drawn[at][::-1]
            network = networks[at]
            head = {
                f"head.{name}": torch.zeros_like(value).requires_grad_()
                for name, value in network.head.named_parameters()
            }
            features, classes = support.batch(schedule.crops)
            own = adapted_weights(network, trunk | head, features, classes, loop, outer=schedule.outer)
            features, classes = query.batch(schedule.crops)
            loss = pixel_loss(functional_call(network, own, (features,)), classes)
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate * one_cycle(step, schedule.steps)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if progress is not None:
                progress(step + 1, schedule.steps, "learning from earlier tasks")
    return {name: value.detach() for name, value in trunk.items()}
