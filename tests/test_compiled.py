"""Compiled meta-steps against plain ones; each in a process without the tests' shape checks, which cannot be compiled."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from metamedica.compiled import rounded_up, with_room
from metamedica.testing import vector_episodes

HERE = Path(__file__).parent
needs_a_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, which torch.compile calls")


@cache
def run(what: str) -> tuple[dict[str, Any], str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent / "src"), str(HERE)])}
    done = subprocess.run(
        [sys.executable, HERE / "compiled_steps.py", what], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found, done.stderr


@needs_a_compiler
@pytest.mark.parametrize("what", ["maml", "sparse", "wide"])
def test_a_compiled_step_has_the_loss_and_the_gradient_of_the_plain_one(what: str) -> None:
    found, said = run(what)
    assert found["not_compiled"] == [], said
    assert max(found["far"]) < 1e-10
    assert max(found["losses"]) < 1e-12
    assert "without compiling" not in said


@needs_a_compiler
def test_the_first_sizes_have_their_own_graph_and_others_that_round_up_to_the_same_share_one() -> None:
    found, _ = run("maml")
    assert found["graphs"] == [1, 2, 2, 2]


@needs_a_compiler
def test_learners_that_differ_in_a_setting_alone_do_not_share_a_graph() -> None:
    found, said = run("alike")
    assert found["not_compiled"] == [], said
    assert len(found["far"]) == 3
    assert max(found["far"]) < 1e-10


@needs_a_compiler
def test_a_graph_is_not_used_for_a_learner_that_is_set_otherwise() -> None:
    found, said = run("reset")
    assert len(found["far"]) == 1
    assert "the compiled gradient of" in said


def test_what_cannot_be_compiled_is_taken_without_and_says_so_once() -> None:
    found, said = run("looking")
    assert found["far"] == []
    assert len(found["not_compiled"]) == 1
    assert said.count("steps of Looking are taken without compiling, at the usual speed: ") == 1


def test_sizes_are_rounded_up_by_less_than_a_quarter() -> None:
    assert [rounded_up(n) for n in (1, 2, 9, 10, 17, 30, 33, 64, 65, 100, 128)] == [
        2,
        2,
        10,
        10,
        20,
        32,
        40,
        64,
        80,
        112,
        128,
    ]
    for n in range(9, 600):
        assert n <= rounded_up(n) < 1.25 * n


def test_room_is_hidden_and_holds_zeros() -> None:
    support = vector_episodes("binary").support
    odd = support.map(lambda value: value[:, :5])
    room = with_room(odd, 6)
    assert room.mask.shape == (3, 6)
    assert torch.equal(room.mask[:, :5], odd.mask)
    assert not room.mask[:, 5:].any()
    assert not room.features["vector"][:, 5:].any()
    assert with_room(support, support.cases.n_cases) is support
