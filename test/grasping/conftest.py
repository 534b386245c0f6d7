import pytest

from mql_ros.grasping.robot_profile import RobotProfile, load_profile


@pytest.fixture(scope="session")
def panda() -> RobotProfile:
    return load_profile("panda")
