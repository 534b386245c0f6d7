"""Things in PyBullet: they rest where their geometry requires, weigh what they should, and repeat bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transforms3d.euler import euler2mat

from mql_ros.core.errors import UserError
from mql_ros.grasping.motion.kinematics import quaternion_to_matrix
from mql_sim.objects.body import body_pose, create_body, place_body
from mql_sim.objects.household import HOUSEHOLD, household
from mql_sim.objects.load import make_thing, random_urdf
from mql_sim.objects.mesh_files import CACHE_VARIABLE
from mql_sim.objects.solid import box, combined, cylinder, sphere
from mql_sim.objects.thing import Thing, thing_from_solid
from mql_sim.world.bullet import BulletClient, connect, pybullet

CASES = Path(__file__).parents[1] / "data" / "objects"
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
HAND = 0.080
"""Opening of the hand for which the household objects are made, m."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def client_with_table() -> BulletClient:
    client = connect()
    client.setGravity(0, 0, -9.81)
    client.setPhysicsEngineParameter(fixedTimeStep=1 / 120, numSolverIterations=50, deterministicOverlappingPairs=1)
    shape = client.createCollisionShape(pybullet.GEOM_BOX, halfExtents=[0.5, 0.5, 0.05])
    client.createMultiBody(0, shape, -1, [0, 0, -0.05])
    return client


@pytest.fixture
def table() -> Iterator[BulletClient]:
    client = client_with_table()
    yield client
    client.disconnect()


def settle(client: BulletClient, thing: Thing, steps: int = 120) -> tuple[np.ndarray, np.ndarray]:
    body = create_body(client, thing)
    place_body(client, body, thing, np.array([0.0, 0.0, 0.001]), UPRIGHT)
    for _ in range(steps):
        client.stepSimulation()
    return body_pose(client, body, thing)


@pytest.mark.parametrize("name", [*HOUSEHOLD, "box_open_rim", "mug_handle_30deg", "pen_lying_along_x", "plate_thin"])
def test_a_thing_rests_where_its_geometry_says(name: str, table: BulletClient) -> None:
    thing = household(name) if name in HOUSEHOLD else make_thing(CASES / f"{name}.urdf")
    position, orientation = settle(table, thing)
    assert abs(position[2]) < 0.0005
    assert quaternion_to_matrix(orientation)[2, 2] > 0.999


def test_the_sides_are_where_the_fingers_should_meet_them(table: BulletClient) -> None:
    for solid, half in ((box([0.05, 0.04, 0.1]), 0.02), (cylinder(0.03, 0.1), 0.03), (sphere(0.03), 0.03)):
        thing = thing_from_solid("target", solid, mass=0.2)
        body = create_body(table, thing)
        place_body(table, body, thing, np.array([0.0, 0.0, 0.2]), UPRIGHT)
        probe = table.createCollisionShape(pybullet.GEOM_BOX, halfExtents=[0.01, 0.01, 0.01])
        finger = table.createMultiBody(0.1, probe, -1, [0.0, 0.1, 0.2 + thing.size[2] / 2])
        (contact,) = {round(point[8], 4) for point in table.getClosestPoints(body, finger, 0.2)[:1]}
        assert contact == pytest.approx(0.1 - 0.01 - half, abs=0.0006)
        table.removeBody(body)
        table.removeBody(finger)


