"""Start the graph: `ros2 launch mql_ros grasp.launch.py`, with sim:=false on hardware (`--show-args` explains all).

The nodes come from the same table as those of `mql demo`, mql_ros.nodes.graph.NODES.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from mql_ros.errors import UserError
from mql_ros.nodes.graph import PACKAGE, implied_parameters, nodes_of, parameters_from_words
from mql_ros.nodes.parameters import contradiction, parameter_table

PARAMETERS = {"robot": "policy_server", "bundle": "adaptation_manager", "object": "arm_simulator",
              "lockstep": "arm_simulator", "seed": "arm_simulator"}  # fmt: skip
"""Launch arguments that are parameters, with a node in whose section of config/nodes.yaml each is described."""


def _start(context: LaunchContext) -> list[Node]:
    names = ("sim", "namespace", "params_file", *PARAMETERS)
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    sim = given["sim"].lower() == "true"
    words = {name: given[name] for name in PARAMETERS}
    if problem := contradiction(sim, parameters_from_words("policy_server", words)):
        raise UserError(problem)
    return [
        Node(
            package=PACKAGE,
            executable=entry.name,
            name=entry.name,
            namespace=given["namespace"],
            parameters=[
                *([given["params_file"]] if given["params_file"] else []),
                implied_parameters(entry.name, sim) | parameters_from_words(entry.name, words),
            ],
            output="screen",
        )
        for entry in nodes_of(sim)
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the nodes."""
    table = parameter_table()
    arguments = [
        DeclareLaunchArgument(
            "sim",
            default_value="true",
            choices=["true", "false"],
            description="Start the simulator; false where a real arm's driver and perception run.",
        )
    ]
    for name, node in PARAMETERS.items():
        spec = table[node][name]
        default = str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default)
        arguments.append(DeclareLaunchArgument(name, default_value=default, description=spec.description))
    arguments.append(
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of all nodes, for a second arm.")
    )
    arguments.append(
        DeclareLaunchArgument(
            "params_file",
            default_value="",
            description="YAML file with more parameters, in one section `/**: {ros__parameters: {...}}`.",
        )
    )
    return LaunchDescription([*arguments, OpaqueFunction(function=_start)])
