"""Cameras: points to pixels and back, rays, poses, and the conventions of others.

Pixels are (x, y); the center of the first is (0.5, 0.5), as in COLMAP. Cameras look
along +z, x to the right, y down (OpenCV). `w2c` takes world to camera, `c2w` back.
Functions take one camera, or cameras with leading axes *T and as many sets of points.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float

from egojax.ops import lens as lenses
from egojax.ops.lens import LENSES as LENSES
from egojax.types import ArrayLike, Camera, typed

# COLMAP's models: our lens, how many focal lengths, and the coefficients in their
# order. What a model lacks of a lens is 0 (beta of EUCM is always there).
COLMAP_MODELS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "SIMPLE_PINHOLE": ("pinhole", 1, ()),
    "PINHOLE": ("pinhole", 2, ()),
    "SIMPLE_RADIAL": ("opencv", 1, ("k1",)),
    "RADIAL": ("opencv", 1, ("k1", "k2")),
    "OPENCV": ("opencv", 2, ("k1", "k2", "p1", "p2")),
    "OPENCV_FISHEYE": ("thin_prism_fisheye", 2, ("k1", "k2", "k3", "k4")),
    "FULL_OPENCV": ("opencv", 2, LENSES["opencv"]),
    "FOV": ("fov", 2, ("omega",)),
    "SIMPLE_RADIAL_FISHEYE": ("thin_prism_fisheye", 1, ("k1",)),
    "RADIAL_FISHEYE": ("thin_prism_fisheye", 1, ("k1", "k2")),
    "THIN_PRISM_FISHEYE": ("thin_prism_fisheye", 2, LENSES["thin_prism_fisheye"]),
    "RAD_TAN_THIN_PRISM_FISHEYE": ("fisheye624", 2, LENSES["fisheye624"]),
    "SIMPLE_DIVISION": ("division", 1, ("k",)),
    "DIVISION": ("division", 2, ("k",)),
    "SIMPLE_FISHEYE": ("thin_prism_fisheye", 1, ()),
    "FISHEYE": ("thin_prism_fisheye", 2, ()),
    "EUCM": ("eucm", 2, ("alpha", "beta")),
}


class Projection(NamedTuple):
    """Where points are in the image."""

    xy: Float[Array, "*T N 2"]  # Pixels.
    z: Float[Array, "*T N"]  # Depth; where it is <= 0, xy means nothing.


class Rays(NamedTuple):
    """Rays in world axes."""

    ray_origins: Float[Array, "*T N 3"]
    ray_dirs: Float[Array, "*T N 3"]  # Unit length.


def _each_camera(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Maps a function of one camera over the leading axes of several."""

    def mapped(camera: Camera, *arrays: ArrayLike) -> Any:
        inner = fn
        for _ in range(jnp.ndim(camera.intrinsics) - 2):
            inner = jax.vmap(inner)
        return inner(camera, *(jnp.asarray(a) for a in arrays))

    return mapped


@jax.jit
@typed
def project(camera: Camera, points: Float[Array, "*T N 3"]) -> Projection:
    """Pixels and depths of world points, through the lens; differentiable."""
    return _each_camera(_project)(camera, points)


def _project(camera: Camera, points: Array) -> Projection:
    turn, shift = camera.w2c[:3, :3], camera.w2c[:3, 3]
    # From the camera's center: far from the origin this keeps the digits that matter.
    local = (points + (shift @ turn)[None, :]) @ turn.T
    z = local[:, 2]
    ahead = jnp.where(z > 0, z, 1.0)
    plane = local[:, :2] / ahead[:, None]
    image = lenses.distort(plane, _coefficients(camera), camera.lens)
    return Projection(image @ camera.intrinsics[:2, :2].T + _principal(camera), z)


@jax.jit
@typed
def unproject(
    camera: Camera, xy: Float[Array, "*T N 2"], depth: Float[Array, "*T N"]
) -> Float[Array, "*T N 3"]:
    """World points at pixels with a depth (camera z); differentiable in everything."""
    return _each_camera(_unproject)(camera, xy, depth)


