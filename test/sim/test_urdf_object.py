from pathlib import Path

import numpy as np
import pytest
from helpers.sim import grasp

from mql_ros.core.errors import UserError
from mql_ros.core.resources import share_path
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import HELD_OUT_NAMED, TRAINING_NAMED, find_object
from mql_sim.objects.urdf import UNCRUSHABLE, read_object

CYLINDER = '<cylinder radius="0.03" length="0.12"/>'
INERTIAL = '<inertial><mass value="0.3"/></inertial>'
BLOCK = '<box size="0.1 0.1 0.1"/>'


def collision(geometry: str, xyz: str = "0 0 0", rpy: str = "0 0 0") -> str:
    return f'<collision><origin xyz="{xyz}" rpy="{rpy}"/><geometry>{geometry}</geometry></collision>'


def robot(inside: str = "", *, link: str = INERTIAL + collision(CYLINDER)) -> str:
    return f'<robot name="thing"><link name="base">{link}</link>{inside}</robot>'


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "thing.urdf"
        path.write_text(text)
        return path

    return write


def test_a_urdf_of_one_link_becomes_an_object(written) -> None:
    spec = read_object(written(robot()))
    assert (spec.name, spec.category, spec.mass) == ("thing", "narrow", 0.3)
    assert (spec.friction, spec.crush_force) == (0.6, UNCRUSHABLE)
    assert spec.shapes[0].position == pytest.approx((0, 0, 0.06)), "it was moved up onto the table"
    assert spec.center_of_mass == pytest.approx((0, 0, 0.06))
    assert spec.grasp_x == 0.0 and 0.05 < spec.grasp_z < 0.11


def test_a_urdf_object_takes_friction_and_forces_from_its_mql_ros_element(written) -> None:
    hidden = '<mql_ros crush_force="20" friction="0.5" grasp_x="0.01" grasp_z="0.07" grasp_force="9"/>'
    spec = read_object(written(robot(hidden)))
    assert (spec.crush_force, spec.friction) == (20.0, 0.5)
    assert (spec.grasp_x, spec.grasp_z, spec.grasp_force) == (0.01, 0.07, 9.0)


def test_urdf_links_at_fixed_joints_make_one_object(written) -> None:
    upper = f'<link name="top">{INERTIAL}{collision(CYLINDER)}</link>'
    ends = '<parent link="base"/><child link="top"/><origin xyz="0 0 0.1" rpy="0 0 1"/>'
    joint = f'<joint name="j" type="fixed">{ends}</joint>'
    spec = read_object(written(robot(upper + joint, link=INERTIAL + collision(BLOCK))))
    assert spec.mass == pytest.approx(0.6)
    assert spec.center_of_mass == pytest.approx((0, 0, 0.1))
    assert spec.shapes[1].position == pytest.approx((0, 0, 0.15))
    assert spec.category == "top"


def test_the_frame_of_a_urdf_object_is_the_middle_of_its_base(written) -> None:
    link = INERTIAL + collision(BLOCK, "1 2 3") + collision('<box size="0.02 0.02 0.1"/>', "1.02 2 3.1")
    spec = read_object(written(robot(link=link)))
    assert [shape.position for shape in spec.shapes] == [pytest.approx((0, 0, 0.05)), pytest.approx((0.02, 0, 0.15))]
    assert spec.grasp_x == pytest.approx(0.02)


def test_turned_shapes_of_a_urdf_object_keep_their_rotation(written) -> None:
    link = INERTIAL + collision('<cylinder radius="0.02" length="0.1"/>', rpy="0 1.5707963 0")
    spec = read_object(written(robot(link=link)))
    assert spec.shapes[0].rpy == pytest.approx((0, np.pi / 2, 0), abs=1e-6)
    assert spec.shapes[0].half_extents() == pytest.approx((0.05, 0.02, 0.02), abs=1e-6)


@pytest.mark.parametrize("name", [*TRAINING_NAMED, *HELD_OUT_NAMED, "procedural-0000", "procedural-0002"])
def test_catalogue_objects_survive_urdf(written, name: str) -> None:
    original = find_object(name)
    again = read_object(written(original.urdf()))
    assert (again.name, again.category, again.mass) == (original.name, original.category, original.mass)
    assert again.center_of_mass == pytest.approx(original.center_of_mass)
    for one, other in zip(again.shapes, original.shapes, strict=True):
        assert (one.kind, one.size, one.color, one.rpy) == (other.kind, other.size, other.color, other.rpy)
        assert one.position == pytest.approx(other.position)
    assert again.grasp_x == pytest.approx(original.grasp_x)
    assert again.grasp_z == pytest.approx(original.grasp_z, abs=0.02)


