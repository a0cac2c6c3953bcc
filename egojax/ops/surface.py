"""Surfaces on the host: a mesh from sparse points, and depth by casting rays.

World units throughout. Ray casting needs Embree (extra: mesh); `ops.mesh` draws the
same depth without it.
"""

import importlib
from typing import Any

import numpy as np
import scipy.spatial

from egojax.errors import UsageError
from egojax.types import Camera, Mesh

NEAR, FAR = 0.05, 800.0  # As in `ops.mesh`.
ATTACHED = 0.95  # Share of the points that the automatic alpha ties to the surface,
SLACK = 2.0  # and by how much alpha exceeds what that takes.
MAX_LAYERS = 64  # Back faces behind each other that a ray passes through.


def mesh_from_points(points: np.ndarray, alpha: float | None = None) -> Mesh:
    """The alpha shape of points: the hull of their tetrahedra that are small enough.

    Args:
      points: (P, 3), finite.
      alpha: Greatest circumradius of a tetrahedron that is kept; None = twice the
        one at which 95 % of the points have a tetrahedron.

    Returns:
      A mesh of the points that are used; faces run counter-clockwise seen from outside.

    Raises:
      UsageError: fewer than four points, all in one plane, not finite, or alpha so
        small that nothing is left.

    Source: Edelsbrunner and Muecke 1994, the tetrahedra of their alpha shape.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise UsageError(f"points {points.shape}: expected finite numbers, (P, 3)")
    if len(points) < 4:
        raise UsageError(f"{len(points)} points: a surface takes at least 4")
    center = points.mean(0)
    try:
        tetrahedra = scipy.spatial.Delaunay(points - center).simplices
    except scipy.spatial.QhullError:
        raise UsageError("all points lie in a plane: they enclose nothing") from None
    radius = _circumradius((points - center)[tetrahedra])
    if alpha is None:
        alpha = _automatic_alpha(tetrahedra, radius, len(points))
    faces = _border(points, tetrahedra[radius < alpha])
    if not len(faces):
        raise UsageError(f"alpha {alpha:g}: no tetrahedron is that small, try more")
    used, faces = np.unique(faces, return_inverse=True)
    return Mesh(points[used].astype(np.float32), faces.reshape(-1, 3).astype(np.int32))


def _circumradius(corners: np.ndarray) -> np.ndarray:
    """Of tetrahedra (N, 4, 3); inf where they are flat."""
    edges = corners[:, 1:] - corners[:, :1]
    det = np.linalg.det(edges)
    length = np.linalg.norm(edges, axis=2)
    is_flat = np.abs(det) <= 1e-12 * length.prod(1)
    edges = np.where(is_flat[:, None, None], np.eye(3), edges)
    center = np.linalg.solve(edges, 0.5 * (length**2)[..., None])[..., 0]
    return np.where(is_flat, np.inf, np.linalg.norm(center, axis=1))


def _automatic_alpha(tetrahedra: np.ndarray, radius: np.ndarray, num: int) -> float:
    least = np.full(num, np.inf)
    np.minimum.at(least, tetrahedra.ravel(), np.repeat(radius, 4))
    return SLACK * float(np.quantile(least[np.isfinite(least)], ATTACHED))


def _border(points: np.ndarray, tetrahedra: np.ndarray) -> np.ndarray:
    """Faces (F, 3) that belong to one tetrahedron, turned away from its inside."""
    faces = np.concatenate([np.delete(tetrahedra, i, axis=1) for i in range(4)])
    inside = np.concatenate([tetrahedra[:, i] for i in range(4)])
    _, first, count = np.unique(
        np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True
    )
    faces, inside = faces[first[count == 1]], inside[first[count == 1]]
    a, b, c = (points[faces[:, i]] for i in range(3))
    outward = np.einsum("ij,ij->i", np.cross(b - a, c - a), a - points[inside])
    return np.where((outward > 0)[:, None], faces, faces[:, ::-1])


class EmbreeScene:
    """A mesh in Embree's tree; built once, then asked for depth frame by frame.

    Raises:
      UsageError: Embree is not installed (extra: mesh).
    """

    def __init__(self, mesh: Mesh):
        try:
            mesh_construction = importlib.import_module("embreex.mesh_construction")
            rtcore_scene = importlib.import_module("embreex.rtcore_scene")
        except ImportError:
            raise UsageError(
                "ray casting needs Embree: pip install 'egojax[mesh]', or draw the "
                "mesh with the JAX renderer"
            ) from None
        corners = np.asarray(mesh.vertices, np.float64)[mesh.faces]
        # Embree's float32 is best spent near the origin.
        whole = corners.reshape(-1, 3)
        self._center = whole.mean(0) if len(whole) else np.zeros(3)
        corners -= self._center
        first, second, third = (corners[:, i] for i in range(3))
        normals = np.cross(second - first, third - first)
        offsets = np.einsum("ij,ij->i", normals, first)
        self._planes = np.concatenate([normals, offsets[:, None]], 1)
        self._scene = rtcore_scene.EmbreeScene()
        self._mesh = mesh_construction.TriangleMesh(
            self._scene, corners.astype(np.float32)
        )
        self._rays: tuple[Any, np.ndarray] | None = None

    def depth(
        self,
        camera: Camera,
        *,
        near: float = NEAR,
        far: float = FAR,
        cull: bool = False,
    ) -> np.ndarray:
        """The depth at every pixel's center.

        Args:
          camera: One camera with `size_hw`, of any lens.
          near: Nothing nearer is seen.
          far: Nothing farther is seen.
          cull: See only faces whose corners run counter-clockwise as seen.

        Returns:
          float32 (H, W), camera z; +inf = nothing there.
        """
        w2c = np.asarray(camera.w2c, np.float64)
        along = self._directions(camera) @ w2c[:3, :3]
        center = -w2c[:3, :3].T @ w2c[:3, 3] - self._center
        face = self._first(center + near * along, along)
        depth = self._plane_depth(center, along, face)
        for _ in range(MAX_LAYERS if cull else 0):
            facing = np.einsum("ij,ij->i", self._planes[face, :3], along)
            (hidden,) = np.nonzero((face >= 0) & (facing > 0) & (depth < far))
            if not len(hidden):
                break
            onward = along[hidden]
            start = center + onward * (depth[hidden, None] * (1 + 1e-5))
            face[hidden] = self._first(start, onward)
            depth[hidden] = self._plane_depth(center, onward, face[hidden])
        depth[~(depth <= far)] = np.inf
        return depth.reshape(camera.size_hw).astype(np.float32)

    def _directions(self, camera: Camera) -> np.ndarray:
        """Directions (x, y, 1) of all pixels; those of the last camera are kept."""
        from egojax.ops.camera import directions, pixel_centers

        parts = (camera.intrinsics, camera.distortion, camera.lens, camera.size_hw)
        if self._rays is None or not _is_same(self._rays[0], parts):
            centers = pixel_centers(camera.size_hw).reshape(-1, 2)
            found = np.asarray(directions(_in_float32(camera), centers), np.float64)
            # Where the lens shows nothing, a ray without direction hits nothing.
            found[~np.isfinite(found).all(axis=1)] = 0.0
            self._rays = parts, found
        return self._rays[1]

    def _first(self, origins: np.ndarray, along: np.ndarray) -> np.ndarray:
        """The first face that each ray meets; -1 = none."""
        return self._scene.run(origins.astype(np.float32), along.astype(np.float32))

    def _plane_depth(
        self, center: np.ndarray, along: np.ndarray, face: np.ndarray
    ) -> np.ndarray:
        """Where rays meet the planes of faces; +inf where there is no face."""
        planes = self._planes[face]
        above = planes[:, 3] - planes[:, :3] @ center
        rate = np.einsum("ij,ij->i", planes[:, :3], along)
        is_hit = (face >= 0) & (rate != 0)
        return np.divide(above, rate, out=np.full(len(face), np.inf), where=is_hit)


def _is_same(one: tuple, other: tuple) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _in_float32(camera: Camera) -> Camera:
    import jax

    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), camera)
