"""Mesh files (OBJ, STL, DAE) as solids with convex parts, kept in a cache by their content.

The cache lies in $MQL_ROS_CACHE, else in $XDG_CACHE_HOME/mql_ros, else in ~/.cache/mql_ros. It may be deleted at any
time, and several processes may use it at once.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from mql_ros.core.errors import UserError
from mql_ros.core.files import write_bytes
from mql_ros.grasping.types import Array
from mql_sim.objects.solid import Moments, Solid, combined, convex, moments

if TYPE_CHECKING:
    from trimesh import Trimesh

logging.getLogger("trimesh").addHandler(logging.NullHandler())  # its tracebacks become one sentence here

KINDS = (".obj", ".stl", ".dae")
VERSION = b"mesh parts 1"
"""Part of the cache key: change it together with the way in which parts are made."""
CACHE_VARIABLE = "MQL_ROS_CACHE"
MOST_BYTES = 50_000_000
"""Largest mesh file that is read."""
MOST_HULLS = 32
"""Convex parts of a decomposition; a file that is made of convex parts may have MOST_PIECES."""
MOST_PIECES = 128
MOST_CORNERS = 256
"""Vertices of a convex part; a finer one is sampled in as many directions."""
CONVEX = 0.98
"""Share of its hull's volume from which a closed piece counts as convex."""
FLAT = 1e-4
"""Thickness of a mesh without volume, relative to its size."""
FARTHEST = 1e6
"""Largest coordinate of a mesh in its own units."""
MANY_FACES = 20_000
"""Triangles from which a mesh is remeshed before the decomposition."""
MILLIMETRES_FROM = 10.0
"""Largest extent from which a mesh is taken to be in mm: nobody grasps a thing of 10 m."""


def in_millimetres(extent: float) -> str:
    """The sentence for the user about a mesh that was scaled by 0.001."""
    return f"the mesh measures {extent:.3g} in its own units; they were taken for mm"


def read_mesh(path: str | Path) -> Solid:
    """Read a mesh file in the units of the file (DAE: metres), its convex parts from the cache if it is known.

    Raises:
        UserError: the file cannot be read, or nothing that can be touched is in it.
    """
    file = Path(path)
    data, kind, key = _content(file)
    solid = _recall(key)
    if solid is None:
        try:
            solid = _solid(_load(data, kind))
        except _UnusableMeshError as error:
            raise UserError(f"mesh {file}: {error}") from error
        _remember(key, solid)
    return solid


def read_surface(path: str | Path) -> Solid:
    """Read a mesh file that is only seen: a solid without parts and without volume.

    Raises:
        UserError: the file cannot be read, or there is nothing to see in it.
    """
    file = Path(path)
    data, kind, key = _content(file)
    known = _recall(key)
    try:
        vertices, faces = _joined(_load(data, kind)) if known is None else (known.vertices, known.faces)
    except _UnusableMeshError as error:
        raise UserError(f"mesh {file}: {error}") from error
    return Solid((), vertices, faces, Moments(0.0, np.zeros(3), np.zeros((3, 3))))


def _content(file: Path) -> tuple[bytes, str, str]:
    """Bytes of a file, its kind as one of KINDS, and its name in the cache."""
    kind = file.suffix.lower()
    if kind not in KINDS:
        raise UserError(f"mesh {file}: its kind '{file.suffix}' is not supported; expected OBJ, STL or DAE")
    try:
        if file.stat().st_size > MOST_BYTES:
            raise UserError(f"mesh {file}: it is larger than {MOST_BYTES // 1_000_000} MB; simplify it first")
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"mesh {file}: the file cannot be read ({error.strerror}); check the path") from error
    return data, kind, hashlib.sha256(VERSION + kind.encode() + data).hexdigest()


class _UnusableMeshError(ValueError):
    """The part of the sentence after the file's name."""


def _load(data: bytes, kind: str) -> list[Trimesh]:
    """The geometries of a file, each with its vertices merged."""
    import trimesh

    try:
        scene = trimesh.load_scene(
            io.BytesIO(data), file_type=kind[1:], process=False, split_objects=True, split_groups=True,
            skip_materials=True,
        )  # fmt: skip
        found = [mesh for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)]
        if kind == ".dae":
            for mesh in found:
                mesh.apply_scale(trimesh.units.unit_conversion(mesh.metadata.get("units", "meters"), "meters"))
        corners = [np.asarray(mesh.vertices, np.float64)[mesh.faces].reshape(-1, 3, 3) for mesh in found]
    except Exception as error:  # the parsers of three formats raise whatever their libraries do
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise _UnusableMeshError(f"it is damaged or no {kind[1:].upper()} file ({reason}); export it again") from error
    if not corners:
        raise _UnusableMeshError("it is empty; expected triangles")
    for triangles in corners:
        if not np.isfinite(triangles).all():
            raise _UnusableMeshError("it has vertices that are not finite numbers (NaN); export it again")
        if np.abs(triangles).max() > FARTHEST:
            raise _UnusableMeshError(f"it has vertices more than {FARTHEST:g} from its origin; export it again")
    merged = [_merged(triangles) for triangles in corners]
    meshes = [trimesh.Trimesh(vertices, faces, process=False) for vertices, faces in merged if len(faces)]
    if not meshes:
        raise _UnusableMeshError("it has no volume, all of its triangles are lines; export it again")
    return meshes