def test_the_example_urdf_object_can_be_grasped(task: GraspTask) -> None:
    spec = find_object(str(share_path("config", "objects", "example_vase.urdf")))
    assert spec.category == "top" and spec.crush_force == 16.0
    task.set_object(spec, 1)
    assert grasp(task, spec)[1]


def test_a_urdf_object_with_a_lying_cylinder_can_be_simulated(task: GraspTask, written) -> None:
    link = INERTIAL + collision('<cylinder radius="0.02" length="0.14"/>', rpy="0 1.5707963267948966 0")
    spec = read_object(written(robot(link=link)))
    task.set_object(spec, 1)
    assert grasp(task, spec)[1]


MOVING = '<link name="lid"/><joint name="hinge" type="revolute"><parent link="base"/><child link="lid"/></joint>'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not XML"),
        ("hello", "is not XML"),
        ("<robot", "is not XML"),
        ("<sdf/>", "outermost element is <sdf>; expected <robot>"),
        ('<robot name="x"/>', "has no <link>"),
        (robot(link=collision(CYLINDER)), "has no mass"),
        (robot(link='<inertial><mass value="0"/></inertial>' + collision(CYLINDER)), "has no mass"),
        (robot(link="<inertial/>" + collision(CYLINDER)), "mass of link 'base' has no 'value'"),
        (
            robot(link='<inertial><mass value="9"/></inertial>' + collision(CYLINDER)),
            "mass is 9 kg; expected 0.02 to 1.5",
        ),
        (robot(link='<inertial><mass value="-1"/></inertial>' + collision(CYLINDER)), "mass is -1 kg"),
        (robot(link='<inertial><mass value="nan"/></inertial>' + collision(CYLINDER)), "expected a finite number"),
        (robot(link=INERTIAL), "has no <collision>"),
        (robot(link=INERTIAL + collision('<mesh filename="a.obj"/>')), "made of mesh.*meshes are not supported"),
        (robot(link=INERTIAL + "<collision/>"), "made of nothing"),
        (robot(link=INERTIAL + collision(BLOCK)), r"along y its narrowest part needs 0.100 m .* takes 0.075 m"),
        (robot(link=INERTIAL + collision('<cylinder radius="0.03" length="0.4"/>')), "0.400 m tall; at most 0.32 m"),
        (robot(link=INERTIAL + collision('<box size="0.1 0.03 0"/>')), "size of 0 m; expected more than 0"),
        (robot(link=INERTIAL + collision('<box size="${a} 1 1"/>')), "expected 3 finite numbers; run .* xacro first"),
        (robot(link=INERTIAL + collision('<box size="1 1"/>')), "'size' of a box of link 'base' is '1 1'"),
        (
            robot(link=INERTIAL + collision(BLOCK) + collision('<box size=".02 .02 .02"/>', "0.2 0 0.06")),
            "out of reach",
        ),
        (robot(MOVING), "joint 'hinge' is revolute; only rigid"),
        (robot('<link name="other"/>'), "2 of its links hang on no other"),
        (robot('<mql_ros crush="3"/>'), "unknown attribute 'crush'; did you mean 'crush_force'"),
        (robot('<mql_ros friction="0"/>'), "friction in <mql_ros> is 0; expected more than 0"),
        (robot('<mql_ros friction="0.01"/>'), "takes a finger force of .* more than the gripper has"),
        (robot('<mql_ros crush_force="1"/>'), "more than crush_force"),
    ],
)
def test_an_unusable_urdf_object_is_refused_in_one_sentence(written, text: str, reason: str) -> None:
    path = written(text)
    with pytest.raises(UserError, match=reason) as error:
        read_object(path)
    assert str(error.value).startswith(f"object {path}: ") and "\n" not in str(error.value)


def test_a_missing_urdf_object_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_object(tmp_path / "nothing.urdf")
    with pytest.raises(UserError, match="cannot be read"):
        read_object(tmp_path)
