"""One description for pip and for colcon; Humble's setuptools knows no [project] table, hence not in pyproject.toml."""

import os
from pathlib import Path

from setuptools import find_packages, setup

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    try:
        from wheel.bdist_wheel import bdist_wheel
    except ImportError:  # a stock ROS 2 without the wheel package: colcon does not need it
        bdist_wheel = None

NAME = "mql_ros"
PROGRAMS = {
    "mql": "mql_ros.cli.main",
    "check_robot": "mql_ros.cli.check_robot",
    "arm_simulator": "mql_sim.driver.arm_simulator",
    "policy_server": "mql_ros.ros.nodes.policy_server",
    "context_encoder": "mql_ros.ros.nodes.context_encoder",
    "grasp_monitor": "mql_ros.ros.nodes.grasp_monitor",
    "adaptation_manager": "mql_ros.ros.nodes.adaptation_manager",
    "perception": "mql_ros.ros.nodes.perception",
    "scene_markers": "mql_ros.ros.nodes.scene_markers",
}

# The ROS 2 wheels are an extra: on a stock ROS 2 the rclpy of the distribution must win.
ROS_WHEELS = ("ros-kilted-rclpy", "ros-kilted-common-interfaces", "ros-kilted-rmw-fastrtps-cpp")
ROS_WHEELS_EXIST = (
    "sys_platform == 'linux' and platform_machine == 'x86_64' and platform_python_implementation == 'CPython' "
    "and python_version >= '3.10' and python_version < '3.13'"
)

# `ros2 run` and `ros2 launch` start this after `pip install .`, which puts programs into bin/ only.
WRAPPER = """\
#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/../../bin/{program}" "$@"
"""


def files_below(folder):
    """Return all files below a folder; Humble's setuptools has no recursive ** in package_data."""
    return sorted(str(path) for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def data_of_package(folder):
    """Return the files in a package's folder that are not Python, relative to it."""
    return [os.path.relpath(file, folder) for file in files_below(folder) if not file.endswith((".py", ".pyc"))]


def shared_files():
    """Return pairs (target folder, files) for share/mql_ros, in the layout of the source tree."""
    by_folder = {}
    launch_files = [str(path) for path in sorted(Path("launch").glob("*.launch.py"))]
    for file in [*files_below("config"), *launch_files, *files_below("models")]:
        by_folder.setdefault(os.path.join("share", NAME, os.path.dirname(file)), []).append(file)
    return sorted(by_folder.items())


def command_classes():
    """Return the command that gives wheels lib/mql_ros/<program>; colcon builds no wheel."""
    if bdist_wheel is None:
        return {}

    class WheelWithRosExecutables(bdist_wheel):
        def run(self):
            folder = Path(self.get_finalized_command("build").build_base) / "ros_executables"
            folder.mkdir(parents=True, exist_ok=True)
            wrappers = []
            for program in PROGRAMS:
                wrapper = folder / program
                wrapper.write_text(WRAPPER.format(program=program))
                wrapper.chmod(0o755)
                wrappers.append(str(wrapper))
            self.distribution.data_files.append((os.path.join("lib", NAME), wrappers))
            super().run()

    return {"bdist_wheel": WheelWithRosExecutables}


setup(
    name=NAME,
    version="0.1.0",
    description="A robot arm sees a new object and learns to grasp it in few trials, by Meta-Q-Learning over ROS 2",
    license="Apache-2.0",
    maintainer="mql_ros developers",
    maintainer_email="mql_ros@example.com",
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["mql_ros", "mql_ros.*"]),
        "mql_sim",
        *("mql_sim." + name for name in find_packages("sim")),
    ],
    package_dir={"mql_sim": "sim"},
    package_data={"mql_ros": data_of_package("mql_ros"), "mql_sim": data_of_package("sim")},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + NAME]),
        ("share/" + NAME, ["package.xml"]),
        *shared_files(),
    ],
    install_requires=[
        "torch",
        "numpy",
        "scipy",
        "pybullet",
        "transforms3d",
        "gymnasium",
        "pyyaml",
        "jinja2",
        "matplotlib",
        "safetensors",
        "pillow",
        "psutil",
        "trimesh",
        "pycollada",  # with which trimesh reads DAE
        "coacd",
    ],
    extras_require={
        "ros": [f"{wheel}; {ROS_WHEELS_EXIST}" for wheel in ROS_WHEELS],
        "benchmarks": ["gymnasium[mujoco]"],
        "test": ["pytest", "pytest-timeout", "hypothesis", "gymnasium[mujoco]"],  # with what the benchmarks need
        "lint": ["ruff", "mypy", "types-PyYAML"],
    },
    entry_points={"console_scripts": [f"{program} = {module}:main" for program, module in PROGRAMS.items()]},
    cmdclass=command_classes(),
    zip_safe=True,
)
