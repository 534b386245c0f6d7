import dataclasses

import numpy as np
import pytest
from helpers.perception import MIDDLE, WORKSPACE, Box, camera, depth_of
from hypothesis import given, settings
from hypothesis import strategies as st
from transforms3d.euler import euler2mat

from mql_ros.grasping.perception.camera import REASONS, CameraModel, Depth, PerceptionError
from mql_ros.grasping.perception.height_map import (
    CELL,
    CELLS,
    SIDE,
    Heights,
    check_still,
    heights_of,
    register,
    sample,
    see,
)
from mql_ros.grasping.perception.segmentation import Workspace, segment
from mql_ros.grasping.types import Array

CUBE = Box(0.50, 0.03, (0.06, 0.05, 0.07))
MIDDLES = (np.arange(CELLS) - CELLS / 2 + 0.5) * CELL


def l_shape(angle: float, shift: Array) -> Heights:
    """Map of an L with arms of unlike length and height, turned about the map's centre and then shifted (m)."""
    x, y = np.meshgrid(np.arange(-0.05, 0.05, 0.001), np.arange(-0.05, 0.05, 0.001), indexing="ij")
    x, y = x.ravel(), y.ravel()
    z = np.where((np.abs(x + 0.03) < 0.012) & (np.abs(y) < 0.045), 0.06, 0.0)
    z = np.where((np.abs(y + 0.03) < 0.012) & (np.abs(x) < 0.035), 0.04, z)
    cosine, sine = np.cos(angle), np.sin(angle)
    points = np.column_stack([cosine * x - sine * y + shift[0], sine * x + cosine * y + shift[1], z])
    return heights_of(points[z > 0], np.zeros(2))


def turned_scene(transform: Array, boxes: list[Box]) -> tuple[CameraModel, Depth]:
    """A scene after a rigid motion of camera and boxes together: its image is the same."""
    return camera().moved(transform), depth_of(camera(), boxes)


@pytest.mark.parametrize("yaw", [0.0, 0.5, 1.2])
@pytest.mark.parametrize("place", [(0.45, -0.07), (0.50, 0.0), (0.57, 0.06)])
@pytest.mark.parametrize("noise", [0.0, 0.0015, 0.003])
def test_a_box_is_seen_where_it_is_and_as_high(place: tuple[float, float], yaw: float, noise: float) -> None:
    box = Box(*place, (0.09, 0.05, 0.08), yaw)
    seen = see(depth_of(camera(), [box], noise=noise, seed=1), camera(), WORKSPACE, stamp=3.5)
    assert seen.centre == pytest.approx(place, abs=0.003)
    assert seen.top == pytest.approx(0.08, abs=0.002 + noise)
    assert np.median(seen.heights[seen.heights > 0.04]) == pytest.approx(0.08, abs=0.0015)
    assert np.count_nonzero(seen.heights > 0.04) * CELL**2 == pytest.approx(0.09 * 0.05, rel=0.25)
    assert (seen.stamp, seen.others) == (3.5, 0)
    assert seen.heights.shape == (CELLS, CELLS) and seen.heights.dtype == np.float32


@pytest.mark.parametrize("size", [(640, 480, 600.0), (640, 480, 385.0), (320, 240, 230.0)], ids=str)
def test_images_of_every_size_show_the_same(size: tuple[int, int, float]) -> None:
    seen = see(depth_of(camera(*size), [CUBE], noise=0.0015), camera(*size), WORKSPACE)
    assert seen.centre == pytest.approx((CUBE.x, CUBE.y), abs=0.003)
    assert seen.top == pytest.approx(0.07, abs=0.003)


def test_a_part_of_the_image_shows_the_same() -> None:
    depth = depth_of(camera(), [CUBE])
    (column, row), _ = (values[0] for values in camera().project(np.array([[CUBE.x, CUBE.y, 0.03]])))
    left, top = int(column) - 50, int(row) - 50
    part = see(depth[top : top + 100, left : left + 100], camera().cropped(left, top, 100, 100), WORKSPACE)
    whole = see(depth, camera(), WORKSPACE)
    assert part.centre == pytest.approx(whole.centre, abs=2e-4)
    assert np.mean(np.abs(part.heights - whole.heights) > 0.001) < 0.02