def _unproject(camera: Camera, xy: Array, depth: Array) -> Array:
    local = _directions(camera, xy) * depth[:, None]
    turn, shift = camera.w2c[:3, :3], camera.w2c[:3, 3]
    return local @ turn - (shift @ turn)[None, :]


@jax.jit
@typed
def directions(camera: Camera, xy: Float[Array, "*T N 2"]) -> Float[Array, "*T N 3"]:
    """Directions (x, y, 1) in camera axes of pixels: times depth, they are points."""
    return _each_camera(_directions)(camera, xy)


def _directions(camera: Camera, xy: Array) -> Array:
    (fx, skew), (_, fy) = camera.intrinsics[:2, :2]
    x, y = (xy - _principal(camera)).T
    y = y / fy
    image = jnp.stack([(x - skew * y) / fx, y], -1)
    plane = lenses.undistort(image, _coefficients(camera), camera.lens)
    return jnp.concatenate([plane, jnp.ones_like(plane[:, :1])], -1)


def camera_rays(camera: Camera, xy: Float[Array, "*T N 2"] | None = None) -> Rays:
    """Rays through pixels.

    Args:
      camera: With `size_hw`, if `xy` is None.
      xy: Pixels; None = the centers of all, row by row.
    """
    if xy is None:
        centers = pixel_centers(camera.size_hw).reshape(-1, 2)
        lead = jnp.shape(camera.intrinsics)[:-2]
        xy = jnp.broadcast_to(
            centers.reshape((1,) * len(lead) + (-1, 2)), (*lead, *centers.shape)
        )
    return _rays(camera, xy)


@jax.jit
@typed
def _rays(camera: Camera, xy: Float[Array, "*T N 2"]) -> Rays:
    return _each_camera(_camera_rays)(camera, xy)


def _camera_rays(camera: Camera, xy: Array) -> Rays:
    turn, shift = camera.w2c[:3, :3], camera.w2c[:3, 3]
    along = _directions(camera, xy) @ turn
    along = along / jnp.linalg.norm(along, axis=-1, keepdims=True)
    return Rays(jnp.broadcast_to(-(shift @ turn)[None, :], along.shape), along)


def pixel_centers(size_hw: tuple[int, int]) -> Float[Array, "H W 2"]:
    """The (x, y) of every pixel's center."""
    height, width = size_hw
    x, y = jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5)
    return jnp.stack([x, y], -1)


def _principal(camera: Camera) -> Array:
    return jnp.asarray(camera.intrinsics)[None, :2, 2]


def _coefficients(camera: Camera) -> Array:
    if camera.distortion is None or camera.lens == "pinhole":
        return jnp.zeros(len(LENSES.get(camera.lens, ())))
    return jnp.asarray(camera.distortion)


# ------------------------------------------------------------------------ poses


