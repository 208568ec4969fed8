"""Batch norm mixes the cases of a batch, and with them tasks: it may be used frozen only."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from metamedica.errors import TrainingError


def frozen_batch_norms(module: nn.Module) -> list[nn.Module]:
    """Return the batch norms of a module, all of which are in evaluation mode.

    Raises:
        TrainingError: one of them would use the statistics of the batch, and with them the cases of other tasks and of the query.
    """
    found = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)]
    for name, layer in found:
        if layer.training:
            raise TrainingError(
                f"{name} is a {type(layer).__name__}, which lets the cases of one task see those of the others; use GroupNorm or "
                "LayerNorm, or load its statistics and call .eval() on it before fit"
            )
    return [layer for _, layer in found]
