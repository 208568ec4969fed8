"""How a golden figure is measured: a learner trained by a paper's protocol on generated tasks, and its error on new ones.

Everything that a figure depends on, and that `benchmarks/published/*.toml` does not name, stands here.
"""

import hashlib
import inspect
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks._record import SOURCE, say, version_of
from metamedica import registry
from metamedica.data.generated_functions import FunctionFamily, FunctionPlan, GaussianProcesses, Sinusoids
from metamedica.encoders.mlp import MLP
from metamedica.storage import read_bundle, write_bundle
from metamedica.types import EpisodeBatch, Learner

FAMILIES: Mapping[str, type[FunctionFamily]] = {"sinusoids": Sinusoids, "gaussian_processes": GaussianProcesses}
PLAN = ("support", "query", "places", "asked")
KIND = "golden-learner"
TEST_SEED = 1_000_003
"""Of the functions that figures are measured on; no run trains with it."""

Errors = NDArray[np.float64]


def family(task: Mapping[str, Any], *, tasks: int, seed: int) -> FunctionFamily:
    """Return the functions that a `[task]` table describes; a support of one number is always that many."""
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in task.items()}
    made = FAMILIES[settings.pop("family")]
    sizes = {name: settings.pop(name) for name in PLAN if name in settings}
    if isinstance(sizes["support"], int):
        sizes["support"] = (sizes["support"], sizes["support"])
    return made(FunctionPlan(tasks_per_batch=tasks, **sizes), seed=seed, **settings)


def learner_of(method: Mapping[str, Any], **changed: Any) -> Learner[Any]:
    """Return a new learner as a `[method]` table describes it, some settings changed."""
    encoder = MLP({"x": 1}, dropout=0.0, norm="none", **method["encoder"])
    made: Learner[Any] = registry.learner_class(method["learner"])(encoder, **{**method.get("settings", {}), **changed})
    return made


def squared_errors(learner: Learner[Any], episodes: EpisodeBatch) -> Tensor:
    """Return `[tasks]`, the mean squared error of the predicted means on the query."""
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    return (law.mean - episodes.query.targets).square().mean(1)


def meta_train(learner: Learner[Any], functions: FunctionFamily, training: Mapping[str, Any]) -> None:
    """Train in place: Adam on fresh functions, its rate falling to 0 along a cosine.

    The loss is the mean squared error of the query, as in the papers, or the learner's own where `[training]` says so.
    """
    optimizer = torch.optim.Adam(learner.parameters(), training["rate"], fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training["iterations"])
    for step in range(training["iterations"]):
        episodes = functions.batch(step)
        own = training["loss"] == "own"
        loss = learner.meta_loss(episodes) if own else squared_errors(learner, episodes).mean()
        optimizer.zero_grad()
        loss.backward()
        if "clip" in training:
            torch.nn.utils.clip_grad_norm_(learner.parameters(), training["clip"])
        optimizer.step()
        schedule.step()
        if (step + 1) % 1000 == 0:
            say(f"  {step + 1}/{training['iterations']}, loss {float(loss.detach()):.3f}")


def part_of(what: Mapping[str, Any], parts: Path) -> Path:
    """Return the folder of a trained learner; its name changes with the settings, and with the code that training rests on."""
    name = what["method"]["learner"]
    settings = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
    here = "".join(inspect.getsource(each) for each in (family, learner_of, squared_errors, meta_train))
    roots = (f"learners/{name}.py", "encoders/mlp.py", "data/generated_functions.py")
    folder = parts / f"{name}-{settings}-{version_of(SOURCE, *roots, settings=here)}"
    for stale in parts.glob(f"{name}-{settings}-*"):
        if stale != folder:
            say(f"stale, its code has changed: {stale.name}")
    return folder


