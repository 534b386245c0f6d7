"""grasp.launch.py for a KUKA iiwa; it takes the same arguments."""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Return grasp.launch.py with another default of `robot`, declared first."""
    grasp = PythonLaunchDescriptionSource(str(Path(__file__).with_name("grasp.launch.py")))
    robot = DeclareLaunchArgument("robot", default_value="iiwa", description="Robot profile of this arm.")
    return LaunchDescription([robot, IncludeLaunchDescription(grasp)])
