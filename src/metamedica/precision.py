"""How exactly a meta-training step computes: float32, TF32 on a GPU, or bfloat16.

Where rounding is harmless and the time goes, there it is allowed: inside the learned encoder, and in the inner loop of learners that
adapt by gradient steps. What comes after the encoder (kernels, Cholesky factors, solves, likelihoods) and the sums over tasks stay
in float32, because a rounded kernel matrix is no longer positive definite. Weights, optimizer, validation and use are in float32.

Error of the meta-gradient relative to its length, against double precision, on an MLP over 512 counts (`make bench-scaling`, table in
benchmarks/results/scaling.md): float32 3e-7 in the median of 26 learners; bfloat16 6e-3, at most 1e-2 but for relation networks (0.16).
TF32 keeps three more bits than bfloat16; its error is measured where the command finds a GPU.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from metamedica.errors import InputError
from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.types import Encoder, Features, Learner, RawEncoder

Precision = Literal["float32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_Region: TypeAlias = Callable[[], AbstractContextManager[Any]]


def check_precision(precision: Precision, learner: Learner[Any], device: torch.device) -> None:
    """Refuse a precision that the device or the learner cannot have.

    Raises:
        InputError: TF32 without a GPU that has it, bfloat16 on a GPU without it, or a learner without a learned encoder.
    """
    if precision == "float32":
        return
    if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device)[0] < 8):
        raise InputError(
            f"got precision tf32 on {device.type}, and only NVIDIA GPUs from Ampere on have TF32; choose float32 or bf16, or such a GPU"
        )
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(
            f"got precision bf16, which {torch.cuda.get_device_name(device)} does not have; choose float32"
        )
    if not isinstance(learner, InnerLoopLearner) and not _encoders(learner):
        raise InputError(
            f"got precision {precision} for {type(learner).__name__}, which has no learned encoder to compute in it; choose float32"
        )


@contextmanager
def forward_in(precision: Precision, learner: Learner[Any], device: torch.device) -> Iterator[None]:
    """Compute a loss in this precision; global settings and the learner are put back afterwards."""
    with _tf32(False, device), ExitStack() as stack:
        if precision != "float32":
            region: _Region = partial(_region, precision, device)
            if isinstance(learner, InnerLoopLearner):
                stack.enter_context(region())
            else:
                for encoder in _encoders(learner):
                    stack.enter_context(_inside(encoder, region))
        yield


def backward_in(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Compute a gradient in this precision; bfloat16 goes back where the loss went forward, without being told."""
    return _tf32(precision == "tf32", device)


def _encoders(learner: nn.Module) -> list[Encoder]:
    """Return the learned encoders, the outer one where one holds another."""
    found = [
        (name, module)
        for name, module in learner.named_modules()
        if isinstance(module, Encoder) and not isinstance(module, RawEncoder) and any(True for _ in module.parameters())
    ]
    names = [name for name, _ in found]
    return [module for name, module in found if not any(name.startswith(f"{outer}.") for outer in names)]


def _region(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    if precision == "tf32":
        return _tf32(True, device)
    # without the cache of cast weights: inside torch.func's transforms it would hold values of an inner level
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


@contextmanager
def _inside(encoder: Encoder, region: _Region) -> Iterator[None]:
    """Run an encoder's forward in a region; its vectors leave in the type of its weights."""
    plain, dtype = encoder.forward, next(encoder.parameters()).dtype

    def forward(features: Features) -> Tensor:
        with region():
            vectors: Tensor = plain(features)
        return vectors.to(dtype)

    own = vars(encoder).get("forward")
    vars(encoder)["forward"] = forward
    try:
        yield
    finally:
        if own is None:
            del vars(encoder)["forward"]
        else:
            vars(encoder)["forward"] = own


def _tf32(allowed: bool, device: torch.device) -> AbstractContextManager[None]:
    """Allow or forbid TF32 in matrix products and convolutions; nothing is touched where there is no GPU."""
    return _tf32_settings(allowed) if device.type == "cuda" else nullcontext()


@contextmanager
def _tf32_settings(allowed: bool) -> Iterator[None]:
    # torch 2.9 replaced the first names by the second, and does not allow both
    backends: Any = torch.backends
    if hasattr(backends.cuda.matmul, "fp32_precision"):
        places = [(backends.cuda.matmul, "fp32_precision"), (backends.cudnn.conv, "fp32_precision")]
        value: Any = "tf32" if allowed else "ieee"
    else:
        places, value = [(backends.cuda.matmul, "allow_tf32"), (backends.cudnn, "allow_tf32")], allowed
    before = [getattr(place, name) for place, name in places]
    for place, name in places:
        setattr(place, name, value)
    try:
        yield
    finally:
        for (place, name), old in zip(places, before, strict=True):
            setattr(place, name, old)
