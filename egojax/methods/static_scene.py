"""The depth of what does not move, for any camera: of a mesh, or of sparse points."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from egojax.errors import UsageError
from egojax.ops import camera as camera_ops
from egojax.ops import mesh, surface
from egojax.types import Camera, Clip

StaticDepth = Callable[[Camera], np.ndarray]
PointsAs = Literal["nearest", "surface"]
CELLS = 12  # Along each side of an image; one point of each counts.
TOO_NEAR = 0.1  # Share of the points that may lie too near.
ON_RAY = 1e-2  # By how much a point may miss the ray of its pixel, at depth 1.


def static_renderer(
    clip: Clip,
    renderer: str = "jax",
    *,
    points: PointsAs = "nearest",
    cull: bool = False,
) -> StaticDepth | None:
    """Draws the static scene's depth for a camera, or None if there is no scene.

    Args:
      clip: With a mesh, or else with points; a clip that has static depth of its own
        needs neither.
      renderer: Of meshes: "jax" or "embree" (extra: mesh).
      points: Of a clip without a mesh: depth at its "nearest" points, or of a
        "surface" made of them.
      cull: Draw only faces that are turned towards the camera, as published. A surface
        that is made from points has no inner side, and is drawn whole.

    Raises:
      UsageError: the extra is not installed.
    """
    if clip.static_depth is not None or clip.camera is None:
        return None
    scene = clip.mesh
    if scene is None and clip.points is not None and len(clip.points):
        if points == "nearest":
            return nearest_points(clip.points)
        try:
            scene, cull = surface.mesh_from_points(clip.points), False
        except UsageError as err:
            raise UsageError(f"{clip.name}: depth.points=surface: {err}") from None
    if scene is None:
        return None
    if renderer == "embree":
        return functools.partial(surface.EmbreeScene(scene).depth, cull=cull)
    vertices, faces = jnp.asarray(scene.vertices), jnp.asarray(scene.faces)

    def render(camera: Camera) -> np.ndarray:
        straight = without_lens(camera)
        depth = mesh.render_depth(vertices, faces, straight, cull=cull)
        return through_lens(np.asarray(depth), camera)

    return render


def without_lens(camera: Camera) -> Camera:
    """The pinhole camera with the same intrinsics and pose."""
    return dataclasses.replace(camera, lens="pinhole", distortion=None)


def through_lens(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """A pinhole's depth map as the camera's lens shows it.

    Depth is camera z, which a lens does not change: each pixel takes the value of the
    pinhole's pixel on the same ray, +inf where that lies outside of the map.
    """
    if camera.lens == "pinhole":
        return depth
    flat = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), camera)
    centers = camera_ops.pixel_centers(depth.shape).reshape(-1, 2)
    plane = np.asarray(camera_ops.directions(flat, centers)).reshape(*depth.shape, 3)
    xy = plane @ np.asarray(camera.intrinsics, np.float32).T - 0.5
    return cv2.remap(
        depth.astype(np.float32),
        xy[..., 0].astype(np.float32),
        xy[..., 1].astype(np.float32),
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=np.inf,
    )


def nearest_points(points: np.ndarray) -> StaticDepth:
    """Depth at the points of a scene, +inf elsewhere: what they say, and no more.

    A surface made of sparse points bridges what is hollow, and lies too near. Points
    that are hidden behind others say too much, and a few lie too near by mistake: of
    each cell of the image one near point counts, behind a tenth of the cell's.

    Args:
      points: (P, 3), world units; those that are not finite do not count.
    """
    with np.errstate(over="ignore"):
        points = np.asarray(points, np.float32)
    points = points[np.isfinite(points).all(1)]

    def depth(camera: Camera) -> np.ndarray:
        height, width = camera.size_hw
        xy, z = _visible(points, camera)
        column, row = xy.astype(int).T
        cell = row * CELLS // height * CELLS + column * CELLS // width
        order = np.lexsort((z, cell))
        _, first, count = np.unique(cell[order], return_index=True, return_counts=True)
        picked = order[first + (TOO_NEAR * count).astype(int)]
        out = np.full((height, width), np.inf, np.float32)
        out[row[picked], column[picked]] = z[picked]
        return out

    return depth


def _visible(points: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and depths of the points in the image, the hidden ones too."""
    height, width = camera.size_hw
    flat = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), camera)
    image = camera_ops.project(flat, points)
    xy, z = np.asarray(image.xy), np.asarray(image.z)
    inside = (z > 0) & (xy >= 0).all(1) & (xy < (width, height)).all(1)
    xy, z = xy[inside], z[inside]
    if camera.lens != "pinhole" and len(z):
        # Beyond its range a lens folds: what is far aside comes back into the image.
        plane = camera_ops.project(without_lens(flat), points).xy
        plane = _directions(without_lens(flat), np.asarray(plane)[inside])
        off = np.abs(_directions(flat, xy) - plane).max(1)
        is_true = off <= ON_RAY * (1.0 + np.abs(plane).max(1))
        xy, z = xy[is_true], z[is_true]
    return xy, z


def _directions(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """(N, 2) at depth 1; the number of pixels is padded, so that few are compiled."""
    padded = np.zeros((1 << (len(xy) - 1).bit_length(), 2), np.float32)
    padded[: len(xy)] = xy
    return np.asarray(camera_ops.directions(camera, padded))[: len(xy), :2]
