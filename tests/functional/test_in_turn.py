"""Which networks take tasks one after another."""

from metamedica.encoders.conv4 import Conv4
from metamedica.functional.in_turn import tasks_at_once
from metamedica.testing import VectorEncoder


def test_convolutions_on_a_cpu_take_one_task_after_another_unless_told_otherwise() -> None:
    images = Conv4((1, 16, 16), width=4, groups=2)
    assert tasks_at_once(images, None) == 1
    assert tasks_at_once(images, 3) == 3
    assert tasks_at_once(VectorEncoder(), None) is None
    assert tasks_at_once(VectorEncoder(), 1) == 1
