"""Solids and mesh files: moments of known shapes, convex parts that cover the mesh, the cache, what is refused."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers.meshes import angle_bracket, dae_text, obj_text, stl_text, write
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from transforms3d.euler import euler2mat

from mql_ros.core.errors import UserError
from mql_sim.objects import mesh_files
from mql_sim.objects.load import RANDOM_DAMAGED, make_thing, random_urdf
from mql_sim.objects.mesh_files import CACHE_VARIABLE, read_mesh
from mql_sim.objects.solid import Solid, box, capsule, combined, cylinder, frustum, sphere, wall
from mql_sim.objects.thing import DEFAULT_DENSITY, thing_from_solid


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "meshes"


def outside(solid: Solid, points: np.ndarray) -> np.ndarray:
    """Distance [n] of points from the nearest convex part, m; negative inside one."""
    hulls = [ConvexHull(part).equations for part in solid.parts]
    return np.min([(hull[:, :3] @ points.T + hull[:, 3:]).max(axis=0) for hull in hulls], axis=0)


@pytest.mark.parametrize(
    ("solid", "volume", "diagonal"),
    [
        (box([0.1, 0.2, 0.3]), 0.006, (0.13 / 12, 0.10 / 12, 0.05 / 12)),
        (cylinder(0.03, 0.1), np.pi * 9e-5, (0.01 / 12 + 0.000225, 0.01 / 12 + 0.000225, 0.00045)),
        (sphere(0.05), 4 / 3 * np.pi * 1.25e-4, (0.001, 0.001, 0.001)),
        (capsule(0.03, 0.08), np.pi * 9e-4 * (0.08 + 0.04), None),
        (frustum([(0.0, 0.02), (0.06, 0.01)]), np.pi * 0.02 * 7e-4, None),
        (wall([(0.0, 0.04), (0.1, 0.04)], 0.004, pieces=64), np.pi * 0.1 * (0.04**2 - 0.036**2), None),
    ],
    ids=["box", "cylinder", "sphere", "capsule", "frustum", "wall"],
)
def test_moments_of_known_shapes(solid: Solid, volume: float, diagonal: tuple[float, ...] | None) -> None:
    assert solid.moments.volume == pytest.approx(volume, rel=0.02)
    np.testing.assert_allclose(solid.moments.center[:2], 0.0, atol=1e-9)
    if diagonal is not None:
        np.testing.assert_allclose(solid.moments.inertia(1.0), np.diag(diagonal), rtol=0.02, atol=1e-12)


@given(
    rpy=st.tuples(*[st.floats(-3, 3)] * 3),
    shift=st.tuples(*[st.floats(-1, 1)] * 3),
    scale=st.tuples(*[st.floats(0.5, 2) | st.floats(-2, -0.5)] * 3),
)
@settings(max_examples=25, deadline=None)
def test_moments_follow_an_affine_map(
    rpy: tuple[float, float, float], shift: tuple[float, float, float], scale: tuple[float, float, float]
) -> None:
    pose = np.eye(4)
    pose[:3, :3] = euler2mat(*rpy) @ np.diag(scale)
    pose[:3, 3] = shift
    moved = combined([box([0.1, 0.2, 0.3]), cylinder(0.05, 0.4)]).transformed(pose)
    parts = [mesh_files.convex(part) for part in moved.parts]
    again = combined(parts).moments
    assert moved.moments.volume == pytest.approx(again.volume)
    np.testing.assert_allclose(moved.moments.center, again.center, atol=1e-9)
    np.testing.assert_allclose(moved.moments.inertia(1.0), again.inertia(1.0), atol=1e-9)
    surface = mesh_files.moments(moved.vertices, moved.faces)
    assert surface.volume == pytest.approx(again.volume), "the faces of a mirrored surface point inward"


def test_inertia_of_two_parts_obeys_the_parallel_axis_theorem() -> None:
    pair = combined([box([0.02] * 3).moved([-0.05, 0, 0]), box([0.02] * 3).moved([0.05, 0, 0])])
    own = 2 * 0.02**2 / 12
    np.testing.assert_allclose(pair.moments.inertia(1.0), np.diag([own, own + 0.0025, own + 0.0025]), atol=1e-12)


@pytest.mark.parametrize("kind", ["obj", "stl", "dae"])
def test_a_convex_mesh_stays_one_part(kind: str, tmp_path: Path) -> None:
    text = {"obj": obj_text, "stl": stl_text, "dae": dae_text}[kind](box([0.08, 0.03, 0.05]))
    thing = make_thing(write(tmp_path / f"block.{kind}", text))
    assert len(thing.solid.parts) == 1
    np.testing.assert_allclose(thing.size, [0.08, 0.03, 0.05], atol=1e-6)
    np.testing.assert_allclose(thing.center_of_mass, [0, 0, 0.025], atol=1e-6)
    assert thing.mass == pytest.approx(DEFAULT_DENSITY * 0.08 * 0.03 * 0.05, rel=1e-5)
    assert thing.name == "block"


def test_the_unit_of_a_dae_file_counts(tmp_path: Path) -> None:
    file = write(tmp_path / "block.dae", dae_text(box([0.08, 0.03, 0.05]), meter=0.001))
    np.testing.assert_allclose(read_mesh(file).bounds()[1], [0.04, 0.015, 0.025], atol=1e-6)


def test_convex_parts_of_a_file_are_taken_as_they_are(tmp_path: Path) -> None:
    parts = [
        box([0.08, 0.02, 0.02]),
        cylinder(0.01, 0.06).moved([0.03, 0, 0.04]),
        sphere(0.015).moved([-0.03, 0, 0.02]),
    ]
    solid = read_mesh(write(tmp_path / "parts.obj", obj_text(*parts)))
    assert len(solid.parts) == 3
    assert solid.moments.volume == pytest.approx(sum(part.moments.volume for part in parts), rel=1e-6)


def test_a_decomposition_covers_the_mesh_and_leaves_its_hollow_free(tmp_path: Path) -> None:
    vertices, faces = angle_bracket()
    solid = read_mesh(write(tmp_path / "bracket.obj", obj_text((vertices, faces))))
    assert 2 <= len(solid.parts) <= mesh_files.MOST_HULLS
    assert solid.moments.volume == pytest.approx(5 * 0.02**3), "the volume is that of the closed mesh"
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.ones(3), size=(len(faces), 20))
    surface = np.einsum("fnk,fkd->fnd", weights, vertices[faces]).reshape(-1, 3)
    assert outside(solid, surface).max() < 0.001
    hollow = rng.uniform([0.024, 0.024, 0.002], [0.056, 0.056, 0.018], size=(200, 3))
    assert outside(solid, hollow).min() > 0.0


def test_a_fine_convex_mesh_gets_few_corners(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1500, 3))
    fine = mesh_files.convex(0.04 * points / np.linalg.norm(points, axis=1, keepdims=True))
    solid = read_mesh(write(tmp_path / "fine.obj", obj_text(fine)))
    assert sum(map(len, solid.parts)) <= mesh_files.MOST_CORNERS + 6
    assert solid.moments.volume == pytest.approx(fine.moments.volume, rel=0.04)


def same(one: Solid, other: Solid) -> bool:
    arrays = [[*solid.parts, solid.vertices, solid.faces, solid.moments.second] for solid in (one, other)]
    return len(arrays[0]) == len(arrays[1]) and all(map(np.array_equal, *arrays))


def test_the_cache_is_used_and_survives_a_torn_file(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "bracket.obj", obj_text(angle_bracket()))
    first = read_mesh(file)
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(trimesh, "load_scene", None)  # nothing is parsed again
        assert same(read_mesh(file), first)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for torn in (b"", whole[:100], whole[:-10], bytes(flipped)):
        entry.write_bytes(torn)
        assert same(read_mesh(file), first)
        assert entry.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(write(tmp_path / "file", "")))
    assert len(read_mesh(write(tmp_path / "block.obj", obj_text(box([0.05] * 3)))).parts) == 1


def _read_many(arguments: tuple[str, str]) -> int:
    file, cache = arguments
    os.environ[CACHE_VARIABLE] = cache
    return sum(len(read_mesh(file).parts) for _ in range(5))


def test_several_processes_share_a_cache(tmp_path: Path, cache: Path) -> None:
    file = write(tmp_path / "block.obj", obj_text(box([0.05] * 3)))
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(_read_many, [(str(file), str(cache.parent))] * 6) == [5] * 6
    assert len(list(cache.iterdir())) == 1


def test_contents_not_paths_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = obj_text(box([0.08, 0.03, 0.05]))
    one = make_thing(write(tmp_path / "here" / "a.obj", text), mass=0.2)
    write(tmp_path / "there" / "b.obj", text)
    monkeypatch.chdir(tmp_path / "there")
    assert make_thing("../there/./b.obj", mass=0.2).content_hash == one.content_hash
    assert make_thing("b.obj", mass=0.3).content_hash != one.content_hash
    assert make_thing("b.obj", mass=0.2, friction=0.3).content_hash != one.content_hash


def test_given_properties_replace_assumed_ones(tmp_path: Path) -> None:
    file = write(tmp_path / "block.stl", stl_text(box([1.0, 0.5, 0.25])))
    thing = make_thing(file, mass=0.4, friction=0.8, crush_force=12.0, size=0.1)
    np.testing.assert_allclose(thing.size, [0.1, 0.05, 0.025], atol=1e-6)
    assert (thing.mass, thing.friction, thing.crush_force, thing.notes) == (0.4, 0.8, 12.0, ())
    np.testing.assert_allclose(thing.inertia[0, 0], 0.4 * (0.05**2 + 0.025**2) / 12, rtol=1e-5)


def test_millimetres_are_told_from_the_size(tmp_path: Path) -> None:
    thing = make_thing(write(tmp_path / "block.stl", stl_text(box([80.0, 30.0, 50.0]))))
    np.testing.assert_allclose(thing.size, [0.08, 0.03, 0.05], atol=1e-6)
    assert any("mm" in note for note in thing.notes)


def test_hidden_properties_change_without_the_shape() -> None:
    thing = thing_from_solid("block", box([0.05] * 3), mass=0.2)
    heavy = thing.with_properties(mass=0.6, center_of_mass=np.array([0.01, 0.0, 0.02]))
    np.testing.assert_allclose(heavy.inertia, 3 * thing.inertia)
    assert heavy.solid is thing.solid
    assert heavy.content_hash != thing.content_hash


FLAT = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3\nf 1 3 4\n"
CUBE = obj_text(box([0.05] * 3))


REFUSED = {
    "nan.obj": (CUBE.replace("v 0.025", "v nan", 1), "not finite"),
    "far.obj": (CUBE.replace("v 0.025", "v 1e30", 1), "from its origin"),
    "empty.obj": ("", "empty"),
    "points.obj": ("v 0 0 0\nv 1 0 0\n", "empty"),
    "flat.obj": (FLAT, "no volume"),
    "line.obj": ("v 0 0 0\nv 1 0 0\nf 1 2 2\n", "no volume"),
    "text.stl": ("no mesh at all", "empty"),
    "text.dae": ("no mesh at all", "DAE"),
    "cut.dae": (dae_text(box([0.05] * 3))[:700], "DAE"),
    "block.ply": (CUBE, "OBJ, STL or DAE"),
    "chair.obj": (obj_text(box([0.9, 0.5, 0.5])), "size"),
    "speck.obj": (obj_text(box([0.001] * 3)), "size"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    text, words = REFUSED[name]
    with pytest.raises(UserError, match=words) as refusal:
        make_thing(write(tmp_path / name, text)) if name != "block.ply" else read_mesh(write(tmp_path / name, text))
    assert str(tmp_path / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_mesh_and_a_senseless_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        make_thing(tmp_path / "none.obj")
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="size given"):
            make_thing(write(tmp_path / "block.obj", CUBE), size=value)


def test_random_urdfs_load_as_their_convex_pieces() -> None:
    for number in (0, 42, 950):
        thing = random_urdf(number)
        assert 0.02 < thing.size.max() < 0.2
        assert thing.mass == pytest.approx(0.1)
        np.testing.assert_allclose(thing.inertia, thing.solid.moments.inertia(0.1))
        assert (outside(thing.solid, thing.solid.vertices) < 1e-6).all()
        assert random_urdf(number).content_hash == thing.content_hash
    with pytest.raises(UserError, match="NaN"):
        random_urdf(RANDOM_DAMAGED[0])
    with pytest.raises(UserError, match="no random object 1000"):
        random_urdf(1000)
