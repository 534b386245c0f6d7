from collections.abc import Iterator

import pytest

from mql_ros.grasping.robot.profile import RobotProfile
from mql_sim.environment import GraspTask


@pytest.fixture(scope="session")
def task(panda: RobotProfile) -> Iterator[GraspTask]:
    """One simulated task for all tests that do not need their own."""
    made = GraspTask(panda)
    yield made
    made.world.close()
