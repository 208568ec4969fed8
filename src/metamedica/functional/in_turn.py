"""How many tasks of a batch suit a network at a time."""

from torch import nn

from metamedica.types import Encoder


def tasks_at_once(encoder: Encoder, chunk: int | None = None) -> int | None:
    """Return `chunk`, and where that is None, how many tasks at once suit the encoder: one for convolutions on a CPU, otherwise all (None).

    A rule and not a measurement at every start, so that the same seed gives the same bits. `make bench-engine` measures it: on a CPU
    convolutions of several tasks at once, each with filters of its own, take five times as long as one task after another.
    """
    convolves = any(isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) for module in encoder.modules())
    if chunk is None and convolves and all(value.device.type == "cpu" for value in encoder.parameters()):
        return 1
    return chunk
