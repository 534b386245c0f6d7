from pathlib import Path

import numpy as np
import pytest
from helpers.perception import MIDDLE, WORKSPACE, Box, camera, depth_of
from transforms3d.euler import euler2mat

from mql_ros.grasping.perception.camera import points_in_base
from mql_ros.grasping.perception.height_map import see
from mql_ros.grasping.robot.profile import RobotProfile, load_profile
from mql_ros.grasping.types import Array
from mql_sim.camera import (
    DepthNoise,
    Miscalibration,
    Surface,
    arm_surface,
    box_surface,
    measured,
    render,
    rod_surface,
    window,
)
from mql_sim.world.bullet import connect, pybullet, pybullet_data

MESHES = Path(pybullet_data.getDataPath()) / "random_urdfs"
NO_NOISE = DepthNoise(deviation=0.0, quantum=0.0, missing=0.0, missing_at_edges=0.0, grazing=np.pi / 2)
BLOCK = box_surface(np.array([0.46, -0.03, 0.0]), np.array([0.54, 0.03, 0.08]))


def mesh(number: int) -> Surface:
    """A mesh of PyBullet's random_urdfs, scaled to the gripper."""
    lines = [line.split() for line in (MESHES / f"{number:03d}/{number:03d}.obj").read_text().splitlines()]
    vertices = np.array([line[1:4] for line in lines if line[:1] == ["v"]], dtype=float) * 0.015
    faces = [[corner.split("/")[0] for corner in line[1:4]] for line in lines if line[:1] == ["f"]]
    return Surface(vertices, np.array(faces, dtype=int) - 1)


def placed(number: int, seed: int) -> tuple[Surface, Array, Array]:
    """A mesh on the table in a random pose, with its position and rotation."""
    rng = np.random.default_rng(seed)
    turn, surface = euler2mat(*rng.uniform(-np.pi, np.pi, 3)), mesh(number)
    position = np.array([*rng.uniform([0.45, -0.05], [0.55, 0.05]), -(surface.vertices @ turn.T)[:, 2].min()])
    return surface.moved(position, turn), position, turn


@pytest.mark.parametrize("yaw", [0.0, 0.7])
def test_boxes_are_drawn_as_rays_see_them(yaw: float) -> None:
    box = Box(0.5, 0.02, (0.08, 0.05, 0.07), yaw)
    half = np.array(box.size) / 2
    surface = box_surface(-half, half).moved(np.array([box.x, box.y, half[2]]), euler2mat(0, 0, yaw))
    drawn, rays = render(camera(), [surface]), depth_of(camera(), [box])
    apart = np.abs(drawn - rays)
    assert np.count_nonzero(apart > 1e-5) <= 2  # pixels on the outline
    assert drawn.dtype == np.float32


def test_meshes_are_drawn_as_pybullet_sees_them() -> None:
    client, wrong, seen = connect(), [], 0
    for seed, number in enumerate((3, 250, 777, 921)):
        surface, position, turn = placed(number, seed)
        shape = client.createCollisionShape(
            pybullet.GEOM_MESH,
            fileName=str(MESHES / f"{number:03d}/{number:03d}.obj"),
            meshScale=[0.015] * 3,
            flags=pybullet.GEOM_FORCE_CONCAVE_TRIMESH,
        )
        # From a rotation matrix to PyBullet's quaternion by way of its own Euler angles.
        roll, yaw = np.arctan2(turn[2, 1], turn[2, 2]), np.arctan2(turn[1, 0], turn[0, 0])
        quaternion = client.getQuaternionFromEuler([roll, -np.arcsin(turn[2, 0]), yaw])
        body = client.createMultiBody(0, shape, -1, position.tolist(), quaternion)
        model = window(camera(), surface.vertices)
        depth = render(model, [surface])
        start, places = model.pose[:3, 3], points_in_base(depth, model)
        ends = start + 2 * (places - start)
        hits = client.rayTestBatch([start.tolist()] * len(ends), ends.tolist())
        on_it, shown = np.array([hit[0] == body for hit in hits]), places[:, 2] > 1e-4
        far = np.array([hit[2] for hit in hits]) * 2 * depth.ravel()
        wrong.append(np.abs(far - depth.ravel())[on_it & shown])
        assert np.count_nonzero(on_it != shown) <= 5  # pixels on the outline
        seen += np.count_nonzero(on_it & shown)
        client.removeBody(body)
    client.disconnect()
    assert seen > 1000
    assert np.percentile(np.concatenate(wrong), 95) < 1e-5


