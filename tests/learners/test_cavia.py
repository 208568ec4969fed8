"""CAVIA against a plain loop over tasks, finite differences, and tasks that differ in one number."""

import torch
from torch.nn.functional import cross_entropy, gelu

from gradient_world import check_meta_gradient, network
from metamedica.learners.cavia import Cavia
from metamedica.testing import N_TASKS, vector_batch, vector_episodes
from metamedica.types import EpisodeBatch


def _learner(steps: int = 3) -> Cavia:
    encoder = network()
    return Cavia(encoder, context_size=2, width=6, rate=0.7, steps=steps).double()


def test_the_context_takes_the_steps_of_a_plain_loop() -> None:
    learner, support = _learner(), vector_episodes("multiclass").support
    found = learner.adapt(support).context
    for task in range(N_TASKS):
        context = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        embedded = learner.encoder({"vector": support.features["vector"][task]})
        for _ in range(3):
            hidden = gelu(learner.of_case(embedded) + learner.of_context(context))
            loss = cross_entropy(learner.heads.multiclass(hidden / 6**0.5)[:, :3], support.targets[task])
            (slope,) = torch.autograd.grad(loss, context)
            context = (context - 0.7 * slope).detach().requires_grad_()
        torch.testing.assert_close(found[task], context, atol=1e-12, rtol=1e-10)


def test_the_meta_gradient_is_that_of_finite_differences() -> None:
    names = ["encoder.layers.0.weight", "of_context.weight", "heads.regression.weight", "heads.log_variance"]
    check_meta_gradient(_learner(), vector_episodes("regression"), names)


def test_a_context_of_one_number_finds_what_one_number_describes() -> None:
    """Tasks y = a x_1 with a of the task's own: after meta-training the context tells a, and explains new tasks."""
    torch.manual_seed(0)
    learner = Cavia(network(), context_size=1, width=32, rate=1.0, steps=3).double()
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.01)

    def episodes(number: int) -> tuple[EpisodeBatch, torch.Tensor]:
        random = torch.Generator().manual_seed(number)
        x = torch.randn(16, 20, 4, generator=random, dtype=torch.float64)
        slope = torch.randn(16, 1, generator=random, dtype=torch.float64)
        y = slope * x[..., 0]
        parts = (vector_batch(x[:, rows], y[:, rows]) for rows in (slice(0, 10), slice(10, 20)))
        return EpisodeBatch(*parts, torch.arange(16)), slope[:, 0]

    for number in range(400):
        optimizer.zero_grad()
        learner.meta_loss(episodes(number)[0]).backward()
        optimizer.step()
    fresh, slope = episodes(10_000)
    state = learner.adapt(fresh.support)
    assert abs(float(torch.corrcoef(torch.stack([state.context[:, 0].detach(), slope]))[0, 1])) > 0.8
    error = (learner.predict(state, fresh.query.cases).mean - fresh.query.targets).square().mean()
    assert error.item() < 0.25 * fresh.query.targets.square().mean().item()
