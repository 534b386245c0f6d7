"""Start the graph: `ros2 launch mql_ros grasp.launch.py`, with sim:=false on hardware (`--show-args` explains all).

The nodes come from the same table as those of `mql demo`, mql_ros.ros.bringup.node_table. They are lifecycle nodes,
brought up in the order of that table; a node that dies is started and brought up again.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.events import Shutdown
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.ros_adapters import get_ros_node

from launch import Action, LaunchContext, LaunchDescription
from mql_ros.core.errors import EXIT_USER_ERROR, UserError
from mql_ros.core.resources import share_path
from mql_ros.grasping.robot.profile import RobotProfile, load_profile
from mql_ros.ros.base.parameters import contradiction, parameter_table, parameters_from_words, parameters_of_file
from mql_ros.ros.bringup.bring_up import BringUp
from mql_ros.ros.bringup.node_table import OWN_GRAPH, PACKAGE, implied_parameters, nodes_of

RESPAWN_DELAY = 2.0
"""Time before a node that died is started again, s."""
REMAPPINGS = list(OWN_GRAPH.items())

PARAMETERS = {"robot": "policy_server", "object": "arm_simulator", "bundle": "adaptation_manager",
              "lockstep": "arm_simulator"}  # fmt: skip
"""Launch arguments that are parameters, with the node that describes each in config/nodes.yaml."""


def generate_launch_description() -> LaunchDescription:
    """Return the launch arguments and the actions that they start."""
    table = parameter_table()
    described = {name: table[node][name].description for name, node in PARAMETERS.items()}
    defaults = {name: str(table[node][name].default) for name, node in PARAMETERS.items()}
    known = ", ".join(sorted(path.stem for path in share_path("config", "robots").glob("*.yaml")))
    return LaunchDescription(
        [
            _switch("sim", "true", "Start the simulator; false where the drivers of a real arm and camera run."),
            DeclareLaunchArgument(
                "robot", default_value=defaults["robot"], description=f"{described['robot']} Known are: {known}."
            ),
            DeclareLaunchArgument("object", default_value=defaults["object"], description=described["object"]),
            DeclareLaunchArgument("bundle", default_value=defaults["bundle"], description=described["bundle"]),
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of all nodes, for a second arm in the same graph."
            ),
            _switch("rviz", "false", "Start RViz with the arm, what is seen, the grasp and the workspace."),
            _switch("lockstep", defaults["lockstep"].lower(), described["lockstep"]),
            DeclareLaunchArgument(
                "params_file",
                default_value="",
                description="YAML file with more parameters, in one section `/**: {ros__parameters: {...}}`.",
            ),
            OpaqueFunction(function=_start),
        ]
    )


def _switch(name: str, default: str, description: str) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(name, default_value=default, choices=["true", "false"], description=description)


def _start(context: LaunchContext) -> list[Action]:
    names = ("sim", "rviz", "namespace", "params_file", *PARAMETERS)
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    sim, rviz = given["sim"] == "true", given["rviz"] == "true"
    words = {name: given[name] for name in PARAMETERS}
    if problem := contradiction(sim, parameters_from_words("policy_server", words)):
        raise UserError(problem)
    profile = load_profile(given["robot"])
    file = [given["params_file"]] if given["params_file"] else []
    own = parameters_of_file(given["params_file"]) if given["params_file"] else set()

    def implied(name: str) -> dict[str, Any]:
        """Return the parameters that follow from sim, unless the user's own file sets them."""
        return {key: value for key, value in implied_parameters(name, sim).items() if key not in own}

    nodes = {
        entry.name: LifecycleNode(
            package=PACKAGE,
            executable=entry.name,
            name=entry.name,
            namespace=given["namespace"],
            parameters=[
                *file,
                implied(entry.name) | parameters_from_words(entry.name, words) | {"autostart": False},
            ],
            remappings=REMAPPINGS,
            output="screen",
            respawn=True,
            respawn_delay=RESPAWN_DELAY,
        )
        for entry in nodes_of(sim, rviz)
    }
    return [
        *_kept_up(context, given["namespace"], nodes),
        *nodes.values(),
        *(_transforms(given["namespace"], profile) if sim else []),
        *(_rviz(given["namespace"], profile) if rviz else []),
    ]


def _kept_up(context: LaunchContext, namespace: str, nodes: dict[str, LifecycleNode]) -> list[Action]:
    """Return handlers that bring each node up whenever it starts, in order, and shut down if that cannot succeed."""
    prefix = f"/{namespace.strip('/')}/" if namespace.strip("/") else "/"
    bring_up = BringUp(get_ros_node(context), [prefix + name for name in nodes], lambda: context.is_shutdown)

    ends: list[str] = []

    async def end(reason: str) -> None:
        if not ends:  # launch fails on a second shutdown
            ends.append(reason)
            get_logger("mql_ros").error(reason)
            await context.emit_event(Shutdown(reason=reason))

    async def carry_out(name: str) -> None:
        try:
            await bring_up.bring_up(prefix + name)
        except UserError as error:
            await end(str(error))

    def started(context: LaunchContext, name: str) -> None:
        context.add_completion_future(context.asyncio_loop.create_task(carry_out(name)))

    def exited(context: LaunchContext, name: str) -> None:
        if context.locals.event.returncode == EXIT_USER_ERROR:  # starting it again would not help
            reason = f"{name} was started wrongly; see what it printed"
            context.add_completion_future(context.asyncio_loop.create_task(end(reason)))

    handlers: list[Action] = []
    for name, node in nodes.items():
        start, leave = OpaqueFunction(function=started, args=[name]), OpaqueFunction(function=exited, args=[name])
        handlers.append(RegisterEventHandler(OnProcessStart(target_action=node, on_start=[start])))
        handlers.append(RegisterEventHandler(OnProcessExit(target_action=node, on_exit=[leave])))
    return handlers


def _transforms(namespace: str, profile: RobotProfile) -> list[Action]:
    """Return the publisher of the simulated arm's `robot_description` and transforms; a real driver has its own."""
    if (text := _robot_description(profile)) is None or not _installed("robot_state_publisher"):
        return [LogInfo(msg="robot_state_publisher is not installed, so there are no transforms; grasping needs none")]
    description = {"robot_description": ParameterValue(text, value_type=str)}
    return [_helper("robot_state_publisher", "robot_state_publisher", namespace, parameters=[description])]


def _robot_description(profile: RobotProfile) -> str | None:
    if find_spec("mql_sim.world.robot_description") is None:
        return None
    from mql_sim.world.robot_description import describe

    return str(describe(profile))


def _rviz(namespace: str, profile: RobotProfile) -> list[Action]:
    if not _installed("rviz2"):
        return [LogInfo(msg="RViz is not installed: apt install ros-$ROS_DISTRO-rviz2")]
    config: Path = share_path("config", "rviz") / "grasp.rviz"
    return [_helper("rviz2", "rviz2", namespace, arguments=["-d", str(config), "-f", profile.base_frame])]


def _helper(package: str, executable: str, namespace: str, **more: list) -> Node:
    return Node(
        package=package, executable=executable, namespace=namespace, remappings=REMAPPINGS, output="screen", **more
    )


def _installed(package: str) -> bool:
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True