def test_a_window_is_a_part_of_the_whole_image() -> None:
    surface, _, _ = placed(42, 1)
    model = window(camera(), surface.vertices)
    left, top = round(camera().cx - model.cx), round(camera().cy - model.cy)
    whole = render(camera(), [surface])[top : top + model.height, left : left + model.width]
    apart = np.abs(render(model, [surface]) - whole)
    assert np.count_nonzero(apart > 1e-5) <= 2
    assert 1000 < model.width * model.height < 20000


def test_a_window_stays_in_the_image() -> None:
    model = window(camera(64, 48, 40.0), np.array([[0.1, 0.9, 0.0], [0.2, 1.2, 0.1]]))
    assert model.width >= 1 and model.height >= 1
    assert 0 <= camera(64, 48, 40.0).cx - model.cx < 64


def test_the_nearer_surface_hides_the_other() -> None:
    front = box_surface(np.array([0.46, -0.03, 0.2]), np.array([0.54, 0.03, 0.25]))
    assert np.array_equal(render(camera(), [front, BLOCK]), render(camera(), [BLOCK, front]))
    both, alone = render(camera(), [front, BLOCK]), render(camera(), [BLOCK])
    assert (both <= alone + 1e-6).all() and (both < alone - 0.1).any()


def test_joined_surfaces_are_drawn_as_they_are_apart() -> None:
    rod = rod_surface(np.array([0.4, 0.1, 0.1]), np.array([0.6, 0.15, 0.3]), 0.03)
    assert np.array_equal(render(camera(), [Surface.joined([rod, BLOCK])]), render(camera(), [rod, BLOCK]))


def test_what_is_behind_the_camera_is_not_drawn() -> None:
    behind = box_surface(np.array([0.8, -0.1, 0.7]), np.array([1.0, 0.1, 1.2]))
    assert np.array_equal(render(camera(), [behind]), render(camera(), []))


def test_a_camera_that_looks_upwards_sees_no_table() -> None:
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    flip[2, 3] = 1.6
    assert np.isnan(render(camera(64, 48, 40.0).moved(flip), [])).all()


def test_a_rod_is_as_thick_as_it_should_be() -> None:
    depth = render(camera(), [rod_surface(np.array([0.5, -0.1, 0.1]), np.array([0.5, 0.1, 0.1]), 0.04, sides=32)])
    points = points_in_base(depth, camera())
    high = points[points[:, 2] > 0.09]
    assert high[:, 2].max() == pytest.approx(0.14, abs=0.002)
    assert np.abs(high[:, 1]).max() == pytest.approx(0.14, abs=0.004)


def test_without_noise_the_image_is_exact() -> None:
    depth = render(camera(), [BLOCK])
    assert np.array_equal(measured(depth, camera(), NO_NOISE, np.random.default_rng(0)), depth)


@pytest.mark.parametrize("quadratic_from", [0.0, 0.5])
def test_noise_has_its_standard_deviation(quadratic_from: float) -> None:
    depth = render(camera(), [])
    noise = DepthNoise(0.002, quadratic_from, 0.0, 0.0, missing_at_edges=0.0)
    error = measured(depth, camera(), noise, np.random.default_rng(0)) - depth
    scale = (depth / quadratic_from) ** 2 if quadratic_from else np.ones_like(depth)
    assert (error / scale).std() == pytest.approx(0.002, rel=0.02)
    assert (error / scale).mean() == pytest.approx(0.0, abs=5e-5)


def test_depth_comes_in_steps() -> None:
    seen = measured(render(camera(), []), camera(), DepthNoise(), np.random.default_rng(0))
    steps = seen[np.isfinite(seen)] / 0.001
    assert np.allclose(steps, np.round(steps), atol=1e-3)