def test_mass_centre_and_inertia_reach_the_engine(table: BulletClient) -> None:
    solid = combined([box([0.1, 0.03, 0.02]), box([0.02, 0.02, 0.09]).moved([0.04, 0.0, 0.05])])
    turned = np.eye(4)
    turned[:3, :3] = euler2mat(0.3, -0.4, 1.1)
    thing = thing_from_solid("hook", solid.transformed(turned), mass=0.37)
    body = create_body(table, thing)
    mass, _, diagonal, center, turn, *_ = table.getDynamicsInfo(body, -1)
    assert mass == pytest.approx(0.37)
    np.testing.assert_allclose(center, thing.center_of_mass, atol=1e-9)
    axes = quaternion_to_matrix(np.array(turn))
    np.testing.assert_allclose(axes @ np.diag(diagonal) @ axes.T, thing.inertia, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_principal_axes_rebuild_the_inertia(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spread = rng.normal(size=(3, 3))
    spread = spread @ spread.T
    thing = thing_from_solid("any", box([0.1] * 3), mass=1.0, inertia=np.trace(spread) * np.eye(3) - spread)
    _, quaternion, moments = thing.inertial_frame
    axes = quaternion_to_matrix(quaternion)
    np.testing.assert_allclose(axes @ np.diag(moments) @ axes.T, thing.inertia, atol=1e-9)


def test_poses_are_those_of_the_things_frame(table: BulletClient) -> None:
    thing = household("jug")
    body = create_body(table, thing)
    place, turn = np.array([0.1, -0.2, 0.3]), np.array([0.1, 0.2, 0.3, 0.9])
    turn /= np.linalg.norm(turn)
    place_body(table, body, thing, place, turn)
    position, orientation = body_pose(table, body, thing)
    np.testing.assert_allclose(position, place, atol=1e-6)
    np.testing.assert_allclose(orientation, turn, atol=1e-6)


def test_the_same_contents_fall_the_same_way_bit_for_bit() -> None:
    falls = []
    for name in ("a.urdf", "b.urdf"):
        client = client_with_table()
        thing = make_thing(CASES / "same_bytes" / name)
        settle(client, random_urdf(4), steps=20)  # bodies that came before do not matter
        client.removeBody(1)
        body = create_body(client, thing)
        place_body(client, body, thing, np.array([0.0, 0.0, 0.05]), np.array([0.5, 0.5, 0.5, 0.5]))
        for _ in range(60):
            client.stepSimulation()
        falls.append(client.getBasePositionAndOrientation(body))
        client.disconnect()
    assert falls[0] == falls[1]


def test_a_thing_is_seen_in_its_colour(table: BulletClient) -> None:
    thing = household("mug")
    create_body(table, thing, visible=True)
    view = table.computeViewMatrix([0.3, 0.0, 0.3], [0, 0, 0.05], [0, 0, 1])
    lens = table.computeProjectionMatrixFOV(40, 1, 0.01, 2)
    _, _, colors, _, bodies = table.getCameraImage(48, 48, view, lens, renderer=pybullet.ER_TINY_RENDERER)
    shown = np.reshape(colors, (48, 48, 4))[np.reshape(bodies, (48, 48)) == 1]
    assert len(shown) > 100
    assert shown[:, 0].mean() > 1.5 * shown[:, 2].mean()


def test_a_surface_too_fine_for_pictures_is_drawn_as_its_parts(table: BulletClient) -> None:
    block = thing_from_solid("block", box([0.05] * 3), mass=0.2)
    faces = np.tile(block.solid.faces, (5000, 1))
    body = create_body(table, replace(block, solid=replace(block.solid, faces=faces)), visible=True)
    assert len(table.getVisualShapeData(body)) == 1


def test_the_mug_is_open_and_the_can_is_not(table: BulletClient) -> None:
    for name, floor in (("mug", 0.004), ("jug", 0.004), ("can", 0.115)):
        thing = household(name)
        body = create_body(table, thing)
        middle = thing.solid.parts[-4 if name != "can" else 0].mean(axis=0)  # of the floor, before the handle's three
        place_body(table, body, thing, np.zeros(3), UPRIGHT)
        ((_, _, _, hit, _),) = table.rayTest([middle[0], middle[1], 0.5], [middle[0], middle[1], -0.1])
        assert hit[2] == pytest.approx(floor, abs=0.0015), name
        table.removeBody(body)


def test_a_hand_fits_over_rim_and_handle_of_the_mug() -> None:
    """The rim is a thin wall with room for a finger inside; the handle stands clear of the body."""
    thing = household("mug")
    assert thing.size[1] > HAND, "the body itself is too wide"
    top = np.concatenate([part for part in thing.solid.parts if part[:, 2].max() > 0.0949])
    middle = (top[:, :2].max(axis=0) + top[:, :2].min(axis=0)) / 2
    radii = np.linalg.norm(top[:, :2] - middle, axis=1)
    assert np.ptp(radii) < 0.006
    assert 2 * radii.min() > 0.05, "room for a finger of 20 mm that opens by 25 mm"
    bar = thing.solid.parts[-3]
    assert np.ptp(bar[:, 1]) < 0.02
    assert bar[:, 0].min() - (middle[0] + radii.max()) > 0.02, "a finger of 20 mm passes between body and bar"
    assert np.ptp(bar[:, 2]) > 0.05


@pytest.mark.parametrize("name", list(HOUSEHOLD))
def test_household_objects_have_something_that_a_hand_can_hold(name: str) -> None:
    thing = household(name)
    widths = [np.ptp(part[:, :2], axis=0).min() for part in thing.solid.parts]
    assert min(widths) < HAND - 0.005
    assert thing.size.max() < 0.3
    assert thing.content_hash == household(name).content_hash


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'kettle'"):
        household("ketle")
