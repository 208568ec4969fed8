"""The same meta-gradients as people write them today: a plain autograd loop, higher, TorchOpt, and JAX as the reference of speed.

Each peer is a function of a `Workload`'s data and parameters that returns the meta-gradient by name. They compute what our learners compute:
heads read the embedding divided by sqrt(dim), prototypes have a temperature, Reptile steps on support and query together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Slopes: TypeAlias = dict[str, Tensor]
RATE, STEPS = 0.1, 5


@dataclass(frozen=True)
class Data:
    """Episodes as peers take them: a list of tasks, each with exact sizes."""

    support: list[tuple[Tensor, Tensor]]
    query: list[tuple[Tensor, Tensor]]
    n_classes: int


@dataclass(frozen=True)
class Network:
    """The network as a function of named tensors; `body` maps cases to embeddings, the head is linear.

    Args:
        body: `(parameters, x) -> [n, dim]`, by torch.
        jax_body: the same by JAX.
        head: names of the head's weight and bias.
        names: of the body's parameters.
        dim: length of the embedding.
    """

    body: Callable[[Slopes, Tensor], Tensor]
    jax_body: Callable[[Any, Any], Any]
    head: tuple[str, str]
    names: tuple[str, ...]
    dim: int

    def output(self, own: Slopes, x: Tensor) -> Tensor:
        """Return the head's scores."""
        weight, bias = (own[name] for name in self.head)
        return F.linear(self.body(own, x) / self.dim**0.5, weight, bias)


def mlp(pairs: list[tuple[str, str]], head: tuple[str, str], dim: int) -> Network:
    """Return linear layers with ReLU after each."""

    def body(own: Slopes, x: Tensor) -> Tensor:
        for weight, bias in pairs:
            x = F.relu(F.linear(x, own[weight], own[bias]))
        return x

    def jax_body(own: Any, x: Any) -> Any:
        import jax

        for weight, bias in pairs:
            x = jax.nn.relu(x @ own[weight].T + own[bias])
        return x

    return Network(body, jax_body, head, tuple(name for pair in pairs for name in pair), dim)


def conv4(blocks: list[tuple[str, str, str, str]], head: tuple[str, str], dim: int, groups: int, side: int) -> Network:
    """Return blocks of convolution, group norm, ReLU and max-pooling."""

    def body(own: Slopes, x: Tensor) -> Tensor:
        x = x.reshape(-1, 1, side, side)
        for weight, bias, scale, shift in blocks:
            x = F.conv2d(x, own[weight], own[bias], padding=1)
            x = F.max_pool2d(F.relu(F.group_norm(x, groups, own[scale], own[shift])), 2)
        return x.flatten(1)

    def jax_body(own: Any, x: Any) -> Any:
        import jax
        import jax.numpy as jnp

        x = x.reshape(-1, 1, side, side)
        for weight, bias, scale, shift in blocks:
            x = jax.lax.conv_general_dilated(x, own[weight], (1, 1), "SAME") + own[bias][:, None, None]
            n, c, h, w = x.shape
            g = x.reshape(n, groups, -1)
            g = (g - g.mean(-1, keepdims=True)) / jnp.sqrt(g.var(-1, keepdims=True) + 1e-5)
            x = jax.nn.relu(g.reshape(n, c, h, w) * own[scale][:, None, None] + own[shift][:, None, None])
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        return x.reshape(x.shape[0], -1)

    return Network(body, jax_body, head, tuple(name for block in blocks for name in block), dim)


def _grad(loss: Tensor, own: Slopes) -> Slopes:
    found = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
    return {name: slope for name, slope in zip(own, found, strict=True) if slope is not None}


def _prototype_loss(network: Network, own: Slopes, task: int, data: Data) -> Tensor:
    (x, y), (asked, want) = data.support[task], data.query[task]
    embedded = network.body(own, x)
    means = torch.stack([embedded[y == k].mean(0) for k in range(data.n_classes)])
    squares = torch.cdist(network.body(own, asked), means).square()
    return F.cross_entropy(-squares * torch.exp(-own["log_temperature"]), want)