@jax.jit
@typed
def rotation_from_quaternion(q: Float[Array, "*T 4"]) -> Float[Array, "*T 3 3"]:
    """Rotation matrices of (w, x, y, z), of any length but 0."""
    w, x, y, z = jnp.moveaxis(q / jnp.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


@jax.jit
@typed
def quaternion_from_rotation(rotation: Float[Array, "*T 3 3"]) -> Float[Array, "*T 4"]:
    """Unit (w, x, y, z) with w >= 0.

    Each of the four is found from the sums and differences of entries once it is the
    largest; the other three follow without a small divisor.
    """
    m = [[rotation[..., i, j] for j in range(3)] for i in range(3)]
    diagonal = m[0][0], m[1][1], m[2][2]
    s = sum(diagonal)
    wx, wy, wz = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[1][0] + m[0][1], m[0][2] + m[2][0], m[2][1] + m[1][2]
    squares = [1 + s] + [1 + 2 * d - s for d in diagonal]  # 4 w^2, 4 x^2, ...
    rows = [
        [squares[0], wx, wy, wz],
        [wx, squares[1], xy, xz],
        [wy, xy, squares[2], yz],
        [wz, xz, yz, squares[3]],
    ]
    table = jnp.stack([jnp.stack(row, -1) for row in rows], -2)
    largest = jnp.argmax(jnp.stack(squares, -1), -1)
    q = jnp.take_along_axis(table, largest[..., None, None], -2)[..., 0, :]
    q = q / jnp.linalg.norm(q, axis=-1, keepdims=True)
    return q * jnp.where(q[..., :1] < 0, -1.0, 1.0)


@jax.jit
@typed
def make_pose(
    rotation: Float[Array, "*T 3 3"], translation: Float[Array, "*T 3"]
) -> Float[Array, "*T 4 4"]:
    """The matrix that takes p to rotation @ p + translation."""
    top = jnp.concatenate([rotation, translation[..., None]], -1)
    last = jnp.broadcast_to(jnp.eye(4)[3], (*top.shape[:-2], 1, 4))
    return jnp.concatenate([top, last], -2)


@jax.jit
@typed
def invert_pose(pose: Float[Array, "*T 4 4"]) -> Float[Array, "*T 4 4"]:
    """The inverse of a rotation and translation: `c2w` of `w2c`, and the reverse."""
    back = jnp.swapaxes(pose[..., :3, :3], -1, -2)
    return make_pose(back, -jnp.einsum("...ij,...j->...i", back, pose[..., :3, 3]))


# --------------------------------------------------------- conventions of others


def camera_from_colmap(
    model: str,
    params: Sequence[float] | np.ndarray,
    size_hw: tuple[int, int],
    w2c: np.ndarray | None = None,
) -> Camera:
    """The camera of a COLMAP model, in float64, on the host.

    Args:
      model: A name in `COLMAP_MODELS`.
      params: As COLMAP orders them.
      size_hw: Pixels.
      w2c: (4, 4); None = at the origin.

    Raises:
      ValueError: unknown model (EQUIRECTANGULAR has no plane before it), or not its
        number of parameters.
    """
    if model not in COLMAP_MODELS:
        raise ValueError(f"camera model {model}: known are {', '.join(COLMAP_MODELS)}")
    lens, num_focal, names = COLMAP_MODELS[model]
    values = np.asarray(params, np.float64)
    expected = num_focal + 2 + len(names)
    if values.shape != (expected,):
        raise ValueError(f"{model} has {expected} parameters, not {values.size}")
    focal, (cx, cy) = values[:num_focal], values[num_focal : num_focal + 2]
    known = dict(zip(names, values[num_focal + 2 :], strict=True))
    distortion = np.array([known.get(name, 0.0) for name in LENSES[lens]])
    return Camera(
        intrinsics=np.array([[focal[0], 0, cx], [0, focal[-1], cy], [0, 0, 1]]),
        w2c=np.eye(4) if w2c is None else np.asarray(w2c, np.float64),
        distortion=distortion if len(distortion) else None,
        size_hw=size_hw,
        lens=lens,
    )


def camera_centers(w2c: npt.ArrayLike) -> np.ndarray:
    """Where cameras are: world, float64 (T, 3), of poses (T, 4, 4)."""
    poses = np.asarray(w2c, np.float64)
    return -np.einsum("tji,tj->ti", poses[:, :3, :3], poses[:, :3, 3])


def centers_from_integers(intrinsics: npt.ArrayLike) -> np.ndarray:
    """Intrinsics for pixel centers at (0.5, 0.5) from ones for centers at (0, 0).

    Aria, OpenCV and many calibration files put the first pixel's center at (0, 0).
    """
    moved = np.array(intrinsics, np.float64)
    moved[..., :2, 2] += 0.5
    return moved


def scale_intrinsics(
    intrinsics: np.ndarray, from_hw: tuple[int, int], to_hw: tuple[int, int]
) -> np.ndarray:
    """Intrinsics after the image was resized; x and y each by their own factor.

    Those for an image of size (1, 1) are the normalised ones of EPIC-FIELDS readers.
    """
    ratio = np.array([[to_hw[1] / from_hw[1]], [to_hw[0] / from_hw[0]], [1.0]])
    return np.asarray(intrinsics) * ratio


def c2w_from_opengl(c2w: np.ndarray) -> np.ndarray:
    """OpenCV axes from OpenGL's (y up, looking along -z); its own inverse."""
    return np.asarray(c2w) * np.array([1.0, -1.0, -1.0, 1.0])
