"""A session on a bench depends on its object and seed alone, not on what went before or on who looks."""

import numpy as np
import pytest

from mql_ros.grasping.robot.profile import RobotProfile
from mql_sim.benches import Bench
from mql_sim.camera import DepthNoise
from mql_sim.environment import Scene
from mql_sim.objects.catalogue import thing_of_session

SESSION = ("random-002", 2)


def session(scene: Scene, name: str, seed: int, low: bool = False, looks: int = 1) -> list[np.ndarray]:
    """Images and measurements of two trials, in which the arm reaches for the table, perhaps far down."""
    assert scene.set_thing(thing_of_session(name, seed), seed)
    chain, home, found = scene.world.profile.chain, scene.world.profile.home, []
    place, turn = chain.forward(home)
    down, _ = chain.inverse(np.array([*place[:2], 0.02 if low else 0.1]), turn, home)
    for _ in range(2):
        scene.reset()
        for joints in np.linspace(home, down, 12):
            found += [scene.depth_image() for _ in range(looks)][:1]
            measurement = scene.advance(joints, np.zeros_like(joints), 0.02, 5.0)
            found += [measurement.joint_positions, measurement.contact_force]
    return found


@pytest.fixture
def scene(panda: RobotProfile):
    made = Scene(panda)
    yield made
    made.world.close()


def test_a_session_is_the_same_after_another_that_ended_with_the_hand_at_the_table(
    scene: Scene, panda: RobotProfile
) -> None:
    first = session(scene, *SESSION, low=True)
    again = session(scene, *SESSION, low=True)
    assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(first, again, strict=True))


def test_looking_more_often_changes_nothing(scene: Scene) -> None:
    first, again = session(scene, *SESSION), session(scene, *SESSION, looks=3)
    assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(first, again, strict=True))


def test_images_of_one_place_differ_by_their_noise(scene: Scene) -> None:
    assert scene.set_thing(thing_of_session(*SESSION), SESSION[1])
    scene.reset()
    one, again = scene.depth_image(), scene.depth_image()
    home = scene.world.profile.home
    scene.advance(home, np.zeros_like(home), 0.08, 5.0)
    later = scene.depth_image()
    assert np.array_equal(one, again, equal_nan=True) and not np.array_equal(one, later, equal_nan=True)
    assert np.nanmedian(np.abs(later - one)) < 0.005


def test_a_late_image_shows_the_scene_as_it_was(scene: Scene) -> None:
    """Two periods of 50 ms late; before that much time has passed, it shows the scene as it was after the reset."""
    clean = DepthNoise(deviation=0.0, quantum=0.0, missing=0.0, missing_at_edges=0.0)
    home = scene.world.profile.home
    shown = {}
    for lag in (0.0, 0.1):
        assert scene.set_thing(thing_of_session(*SESSION), SESSION[1], Bench(noise=clean, lag=lag))
        for _ in range(2):  # a reset forgets what was before
            scene.reset()
            shown[lag] = [scene.depth_image()]
            for period in range(1, 6):
                joints = home + 0.03 * period
                scene.advance(joints, np.zeros_like(joints), 0.08, 5.0)
                shown[lag].append(scene.depth_image())
    assert not np.array_equal(shown[0.0][1], shown[0.0][2], equal_nan=True)
    for period, image in enumerate(shown[0.1]):
        np.testing.assert_array_equal(image, shown[0.0][max(0, period - 2)])
