"""Fixtures for all tests, markers by folder, and what becomes of tests that need a missing rclpy."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from mql_ros.grasping.robot.profile import RobotProfile, load_profile

ROOMS = Path(__file__).parent
MARKERS = {"ros": ("ros",), "system": ("ros", "slow"), "sim": ("sim",), "rollouts": ("sim",)}
"""Markers of the tests below each folder."""


NEED_RCLPY = {folder for folder, markers in MARKERS.items() if "ros" in markers}
"""Folders whose tests cannot even be imported without rclpy."""


class RclpyItem(pytest.Item):
    """Takes the place of a folder's tests without rclpy, so that the report shows one skip or error for them."""

    def runtest(self) -> None:
        raise AssertionError("pytest_runtest_setup comes first and ends this item")


class FolderWithoutRclpy(pytest.File):
    """A folder whose tests need rclpy, collected without looking into it."""

    def collect(self) -> list[pytest.Item]:
        return [RclpyItem.from_parent(self, name="rclpy")]


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if path.parent == ROOMS and path.name in NEED_RCLPY and find_spec("rclpy") is None:
        return FolderWithoutRclpy.from_parent(parent, path=path)
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in MARKERS.get(item.path.relative_to(ROOMS).parts[0], ()):
            item.add_marker(marker)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("ros") and find_spec("rclpy") is None:
        reason = "rclpy is missing: install the extra `ros`, or source a ROS 2 installation"
        pytest.fail(reason, pytrace=False) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small networks are faster with one thread, and results do not depend on the machine's load."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def panda() -> RobotProfile:
    return load_profile("panda")