def _descended(network: Network, own: Slopes, data: Data, task: int, names: list[str], *, exact: bool) -> Slopes:
    x, y = data.support[task]
    if names == list(network.head):  # ANIL: the body is run once
        embedded, moved = network.body(own, x) / network.dim**0.5, {name: own[name] for name in names}
        for _ in range(STEPS):
            loss = F.cross_entropy(F.linear(embedded, *moved.values()), y)
            slopes = torch.autograd.grad(loss, list(moved.values()), create_graph=exact)
            moved = {name: moved[name] - RATE * slope for name, slope in zip(names, slopes, strict=True)}
        return own | moved
    for _ in range(STEPS):
        loss = F.cross_entropy(network.output(own, x), y)
        slopes = torch.autograd.grad(loss, [own[name] for name in names], create_graph=exact)
        own = own | {name: own[name] - RATE * slope for name, slope in zip(names, slopes, strict=True)}
    return own


def plain_loop(algorithm: str, network: Network, own: Slopes, data: Data) -> Slopes:
    """Return the meta-gradient by the loop that everybody writes: a task after another, autograd with create_graph."""
    tasks, names = range(len(data.support)), [*network.names, *network.head]
    if algorithm == "reptile":
        total = {name: torch.zeros_like(own[name]) for name in names}
        for task in tasks:
            (x, y), (asked, want) = data.support[task], data.query[task]
            x, y = torch.cat([x, asked]), torch.cat([y, want])
            now = {name: own[name].detach().requires_grad_() for name in names}
            for _ in range(STEPS):
                slopes = torch.autograd.grad(F.cross_entropy(network.output(now, x), y), list(now.values()))
                now = {
                    name: (now[name] - RATE * slope).detach().requires_grad_()
                    for name, slope in zip(names, slopes, strict=True)
                }
            for name in names:
                total[name] += (own[name].detach() - now[name].detach()) / (RATE * len(tasks))
        return total
    losses = []
    for task in tasks:
        if algorithm == "prototypical":
            losses.append(_prototype_loss(network, own, task, data))
            continue
        moving = list(network.head) if algorithm == "anil" else names
        found = _descended(network, own, data, task, moving, exact=algorithm != "first_order_maml")
        losses.append(F.cross_entropy(network.output(found, data.query[task][0]), data.query[task][1]))
    return _grad(torch.stack(losses).mean(), own)


class _Module(nn.Module):
    """The network as a module, for the peers that patch modules."""

    def __init__(self, network: Network, own: Slopes) -> None:
        super().__init__()
        self.network = network
        self.keys = {name: name.replace(".", "|") for name in (*network.names, *network.head)}
        for name, key in self.keys.items():
            self.register_parameter(key, nn.Parameter(own[name].detach().clone()))

    def forward(self, x: Tensor) -> Tensor:
        return self.network.output({name: getattr(self, key) for name, key in self.keys.items()}, x)


def by_higher(algorithm: str, network: Network, own: Slopes, data: Data) -> Slopes:
    """Return the meta-gradient by higher 0.2.1 (Grefenstette et al. 2019); exact or first-order MAML."""
    import higher

    module = _Module(network, own)
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    exact = algorithm == "maml"
    for (x, y), (asked, want) in zip(data.support, data.query, strict=True):
        with higher.innerloop_ctx(module, optimizer, copy_initial_weights=False, track_higher_grads=exact) as (
            fast,
            steps,
        ):
            for _ in range(STEPS):
                steps.step(F.cross_entropy(fast(x), y))
            loss = F.cross_entropy(fast(asked), want) / len(data.support)
            if exact:
                loss.backward()
            else:
                slopes = torch.autograd.grad(loss, list(fast.parameters()))
                for parameter, slope in zip(module.parameters(), slopes, strict=True):
                    parameter.grad = slope if parameter.grad is None else parameter.grad + slope
    return {name: getattr(module, key).grad for name, key in module.keys.items()}


