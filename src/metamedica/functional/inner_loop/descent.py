"""Gradient steps on a dictionary of parameters, by autograd: works for any loss."""

from collections.abc import Callable

import torch
from torch import Tensor

from metamedica.functional.inner_loop.chain import Parameters


def descend_if_better(
    loss: Callable[[Parameters], Tensor], parameters: Parameters, *, rate: float, steps: int
) -> Parameters:
    """Return the parameters after `steps` tries of a gradient step, each kept only if the loss falls; carries no gradient.

    A kept step makes the next 1.5 times longer, a refused one half as long ("bold driver"), so that no rate has to fit every task.
    The rule reads nothing but `loss`, and the loss never rises.
    """
    slope = torch.func.grad_and_value(loss)
    parameters = {name: value.detach() for name, value in parameters.items()}
    with torch.no_grad():
        gradient, now = slope(parameters)
        for _ in range(steps):
            tried = {name: value - rate * gradient[name] for name, value in parameters.items()}
            next_gradient, then = slope(tried)
            if bool(then < now):
                parameters, gradient, now, rate = tried, next_gradient, then, rate * 1.5
            else:
                rate = rate / 2
    return parameters