@pytest.mark.parametrize("shift", [(0.06, -0.05), (-0.035, 0.08)])
def test_a_map_moves_with_what_is_seen(shift: tuple[float, float]) -> None:
    before = see(depth_of(camera(), [CUBE]), camera(), WORKSPACE)
    transform = np.eye(4)
    transform[:2, 3] = shift
    model, depth = turned_scene(transform, [CUBE])
    after = see(depth, model, WORKSPACE)
    assert after.centre == pytest.approx(before.centre + shift, abs=1e-4)
    assert np.mean(np.abs(after.heights - before.heights) > 0.001) < 0.02


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_map_turns_with_what_is_seen(quarters: int) -> None:
    before = see(depth_of(camera(), [CUBE]), camera(), WORKSPACE)
    transform = np.eye(4)
    transform[:3, :3] = euler2mat(0.0, 0.0, quarters * np.pi / 2)
    transform[:3, 3] = MIDDLE - transform[:3, :3] @ MIDDLE
    model, depth = turned_scene(transform, [CUBE])
    after = see(depth, model, WORKSPACE)
    assert after.centre == pytest.approx((transform @ [*before.centre, 0.0, 1.0])[:2], abs=1e-4)
    # rot90 turns from the first axis to the second: anticlockwise seen from above for maps indexed [x, y].
    assert np.mean(np.abs(after.heights - np.rot90(before.heights, quarters)) > 0.001) < 0.02


@pytest.mark.parametrize(("roll", "pitch", "rise"), [(0.03, 0.0, 0.0), (0.0, -0.03, 0.004), (-0.02, 0.02, -0.008)])
def test_an_error_of_height_roll_and_pitch_in_the_calibration_does_not_matter(
    roll: float, pitch: float, rise: float
) -> None:
    error = np.eye(4)
    error[:3, :3] = euler2mat(roll, pitch, 0.0)
    error[:3, 3] = MIDDLE - error[:3, :3] @ MIDDLE + [0.0, 0.0, rise]
    seen = see(depth_of(camera(), [CUBE], noise=0.0015), camera().moved(error), WORKSPACE)
    assert seen.top == pytest.approx(0.07, abs=0.003)
    assert seen.centre == pytest.approx((CUBE.x, CUBE.y), abs=0.003)


def test_a_table_may_lie_elsewhere() -> None:
    high = dataclasses.replace(WORKSPACE, table=0.12, ceiling=0.4)
    boxes = [dataclasses.replace(CUBE, base=0.12)]
    seen = see(depth_of(camera(), boxes, table=0.12), camera(), high)
    assert seen.top == pytest.approx(0.07, abs=0.002)
    assert seen.centre == pytest.approx((CUBE.x, CUBE.y), abs=0.003)


def test_the_object_nearest_the_middle_is_chosen_and_the_others_are_counted() -> None:
    others = [Box(0.40, -0.15, (0.05, 0.05, 0.10)), Box(0.62, 0.14, (0.04, 0.06, 0.03))]
    seen = see(depth_of(camera(), [others[0], CUBE, others[1]], noise=0.0015), camera(), WORKSPACE)
    assert seen.centre == pytest.approx((CUBE.x, CUBE.y), abs=0.003)
    assert seen.others == 2
    assert seen.top == pytest.approx(0.07, abs=0.003)


def test_an_arm_above_the_ceiling_is_no_object() -> None:
    hand = Box(0.45, 0.0, (0.06, 0.20, 0.10), base=0.36)
    seen = see(depth_of(camera(), [CUBE, hand], noise=0.0015), camera(), WORKSPACE)
    assert seen.centre == pytest.approx((CUBE.x, CUBE.y), abs=0.003)
    assert seen.others == 0


def test_what_the_hand_has_lifted_is_not_on_the_table() -> None:
    below = dataclasses.replace(WORKSPACE, ceiling=0.08)
    lifted, hand = dataclasses.replace(CUBE, base=0.10), Box(CUBE.x, CUBE.y, (0.06, 0.20, 0.30), base=0.15)
    with pytest.raises(PerceptionError) as caught:
        see(depth_of(camera(), [lifted, hand], noise=0.0015), camera(), below)
    assert caught.value.reason == "empty_table"
    assert see(depth_of(camera(), [CUBE], noise=0.0015), camera(), below).centre == pytest.approx(
        (CUBE.x, CUBE.y), abs=0.01
    )


