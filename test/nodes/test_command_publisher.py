"""Holds: at fresh positions, or without any until there are some."""

from typing import Any

import numpy as np
import pytest

from mql_ros.grasping.robot_profile import RobotProfile
from mql_ros.nodes.command_publisher import CommandPublisher


class FakeNode:
    """Takes down what is published."""

    def __init__(self, lockstep: bool) -> None:
        self.lockstep = lockstep
        self.sent: list[tuple[str, list[list[float]]]] = []

    def setting(self, name: str) -> bool:
        return {"lockstep": self.lockstep}[name]

    def create_publisher(self, kind: type, topic: str, quality: object) -> Any:
        return type("Publisher", (), {"publish": lambda _, message: self._take(topic, message)})()

    def _take(self, topic: str, message: Any) -> None:
        self.sent.append((topic.partition("_")[0], [list(point.positions) for point in message.points]))


def publisher(panda: RobotProfile, lockstep: bool = False) -> tuple[CommandPublisher, FakeNode]:
    node: Any = FakeNode(lockstep)
    return CommandPublisher(node, panda), node


def test_fresh_positions_are_held_and_the_gripper_is_left_alone(panda: RobotProfile) -> None:
    commands, node = publisher(panda)
    commands.hold(panda.home)
    commands.settle(panda.home + 0.1)
    assert node.sent == [("arm", [panda.home.tolist()])]


def test_without_them_it_is_stopped_and_held_as_soon_as_they_are_known(panda: RobotProfile) -> None:
    commands, node = publisher(panda)
    commands.settle(panda.home)
    assert node.sent == []
    commands.hold(None)
    commands.settle(None)
    assert node.sent == [("arm", [])]
    for shift in (0.0, 0.1):
        commands.settle(panda.home + shift)
    assert node.sent[1:] == [("arm", [panda.home.tolist()])]


@pytest.mark.parametrize("lockstep", [False, True])
def test_no_hold_comes_into_later_trials_nor_moves_a_simulator_that_waits(panda: RobotProfile, lockstep: bool) -> None:
    commands, node = publisher(panda, lockstep)
    commands.hold(None)
    commands.forget_plan()
    commands.settle(np.zeros(7))
    assert node.sent == ([] if lockstep else [("arm", [])])