def trained(published: Mapping[str, Any], seed: int, *, parts: Path, iterations: int | None = None) -> Learner[Any]:
    """Return the learner after meta-training, from a finished part where there is one.

    Args:
        published: what a file of `benchmarks/published` holds.
        seed: of the weights and of the functions.
        parts: where finished parts are.
        iterations: instead of the file's.
    """
    training = {**published["training"], "iterations": iterations or published["training"]["iterations"]}
    del training["seeds"]
    what = {"task": published["task"], "method": published["method"], "training": training, "seed": seed}
    folder = part_of(what, parts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = learner_of(published["method"])
    if folder.is_dir():
        learner.load_state_dict(read_bundle(folder, KIND)[0]["learner"])
        return learner.eval()
    began = time.process_time()
    meta_train(learner, family(published["task"], tasks=training["tasks"], seed=seed), training)
    seconds = time.process_time() - began
    write_bundle(folder, KIND, {"learner": learner.state_dict()}, {"run": {**what, "cpu_seconds": round(seconds, 1)}})
    say(f"  {folder.name}, seed {seed}: trained in {seconds / 60:.1f} min of CPU time")
    return learner.eval()


def at_steps(learner: Learner[Any], method: Mapping[str, Any], steps: int | None) -> Learner[Any]:
    """Return the learner with another number of inner steps; as it is for None."""
    if steps is None:
        return learner
    other = learner_of(method, steps=steps)
    other.load_state_dict(learner.state_dict())
    return other.eval()


def errors(learner: Learner[Any], published: Mapping[str, Any], figure: Mapping[str, Any], *, tasks: int) -> Errors:
    """Return `[tasks]`, the error of a figure on new functions, the same for every seed and learner.

    Args:
        learner: trained.
        published: what a file of `benchmarks/published` holds.
        figure: one of its figures: "squared error", or "divergence" from the exact posterior per query case.
        tasks: how many; where supports vary in size, about as many, the sizes in equal shares.
    """
    task = {**published["task"], **figure.get("task", {})}
    learner = at_steps(learner, published["method"], figure.get("steps"))
    low, high = [task["support"]] * 2 if isinstance(task["support"], int) else task["support"]
    each = math.ceil(tasks / (high - low + 1))
    found = []
    with torch.no_grad():
        for size in range(low, high + 1):
            functions = family({**task, "support": size}, tasks=each, seed=TEST_SEED)
            measured = divergences if figure["metric"] == "divergence" else squared_errors_of_batch
            found.append(measured(learner, functions))
    return torch.cat(found).double().numpy()


def squared_errors_of_batch(learner: Learner[Any], functions: FunctionFamily) -> Tensor:
    """Return `[tasks]`, the squared errors on one batch."""
    return squared_errors(learner, functions.batch(0))


def divergences(learner: Learner[Any], functions: FunctionFamily) -> Tensor:
    """Return `[tasks]`: log-density of the query under the exact joint posterior less that under the learner, per query case.

    Its mean over tasks is the Kullback-Leibler divergence that Bruinsma's tables give.
    """
    if not isinstance(functions, GaussianProcesses):
        raise TypeError(f"got {type(functions).__name__}; only Gaussian processes have their exact posterior at hand")
    episodes = functions.batch(0)
    targets = episodes.query.targets.double()
    exact = functions.posterior(episodes.support, episodes.query.cases).log_prob(targets) / targets.shape[1]
    law = learner.predict(learner.adapt(episodes.support), episodes.query.cases)
    return exact - episodes.query.log_likelihood(law)


def mean_with_interval(values: Errors) -> tuple[float, float, float]:
    """Return (mean, low, high) of `[seeds, tasks]`: 95 %, from the spread over tasks and, of several, over seeds."""
    seeds, tasks = values.shape
    of_tasks = float(values.mean(0).var(ddof=1)) / tasks
    of_seeds = float(values.mean(1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    mean, half = float(values.mean()), 1.96 * math.sqrt(of_tasks + of_seeds)
    return mean, mean - half, mean + half


def relative(values: Errors, base: Errors) -> Errors:
    """Return `[seeds, tasks]` whose mean is the ratio of the means and whose spread is the ratio's (delta method)."""
    ratio = values.mean() / base.mean()
    changed: Errors = ratio + (values - ratio * base) / base.mean()
    return changed