def test_an_object_that_moves_is_noticed_and_noise_is_not() -> None:
    first, second = (see(depth_of(camera(), [CUBE], 0.0, 0.003, seed), camera(), WORKSPACE) for seed in (1, 2))
    check_still(first, second)
    moved = see(depth_of(camera(), [dataclasses.replace(CUBE, x=CUBE.x + 0.01)]), camera(), WORKSPACE)
    with pytest.raises(PerceptionError, match="mm between two images; wait") as caught:
        check_still(first, moved)
    assert caught.value.reason == "moving"


def test_noise_is_no_object() -> None:
    with pytest.raises(PerceptionError, match="nothing stands"):
        see(depth_of(camera(), [], noise=0.003), camera(), WORKSPACE)


def test_lost_pixels_change_little() -> None:
    depth = depth_of(camera(), [CUBE])
    depth[np.random.default_rng(0).random(depth.shape) < 0.3] = np.nan
    seen = see(depth, camera(), WORKSPACE)
    assert seen.centre == pytest.approx((CUBE.x, CUBE.y), abs=0.003)
    assert np.count_nonzero(seen.heights > 0.06) >= 0.9 * np.count_nonzero(
        see(depth_of(camera(), [CUBE]), camera(), WORKSPACE).heights > 0.06
    )


def test_the_same_image_gives_the_same_bits() -> None:
    depth = depth_of(camera(), [CUBE], noise=0.002)
    one, two = (see(depth.copy(), camera(), WORKSPACE) for _ in range(2))
    assert one.heights.tobytes() == two.heights.tobytes()
    assert one.centre.tobytes() == two.centre.tobytes()


def test_an_image_is_not_changed_by_being_looked_at() -> None:
    depth = depth_of(camera(), [CUBE])
    kept = depth.copy()
    see(depth, camera(), WORKSPACE)
    assert np.array_equal(depth, kept)


def elsewhere(transform: Array) -> CameraModel:
    return camera().moved(transform)


def raised(height: float) -> Array:
    transform = np.eye(4)
    transform[2, 3] = height
    return transform


def upside_down() -> Array:
    transform = np.diag([1.0, -1.0, -1.0, 1.0])
    transform[2, 3] = 1.6
    return transform


@pytest.mark.parametrize(
    ("depth", "model", "reason", "words"),
    [
        (depth_of(camera(), []), camera(), "empty_table", "5 mm above the table"),
        (depth_of(camera(), [Box(0.5, 0.0, (0.20, 0.05, 0.05))]), camera(), "too_large", "mm long; at most 160 mm"),
        (depth_of(camera(), [Box(0.5, 0.22, (0.05, 0.10, 0.05))]), camera(), "at_border", "border of the workspace"),
        (np.full((240, 320), np.nan, np.float32), camera(), "no_depth", "0% of the depth image's pixels"),
        (np.zeros((240, 320), np.float32), camera(), "no_depth", "at least 30%"),
        (depth_of(camera(), [CUBE])[:-1], camera(), "size", "320 x 239 pixels"),
        (depth_of(camera(), [CUBE]), elsewhere(raised(0.1)), "no_table", "check the camera's pose"),
        (depth_of(camera(), [CUBE]), elsewhere(raised(-0.03)), "no_table", "-30 mm too high"),
        (depth_of(camera(), [CUBE]), elsewhere(upside_down()), "out_of_view", "does not see the workspace"),
        (depth_of(camera(), [CUBE])[:, :180], camera().cropped(0, 0, 180, 240), "at_border", "border of the image"),
    ],
    ids=[
        "empty table", "long object", "object at the border", "NaN depth", "zero depth", "other size", "high camera",
        "low camera", "camera that looks away", "object cut by the image",
    ],
)  # fmt: skip
def test_what_cannot_be_seen_is_one_sentence(depth: Depth, model: CameraModel, reason: str, words: str) -> None:
    with pytest.raises(PerceptionError, match=words) as caught:
        see(depth, model, WORKSPACE)
    assert caught.value.reason == reason
    assert reason in REASONS
    assert "\n" not in str(caught.value) and ". " not in str(caught.value)


def test_points_of_a_segment_lie_on_the_object() -> None:
    found = segment(depth_of(camera(), [CUBE]), camera(), WORKSPACE, SIDE)
    half = np.array(CUBE.size) / 2
    assert (np.abs(found.points - [CUBE.x, CUBE.y, half[2]]) < half + 0.002).all()
    assert found.centre == pytest.approx((CUBE.x, CUBE.y), abs=0.002)


