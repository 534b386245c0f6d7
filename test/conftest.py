"""Fixtures that every room shares, and the markers, which follow from the folder a test lies in."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from mql_ros.grasping.robot.profile import RobotProfile, load_profile

ROOMS = Path(__file__).parent
MARKERS = {"ros": ("ros",), "system": ("ros", "slow"), "sim": ("sim",), "rollouts": ("sim",)}
"""Markers of the tests below each folder."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in MARKERS.get(item.path.relative_to(ROOMS).parts[0], ()):
            item.add_marker(marker)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("ros") and find_spec("rclpy") is None:
        reason = "rclpy is missing: install the extra `ros`, or source a ROS 2 installation"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small networks are faster with one thread, and results do not depend on the machine's load."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def panda() -> RobotProfile:
    return load_profile("panda")
