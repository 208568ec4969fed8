"""An encoder in an inner loop under vmap, against the loop that everybody writes."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from metamedica.functional.inner_loop.choice import form_for
from metamedica.functional.inner_loop.forms import AnyNetwork
from metamedica.functional.inner_loop.loop import Constant, InnerLoop
from metamedica.functional.inner_loop.networks import KindHeads, head_output, start_parameters
from metamedica.types import Encoder, EpisodeBatch, LabelledBatch

RATE, STEPS = 0.4, 2


def check_meta_gradient(encoder: Encoder, episodes: EpisodeBatch, *, chunk: int | None = None) -> None:
    """The second-order meta-gradient of multiclass episodes, in double precision, is that of one task after another, to 1e-10."""
    classes = episodes.support.n_classes or 0
    start = start_parameters(encoder, KindHeads(encoder.dim, max_classes=classes).double(), "multiclass")

    def loss(own: dict[str, Tensor], batch: LabelledBatch, task: int) -> Tensor:
        real = batch.mask[task]
        output = head_output(encoder, own, {name: block[task, real] for name, block in batch.features.items()})
        return cross_entropy(output, batch.targets[task, real])

    losses = []
    for task in range(len(episodes.task_index)):
        own = dict(start)
        for _ in range(STEPS):
            slopes = torch.autograd.grad(loss(own, episodes.support, task), list(own.values()), create_graph=True)
            own = {name: value - RATE * slope for (name, value), slope in zip(own.items(), slopes, strict=True)}
        losses.append(loss(own, episodes.query, task))
    want = torch.autograd.grad(torch.stack(losses).mean(), list(start.values()))

    form = form_for(encoder, InnerLoop(STEPS, Constant(RATE)), episodes.support, chunk=chunk)
    assert type(form) is AnyNetwork
    law = form.law(form.adapt(start, episodes.support), episodes.query.cases)
    found = torch.autograd.grad(-episodes.query.log_likelihood(law).mean(), list(start.values()))
    largest = max(float(slope.abs().max()) for slope in want)
    for one, other in zip(found, want, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10 * largest, rtol=0)