def test_the_workspace_has_its_middle() -> None:
    assert Workspace(np.array([0.2, -0.1]), np.array([0.6, 0.3])).middle == pytest.approx([0.4, 0.1])


def test_a_cell_holds_the_highest_of_its_points() -> None:
    points = np.array([[0.501, 0.001, 0.02], [0.502, 0.002, 0.05], [0.503, 0.001, 0.03], [0.9, 0.0, 0.2]])
    heights = heights_of(points, np.array([0.5, 0.0]))
    assert heights[CELLS // 2, CELLS // 2] == np.float32(0.05)
    assert np.count_nonzero(heights) == 1


def test_holes_of_one_cell_are_filled_and_larger_ones_stay() -> None:
    x, y = (values.ravel() for values in np.meshgrid(MIDDLES[8:24], MIDDLES[8:24], indexing="ij"))
    hole = (np.abs(x - MIDDLES[12]) < 1e-6) & (np.abs(y - MIDDLES[12]) < 1e-6)
    gap = (np.abs(x - MIDDLES[18] - CELL / 2) < CELL) & (np.abs(y - MIDDLES[18] - CELL / 2) < CELL)
    points = np.column_stack([x, y, np.full(len(x), 0.04)])[~hole & ~gap]
    heights = heights_of(points, np.zeros(2))
    assert heights[12, 12] == np.float32(0.04)
    assert (heights[18:20, 18:20] == 0).all()


def test_sampling_gives_cells_at_their_middles_and_the_mean_between() -> None:
    heights = np.random.default_rng(0).random((CELLS, CELLS), dtype=np.float32)
    assert np.allclose(sample(heights, MIDDLES[:, None], MIDDLES[None]), heights, atol=1e-5)
    between = sample(heights, MIDDLES[:-1, None] + CELL / 2, MIDDLES[None])
    assert np.allclose(between, (heights[:-1] + heights[1:]) / 2, atol=1e-5)
    assert not sample(heights, np.array([-0.09, 0.0, 0.3, 9.0]), np.array([0.0, 0.086, 0.0, -9.0])).any()


@settings(max_examples=40, deadline=None)
@given(
    angle=st.floats(-np.pi, np.pi), across=st.floats(-0.01, 0.01), along=st.floats(-0.01, 0.01), first=st.floats(-3, 3)
)
def test_registration_finds_the_turn_and_the_shift(angle: float, across: float, along: float, first: float) -> None:
    shift = np.array([across, along])
    found = register(l_shape(first, np.zeros(2)), l_shape(first + angle, shift))
    wrong = (found.angle - angle + np.pi) % (2 * np.pi) - np.pi
    assert abs(np.degrees(wrong)) < 4.0
    assert np.linalg.norm(found.shift - shift) < 0.003
    assert found.residual < 0.02  # cells at the edges of the L; the map unturned leaves up to 0.05


def test_registration_of_views_carries_a_place_on_the_object() -> None:
    def view(x: float, y: float, yaw: float) -> tuple[Heights, Array, Array]:
        cosine, sine = np.cos(yaw), np.sin(yaw)
        foot = Box(x, y, (0.10, 0.04, 0.05), yaw)
        knob = Box(x + 0.035 * cosine, y + 0.035 * sine, (0.03, 0.03, 0.04), yaw, base=0.05)
        seen = see(depth_of(camera(), [foot, knob], noise=0.0015), camera(), WORKSPACE)
        return seen.heights, seen.centre, np.array([knob.x, knob.y])

    old, old_centre, old_knob = view(0.52, 0.04, 0.3)
    new, new_centre, new_knob = view(0.47, -0.06, 2.1)
    moved = register(old, new).move(old_knob - old_centre) + new_centre
    assert np.linalg.norm(moved - new_knob) < 0.004


def test_registration_of_a_map_on_itself_moves_nothing() -> None:
    found = register(l_shape(0.4, np.zeros(2)), l_shape(0.4, np.zeros(2)))
    assert (found.angle, found.residual) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert found.move(np.array([[0.01, 0.02]])) == pytest.approx(np.array([[0.01, 0.02]]), abs=1e-6)


def test_registration_of_empty_maps_is_finite() -> None:
    empty = np.zeros((CELLS, CELLS), np.float32)
    found = register(empty, empty)
    assert np.isfinite([found.angle, found.residual, *found.shift]).all()