def by_torchopt(algorithm: str, network: Network, own: Slopes, data: Data) -> Slopes:
    """Return the meta-gradient by TorchOpt 0.7.3 (Ren et al. 2023); exact MAML."""
    import torchopt

    module = _Module(network, own)
    inner = torchopt.MetaSGD(module, lr=RATE)
    begin, state = torchopt.extract_state_dict(module, by="reference"), torchopt.extract_state_dict(inner)
    losses = []
    for (x, y), (asked, want) in zip(data.support, data.query, strict=True):
        for _ in range(STEPS):
            inner.step(F.cross_entropy(module(x), y))
        losses.append(F.cross_entropy(module(asked), want))
        torchopt.recover_state_dict(module, begin)
        torchopt.recover_state_dict(inner, state)
    torch.stack(losses).mean().backward()
    return {name: getattr(module, key).grad for name, key in module.keys.items()}


def by_jax(algorithm: str, network: Network, own: Slopes, data: Data) -> Callable[[], Slopes]:
    """Return the meta-gradient by JAX, `jit` of the gradient of `vmap` over tasks, compiled before it is timed."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    def stacked(sides: list[tuple[Tensor, Tensor]]) -> tuple[Any, Any]:
        return jnp.asarray(np.stack([x.numpy() for x, _ in sides])), jnp.asarray(
            np.stack([y.numpy() for _, y in sides])
        )

    (x, y), (asked, want) = stacked(data.support), stacked(data.query)
    start = {name: jnp.asarray(value.detach().numpy()) for name, value in own.items()}
    moving = list(network.head) if algorithm == "anil" else [*network.names, *network.head]

    def output(own: Any, x: Any) -> Any:
        return network.jax_body(own, x) / network.dim**0.5 @ own[network.head[0]].T + own[network.head[1]]

    def entropy(scores: Any, y: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(scores), y[:, None], 1).mean()

    def descended(own: Any, x: Any, y: Any) -> Any:
        if algorithm == "anil":
            embedded = network.jax_body(own, x) / network.dim**0.5

            def scores(moved: Any) -> Any:
                return embedded @ moved[network.head[0]].T + moved[network.head[1]]
        else:

            def scores(moved: Any) -> Any:
                return output({**own, **moved}, x)

        moved = {name: own[name] for name in moving}
        for _ in range(STEPS):
            slopes = jax.grad(lambda moved: entropy(scores(moved), y))(moved)
            if algorithm == "first_order_maml":
                slopes = jax.lax.stop_gradient(slopes)
            moved = {name: moved[name] - RATE * slopes[name] for name in moving}
        return {**own, **moved}

    def task_loss(own: Any, x: Any, y: Any, asked: Any, want: Any) -> Any:
        if algorithm == "prototypical":
            members = jax.nn.one_hot(y, data.n_classes)
            means = members.T @ network.jax_body(own, x) / members.sum(0)[:, None]
            there = network.jax_body(own, asked)
            squares = (there**2).sum(1)[:, None] - 2 * there @ means.T + (means**2).sum(1)
            return entropy(-squares * jnp.exp(-own["log_temperature"]), want)
        return entropy(output(descended(own, x, y), asked), want)

    def way(own: Any, x: Any, y: Any, asked: Any, want: Any) -> Any:
        end = descended(own, jnp.concatenate([x, asked]), jnp.concatenate([y, want]))
        return {name: (own[name] - end[name]) / RATE for name in moving}

    if algorithm == "reptile":
        every = jax.vmap(way, in_axes=(None, 0, 0, 0, 0))
        taken = jax.jit(lambda own: {name: value.mean(0) for name, value in every(own, x, y, asked, want).items()})
    else:
        losses = jax.vmap(task_loss, in_axes=(None, 0, 0, 0, 0))
        taken = jax.jit(jax.grad(lambda own: losses(own, x, y, asked, want).mean()))

    def step() -> Slopes:
        found = jax.block_until_ready(taken(start))
        return {name: torch.from_numpy(np.asarray(value).copy()) for name, value in found.items()}

    return step
