"""The one table of nodes, with their topics, services and implied parameters (no rclpy)."""

from __future__ import annotations

from dataclasses import dataclass

from mql_ros.grasping.robot.profile import Topics
from mql_ros.ros.base.parameters import Value, parameter_table

PACKAGE = "mql_ros"


@dataclass(frozen=True)
class NodeEntry:
    """One node of the graph."""

    name: str
    """Name of the node, its executable and its section in config/nodes.yaml."""
    module: str
    sim_only: bool = False
    """Whether it is started with the simulator only; on hardware the drivers of arm and camera take its place."""
    rviz_only: bool = False
    """Whether it is started beside RViz only."""


NODES = (
    NodeEntry("arm_simulator", "mql_sim.driver.arm_simulator", sim_only=True),
    NodeEntry("perception", "mql_ros.ros.nodes.perception"),
    NodeEntry("grasp_monitor", "mql_ros.ros.nodes.grasp_monitor"),
    NodeEntry("context_encoder", "mql_ros.ros.nodes.context_encoder"),
    NodeEntry("adaptation_manager", "mql_ros.ros.nodes.adaptation_manager"),
    NodeEntry("policy_server", "mql_ros.ros.nodes.policy_server"),
    NodeEntry("scene_markers", "mql_ros.ros.nodes.scene_markers", rviz_only=True),
)
"""The nodes in the order of bring-up: each finds what it needs."""
OWN_GRAPH = {"/clock": "clock", "/tf": "tf", "/tf_static": "tf_static"}
"""Remappings that give a namespace its own simulated time and transforms; /diagnostics is shared."""

SERVICES = (
    "arm_simulator/reset", "grasp_monitor/begin_trial", "grasp_monitor/end_trial", "policy_server/start_session",
    "policy_server/start_trials", "policy_server/stop", "policy_server/hold", "adaptation_manager/adapt",
    "adaptation_manager/roll_back", "adaptation_manager/restore_initial",
)  # fmt: skip


def nodes_of(sim: bool, rviz: bool = False) -> list[NodeEntry]:
    """Return the nodes to start, with the simulator or for hardware, with RViz or without."""
    return [entry for entry in NODES if (sim or not entry.sim_only) and (rviz or not entry.rviz_only)]


def endpoints(topics: Topics) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return publishers and subscribers by topic: what must be connected before trials can run."""
    measured = ("arm_simulator",), ("policy_server", "grasp_monitor")
    return {
        **dict.fromkeys((topics.joint_states, topics.wrench), measured),
        **dict.fromkeys((topics.depth_image, topics.camera_info), (("arm_simulator",), ("perception",))),
        "object_view": (("perception",), ("policy_server",)),
        "table_view": (("perception",), ("grasp_monitor",)),
        **dict.fromkeys((topics.arm_command, topics.gripper_command), (("policy_server",), ("arm_simulator",))),
        "grasp_reward": (("grasp_monitor",), ("policy_server",)),
        "transition": (("policy_server",), ("context_encoder", "adaptation_manager")),
        "context": (("context_encoder",), ("policy_server",)),
        "policy": (("adaptation_manager",), ("policy_server", "context_encoder")),
    }


def implied_parameters(name: str, sim: bool) -> dict[str, Value]:
    """Return the parameters that follow from `sim`; all defaults are those for a real arm.

    The simulator publishes 20 times a second, too seldom for the watchdog of a real arm.
    """
    implied: dict[str, Value] = {"sim": True, "watchdog": 0.5, "reset_service": "arm_simulator/reset"} if sim else {}
    return {key: value for key, value in implied.items() if key in parameter_table()[name]}


def usual_watchdog(sim: bool) -> float:
    """Return the default watchdog of the policy server, s."""
    implied = implied_parameters("policy_server", sim)
    return float(implied.get("watchdog", parameter_table()["policy_server"]["watchdog"].default))