def _merged(corners: Array) -> tuple[Array, NDArray[np.int64]]:
    """Vertices [v, 3] and faces [f, 3] of triangles [n, 3, 3]; those without an area are left out."""
    points = corners.reshape(-1, 3)
    grid = max(float(np.ptp(points, axis=0).max()), 1e-12) * 1e-8
    _, first, number = np.unique(np.round(points / grid), axis=0, return_index=True, return_inverse=True)
    faces = number.reshape(-1, 3)
    distinct = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return points[first], np.asarray(faces[distinct], np.int64)


def _joined(meshes: list[Trimesh]) -> tuple[Array, NDArray[np.int64]]:
    """Vertices [v, 3] and triangles [f, 3] of all geometries together."""
    return _merged(np.concatenate([np.asarray(mesh.vertices)[mesh.faces] for mesh in meshes]))


def _solid(meshes: list[Trimesh]) -> Solid:
    import trimesh

    vertices, faces = _joined(meshes)
    spread = np.linalg.svd(vertices - vertices.mean(axis=0), full_matrices=False, compute_uv=False)
    if spread[-1] <= FLAT * spread[0]:
        raise _UnusableMeshError("it has no volume, all of its points lie in a plane; give it a thickness")
    pieces = [piece for mesh in meshes for piece in mesh.split(only_watertight=False)]
    if len(pieces) <= MOST_PIECES and all(_is_convex(piece) for piece in pieces):
        solid = combined([convex(_fewer(np.asarray(piece.vertices, np.float64))) for piece in pieces])
        return Solid(solid.parts, vertices, faces, solid.moments)
    solid = combined(_decomposed(vertices, faces))
    volume = moments(vertices, faces) if trimesh.Trimesh(vertices, faces, process=False).is_volume else solid.moments
    return Solid(solid.parts, vertices, faces, volume)


def _is_convex(piece: Trimesh) -> bool:
    try:
        hull = ConvexHull(piece.vertices)
    except (QhullError, ValueError):
        return False
    return bool(piece.is_watertight and abs(piece.volume) >= CONVEX * hull.volume)


def _decomposed(vertices: Array, faces: NDArray[np.int64]) -> list[Solid]:
    """Approximate convex decomposition by CoACD, with few samples: a few seconds of one core, not minutes."""
    import coacd

    coacd.set_log_level("error")
    found = coacd.run_coacd(
        coacd.Mesh(vertices, faces), threshold=0.05, max_convex_hull=MOST_HULLS, resolution=500,
        preprocess_mode="on" if len(faces) > MANY_FACES else "auto", preprocess_resolution=30,
        mcts_nodes=10, mcts_iterations=10, mcts_max_depth=1, decimate=True, max_ch_vertex=64, seed=0,
    )  # fmt: skip
    hulls = []
    for corners, _ in found:
        try:
            hulls.append(convex(corners))
        except (QhullError, ValueError):  # a sliver
            continue
    if not hulls:
        raise _UnusableMeshError("it has no volume; expected a closed surface")
    return hulls


def _fewer(vertices: Array) -> Array:
    """The outermost points [n, 3] in MOST_CORNERS directions, if there are more points than that on the hull."""
    corners = vertices[ConvexHull(vertices).vertices]
    if len(corners) <= MOST_CORNERS:
        return corners
    number = np.arange(MOST_CORNERS) + 0.5
    z, turn = 1 - 2 * number / MOST_CORNERS, np.pi * (1 + 5**0.5) * number
    level = np.sqrt(1 - z**2)
    directions = np.column_stack([level * np.cos(turn), level * np.sin(turn), z])
    directions = np.concatenate([directions, np.eye(3), -np.eye(3)])  # the bounding box stays
    return np.asarray(corners[np.unique((corners @ directions.T).argmax(axis=0))])


def cache_folder() -> Path:
    """Where decompositions are kept."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "mql_ros"


def _recall(key: str) -> Solid | None:
    """A solid from the cache; None if it is not there or the file is damaged (every array has a checksum)."""
    try:
        with np.load(cache_folder() / "meshes" / f"{key}.npz", allow_pickle=False) as file:
            points, ends = file["points"], file["ends"]
            volume = Moments(float(file["volume"]), file["first"], file["second"])
            return Solid(tuple(np.split(points, ends[:-1])), file["vertices"], file["faces"], volume)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _remember(key: str, solid: Solid) -> None:
    """Write a solid to the cache, all or nothing; a cache that cannot be written only costs time."""
    folder = cache_folder() / "meshes"
    content = io.BytesIO()
    np.savez(
        content, points=np.concatenate(solid.parts), ends=np.cumsum([len(part) for part in solid.parts]),
        vertices=solid.vertices, faces=solid.faces, volume=solid.moments.volume, first=solid.moments.first,
        second=solid.moments.second,
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / f"{key}.npz", content.getvalue())
    except (OSError, UserError):
        return
