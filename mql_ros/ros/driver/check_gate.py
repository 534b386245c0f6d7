"""No trial on hardware without a passing report of `mql check-robot` about its driver, nor as a simulation there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mql_ros.core.errors import UserError
from mql_ros.grasping.driver_check.report import default_path, load_report
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.ros.base.common import GraspingNode
from mql_ros.ros.driver.arm_ends import arm_ends


def check_refusal(node: GraspingNode, profile: RobotProfile) -> str | None:
    """Why trials must not begin, in one sentence; None when they may.

    What is called a simulation must be one: a driver in the same ROS domain would hear the same commands. Where
    `require_check` is switched off for a real arm, a warning says so each time.
    """
    sim = bool(node.setting("sim"))
    ends = arm_ends(node, profile.topics, sim)
    if sim:
        other = ends.no_simulator()
        return other and (
            f"sim:=true moves the simulator only, but {other}; stop that or use another ROS_DOMAIN_ID, and for a real "
            "arm say sim:=false"
        )
    if (refusal := ends.second_commander()) is not None:
        return refusal
    if not node.setting("require_check"):
        node.warning = ""  # said again at every start, not only when it is new
        node.warn("require_check:=false: the arm is moved without a passing report of `mql check-robot`")
        return None
    namespace = node.get_namespace()
    path = Path(node.setting("check_report") or default_path(profile.name, namespace))
    try:
        report = load_report(path, profile, namespace, robot=node.setting("robot"))
    except UserError as error:
        return f"{error}{'' if path.exists() else ', or set sim:=true where it is the simulator'}"
    return _unfit(node, {check["check"]: check["figures"] for check in report["checks"]})


def _unfit(node: GraspingNode, found: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Which parameter of this node does not go with the figures that the check found."""
    says = "the check report says that"
    if node.setting("use_wrench") and not found.get("wrench", {}).get("published"):
        return f"{says} the driver publishes no wrench; set use_wrench:=false"
    scale = found.get("latency", {}).get("limit_scale", 1.0)
    if node.setting("limit_scale") > scale:
        return f"{says} the arm follows so late that limit_scale may be at most {scale}; set it"
    longest = found.get("gaps and jitter", {}).get("longest", 0.0)
    if node.setting("watchdog") <= longest:
        return f"{says} joint_states came up to {longest} s apart, which is silence for the watchdog; set it higher"
    return None
