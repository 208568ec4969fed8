"""What is known of measured cases: its parts where tasks share cases and are described, and none of what there is no reason for."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from metamedica.functional.common_mean import CommonMean, OwnCovariance
from metamedica.functional.descriptions import described
from metamedica.functional.known_cases import TWIN, Known, fit_known
from metamedica.testing import VectorRaw, vector_batch
from metamedica.types import LabelledBatch

CASES, OWN = 40, OwnCovariance(torch.tensor([0.5]).double(), torch.tensor(0.2).double())
LETTERS = list("ACDEFGHIKLMNPQRSTVWY")


def _fit(tasks: list[LabelledBatch], *, most_known: int = 1000, most_values: int = 10_000) -> Known:
    def each() -> Iterable[LabelledBatch]:
        return iter(tasks)

    nothing = CommonMean(torch.zeros(4).double(), torch.zeros(1, 4).double(), torch.zeros(1).double())
    return fit_known(each, VectorRaw(), OWN, nothing, most_cases=100, most_known=most_known, most_values=most_values)


def _tasks(count: int, families: int, *, seed: int = 0, told: bool = True) -> list[LabelledBatch]:
    """Tasks over the same cases that vary as their family does, and are described by its text with some letters changed."""
    random = np.random.default_rng(seed)
    x = torch.tensor(random.normal(size=(1, CASES, 4)))
    texts = [random.choice(LETTERS, 150) for _ in range(families)]
    common = random.normal(size=(families, CASES))
    tasks = []
    for at in range(count):
        text = texts[at % families].copy()
        text[random.random(150) < 0.15] = "W"
        values = common[at % families] + 0.4 * random.normal(size=CASES)
        about = described("".join(text))[None] if told else None
        tasks.append(replace(vector_batch(x, torch.tensor(values)[None]), about=about))
    return tasks


def test_cases_that_tasks_share_have_profiles_and_families_that_vary_alike_are_told_by_their_descriptions() -> None:
    known = _fit(_tasks(48, 8))
    assert len(known.profiles["known"]) == CASES
    after, width = known.profiles["nearness"].tolist()
    assert width > 0
    assert after > 0.5
    assert int(known.descriptions["count"]) == 48


def test_without_descriptions_nothing_is_said_of_which_tasks_are_near() -> None:
    known = _fit(_tasks(48, 8, told=False))
    assert known.profiles["nearness"].tolist() == [0, 0]
    assert known.descriptions == {}


def test_neither_the_order_of_tasks_nor_who_is_described_beside_them_changes_the_shares() -> None:
    tasks = _tasks(40, 8)
    one, other = _fit(tasks), _fit(tasks[::-1])
    for name in ("shares", "nearness"):
        torch.testing.assert_close(one.profiles[name], other.profiles[name], atol=2e-3, rtol=0)
    some: list[LabelledBatch] = [replace(task, about=None) if at % 8 == 0 else task for at, task in enumerate(tasks)]
    assert _fit(some).profiles["nearness"][1] > 0


def test_the_twin_of_a_task_does_not_say_how_far_it_may_be_believed() -> None:
    random = np.random.default_rng(3)
    tasks = _tasks(24, 24, seed=3)  # every task is a family of its own: no other tells anything of it
    twins = []
    for task in tasks:
        noise: Tensor = 0.1 * torch.tensor(random.normal(size=(1, CASES)))
        twins += [task, task.with_targets(task.targets + noise)]  # the same description
    known = _fit(twins)
    assert TWIN < 1
    assert known.descriptions == {} or float(known.profiles["nearness"][0]) < 0.15


def test_cases_that_one_task_measured_have_no_profile() -> None:
    random = np.random.default_rng(1)
    tasks = [
        vector_batch(torch.tensor(random.normal(size=(1, 10, 4))), torch.tensor(random.normal(size=(1, 10))))
        for _ in range(5)
    ]
    assert _fit(tasks).profiles == {}
    assert _fit(_tasks(10, 2), most_values=0).profiles == {}