def test_pixels_are_lost_at_random_at_edges_and_at_grazing_angles() -> None:
    depth, rng = render(camera(), [BLOCK]), np.random.default_rng(0)
    some = np.isnan(measured(depth, camera(), DepthNoise(missing=0.05, missing_at_edges=0.0), rng))
    assert some.mean() == pytest.approx(0.05, abs=0.01)
    at_edges = np.isnan(measured(depth, camera(), DepthNoise(missing=0.0, missing_at_edges=1.0), rng))
    jump = np.abs(np.diff(depth, axis=1)) > 0.02
    assert at_edges[:, 1:][jump].all() and at_edges[:, :-1][jump].all()
    assert at_edges.mean() < 0.02
    # Beyond 40 degrees to the normal: the table far away, and the walls of the box.
    oblique = np.isnan(measured(depth, camera(), DepthNoise(missing=0.0, missing_at_edges=0.0, grazing=0.7), rng))
    rays = points_in_base(depth, camera()).reshape(240, 320, 3) - camera().pose[:3, 3]
    angle = np.arccos(-rays[..., 2] / np.linalg.norm(rays, axis=-1))
    table = np.isclose(depth, render(camera(), []))
    inner = table[1:-1, 1:-1] & table[:-2, 1:-1] & table[2:, 1:-1] & table[1:-1, :-2] & table[1:-1, 2:]
    wrong = (oblique != (angle > 0.7))[1:-1, 1:-1][inner]
    assert wrong.mean() < 0.02


def test_the_same_generator_gives_the_same_bits() -> None:
    surface, _, _ = placed(7, 0)
    images = [measured(render(camera(), [surface]), camera(), DepthNoise(), np.random.default_rng(3)) for _ in range(2)]
    assert images[0].tobytes() == images[1].tobytes()


def test_a_wrong_calibration_has_its_standard_deviation() -> None:
    rng, error = np.random.default_rng(0), Miscalibration(0.003, 0.01)
    poses = [error.misplaced(camera(), MIDDLE, rng).pose @ np.linalg.inv(camera().pose) for _ in range(300)]
    shifts = np.array([(pose @ [*MIDDLE, 1.0])[:3] - MIDDLE for pose in poses])
    turns = np.array([[pose[2, 1], pose[0, 2], pose[1, 0]] for pose in poses])
    assert shifts.std(axis=0) == pytest.approx(np.full(3, 0.003), rel=0.15)
    assert turns.std(axis=0) == pytest.approx(np.full(3, 0.01), rel=0.15)


def test_no_wrong_calibration_is_the_truth() -> None:
    misplaced = Miscalibration(0.0, 0.0).misplaced(camera(), MIDDLE, np.random.default_rng(0))
    assert np.allclose(misplaced.pose, camera().pose)


@pytest.mark.parametrize("name", ["panda", "iiwa", "ur5e"])
def test_an_arm_at_home_leaves_the_middle_in_view_and_hides_a_part_of_the_table(name: str) -> None:
    profile: RobotProfile = load_profile(name)
    arm = arm_surface(profile, profile.home)
    assert arm.vertices[:, 2].max() > 0.4
    hidden = render(camera(), [arm]) < render(camera(), []) - 1e-3
    assert 0.01 < hidden.mean() < 0.5
    around = np.array([[x, y, 0.02] for x in (0.44, 0.58) for y in (-0.08, 0.08)])
    columns, rows = camera().project(around)[0].round().astype(int).T
    assert not hidden[rows, columns].any()


def test_an_arm_that_is_in_the_way_hides_the_object(panda: RobotProfile) -> None:
    block = BLOCK.moved(np.array([-0.16, 0.0, 0.0]), np.eye(3))
    arm = arm_surface(panda, panda.home)
    back = np.eye(4)
    back[0, 3] = -0.3
    model = camera().moved(back)
    alone, with_arm = render(model, [block]), render(model, [block, arm])
    shown = np.abs(alone - render(model, [])) > 1e-3
    assert (with_arm[shown] < alone[shown] - 0.1).mean() > 0.5


@pytest.mark.parametrize("number", [11, 905])
def test_a_window_and_the_whole_image_show_the_same_object(panda: RobotProfile, number: int) -> None:
    surface, _, _ = placed(number, number)
    rng = np.random.default_rng(0)
    model = window(camera(), surface.vertices)
    part = see(measured(render(model, [surface]), model, DepthNoise(), rng), model, WORKSPACE)
    scene = [surface, arm_surface(panda, panda.home)]
    whole = see(measured(render(camera(), scene), camera(), DepthNoise(), rng), camera(), WORKSPACE)
    assert part.centre == pytest.approx(whole.centre, abs=0.003)
    assert part.top == pytest.approx(whole.top, abs=0.003)
    assert whole.top == pytest.approx(surface.vertices[:, 2].max(), abs=0.004)
    assert (part.others, whole.others) == (0, 0)
