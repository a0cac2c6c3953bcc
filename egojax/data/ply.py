"""Meshes and points from PLY files."""

import io
import pathlib
import re
from typing import Any

import numpy as np

from egojax.errors import UsageError
from egojax.types import Mesh


def read_mesh(path: pathlib.Path) -> Mesh:
    """Reads a triangle mesh.

    Raises:
      UsageError: unreadable, without triangles, or not finite.
    """
    found = _load(path)
    vertices = np.asarray(found.vertices, np.float32)
    faces = np.asarray(getattr(found, "faces", np.zeros((0, 3))), np.int32)
    problems = []
    if not len(faces):
        problems.append(f"{path}: a mesh without triangles")
    elif faces.min() < 0 or faces.max() >= len(vertices):
        problems.append(
            f"{path}: a triangle names vertex {faces.max()} of {len(vertices)}"
        )
    if not np.isfinite(vertices).all():
        problems.append(f"{path}: vertices that are not finite")
    if problems:
        raise UsageError.from_problems(problems)
    return Mesh(vertices, faces, _colors(found, len(vertices)))


def read_points(path: pathlib.Path) -> np.ndarray:
    """Reads points, float64 (P, 3).

    Raises:
      UsageError: unreadable, empty, or not finite.
    """
    points = np.asarray(_load(path).vertices, np.float64).reshape(-1, 3)
    if not len(points) or not np.isfinite(points).all():
        raise UsageError(f"{path}: expected finite points, at least one")
    return points


def _load(path: pathlib.Path) -> Any:
    import trimesh

    try:
        data = path.read_bytes()
        # Bytes, not a path: so that a file cannot name textures elsewhere.
        found = trimesh.load(io.BytesIO(data), file_type="ply", process=False)
    except Exception as err:  # Its parsers raise whatever a broken file leads them to.
        raise UsageError(f"{path}: not a readable PLY file ({err})") from None
    if not hasattr(found, "vertices"):
        raise UsageError(f"{path}: a PLY file without vertices")
    announced = re.search(rb"element vertex (\d+)", data[:4096])
    if announced and int(announced[1]) != len(found.vertices):
        raise UsageError(
            f"{path}: announces {int(announced[1])} vertices, has {len(found.vertices)}"
        )
    return found


def _colors(found: Any, count: int) -> np.ndarray | None:
    visual = getattr(found, "visual", None)
    if visual is None or visual.kind != "vertex" or len(visual.vertex_colors) != count:
        return None  # trimesh makes up gray where a file has no colours.
    return np.asarray(visual.vertex_colors, np.uint8)[:, :3]
