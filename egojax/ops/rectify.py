"""Images of cameras with lenses as one pinhole camera sees them (host).

The pinhole looks along the same axis; of what the lens shows it keeps the largest
upright rectangle that all given cameras see, so that no pixel is left blank.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from egojax.ops import camera as camera_ops
from egojax.types import Camera

MAX_TANGENT = 4.0  # 76 degrees from the axis: a pinhole's corners get that stretched.
PER_SIDE = 129  # Points of an image's border that are looked at.
TOLERANCE = 0.05  # Pixels that a border point may be off after there and back.


def is_pinhole(camera: Camera) -> bool:
    """Whether the lens bends nothing."""
    bends = camera.distortion is not None and np.any(np.asarray(camera.distortion))
    return camera.lens == "pinhole" or (camera.lens == "opencv" and not bends)


def common_pinhole(cameras: Sequence[Camera]) -> Camera:
    """The pinhole camera, at the origin, all of whose image each of the cameras sees.

    Args:
      cameras: At least one; only lens, intrinsics and size count.

    Returns:
      Of the first's size. One pinhole, or the same several times, comes back itself.

    Raises:
      ValueError: a lens that no pinhole shows, or nothing that all cameras see.
    """
    first = cameras[0]
    known = {lens_key(camera): camera for camera in cameras}
    bare = dataclasses.replace(first, w2c=np.eye(4), distortion=None, lens="pinhole")
    if len(known) == 1 and is_pinhole(first):
        return bare
    sides = np.array([_sides(camera) for camera in known.values()])
    (left, top), (right, bottom) = sides[:, 0].max(0), sides[:, 1].min(0)
    if left >= right or top >= bottom:
        raise ValueError(f"{len(known)} cameras that see nothing in common")
    height, width = first.size_hw
    fx, fy = width / (right - left), height / (bottom - top)
    k = np.array([[fx, 0, -left * fx], [0, fy, -top * fy], [0, 0, 1]], np.float64)
    return dataclasses.replace(bare, intrinsics=k)


def lens_key(camera: Camera) -> tuple:
    """What tells cameras at one place apart, for dictionaries."""
    bends = () if is_pinhole(camera) else np.asarray(camera.distortion).tolist()
    k = np.asarray(camera.intrinsics).ravel().tolist()
    return (camera.size_hw, *k, "" if not bends else camera.lens, *bends)


def _sides(camera: Camera) -> np.ndarray:
    """The largest rectangle of the plane z = 1 that is in the image: (2, 2) corners."""
    height, width = camera.size_hw
    along = np.linspace(0, 1, PER_SIDE)[:, None]
    x, y = along * [width, 0], along * [0, height]
    right, bottom = np.array([width, 0]), np.array([0, height])
    edges = np.stack([y, x, y + right, x + bottom]).astype(np.float32)
    flat = _float32(camera)
    xy = edges.reshape(-1, 2)
    plane = np.asarray(camera_ops.directions(flat, xy))
    back = np.asarray(camera_ops.project(flat, plane).xy)
    ahead = np.isfinite(plane).all(1) & (np.abs(plane[:, :2]) < MAX_TANGENT).all(1)
    if not (ahead & (np.abs(back - xy) < TOLERANCE).all(1)).all():
        bends = np.asarray(camera.distortion).tolist()
        raise ValueError(
            f"lens {camera.lens} {bends} at the border of {width} x {height} pixels: "
            "no pinhole camera shows that"
        )
    left, top, right, bottom = plane[:, :2].reshape(4, -1, 2)
    return np.array(
        [[left[:, 0].max(), top[:, 1].max()], [right[:, 0].min(), bottom[:, 1].min()]],
        np.float64,
    )


def positions(source: Camera, target: Camera) -> np.ndarray:
    """Where in the source's image the pixels of a pinhole at its place are.

    Args:
      source: Any camera.
      target: A pinhole.

    Returns:
      float32 (H, W, 2), pixels of the source; H and W are the target's.
    """
    centers = np.asarray(camera_ops.pixel_centers(target.size_hw)).reshape(-1, 2)
    plane = camera_ops.directions(_float32(target), centers)
    xy = camera_ops.project(_float32(source), plane).xy
    return np.asarray(xy).reshape(*target.size_hw, 2)


def _float32(camera: Camera) -> Camera:
    """The camera at the origin, as arrays that JAX takes without a word."""
    there = dataclasses.replace(camera, w2c=np.eye(4))
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), there)
