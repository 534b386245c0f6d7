"""Objects from URDF files: what is read, what is computed anew and reported, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.meshes import angle_bracket, obj_text, write

from mql_ros.core.errors import UserError
from mql_sim.objects import mesh_files
from mql_sim.objects.load import make_thing
from mql_sim.objects.mesh_files import CACHE_VARIABLE
from mql_sim.objects.solid import box
from mql_sim.objects.thing import DEFAULT_DENSITY, DEFAULT_FRICTION, UNCRUSHABLE

CASES = Path(__file__).parents[1] / "data" / "objects"
BOX = '<geometry><box size="0.05 0.04 0.1"/></geometry>'
MASS = '<inertial><mass value="0.2"/></inertial>'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def urdf(path: Path, body: str, links: str = "", head: str = "", robot: str = "") -> Path:
    return write(
        path / "object.urdf", f'{head}<robot name="thing" {robot}><link name="base">{body}</link>{links}</robot>'
    )


def collision(geometry: str, origin: str = "") -> str:
    return f"<collision>{origin}<geometry>{geometry}</geometry></collision>"


@pytest.mark.parametrize("file", sorted(CASES.rglob("*.urdf")), ids=lambda file: str(file.relative_to(CASES)))
def test_objects_that_others_made_load(file: Path) -> None:
    thing = make_thing(file)
    low, high = thing.solid.bounds()
    assert low[2] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose((low + high)[:2], 0.0, atol=1e-12)
    assert ((thing.center_of_mass > low) & (thing.center_of_mass < high)).all()
    moments = np.linalg.eigvalsh(thing.inertia)
    assert moments[0] > 0
    assert moments[2] < (moments[0] + moments[1]) * 1.0001


def test_same_bytes_are_the_same_object_and_same_names_are_not() -> None:
    first, second = (make_thing(CASES / "same_bytes" / name) for name in ("a.urdf", "b.urdf"))
    assert first.content_hash == second.content_hash
    first, second = (make_thing(CASES / "same_name" / name) for name in ("box1.urdf", "box2.urdf"))
    assert first.name == second.name
    assert first.content_hash != second.content_hash


def test_friction_of_the_contact_element_counts() -> None:
    assert make_thing(CASES / "contact_friction.urdf").friction == 0.2
    assert make_thing(CASES / "capsule.urdf").friction == DEFAULT_FRICTION


def test_own_settings_count_most(tmp_path: Path) -> None:
    settings = '<mql_ros friction="0.4" crush_force="15"/>'
    body = f'<contact><lateral_friction value="0.9"/></contact>{MASS}<collision>{BOX}</collision>'
    thing = make_thing(urdf(tmp_path, body, settings))
    assert (thing.friction, thing.crush_force) == (0.4, 15.0)
    assert make_thing(urdf(tmp_path, body)).crush_force == UNCRUSHABLE
    assert make_thing(urdf(tmp_path, body, settings), friction=0.7, mass=0.5).friction == 0.7


def inertial(inertia: float, center: str = "0 0 0") -> str:
    moments = " ".join(f'{key}="{inertia}"' for key in ("ixx", "iyy", "izz"))
    return (
        f'<inertial><origin xyz="{center}"/><mass value="0.2"/>'
        f'<inertia {moments} ixy="0" ixz="0" iyz="0"/></inertial><collision>{BOX}</collision>'
    )


def test_a_plausible_inertia_is_kept(tmp_path: Path) -> None:
    thing = make_thing(urdf(tmp_path, inertial(2e-4, "0.01 0 -0.02")))
    np.testing.assert_allclose(thing.inertia, np.eye(3) * 2e-4, atol=1e-12)
    np.testing.assert_allclose(thing.center_of_mass, [0.01, 0.0, 0.03], atol=1e-12)
    assert thing.notes == ()


@pytest.mark.parametrize(
    ("body", "center", "words"),
    [
        (inertial(1.0, "0.01 0 -0.02"), (0.01, 0.0, 0.03), "inertia of the file is implausible"),
        (inertial(1e-9), (0.0, 0.0, 0.05), "inertia of the file is implausible"),
        (inertial(2e-4, "0 0 0.3"), (0.0, 0.0, 0.05), "centre of mass of the file lies outside"),
    ],
    ids=["inertia too large", "inertia too small", "centre outside"],
)
def test_an_implausible_mass_distribution_is_computed_and_told(
    body: str, center: tuple[float, float, float], words: str, tmp_path: Path
) -> None:
    thing = make_thing(urdf(tmp_path, body))
    expected = 0.2 / 12 * np.diag([0.04**2 + 0.1**2, 0.05**2 + 0.1**2, 0.05**2 + 0.04**2])
    np.testing.assert_allclose(thing.inertia, expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(thing.center_of_mass, center, atol=1e-9)
    assert any(words in note for note in thing.notes)


def test_a_missing_mass_is_assumed_and_told(tmp_path: Path) -> None:
    thing = make_thing(urdf(tmp_path, f"<collision>{BOX}</collision>"))
    assert thing.mass == pytest.approx(DEFAULT_DENSITY * 0.05 * 0.04 * 0.1)
    assert any("no mass" in note for note in thing.notes)


def test_links_that_fixed_joints_tie_are_one_body(tmp_path: Path) -> None:
    other = f'<link name="top">{MASS}{collision(box_xml(0.02))}</link>'
    joint = (
        '<joint name="j" type="fixed"><parent link="base"/><child link="top"/>'
        '<origin xyz="0 0 0.06" rpy="0 0 0.785398163"/></joint>'
    )
    body = f'<inertial><mass value="0.4"/></inertial>{collision(box_xml(0.04))}'
    thing = make_thing(urdf(tmp_path, body, other + joint))
    assert len(thing.solid.parts) == 2
    assert thing.mass == pytest.approx(0.6)
    np.testing.assert_allclose(thing.size, [0.04, 0.04, 0.09], atol=1e-9)


def box_xml(edge: float) -> str:
    return f'<box size="{edge} {edge} {edge}"/>'


def test_spheres_cylinders_and_capsules_have_their_size(tmp_path: Path) -> None:
    for geometry, size in (
        ('<sphere radius="0.03"/>', (0.06, 0.06, 0.06)),
        ('<cylinder radius="0.03" length="0.08"/>', (0.06, 0.06, 0.08)),
        ('<capsule radius="0.03" length="0.08"/>', (0.06, 0.06, 0.14)),
    ):
        np.testing.assert_allclose(make_thing(urdf(tmp_path, collision(geometry))).size, size, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["meshes/part.obj", "package://shop/meshes/part.obj", "file://{}/shop/meshes/part.obj"]
)
def test_meshes_are_found_scaled_and_mirrored(name: str, tmp_path: Path) -> None:
    name = name.format(tmp_path)
    write(tmp_path / "shop" / "meshes" / "part.obj", obj_text(box([2.0, 1.0, 0.5]).moved([1.0, 0, 0])))
    folder = tmp_path / "shop" if name.startswith("meshes") else tmp_path / "shop" / "urdf"
    mesh = f'<mesh filename="{name}" scale="-0.03 0.03 0.1"/>'
    thing = make_thing(urdf(folder, MASS + collision(mesh)))
    np.testing.assert_allclose(thing.size, [0.06, 0.03, 0.05], atol=1e-9)
    assert mesh_files.moments(thing.solid.vertices, thing.solid.faces).volume == pytest.approx(0.06 * 0.03 * 0.05)


def test_a_package_is_found_where_ros_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "install"))
    write(tmp_path / "install" / "share" / "shop" / "meshes" / "part.obj", obj_text(box([0.05] * 3)))
    mesh = collision('<mesh filename="package://shop/meshes/part.obj"/>')
    assert make_thing(urdf(tmp_path / "elsewhere", mesh)).size[0] == pytest.approx(0.05)


def test_meshes_in_millimetres_are_told(tmp_path: Path) -> None:
    write(tmp_path / "part.obj", obj_text(box([80.0, 30.0, 50.0])))
    write(tmp_path / "knob.obj", obj_text(box([8.0, 8.0, 8.0])))
    origin = '<origin xyz="0 0 0.029"/>'
    body = collision('<mesh filename="part.obj"/>') + collision('<mesh filename="knob.obj"/>', origin)
    thing = make_thing(urdf(tmp_path, MASS + body))
    np.testing.assert_allclose(thing.size, [0.08, 0.03, 0.058], atol=1e-9)
    assert any("mm" in note for note in thing.notes)


def test_what_is_seen_may_differ_from_what_is_touched(tmp_path: Path) -> None:
    write(tmp_path / "look.obj", obj_text(angle_bracket()))
    visual = (
        '<visual><geometry><mesh filename="look.obj"/></geometry>'
        '<material name="red"><color rgba="1 0 0 1"/></material></visual>'
    )
    thing = make_thing(urdf(tmp_path, f"{MASS}{visual}<collision>{BOX}</collision>"))
    assert len(thing.solid.parts) == 1
    assert len(thing.solid.faces) == len(angle_bracket()[1])
    assert thing.color == (1.0, 0.0, 0.0, 1.0)
    thing = make_thing(urdf(tmp_path, f"{MASS}{visual.replace('look', 'lost')}<collision>{BOX}</collision>"))
    assert len(thing.solid.faces) == 12
    assert any("lost.obj" in note for note in thing.notes)
    thing = make_thing(urdf(tmp_path, f"{MASS}<visual>{BOX}</visual>"))
    assert any("no <collision>" in note for note in thing.notes)


def test_odd_but_common_xml_is_read(tmp_path: Path) -> None:
    body = f"{MASS}<collision>{BOX}<drake:proximity/></collision>"
    head = "<!-- made by hand -->\n<!-- twice -->\n<?xml version='1.0'?>"
    assert make_thing(urdf(tmp_path, body, head=head)).mass == 0.2
    assert make_thing(urdf(tmp_path, body, head="\ufeff<?xml version='1.0' encoding='utf-8'?>")).mass == 0.2


JOINT = '<link name="lid"/><joint name="hinge" type="{}"><parent link="{}"/><child link="lid"/></joint>'
SOLID = MASS + f"<collision>{BOX}</collision>"


@pytest.mark.parametrize(
    ("body", "links", "words"),
    [
        (SOLID, JOINT.format("revolute", "base"), "joint 'hinge' is revolute; only rigid objects"),
        (SOLID, JOINT.format("fixed", "none"), "names the link 'none'"),
        (SOLID, '<link name="loose"/>', "2 of its links hang on no other"),
        (MASS, "", "no <collision>"),
        (MASS + collision('<mesh filename="lost.stl"/>'), "", "'lost.stl' was not found"),
        (MASS + collision('<mesh filename="package://shop/a.dae"/>'), "", "package://shop/a.dae' was not found"),
        (MASS + collision('<mesh filename="https://shop/a.dae"/>'), "", "cannot be fetched"),
        (MASS + collision("<torus/>"), "", "is made of torus"),
        (MASS + collision('<box size="1 2"/>'), "", "expected 3 finite numbers"),
        (MASS + collision('<box size="${a} 1 1"/>'), "", "xacro"),
        (MASS + collision('<sphere radius="-0.1"/>'), "", "expected more than 0"),
        (SOLID.replace("0.2", "-0.2"), "", "mass of link 'base'"),
        (SOLID, '<mql_ros crush_forse="3"/>', "did you mean 'crush_force'"),
        (SOLID, '<mql_ros friction="0"/>', "friction is 0"),
        (SOLID, '<xacro:include filename="a"/>', "through xacro"),
        (SOLID.replace("0.05 0.04 0.1", "1.5 0.4 1"), "", "measures 1.5 m"),
    ],
)
def test_what_is_no_rigid_object_is_refused_in_one_sentence(body: str, links: str, words: str, tmp_path: Path) -> None:
    file = urdf(tmp_path, body, links)
    with pytest.raises(UserError, match=r".") as refusal:
        make_thing(file)
    assert words in str(refusal.value)
    assert str(file) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no XML",
        "<robot",
        "<sdf/>",
        '<?xml version="1.0" encoding="klingon"?><robot/>',
        '<!DOCTYPE a [<!ENTITY b "c">]><robot name="&b;"/>',
    ],
)
def test_what_is_no_urdf_is_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        make_thing(write(tmp_path / "object.urdf", text))
    assert str(refusal.value).count("\n") == 0
