"""Small mesh files for tests, written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mql_sim.objects.solid import Solid

# The outline of an L, and the triangles that fill it, both counter-clockwise.
_OUTLINE = np.array([[0, 0], [3, 0], [3, 1], [1, 1], [1, 3], [0, 3]], dtype=float)
_FILLING = [(0, 1, 2), (0, 2, 3), (0, 3, 4), (0, 4, 5)]


def angle_bracket(unit: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a closed L of 3 x 3 x 1 units, m: not convex, 5 cubic units."""
    count = len(_OUTLINE)
    vertices = np.concatenate([np.column_stack([_OUTLINE, np.full(count, z)]) for z in (0.0, 1.0)])
    faces = [(c, b, a) for a, b, c in _FILLING] + [(a + count, b + count, c + count) for a, b, c in _FILLING]
    for a in range(count):
        b = (a + 1) % count
        faces += [(a, b, b + count), (a, b + count, a + count)]
    return vertices * unit, np.array(faces)


def obj_text(*meshes: tuple[np.ndarray, np.ndarray] | Solid) -> str:
    """An OBJ file with one object for each mesh."""
    lines, first = [], 1
    for number, mesh in enumerate(meshes):
        vertices, faces = (mesh.vertices, mesh.faces) if isinstance(mesh, Solid) else mesh
        lines.append(f"o object{number}")
        lines += [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices]
        lines += [f"f {a + first} {b + first} {c + first}" for a, b, c in faces]
        first += len(vertices)
    return "\n".join(lines) + "\n"


def stl_text(mesh: Solid) -> str:
    """An ASCII STL file."""
    lines = ["solid made"]
    for face in mesh.faces:
        corners = "".join("vertex {:.9g} {:.9g} {:.9g}\n".format(*mesh.vertices[k]) for k in face)
        lines.append(f"facet normal 0 0 0\nouter loop\n{corners}endloop\nendfacet")
    return "\n".join([*lines, "endsolid made"]) + "\n"


def dae_text(mesh: Solid, meter: float = 1.0) -> str:
    """A COLLADA file in units of so many metres."""
    points = " ".join(f"{value / meter:.9g}" for value in mesh.vertices.ravel())
    indices = " ".join(str(k) for k in mesh.faces.ravel())
    return f"""<?xml version="1.0"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><created>2020-01-01T00:00:00</created><modified>2020-01-01T00:00:00</modified><unit meter="{meter}" name="u"/>
</asset><library_geometries><geometry id="g"><mesh><source id="p"><float_array id="a" count="{mesh.vertices.size}">
{points}</float_array><technique_common><accessor source="#a" count="{len(mesh.vertices)}" stride="3">
<param name="X" type="float"/><param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common>
</source><vertices id="v"><input semantic="POSITION" source="#p"/></vertices><triangles count="{len(mesh.faces)}">
<input semantic="VERTEX" source="#v" offset="0"/><p>{indices}</p></triangles></mesh></geometry></library_geometries>
<library_visual_scenes><visual_scene id="s"><node><instance_geometry url="#g"/></node></visual_scene>
</library_visual_scenes><scene><instance_visual_scene url="#s"/></scene></COLLADA>
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
