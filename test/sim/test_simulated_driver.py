"""The simulated arm as a driver: placements, and trajectories followed by its own time."""

from collections.abc import Iterator

import numpy as np
import pytest

from mql_ros.core.errors import UserError
from mql_ros.grasping.perception.height_map import see
from mql_ros.grasping.robot.profile import RobotProfile
from mql_sim.benches import Bench
from mql_sim.camera import Miscalibration
from mql_sim.driver.simulated_driver import SimulatedDriver
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import thing_of_session


@pytest.fixture(scope="module")
def driver(panda: RobotProfile) -> Iterator[SimulatedDriver]:
    made = SimulatedDriver(panda, "can", 3)
    yield made
    made.close()


def placements(task: GraspTask, name: str, seed: int, count: int) -> list[np.ndarray]:
    """Images at the beginning of the trials of a session in one process."""
    task.set_thing(thing_of_session(name, seed), seed)
    images = []
    for _ in range(count):
        task.begin_trial()
        images.append(task.scene.depth_image())
    return images


def resets(driver: SimulatedDriver, count: int) -> list[np.ndarray]:
    images = []
    for _ in range(count):
        driver.reset()
        images.append(driver.scene.depth_image())
    return images


def test_placements_count_from_zero_for_each_object_and_seed(driver: SimulatedDriver, task: GraspTask) -> None:
    driver.set_seed(3)
    np.testing.assert_array_equal(resets(driver, 3), placements(task, "can", 3, 3))
    driver.set_object("random-002")
    driver.set_seed(4)
    np.testing.assert_array_equal(resets(driver, 2), placements(task, "random-002", 4, 2))
    driver.set_object("can")
    np.testing.assert_array_equal(resets(driver, 1), placements(task, "can", 4, 1))


def test_the_simulated_driver_refuses_an_unknown_object_unchanged(driver: SimulatedDriver, task: GraspTask) -> None:
    driver.set_object("can")
    driver.set_seed(3)
    driver.reset()
    with pytest.raises(UserError, match="did you mean bottle"):
        driver.set_object("bottel")
    np.testing.assert_array_equal(resets(driver, 1)[0], placements(task, "can", 3, 2)[1])


@pytest.mark.parametrize("error", [Miscalibration(0.02, 0.0), Miscalibration(0.0, 0.08)], ids=["shift", "turn"])
def test_a_calibration_error_moves_what_is_seen(driver: SimulatedDriver, error: Miscalibration) -> None:
    """The camera of another bench is not where it is believed to be, so the same object seems to lie elsewhere."""
    driver.set_seed(3)
    seen = []
    for calibration in (Miscalibration(0.0, 0.0), Miscalibration(0.0, 0.0), error):
        driver.set_bench(Bench(calibration))
        driver.reset()
        scene = driver.scene
        seen.append(see(scene.depth_image(), scene.camera, scene.workspace).centre)
    driver.set_bench(Bench())
    assert np.array_equal(seen[0], seen[1]) and 0.002 < np.linalg.norm(seen[2] - seen[0]) < 0.06


def test_a_trajectory_is_followed_as_it_is_stepped(driver: SimulatedDriver, panda: RobotProfile) -> None:
    points = panda.home + np.linspace(0.01, 0.08, 8)[:, None]
    velocities = np.full_like(points, 0.2)
    velocities[-1] = 0.0
    driver.set_seed(3)
    driver.reset()
    driver.grip(0.04, 10.0)
    stepped = [driver.step(*row).joint_positions for row in zip(points, velocities, strict=True)]
    driver.set_seed(3)
    driver.reset()
    driver.grip(0.04, 10.0)
    driver.follow(np.arange(1, 9) * panda.control_period, points, velocities)
    ticked = [driver.tick().joint_positions for _ in range(8)]
    assert np.allclose(ticked, stepped, atol=1e-12)
    rest = [driver.tick() for _ in range(10)][-1]
    assert np.abs(rest.joint_positions - points[-1]).max() < 0.005


def test_the_simulated_driver_interpolates_points_of_any_spacing(driver: SimulatedDriver, panda: RobotProfile) -> None:
    driver.set_seed(3)
    driver.reset()
    goal = panda.home + 0.1
    driver.follow(np.array([0.6]), goal[None], np.zeros((1, 7)))
    halfway = [driver.tick() for _ in range(6)][-1].joint_positions
    assert np.all((halfway > panda.home + 0.02) & (halfway < goal - 0.02))
    assert np.abs([driver.tick() for _ in range(12)][-1].joint_positions - goal).max() < 0.005


def test_a_trajectory_that_starts_at_once_may_give_its_start(driver: SimulatedDriver, panda: RobotProfile) -> None:
    driver.set_seed(3)
    driver.reset()
    driver.follow(np.array([0.0, 0.5]), np.stack([panda.home, panda.home + 0.1]), np.zeros((2, 7)))
    assert np.abs([driver.tick() for _ in range(20)][-1].joint_positions - panda.home - 0.1).max() < 0.005


def test_the_gripper_is_not_stronger_than_the_profile_says(
    driver: SimulatedDriver, panda: RobotProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, float]] = []
    advance = driver.scene.world.advance
    monkeypatch.setattr(driver.scene.world, "advance", lambda *row: asked.append(row[2:]) or advance(*row))
    driver.grip(0.02, 1000.0)
    driver.tick()
    assert asked == [(0.02, panda.max_force)]
