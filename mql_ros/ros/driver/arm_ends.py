"""Who else is at the arm's topics: whether it is the simulator that moves, and nobody else who commands."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from rclpy.node import Node

from mql_ros.grasping.driver_check.report import SIMULATOR
from mql_ros.grasping.robot.profile import Topics
from mql_ros.ros.bringup.graph import CLIENT

UNKNOWN_NODE = "_NODE_NAME_UNKNOWN_"
"""What rclpy calls a node whose name it has not heard yet."""
NO_SIMULATOR = f"no {SIMULATOR}"
"""Begins what is said where the simulator is not there, or not discovered yet."""
DISCOVERY = 1.0
"""Longest time to wait for names that are not known yet, s."""
LOOK_AGAIN = 0.02


@dataclass(frozen=True)
class ArmEnds:
    """Names of nodes; the one that asks is not among them."""

    command_topic: str
    state_topic: str
    takers: tuple[str, ...]
    """That subscribe to the arm's commands."""
    sources: tuple[str, ...]
    """That publish joint_states."""
    commanders: tuple[str, ...]
    """That publish commands for the arm."""

    @property
    def known(self) -> bool:
        """Whether somebody is at both of the driver's ends, and everybody has a name."""
        everybody = (*self.takers, *self.sources, *self.commanders)
        return bool(self.takers and self.sources) and UNKNOWN_NODE not in everybody

    def no_simulator(self) -> str | None:
        """Why what is commanded is, or may be, more than the simulator; None where it is the simulator alone.

        The package's own client only counts commands. Whoever else takes them may be a real arm.
        """
        others = sorted({*self.takers} - {SIMULATOR, CLIENT})
        if others:
            return f"{_named(others)} would be commanded too, by {self.command_topic}"
        if SIMULATOR not in self.takers:
            return f"{NO_SIMULATOR} listens on {self.command_topic}"
        others = sorted({*self.sources} - {SIMULATOR})
        if others:
            return f"{self.state_topic} is published by {_named(others)}"
        return None if self.sources else f"{NO_SIMULATOR} publishes {self.state_topic}"

    def second_commander(self) -> str | None:
        """Who else commands the arm; None where nobody does."""
        if not self.commanders:
            return None
        return f"{self.command_topic} is published by {_named(self.commanders)} too; stop that before trials begin"


def _named(nodes: Iterable[str]) -> str:
    return " and ".join("a node of unknown name" if name == UNKNOWN_NODE else name for name in nodes)


def arm_ends(node: Node, topics: Topics, sim: bool) -> ArmEnds:
    """Who is there now; a moment is granted to whoever is just being discovered, with `sim` to the simulator too."""
    deadline = time.monotonic() + DISCOVERY
    while True:
        ends = _listed(node, topics)
        if (ends.known and not (sim and ends.no_simulator())) or time.monotonic() >= deadline:
            return ends
        time.sleep(LOOK_AGAIN)


def _listed(node: Node, topics: Topics) -> ArmEnds:
    own = (node.get_name(), node.get_namespace())
    commanders = node.get_publishers_info_by_topic(topics.arm_command)
    names = [(info.node_name, info.node_namespace) for info in commanders]
    if own in names:
        names.remove(own)  # once: another one of the same name is somebody else
    return ArmEnds(
        topics.arm_command,
        topics.joint_states,
        tuple(info.node_name for info in node.get_subscriptions_info_by_topic(topics.arm_command)),
        tuple(info.node_name for info in node.get_publishers_info_by_topic(topics.joint_states)),
        tuple(name for name, _ in names),
    )
