"""What is shared is computed once, for the same tensors, within its block, in its thread, and never beyond."""

from threading import Thread

import pytest
import torch
from torch import Tensor

from metamedica.functional.shared import shared, sharing


class Counted:
    """A sum that counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        self.calls += 1
        return left + right


def _counted() -> Counted:
    counted = Counted()
    counted.__name__ = "counted"  # type: ignore[attr-defined]
    return counted


def test_the_same_tensors_are_computed_once_and_equal_ones_again() -> None:
    counted = _counted()
    add = shared(counted)
    left, right = torch.ones(3), torch.zeros(3)
    with sharing():
        first = add(left, right)
        assert add(left, right) is first
        assert add(left.clone(), right) is not first
        torch.testing.assert_close(add(right, left), first)
    assert counted.calls == 3


def test_nothing_is_remembered_outside_and_a_block_within_a_block_is_the_same_block() -> None:
    counted = _counted()
    add = shared(counted)
    left, right = torch.ones(3), torch.zeros(3)
    with sharing():
        first = add(left, right)
        with sharing():
            assert add(left, right) is first
        assert add(left, right) is first
    left += 1
    assert float(add(left, right).sum()) == 6
    with sharing():
        assert float(add(left, right).sum()) == 6
    assert counted.calls == 3


def test_two_functions_of_the_same_tensors_are_kept_apart() -> None:
    left, right = torch.ones(3), torch.zeros(3)
    add, first = shared(torch.add), shared(lambda one, other: one)
    with sharing():
        assert float(add(left, right).sum()) == 3
        assert first(left, right) is left


def test_tensors_that_are_gone_do_not_answer_for_new_ones_in_their_place() -> None:
    add = shared(torch.add)
    zero = torch.zeros(1)
    with sharing():
        assert [float(add(torch.full((1,), float(at)), zero)) for at in range(50)] == list(range(50))


def test_an_error_ends_the_block() -> None:
    counted = _counted()
    add = shared(counted)
    left, right = torch.ones(3), torch.zeros(3)

    def failing() -> None:
        with sharing():
            add(left, right)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    add(left, right)
    assert counted.calls == 2


def test_another_thread_does_not_share() -> None:
    counted = _counted()
    add = shared(counted)
    left, right = torch.ones(3), torch.zeros(3)
    with sharing():
        add(left, right)
        other = Thread(target=add, args=(left, right))
        other.start()
        other.join()
    assert counted.calls == 2
