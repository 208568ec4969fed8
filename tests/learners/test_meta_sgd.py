"""Meta-SGD against a plain loop with a rate per entry, and a family of tasks where only one rate should be large."""

import torch
from torch import Tensor

from gradient_world import check_meta_gradient, network, walked
from metamedica.functional.inner_loop.loop import InnerLoop
from metamedica.functional.inner_loop.networks import start_parameters
from metamedica.learners.maml import Maml
from metamedica.learners.meta_sgd import MetaSgd
from metamedica.testing import N_TASKS, vector_batch, vector_episodes
from metamedica.types import Encoder, EpisodeBatch, Features


class Identity(Encoder):
    """The vector itself."""

    dim = 2

    def forward(self, features: Features) -> Tensor:
        return features["vector"]


def test_every_entry_takes_steps_of_its_own_length() -> None:
    learner, support = MetaSgd(network(), steps=2).double(), vector_episodes("regression").support
    torch.manual_seed(1)
    for rate in learner.rates.values():
        rate.data.uniform_(-0.2, 0.4)
    start = start_parameters(learner.encoder, learner.heads, "regression")
    found = learner.adapt(support).parameters

    def own_rate(step: int, name: str) -> Tensor:
        return learner.rates[name.replace(".", "|") if "." in name else f"regression|{name}"]

    for task in range(N_TASKS):
        want = walked(learner.encoder, start, support, task, InnerLoop(2, own_rate))
        for name, value in want.items():
            torch.testing.assert_close(found[name][task], value, atol=1e-12, rtol=1e-10)


def test_rates_that_are_all_equal_are_maml() -> None:
    episodes = vector_episodes("binary")
    ours, maml = MetaSgd(network(), rate=0.3, steps=3).double(), Maml(network(), rate=0.3, steps=3).double()
    maml.load_state_dict({name: value for name, value in ours.state_dict().items() if not name.startswith("rates")})
    torch.testing.assert_close(ours.meta_loss(episodes), maml.meta_loss(episodes))


def test_the_meta_gradient_is_that_of_finite_differences_for_starts_and_rates() -> None:
    learner = MetaSgd(network(), steps=2).double()
    names = ["encoder.layers.0.weight", "rates.encoder|layers|0|weight", "rates.binary|bias"]
    check_meta_gradient(learner, vector_episodes("binary"), names, every=2)


def test_the_rate_of_what_differs_between_tasks_grows_and_that_of_what_is_common_shrinks() -> None:
    """Tasks y = b + 2 x_1 with b of the task's own: the bias should take large steps, the weight small ones."""
    torch.manual_seed(0)
    learner = MetaSgd(Identity(), steps=1, rate=0.2).double()
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.03)
    for number in range(150):
        random = torch.Generator().manual_seed(number)
        x = torch.randn(16, 14, 2, generator=random, dtype=torch.float64)
        y = 2 * x[..., 0] + 2 * torch.randn(16, 1, generator=random, dtype=torch.float64)
        optimizer.zero_grad()
        learner.meta_loss(
            EpisodeBatch(vector_batch(x[:, :4], y[:, :4]), vector_batch(x[:, 4:], y[:, 4:]), torch.arange(16))
        ).backward()
        optimizer.step()
    bias, weight = (float(learner.rates[f"regression|{name}"].detach().abs().mean()) for name in ("bias", "weight"))
    assert bias > 3 * weight
